using System.Diagnostics;
using Ioasis.PageTables;
using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Engine;
using Ioasis.Replay.Input;
using Ioasis.Replay.Planning;
using Ioasis.Replay.Recording;
using Ioasis.Replay.Report;

namespace Ioasis.Replay;

/// <summary>
/// Replays a recording through the whole stack: client, ABI, kernel side, core, driver, page tables, hardware model. The one
/// entry to this project.
/// </summary>
public static class TraceReplayer
{
    /// <summary>Reads and replays.</summary>
    /// <param name="path">A kernel trace, or a DMA log to learn mappings from; <c>-</c> is standard input.</param>
    /// <param name="dmaLogPath">A DMA log of the same run as the kernel trace, or null.</param>
    /// <param name="options">How; null for the defaults.</param>
    /// <param name="progress">Told how far it is, or null.</param>
    /// <param name="cancellationToken">Stops it.</param>
    /// <exception cref="TraceInputException">An input cannot be read; the message names file and line.</exception>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    public static ReplayReport Run(
        string path,
        string? dmaLogPath = null,
        ReplayOptions? options = null,
        IProgress<ReplayProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        options ??= new();
        Stopwatch watch = Stopwatch.StartNew();
        progress?.Report(new("reading", 0));
        RecordingReadOptions reading = new()
        {
            Format = options.Format,
            StrictInput = options.StrictInput,
            Attribution = options.Attribution,
        };
        if (dmaLogPath is null)
        {
            using InputSource source = InputSource.Open(path);
            if (RecordingReader.Open(source, reading, cancellationToken, out Func<DmaLog> readLog) is not { } reader)
            {
                return Run(readLog(), options, watch.Elapsed, progress, cancellationToken);
            }

            // Nothing of it is kept: it is replayed as it is read.
            return Replay(
                new(new StreamFeed(source, reader), PlanningOf(options)), options, TimeSpan.Zero, watch, progress, cancellationToken);
        }

        LoadedRecording ReadLog() => RecordingReader.Read(dmaLogPath, reading with { Format = TraceFormat.Unknown }, cancellationToken);
        Task<LoadedRecording>? beside = options.ReadInThread ? Task.Run(ReadLog, CancellationToken.None) : null;
        LoadedRecording recording = RecordingReader.Read(path, reading, cancellationToken);
        progress?.Report(new("reading", 0.5));
        DmaLog log = (beside is null ? ReadLog() : beside.GetAwaiter().GetResult()).Log
            ?? throw new TraceInputException(
                TraceInputError.WrongKind, dmaLogPath, null, "is a kernel trace, where a device-side DMA log is wanted");
        if (recording.Trace is not { } trace)
        {
            throw new TraceInputException(
                TraceInputError.WrongKind, path, null, "is a DMA log, where a kernel trace is wanted: give the trace first and the log with --dma");
        }

