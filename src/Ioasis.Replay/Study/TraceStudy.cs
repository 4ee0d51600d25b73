using System.Diagnostics;
using Ioasis.Replay.Engine;
using Ioasis.Replay.Input;
using Ioasis.Replay.Planning;
using Ioasis.Replay.Report;

namespace Ioasis.Replay.Study;

/// <summary>
/// Studies a recording: what other IOTLBs, page sizes and ways of invalidating would have done with it. This folder simulates caches from
/// the plan of a replay; it never calls the stack.
/// </summary>
internal static class TraceStudy
{
    private static readonly int[] s_walkCaches = [0, 4, 8, 16, 32, 64];
    private static readonly (string Name, int Levels)[] s_modes = [("sv39", 3), ("sv48", 4), ("sv57", 5)];
    private static readonly int[] s_reach = [16, 64, 256, 1024, 4096, 16384, 65536];

    // Strict and lazy are compared with tables of four levels, the most common ones.
    private const int ComparedLevels = 4;

    /// <summary>Reads and studies.</summary>
    /// <param name="path">A kernel trace, or a DMA log to learn mappings from; <c>-</c> is standard input.</param>
    /// <param name="dmaLogPath">A DMA log of the same run as the kernel trace, or null.</param>
    /// <param name="options">How; null for the defaults.</param>
    /// <param name="progress">Told how far it is, or null.</param>
    /// <param name="cancellationToken">Stops it.</param>
    /// <exception cref="TraceInputException">An input cannot be read; the message names file and line.</exception>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    public static StudyReport Run(
        string path,
        string? dmaLogPath = null,
        StudyOptions? options = null,
        IProgress<ReplayProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        options ??= new();
        Stopwatch watch = Stopwatch.StartNew();
        using OpenedCase opened = OpenedCase.Open(path, dmaLogPath, options.Reading, progress, cancellationToken);
        ReplayCase replay = opened.Case;
        PlanStage plan = new(replay, recordsSeries: false);
        using PlanFeed feed = new(plan, options.Reading.ReadInThread);
        StudyEngine engine = new(replay, options);
        engine.Run(feed, progress, cancellationToken);
        plan.Finish();
        if (!engine.DidAnything)
        {
            throw OpenedCase.NothingReplayable(plan, replay);
        }

        return Report(replay, options, plan, engine, watch.Elapsed);
    }

    private static StudyReport Report(ReplayCase replay, StudyOptions options, PlanStage plan, StudyEngine engine, TimeSpan elapsed)
    {
        HitCurve asMapped = engine.AsMapped.ToCurve();
        List<InputReport> inputs = [ReportBuilder.Input(replay.Feed.Trace.Input)];
        if (!replay.Learned && replay.Log is { } log)
        {
            inputs.Add(ReportBuilder.Input(log.Input));
        }

        return new()
        {
            Tool = ReportBuilder.Tool,
            Inputs = inputs,
            IsLogged = replay.Log is not null,
            Use = options.Use,
            Faults = engine.Faults,
            Unexplained = engine.Unexplained,
            Maps = plan.Statistics.Maps,
            Unmaps = plan.Statistics.Unmaps,
            Layouts = [new(LeafRule.AsMapped, asMapped), .. engine.Others.Select(static variant => new LayoutReport(variant.Rule, variant.ToCurve()))],
            Devices = Devices(replay, plan, engine),
            Simulations = engine.Simulations(asMapped),
            PageSizes = engine.PageSizes.ToReport(),
            Invalidation = Invalidation(options, engine),
            Walks = Walks(engine),
            Allocation = Allocation(plan, engine),
            Throughput = new()
            {
                Events = replay.Feed.Trace.Input.Events,
                Translations = asMapped.Accesses,
                ElapsedSeconds = elapsed.TotalSeconds,
                ParseSeconds = replay.Feed.ReadTime.TotalSeconds,
                ReplaySeconds = elapsed.TotalSeconds,
                PeakMemoryBytes = Process.GetCurrentProcess().PeakWorkingSet64,
            },
        };
    }

    private static DeviceStudy[] Devices(ReplayCase replay, PlanStage plan, StudyEngine engine) =>
    [
        .. Enumerable.Range(0, engine.Devices).Select(device => new DeviceStudy(
            replay.Feed.Devices.Name(device),
            plan.Statistics.Of(device).Maps,
            engine.CurveOf(device),
            engine.SpaceOf(device).MostLeaves,
            ReportBuilder.FragmentationOf(plan.Summary.Devices[device].AtPeak)))
            .Where(static device => device.Maps > 0 || device.Curve.Accesses > 0)
            .OrderByDescending(static device => device.Curve.Accesses).ThenBy(static device => device.Name, StringComparer.Ordinal),
    ];

    private static InvalidationReport Invalidation(StudyOptions options, StudyEngine engine)
    {
        return new(
            options.Costs,
            options.WalkedIotlb,
            Cost(engine.StrictCommands, engine.StrictWaits, engine.AsMapped),
            Cost(engine.Lazy.Flushes, engine.Lazy.Flushes, engine.Lazy.Caches),
            engine.Lazy.Caches.ToCurve(),
            engine.Lazy.MeanNs / 1e9,
            engine.Lazy.LongestNs / 1e9,
            engine.Lazy.MostStalePages);

        InvalidationCost Cost(long commands, long waits, StudiedVariant caches)
        {
            long reads = caches.MissesAt(options.WalkedIotlb).Select(static (misses, sizeClass) => misses * WalkStudy.ReadsOf(ComparedLevels, sizeClass)).Sum();
            return new(
                commands, waits, reads, ((commands * options.Costs.Command) + (waits * options.Costs.Wait)) / 1e9, reads * options.Costs.Read / 1e9);
        }
    }

    private static WalkReport Walks(StudyEngine engine)
    {
        long[] misses = engine.AsMapped.MissesAt(engine.Walks.Iotlb);
        return new(engine.Walks.Iotlb, engine.Walks.Walks, s_walkCaches,
        [
            .. s_modes.Select(mode => new WalkModeReport(
                mode.Name,
                mode.Levels,
                [.. s_walkCaches.Select(size => engine.Walks.Reads(mode.Levels, size))],
                misses.Select((count, sizeClass) => count * NestedReads(mode.Levels, WalkStudy.ReadsOf(mode.Levels, sizeClass))).Sum())),
        ]);
    }

    // Each address of a first-stage entry, and the final one, is translated by a walk of the second stage.
    private static long NestedReads(int secondStageLevels, int firstStageReads) => firstStageReads + (secondStageLevels * (firstStageReads + 1L));

    private static AllocationReport Allocation(PlanStage plan, StudyEngine engine)
    {
        long leaves = Enumerable.Range(0, engine.Devices).Sum(device => engine.SpaceOf(device).MostLeaves);
        return new(
            (long)plan.Summary.PeakBytes,
            leaves,
            plan.Summary.Oddities[PlanOddity.IovaReuse],
            [.. s_reach.Select(size => new ReachReport(size, leaves == 0 ? 1 : Math.Min(1, size / (double)leaves)))]);
    }
}
