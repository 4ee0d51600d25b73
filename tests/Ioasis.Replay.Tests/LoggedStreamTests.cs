using System.Text.Json;
using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Recording;
using Ioasis.Replay.Report;
using Ioasis.TraceGenerator;

namespace Ioasis.Replay.Tests;

/// <summary>A long recording with a log beside it: through temporary files and in memory it gives the same report.</summary>
public sealed class LoggedStreamTests : IDisposable
{
    // More maps and unmaps, accesses by step and invalidations than are kept in memory.
    private const int Events = 340_000;

    private readonly string _trace = Path.GetTempFileName();
    private readonly string _log = Path.GetTempFileName();

    public LoggedStreamTests()
    {
        using FileStream trace = File.Create(_trace);
        using FileStream log = File.Create(_log);
        using LogWriter accesses = new(log, 2);
        new TraceWriter(trace, new() { Devices = 3, Live = 500, Pages = 50_000 }, accesses).Write(Events);
    }

    public void Dispose()
    {
        File.Delete(_trace);
        File.Delete(_log);
    }

    [Fact]
    public void A_trace_and_a_log_in_files_give_the_report_that_they_give_in_memory()
    {
        ReplayReport streamed = TraceReplayer.Run(_trace, _log, null, null, TestContext.Current.CancellationToken);
        KernelTrace trace = RecordingReader.Read(_trace, null, TestContext.Current.CancellationToken).Trace!;
        DmaLog log = RecordingReader.Read(_log, null, TestContext.Current.CancellationToken).Log!;
        ReplayReport held = TraceReplayer.Run(trace, log, null, default, null, TestContext.Current.CancellationToken);

        trace.Mappings.Length.ShouldBe(Events / 2);
        log.Invalidations.InFile.ShouldBeGreaterThan(0);
        streamed.Checks.MismatchCount.ShouldBe(0);
        streamed.DmaLog!.Classes.ShouldBe([new("live", log.Accesses.Length)]);
        streamed.RecordedInvalidations.UnmapToInvalidation!.Count.ShouldBe(log.Invalidations.Length);
        Untimed(held).ShouldBe(Untimed(streamed));
    }

    [Fact]
    public void An_access_behind_its_unmap_is_a_mismatch_however_far_back_the_trace_lies()
    {
        // One access more, to the first page of the log, when all else is over.
        string[] lines = File.ReadAllLines(_log);
        string first = lines.First(static line => line.Contains("translate", StringComparison.Ordinal));
        string late = lines[^1][..lines[^1].IndexOf(' ', StringComparison.Ordinal)] + first[first.IndexOf(' ', StringComparison.Ordinal)..];
        File.AppendAllText(_log, late + "\n");

        ReplayReport report = TraceReplayer.Run(_trace, _log, null, null, TestContext.Current.CancellationToken);
        KernelTrace trace = RecordingReader.Read(_trace, null, TestContext.Current.CancellationToken).Trace!;
        DmaLog log = RecordingReader.Read(_log, null, TestContext.Current.CancellationToken).Log!;
        ReplayReport held = TraceReplayer.Run(trace, log, null, default, null, TestContext.Current.CancellationToken);

        report.DmaLog!.Dmas.ShouldBe(log.Accesses.Length);
        report.DmaLog.Classes.Single(static c => c.Name == "live").Count.ShouldBe(log.Accesses.Length - 1);
        Untimed(held).ShouldBe(Untimed(report));
    }

    [Fact]
    public void Who_cancels_while_accesses_are_placed_waits_for_no_machine()
    {
        using CancellationTokenSource cancel = new();
        bool madeMachine = false;
        ReplayOptions options = new()
        {
            Machine = machine =>
            {
                madeMachine = true;
                return machine;
            },
        };
        Should.Throw<OperationCanceledException>(
            () => TraceReplayer.Run(_trace, _log, options, new CancelsPlanning(cancel), cancel.Token));
        madeMachine.ShouldBeFalse();
    }

    private static string Untimed(ReplayReport report) => JsonSerializer.Serialize(
        report with { Throughput = new() { Events = 0, Translations = 0, ElapsedSeconds = 0, ParseSeconds = 0, ReplaySeconds = 0 } });

    private sealed class CancelsPlanning(CancellationTokenSource cancel) : IProgress<ReplayProgress>
    {
        public void Report(ReplayProgress value)
        {
            if (value.Phase == "planning")
            {
                cancel.Cancel();
            }
        }
    }
}
