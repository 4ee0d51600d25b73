using System.Text.Json;
using Ioasis.Platform;
using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;
using Ioasis.Replay.Report;
using Ioasis.TraceGenerator;

namespace Ioasis.Replay.Tests;

/// <summary>Recordings of any length: replayed as they are read, on one thread or two, with what lives in memory and no more.</summary>
public sealed class StreamTests : IDisposable
{
    // More than the first block of the feed and a few later ones: 90,000 mappings begin and end.
    private const int Events = 360_000;

    private readonly string _path = Path.GetTempFileName();

    public StreamTests()
    {
        using FileStream file = File.Create(_path);
        new TraceWriter(file, new() { Devices = 5, Live = 700, Pages = 100_000 }).Write(Events);
    }

    public void Dispose() => File.Delete(_path);

    [Fact]
    public void Two_threads_one_thread_and_a_recording_held_in_memory_give_the_same_report()
    {
        ReplayReport inThread = TraceReplayer.Run(
            _path, null, new() { ReadInThread = true }, null, TestContext.Current.CancellationToken);
        ReplayReport alone = TraceReplayer.Run(
            _path, null, new() { ReadInThread = false }, null, TestContext.Current.CancellationToken);
        KernelTrace trace = RecordingReader.Read(_path, null, TestContext.Current.CancellationToken).Trace!;
        ReplayReport held = TraceReplayer.Run(trace, null, null, default, null, TestContext.Current.CancellationToken);

        inThread.Inputs[0].Events.ShouldBe(Events);
        inThread.Checks.MismatchCount.ShouldBe(0);
        inThread.Attribution.MapsWithoutEvidence.ShouldBe(0);
        Untimed(alone).ShouldBe(Untimed(inThread));
        Untimed(held).ShouldBe(Untimed(inThread));
    }

    [Fact]
    public void However_many_pages_the_checks_write_one_at_a_time_is_held()
    {
        SparsePhysicalMemory? memory = null;
        Watch watch = new(() => memory!.PagedBytes);
        ReplayReport report = TraceReplayer.Run(
            _path,
            null,
            new()
            {
                Machine = machine => machine with { DriverMemory = seen => memory = seen.ShouldBeOfType<SparsePhysicalMemory>() },
            },
            watch,
            TestContext.Current.CancellationToken);

        report.Checks.ByKind.Single(c => c.Name == "data arrives at its page").Count.ShouldBeGreaterThan(89_000);
        watch.Looks.ShouldBeGreaterThan(150);
        watch.Most.ShouldBeLessThanOrEqualTo(4096);
    }

    [Fact]
    public void A_recording_that_is_cut_off_far_behind_its_beginning_is_refused_by_its_line()
    {
        byte[] text = File.ReadAllBytes(_path);
        int lastLine = text.AsSpan(0, text.Length - 1).LastIndexOf((byte)'\n') + 1;
        File.WriteAllBytes(_path, text[..(lastLine + 30)]);

        foreach (bool inThread in (bool[])[true, false])
        {
            TraceInputException error = Should.Throw<TraceInputException>(() => TraceReplayer.Run(
                _path, null, new() { ReadInThread = inThread }, null, TestContext.Current.CancellationToken));
            error.Error.ShouldBe(TraceInputError.Truncated);
            error.Line.ShouldNotBeNull().ShouldBeGreaterThan(Events);
        }
    }

    [Fact]
    public void Who_cancels_in_the_middle_is_heard()
    {
        using CancellationTokenSource cancel = new();
        Watch watch = new(() =>
        {
            cancel.Cancel();
            return 0;
        });
        Should.Throw<OperationCanceledException>(() => TraceReplayer.Run(_path, null, null, watch, cancel.Token));
    }

    [Fact]
    public void The_generator_writes_the_same_for_the_same_arguments()
    {
        using MemoryStream again = new();
        new TraceWriter(again, new() { Devices = 5, Live = 700, Pages = 100_000 }).Write(Events);
        again.ToArray().AsSpan().SequenceEqual(File.ReadAllBytes(_path)).ShouldBeTrue();
    }

    private static string Untimed(ReplayReport report) => JsonSerializer.Serialize(
        report with { Throughput = new() { Events = 0, Translations = 0, ElapsedSeconds = 0, ParseSeconds = 0, ReplaySeconds = 0 } });

    /// <summary>Looks at something each time that the replay says how far it is, in the replay's thread.</summary>
    private sealed class Watch(Func<long> look) : IProgress<ReplayProgress>
    {
        public long Most { get; private set; }

        public int Looks { get; private set; }

        public void Report(ReplayProgress value)
        {
            if (value.Phase == "replaying")
            {
                Looks++;
                Most = Math.Max(Most, look());
            }
        }
    }
}
