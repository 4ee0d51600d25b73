using System.Diagnostics;
using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Engine;
using Ioasis.Replay.Input;
using Ioasis.Replay.Planning;
using Ioasis.Replay.Recording;
using Ioasis.Replay.Report;
using Ioasis.RiscV.Driver;

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
        LoadedRecording recording = RecordingReader.Read(path, reading, cancellationToken);
        DmaLog? log = null;
        if (dmaLogPath is not null)
        {
            progress?.Report(new("reading", 0.5));
            log = RecordingReader.Read(dmaLogPath, reading with { Format = TraceFormat.Unknown }, cancellationToken).Log
                ?? throw new TraceInputException(
                    TraceInputError.WrongKind, dmaLogPath, null, "is a kernel trace, where a device-side DMA log is wanted");
            if (recording.Trace is null)
            {
                throw new TraceInputException(
                    TraceInputError.WrongKind, path, null, "is a DMA log, where a kernel trace is wanted: give the trace first and the log with --dma");
            }
        }

        return recording.Trace is { } trace
            ? Run(trace, log, options, watch.Elapsed, progress, cancellationToken)
            : Run(recording.Log!, options, watch.Elapsed, progress, cancellationToken);
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
        PlanOptions planning = new() { Rest = options.RestDevice, LastIova = LastIova(options.Mode) };
        MappingPlan plan;
        DmaSchedule? schedule = null;
        ClockTie? alignment = null;
        if (log is null)
        {
            plan = Planner.Make(trace, planning);
        }
        else
        {
            alignment = ClockTie.Align(trace, log);
            (plan, schedule) = DmaPlanner.Make(trace, log, alignment, planning, options.ToleranceSeconds);
        }

        return Replay(
            new(plan, log, schedule?.Accesses ?? [], learned: false)
            {
                Alignment = alignment,
                Residuals = schedule?.Residuals ?? [],
                Refined = schedule?.Refined ?? 0,
                NearMisses = schedule is null ? default : (schedule.NearMisses, schedule.FarthestNearMiss),
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
        (MappingPlan plan, ScheduledDma[] accesses) = LearnedTrace.Learn(log, LastIova(options.Mode));
        return Replay(new(plan, log, accesses, learned: true), options, parseTime, watch, progress, cancellationToken);
    }

    /// <summary>The last IOVA that a first stage of a mode translates without sign extension (RISC-V privileged specification, 12.3 to 12.6).</summary>
    private static ulong LastIova(PagingMode mode) => (1ul << ((int)mode - 1)) - 1;

    /// <summary>Says why a plan has no step.</summary>
    private static TraceInputException NothingReplayable(MappingPlan plan)
    {
        PlanOddities odd = plan.Oddities;
        List<string> reasons = [];
        foreach ((PlanOddity oddity, string words) in ((PlanOddity, string)[])
        [
            (PlanOddity.NotPageAligned, "not of whole 4 KiB pages"),
            (PlanOddity.OutsideMode, "outside the IOVAs of the paging mode (--mode)"),
            (PlanOddity.UnmapOfUnknown, "unmaps of what was mapped before the recording began"),
        ])
        {
            if (odd[oddity] > 0)
            {
                reasons.Add(string.Create(
                    System.Globalization.CultureInfo.InvariantCulture, $"{odd[oddity]} {words} (first at line {odd.FirstLine(oddity)})"));
            }
        }

        return plan.Trace.Input.NothingToReplay(
            plan.Trace.Mappings.Length == 0
                ? "no event is iommu:map or iommu:unmap, which the recorder has to switch on"
                : "of its maps and unmaps " + (reasons.Count > 0 ? string.Join(", ", reasons) : "none changes anything"));
    }

    private static ReplayReport Replay(
        ReplayCase replay, ReplayOptions options, TimeSpan parseTime, Stopwatch watch, IProgress<ReplayProgress>? progress, CancellationToken cancellationToken)
    {
        TraceClock clock = new();
        if (replay.Plan.Trace.Mappings.Length > 0)
        {
            clock.MoveTo(replay.Plan.Trace.Mappings[0].TimeNs);
        }

        using ReplayStack stack = new(replay.Plan, options, clock);
        CheckLog checks = new(replay.Plan.Trace.Input.Path, (replay.Log?.Input ?? replay.Plan.Trace.Input).Path);
        SeriesFeeder? series = options.RecordSeries
            ? new(replay.Plan.Trace.Devices, stack, replay.Plan.Trace.Marks.Values, replay.InvalidationTimes())
            : null;
        if (replay.Plan.Steps.Length == 0 && replay.Accesses.Length == 0)
        {
            throw NothingReplayable(replay.Plan);
        }

        ReplayEngine engine = new(replay.Plan, replay.Log, replay.Accesses, options, stack, clock, checks, series);
        engine.Run(progress, cancellationToken);
        SeriesReport seriesReport = (series ?? new(replay.Plan.Trace.Devices, stack, [], [])).Finish(replay.Plan.Trace.Input.LastTimeNs);
        TimeSpan replayTime = watch.Elapsed;
        return new ReportBuilder(replay, options, stack, engine).Build(checks.ToReport(), seriesReport, parseTime, replayTime);
    }
}