        return Run(trace, log, options, watch.Elapsed, progress, cancellationToken);
    }

    /// <summary>Replays a kernel trace that was read already, with or without the DMA log of the same run.</summary>
    /// <exception cref="TraceInputException">The log does not belong to the trace.</exception>
    public static ReplayReport Run(
        KernelTrace trace,
        DmaLog? log,
        ReplayOptions? options = null,
        TimeSpan parseTime = default,
        IProgress<ReplayProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(trace);
        options ??= new();
        Stopwatch watch = Stopwatch.StartNew();
        progress?.Report(new("planning", 0));
        PlanOptions planning = PlanningOf(options);
        if (log is null)
        {
            KernelTrace owned = planning.Rest is null ? OwnerAssignment.FromTrace(trace) : trace;
            return Replay(new(new WholeFeed(owned, parseTime), planning), options, parseTime, watch, progress, cancellationToken);
        }

        var alignment = ClockTie.Align(trace, log);
        (MappingPlan plan, DmaSchedule schedule) = DmaPlanner.Make(trace, log, alignment, planning, options.ToleranceSeconds);
        return Replay(
            new(new WholeFeed(plan.Trace, parseTime), plan.Options)
            {
                Placed = plan,
                Log = log,
                Accesses = schedule.Accesses,
                Alignment = alignment,
                Residuals = schedule.Residuals,
                Refined = schedule.Refined,
                NearMisses = (schedule.NearMisses, schedule.FarthestNearMiss),
            },
            options, parseTime, watch, progress, cancellationToken);
    }

    /// <summary>Replays a DMA log alone, with mappings learned from it.</summary>
    public static ReplayReport Run(
        DmaLog log,
        ReplayOptions? options = null,
        TimeSpan parseTime = default,
        IProgress<ReplayProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(log);
        options ??= new();
        Stopwatch watch = Stopwatch.StartNew();
        progress?.Report(new("planning", 0));
        (MappingPlan plan, ScheduledDma[] accesses) = LearnedTrace.Learn(log, LastIova(options.Tables));
        return Replay(
            new(new WholeFeed(plan.Trace, parseTime), plan.Options) { Placed = plan, Log = log, Accesses = accesses, Learned = true },
            options, parseTime, watch, progress, cancellationToken);
    }

    private static PlanOptions PlanningOf(ReplayOptions options) => new() { Rest = options.RestDevice, LastIova = LastIova(options.Tables) };

    /// <summary>The last IOVA that tables of a format translate.</summary>
    private static ulong LastIova(PageTableFormat format) => (1ul << format.ApertureBits) - 1;

    private static ReplayReport Replay(
        ReplayCase replay, ReplayOptions options, TimeSpan parseTime, Stopwatch watch, IProgress<ReplayProgress>? progress, CancellationToken cancellationToken)
    {
        PlanStage plan = new(replay, options.RecordSeries);
        using PlanFeed feed = new(plan, options.ReadInThread);
        PlanBlock first = feed.Next();
        TraceClock clock = new();
        if (plan.StartNs is { } start)
        {
            clock.MoveTo(start);
        }

        TimeSpan waited = watch.Elapsed;
        using ReplayStack stack = new(options, clock);
        InputLog input = replay.Feed.Trace.Input;
        CheckLog checks = new(input.Path, (replay.Log?.Input ?? input).Path);
        CounterSeries counters = new(stack);
        ReplayEngine engine = new(replay, options, stack, clock, checks, counters);
        engine.Run(feed, first, progress, cancellationToken);
        plan.Finish();
        if (!engine.DidAnything)
        {
            throw NothingReplayable(plan.Summary, replay.Feed.Trace, plan.Statistics.Maps + plan.Statistics.Unmaps > 0);
        }

        counters.Sample(input.LastTimeNs / 1e9);
        SeriesReport series = plan.Series.Finish(input.LastTimeNs, counters);
        TimeSpan elapsed = watch.Elapsed + parseTime;
        return new ReportBuilder(replay, options, stack, plan, engine).Build(checks.ToReport(), series, elapsed, watch.Elapsed - waited);
    }

    /// <summary>Says why there was no step.</summary>
    private static TraceInputException NothingReplayable(PlanSummary plan, KernelTrace trace, bool hasMappings)
    {
        List<string> reasons = [];
        foreach ((PlanOddity oddity, string words) in ((PlanOddity, string)[])
        [
            (PlanOddity.NotPageAligned, "not of whole 4 KiB pages"),
            (PlanOddity.OutsideMode, "outside the IOVAs of the paging mode (--mode)"),
            (PlanOddity.UnmapOfUnknown, "unmaps of what was mapped before the recording began"),
        ])
        {
            if (plan.Oddities[oddity] > 0)
            {
                reasons.Add(string.Create(
                    System.Globalization.CultureInfo.InvariantCulture,
                    $"{plan.Oddities[oddity]} {words} (first at line {plan.Oddities.FirstLine(oddity)})"));
            }
        }

        return trace.Input.NothingToReplay(
            hasMappings
                ? "of its maps and unmaps " + (reasons.Count > 0 ? string.Join(", ", reasons) : "none changes anything")
                : "no event is iommu:map or iommu:unmap, which the recorder has to switch on");
    }
}
