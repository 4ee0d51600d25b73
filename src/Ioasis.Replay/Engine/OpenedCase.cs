using System.Diagnostics;
using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Input;
using Ioasis.Replay.Planning;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Engine;

/// <summary>A recording that was opened and is ready to be carried out, by a replay or by a study; a stream stays open as long as this does.</summary>
internal sealed class OpenedCase : IDisposable
{
    private readonly InputSource? _source;

    private OpenedCase(ReplayCase replay, InputSource? source)
    {
        Case = replay;
        _source = source;
    }

    /// <summary>What is carried out.</summary>
    public ReplayCase Case { get; }

    /// <summary>Opens a recording.</summary>
    /// <param name="path">A kernel trace, or a DMA log to learn mappings from; <c>-</c> is standard input.</param>
    /// <param name="dmaLogPath">A DMA log of the same run as the kernel trace, or null.</param>
    /// <param name="options">How.</param>
    /// <param name="progress">Told how far it is, or null.</param>
    /// <param name="cancellationToken">Stops it.</param>
    /// <exception cref="TraceInputException">An input cannot be read; the message names file and line.</exception>
    public static OpenedCase Open(
        string path, string? dmaLogPath, ReplayOptions options, IProgress<ReplayProgress>? progress, CancellationToken cancellationToken)
    {
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
            return OpenOne(path, reading, options, watch, progress, cancellationToken);
        }

        LoadedRecording ReadLog() => RecordingReader.Read(dmaLogPath, reading with { Format = TraceFormat.Unknown }, cancellationToken);
        Task<LoadedRecording>? beside = options.ReadInThread ? Task.Run(ReadLog, CancellationToken.None) : null;
        TraceEvents? trace = ReadTrace(path, reading, cancellationToken);
        progress?.Report(new("reading", 0.5));
        DmaLog log = (beside is null ? ReadLog() : beside.GetAwaiter().GetResult()).Log
            ?? throw new TraceInputException(
                TraceInputError.WrongKind, dmaLogPath, null, "is a kernel trace, where a device-side DMA log is wanted");
        if (trace is null)
        {
            throw new TraceInputException(
                TraceInputError.WrongKind, path, null, "is a DMA log, where a kernel trace is wanted: give the trace first and the log with --dma");
        }

        progress?.Report(new("planning", 0));
        return new(Of(trace, log, options, watch.Elapsed, cancellationToken), null);
    }

    /// <summary>A kernel trace that was read already, with or without the DMA log of the same run.</summary>
    /// <exception cref="TraceInputException">The log does not belong to the trace.</exception>
    public static ReplayCase Of(KernelTrace trace, DmaLog? log, ReplayOptions options, TimeSpan parseTime, CancellationToken cancellationToken)
    {
        if (log is not null)
        {
            return Of(TraceEvents.Of(trace), log, options, parseTime, cancellationToken);
        }

        var target = ReplayTarget.Of(options, trace.Input.Architecture);
        PlanOptions planning = PlanningOf(options, target);
        KernelTrace owned = planning.Rest is null ? OwnerAssignment.FromTrace(trace) : trace;
        return new(new WholeFeed(owned, parseTime), planning, target);
    }

    /// <summary>A DMA log alone, with mappings learned from it.</summary>
    public static ReplayCase Of(DmaLog log, ReplayOptions options, TimeSpan parseTime)
    {
        var target = ReplayTarget.Of(options, log.Input.Architecture);
        (MappingPlan plan, ScheduledDma[] accesses) = LearnedTrace.Learn(log, target.LastIova);
        return new(new WholeFeed(plan.Trace, parseTime), plan.Options, target) { Placed = plan, Log = log, Accesses = accesses, Learned = true };
    }

    /// <summary>Says why there was no step.</summary>
    public static TraceInputException NothingReplayable(PlanStage stage, ReplayCase replay)
    {
        PlanSummary plan = stage.Summary;
        bool hasMappings = stage.Statistics.Maps + stage.Statistics.Unmaps > 0;
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

        return replay.Feed.Trace.Input.NothingToReplay(
            hasMappings
                ? "of its maps and unmaps " + (reasons.Count > 0 ? string.Join(", ", reasons) : "none changes anything")
                : "no event is iommu:map or iommu:unmap, which the recorder has to switch on");
    }

    /// <inheritdoc/>
    public void Dispose() => _source?.Dispose();

    private static OpenedCase OpenOne(
        string path, RecordingReadOptions reading, ReplayOptions options, Stopwatch watch, IProgress<ReplayProgress>? progress,
        CancellationToken cancellationToken)
    {
        InputSource source = InputSource.Open(path);
        try
        {
            if (RecordingReader.Open(source, reading, cancellationToken, out Func<DmaLog> readLog) is { } reader)
            {
                // Nothing of it is kept: it is carried out as it is read.
                var target = ReplayTarget.Of(options, reader.Trace.Input.Architecture);
                return new(new(new StreamFeed(source, reader), PlanningOf(options, target), target), source);
            }

            DmaLog log = readLog();
            progress?.Report(new("planning", 0));
            return new(Of(log, options, watch.Elapsed), source);
        }
        catch
        {
            source.Dispose();
            throw;
        }
    }

    /// <summary>Reads a kernel trace.</summary>
    /// <returns>The trace; null for a DMA log, which is read to its end all the same: what is wrong with it is said first.</returns>
    private static TraceEvents? ReadTrace(string path, RecordingReadOptions reading, CancellationToken cancellationToken)
    {
        using InputSource source = InputSource.Open(path);
        if (RecordingReader.Open(source, reading, cancellationToken, out Func<DmaLog> readLog) is { } reader)
        {
            return TraceEvents.Read(reader);
        }

        readLog();
        return null;
    }

    private static ReplayCase Of(TraceEvents trace, DmaLog log, ReplayOptions options, TimeSpan parseTime, CancellationToken cancellationToken)
    {
        var alignment = ClockTie.Align(trace.Trace, log, trace.Events.Select(static e => e.TimeNs));
        string architecture = trace.Trace.Input.Architecture is { Length: > 0 } told ? told : log.Input.Architecture;
        var target = ReplayTarget.Of(options, architecture);
        DmaPlan plan = DmaPlanner.Make(trace, log, alignment, PlanningOf(options, target), options.ToleranceSeconds, cancellationToken);
        DmaSchedule schedule = plan.Schedule;
        return new(new SpilledFeed(plan.Trace.Events, ReplayCase.InvalidationTimes(log, alignment), parseTime), plan.Trace.Options, target)
        {
            Placed = plan.Trace.Rest,
            Log = log,
            Accesses = schedule.Accesses,
            Alignment = alignment,
            Residuals = schedule.Residuals,
            Refined = schedule.Refined,
            NearMisses = (schedule.NearMisses, schedule.FarthestNearMiss),
        };
    }

    private static PlanOptions PlanningOf(ReplayOptions options, ReplayTarget target) => new() { Rest = options.RestDevice, LastIova = target.LastIova };
}
