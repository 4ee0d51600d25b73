using BenchmarkDotNet.Attributes;
using Ioasis.Replay;
using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Input;
using Ioasis.Replay.Planning;
using Ioasis.Replay.Recording;
using Ioasis.Replay.Report;

namespace Ioasis.Benchmarks.Replay;

/// <summary>
/// The whole x86 recording, 132161 events: times are per event, so that 1000 ns are 1,000,000 events/s. Each runs on one core;
/// the stack is built anew each time, as <c>ioasis run</c> does.
/// </summary>
[MemoryDiagnoser]
public class ReplayBenchmarks
{
    private const int Events = 132161;

    private byte[] _text = [];
    private KernelTrace _trace = null!;

    [GlobalSetup]
    public void Read()
    {
        using InputSource source = InputSource.Open(Traces.PathOf("x86-lazy.ftrace.txt.xz"));
        using MemoryStream text = new();
        source.Text.CopyTo(text);
        _text = text.ToArray();
        _trace = ReadTrace();
    }

    /// <summary>Text to maps and unmaps with devices.</summary>
    [Benchmark(OperationsPerInvoke = Events)]
    public object Parse() => ReadTrace();

    /// <summary>Maps and unmaps to areas and calls.</summary>
    [Benchmark(OperationsPerInvoke = Events)]
    public object Plan() => Planner.Make(_trace);

    /// <summary>The stack alone: every call, no check.</summary>
    [Benchmark(OperationsPerInvoke = Events)]
    public object ReplayUnchecked() => Replay(new() { Check = CheckLevel.None, RecordSeries = false });

    /// <summary>Every call, sampled checks.</summary>
    [Benchmark(OperationsPerInvoke = Events)]
    public object ReplaySampled() => Replay(new() { RecordSeries = false });

    /// <summary>Every call, sampled checks, batched invalidation.</summary>
    [Benchmark(OperationsPerInvoke = Events)]
    public object ReplayLazy() => Replay(new() { RecordSeries = false, LazyInvalidation = true });

    /// <summary>Everything that <c>ioasis run</c> does after decompression: parse, plan, replay, sampled checks, time series, report.</summary>
    [Benchmark(Baseline = true, OperationsPerInvoke = Events)]
    public object Whole() => Passed(TraceReplayer.Run(ReadTrace(), null, new()));

    private KernelTrace ReadTrace()
    {
        using InputSource source = InputSource.Wrap("x86-lazy", new MemoryStream(_text));
        KernelTrace trace = RecordingReader.Read(source).Trace!;
        return trace.Input.Events == Events ? trace : throw new InvalidOperationException("not the recording");
    }

    private ReplayReport Replay(ReplayOptions options) => Passed(TraceReplayer.Run(_trace, null, options));

    private static ReplayReport Passed(ReplayReport report) =>
        report.Passed ? report : throw new InvalidOperationException("mismatches");
}

/// <summary>The riscv recording with its DMA log, 292147 accesses: times are per access.</summary>
public class DmaLogBenchmarks
{
    private const int Accesses = 292147;

    private byte[] _text = [];
    private KernelTrace _trace = null!;
    private DmaLog _log = null!;

    [GlobalSetup]
    public void Read()
    {
        _trace = RecordingReader.Read(Traces.PathOf("riscv-strict.ftrace.txt.xz")).Trace!;
        using InputSource source = InputSource.Open(Traces.PathOf("riscv-strict.dma.log.xz"));
        using MemoryStream text = new();
        source.Text.CopyTo(text);
        _text = text.ToArray();
        _log = ReadLog();
    }

    /// <summary>Text to accesses.</summary>
    [Benchmark(OperationsPerInvoke = Accesses)]
    public object Parse() => ReadLog();

    /// <summary>Trace and log through the stack, every logged access checked.</summary>
    [Benchmark(OperationsPerInvoke = Accesses)]
    public object Replay()
    {
        ReplayReport report = TraceReplayer.Run(_trace, _log, new() { Check = CheckLevel.None, RecordSeries = false });
        return report.Passed ? report : throw new InvalidOperationException("mismatches");
    }

    private DmaLog ReadLog()
    {
        using InputSource source = InputSource.Wrap("riscv-strict", new MemoryStream(_text));
        return RecordingReader.Read(source).Log!;
    }
}

internal static class Traces
{
    public static string PathOf(string name)
    {
        for (DirectoryInfo? at = new(AppContext.BaseDirectory); at is not null; at = at.Parent)
        {
            string path = Path.Combine(at.FullName, "examples", "traces", name);
            if (File.Exists(path))
            {
                return path;
            }
        }

        throw new FileNotFoundException(name);
    }
}
