using System.Diagnostics;
using System.Reflection;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Input;
using Ioasis.Replay.Planning;
using Ioasis.Replay.Recording;
using Ioasis.Replay.Report;

namespace Ioasis.Replay.Engine;

/// <summary>Puts together what a replay found out.</summary>
internal sealed partial class ReportBuilder(
    ReplayCase replay, ReplayOptions options, ReplayTarget target, ReplayStack stack, PlanStage plan, ReplayEngine engine)
{
    private readonly PlanSummary _plan = plan.Summary;
    private readonly MappingStatistics _statistics = plan.Statistics;
    private readonly KernelTrace _trace = replay.Feed.Trace;
    private readonly DeviceTable _table = replay.Feed.Devices;
    private readonly HardwareCounters _hardware = HardwareCounters.Of(stack);

    /// <summary>Name and version of the program.</summary>
    public static string Tool { get; } = "ioasis " + (typeof(ReportBuilder).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()
        ?.InformationalVersion.Split('+')[0] ?? "0");

    /// <summary>The report.</summary>
    public ReplayReport Build(CheckReport checks, SeriesReport series, TimeSpan elapsed, TimeSpan replayTime)
    {
        List<InputReport> inputs = [Input(_trace.Input)];
        if (!replay.Learned && replay.Log is { } log)
        {
            inputs.Add(Input(log.Input));
        }

        using Process process = Process.GetCurrentProcess();
        return new()
        {
            Tool = Tool,
            Options = Options(),
            Inputs = inputs,
            Checks = checks,
            Devices = Devices(),
            Attribution = AttributionOf(),
            Mappings = Mappings(),
            PageTables = new(engine.PeakTotalTableBytes, stack.TotalTableBytes()),
            Hardware = Hardware(),
            RecordedInvalidations = RecordedInvalidations(),
            Oddities = Oddities(),
            DmaLog = DmaLogOf(),
            Throughput = new()
            {
                Events = _trace.Input.Events,
                Translations = engine.Translations,
                ElapsedSeconds = elapsed.TotalSeconds,
                ParseSeconds = replay.Feed.ReadTime.TotalSeconds,
                ReplaySeconds = replayTime.TotalSeconds,
                PeakMemoryBytes = process.PeakWorkingSet64,
            },
            Series = series,
        };
    }

    /// <summary>How a file was read.</summary>
    public static InputReport Input(InputLog input) => new()
    {
        Path = input.Path,
        Format = input.Format.Name(),
        Compression = input.Compression switch
        {
            InputCompression.Gzip => "gzip",
            InputCompression.Xz => "xz",
            _ => "none",
        },
        Lines = input.Lines,
        TextBytes = input.TextBytes,
        Events = input.Events,
        EventsByKind = [.. input.EventsByName.Select(e => new NamedCount(e.Key, e.Value)).OrderByDescending(e => e.Count)],
        UnparsedLines = input.UnparsedLines,
        UnparsedKinds = [.. input.UnparsedShapes.Select(s => new NamedCount(s.Description, s.Count))],
        UnknownEvents = [.. input.UnknownEvents.Select(e => new NamedCount(e.Key, e.Value)).OrderByDescending(e => e.Count)],
        CutEvents = input.CutEvents,
        Clock = input.Clock switch
        {
            ClockUnit.Seconds => "seconds",
            ClockUnit.Microseconds => "microseconds",
            ClockUnit.Ticks => "ticks",
            _ => "none",
        },
        WasCutOff = input.WasCutOff,
        FirstUnparsedLines = [.. input.FirstUnparsedLines.Select(l => new InputLine(l.Line, l.Text))],
        LostMarkers = input.LostMarkers,
        FirstLostMarkers = [.. input.FirstLostMarkers.Select(l => new InputLine(l.Line, l.Text))],
        LostEvents = input.LostEvents,
        FirstSeconds = input.FirstTimeNs / 1e9,
        LastSeconds = input.LastTimeNs / 1e9,
        BackwardSteps = input.BackwardSteps,
        EventsByCpu = [.. input.EventsByCpu.Select((n, cpu) => new NamedCount(cpu.ToString(System.Globalization.CultureInfo.InvariantCulture), n))],
    };

    private ReportOptions Options() => new()
    {
        Iommu = target.Iommu.Kind,
        Mode = target.Tables.Name.ToLowerInvariant(),
        Invalidation = options.LazyInvalidation ? "lazy" : "strict",
        Caching = options.Hostile ? "hostile" : "realistic",
        Check = options.Check switch
        {
            CheckLevel.None => "none",
            CheckLevel.All => "all",
            _ => "sampled",
        },
        IotlbEntries = options.IotlbEntries,
        IotlbWays = options.IotlbWays,
        Seed = options.Seed,
        RestDevice = options.RestDevice,
        RequestedFormat = options.Format == TraceFormat.Unknown ? null : options.Format.Name(),
        StrictInput = options.StrictInput,
        ToleranceSeconds = options.ToleranceSeconds,
    };

    private AttributionReport AttributionOf() => new()
    {
        Ways = Ways(),
        Spaces = Enumerable.Range(0, _table.Count).Count(d => _table.Name(d).StartsWith(DeviceTable.SpaceName + " ", StringComparison.Ordinal)),
        Maps = EvidenceCounts(unmaps: false),
        Unmaps = EvidenceCounts(unmaps: true),
        RestDevice = _plan.RestDevice < 0 ? null : _table.Name(_plan.RestDevice),
        MapsWithoutEvidence = _plan.MapsWithoutEvidence,
        UnmapsWithoutEvidence = _plan.UnmapsWithoutEvidence,
    };

    private AttributionClass[] Ways()
    {
        string rest = _plan.RestChoice switch
        {
            RestChoice.Given => "given",
            RestChoice.DmaLog => "DMA log",
            RestChoice.Inferred or RestChoice.NotNeeded => "inferred",
            _ => "unknown",
        };
        string[] order = ["probe", "DMA event", "device field", "direct region", "only device", "DMA log", "inferred", "given", "unknown"];
        (long Maps, long Unmaps)[] counts = new (long, long)[order.Length];
        foreach (Evidence evidence in Enum.GetValues<Evidence>())
        {
            ref (long Maps, long Unmaps) count = ref counts[Array.IndexOf(order, evidence switch
            {
                Evidence.None => rest,
                Evidence.IovaLink or Evidence.IovaDestroy or Evidence.Domain => "probe",
                Evidence.Field => "device field",
                Evidence.Attach => "direct region",
                Evidence.DmaLog => "DMA log",
                Evidence.OnlyDevice => "only device",
                Evidence.Inferred => "inferred",
                Evidence.Given => "given",
                _ => "DMA event",
            })];
            count = (count.Maps + _statistics.MapEvidence[(int)evidence], count.Unmaps + _statistics.UnmapEvidence[(int)evidence]);
        }

        return [.. order.Select((name, i) => new AttributionClass(name, counts[i].Maps, counts[i].Unmaps)).Where(c => c.Maps + c.Unmaps > 0)];
    }

    private NamedCount[] EvidenceCounts(bool unmaps)
    {
        long[] counts = unmaps ? _statistics.UnmapEvidence : _statistics.MapEvidence;
        string without = _plan.RestChoice switch
        {
            RestChoice.Given => "none (given to " + _table.Name(_plan.RestDevice) + ")",
            RestChoice.Inferred => "none (inferred: " + _table.Name(_plan.RestDevice) + ")",
            RestChoice.DmaLog => "none (by the DMA log)",
            RestChoice.Synthetic => "none (a device of their own)",
            _ => "none",
        };
        return
        [
            .. counts.Select((n, i) => new NamedCount(EvidenceName((Evidence)i, without), n)).Where(c => c.Count > 0)
                .OrderByDescending(c => c.Count),
        ];
    }

    private static string EvidenceName(Evidence evidence, string without) => evidence switch
    {
        Evidence.DmaMapPhys => "dma_map_phys",
        Evidence.DmaMapPage => "dma_map_page",
        Evidence.DmaMapResource => "dma_map_resource",
        Evidence.DmaUnmapResource => "dma_unmap_resource",
        Evidence.DmaAllocSgt => "dma_alloc_sgt",
        Evidence.DmaFreeSgt => "dma_free_sgt",
        Evidence.Domain => "probe (domain)",
        Evidence.Field => "device field",
        Evidence.DmaUnmapPhys => "dma_unmap_phys",
        Evidence.DmaUnmapPage => "dma_unmap_page",
        Evidence.DmaAlloc => "dma_alloc",
        Evidence.DmaAllocPages => "dma_alloc_pages",
        Evidence.DmaFree => "dma_free",
        Evidence.DmaFreePages => "dma_free_pages",
        Evidence.DmaMapSg => "dma_map_sg",
        Evidence.DmaUnmapSg => "dma_unmap_sg",
        Evidence.IovaLink => "iova_link",
        Evidence.IovaDestroy => "iova_destroy",
        Evidence.Attach => "attach (direct region)",
        Evidence.DmaLog => "DMA log",
        Evidence.OnlyDevice => "the only device",
        Evidence.Inferred => "inferred (IOVA spaces)",
        Evidence.Given => "given",
        _ => without,
    };

    private HardwareReport Hardware() => new()
    {
        Total = new()
        {
            Translations = engine.Translations,
            IotlbHits = _hardware.Total.Hits,
            IotlbMisses = _hardware.Total.Misses,
            IotlbEvictions = _hardware.Total.Evictions,
            Walks = _hardware.Total.Misses,
            WalkMemoryReads = _hardware.Total.WalkReads,
            Faults = Enumerable.Range(0, stack.Devices).Sum(device => engine.Of(device).Faults),
        },
        DirectoryHits = 0,
        DirectoryMisses = 0,
        Commands = [.. _hardware.Commands.Select(c => new InvalidationCount(c.Kind, c.Executed, c.Removed))],
        Faults =
        [
            .. _hardware.Faults.Select(f => new FaultCount(
                f.Key, stack.Platform.Iommu.NameOfFault(f.Key), f.Value, engine.ExpectedFaults.GetValueOrDefault(f.Key))),
        ],
    };

    private RecordedInvalidationReport RecordedInvalidations()
    {
        List<NamedCount> kinds = [];
        foreach (string name in (string[])["cache_tag_flush_range", "qi_submit"])
        {
            if (_trace.Input.EventsByName.TryGetValue(name, out long count))
            {
                kinds.Add(new(name, count));
            }
        }

        if (replay.Log is { } log)
        {
            long[] counts = new long[log.InvalidationKinds.Count];
            foreach (LoggedInvalidation invalidation in log.Invalidations)
            {
                counts[invalidation.Kind]++;
            }

            kinds.AddRange(counts.Select((n, i) => new NamedCount(log.InvalidationKinds[i], n)));
        }

        return new() { ByKind = kinds, UnmapToInvalidation = replay.Learned ? null : _statistics.FlushDelays.Delays.ToReport() };
    }

    private static DurationReport? Durations(SpilledList<double>? seconds)
    {
        if (seconds is null || seconds.Length == 0)
        {
            return null;
        }

        int count = seconds.Length;
        int At(double q) => Math.Min(count - 1, (int)(q * count));
        double[] found = OrderStatistics.Of(seconds, At(0.5), At(0.9), At(0.99), count - 1);
        return new(count, found[0], found[1], found[2], found[3]);
    }

    private DmaLogReport? DmaLogOf()
    {
        if (replay.Log is not { } log)
        {
            return null;
        }

        NamedCount[] Classes(IEnumerable<long> counts) =>
            [.. counts.Select((n, i) => new NamedCount(ClassName((DmaClass)i), n)).Where(c => c.Count > 0)];

        long[] total = new long[Enum.GetValues<DmaClass>().Length];
        List<DeviceDmaClasses> devices = [];
        for (int device = 0; device < stack.Devices; device++)
        {
            long[] counts = engine.Of(device).Classes;
            if (counts.Any(n => n > 0))
            {
                devices.Add(new(_table.Name(device), Classes(counts)));
                for (int i = 0; i < total.Length; i++)
                {
                    total[i] += counts[i];
                }
            }
        }

        long[] byAccess = new long[(int)Access.Write + 1];
        foreach (DmaAccess access in log.Accesses)
        {
            if (access.Access <= Access.Write)
            {
                byAccess[(int)access.Access]++;
            }
        }

        return new()
        {
            Dmas = log.Accesses.Length,
            LearnedMappings = replay.Learned,
            Alignment = replay.Alignment is not { } a
                ? null
                : new()
                {
                    Marks = a.Marks,
                    ClockRatio = a.ClockRatio,
                    DriftSeconds = a.DriftSeconds,
                    MedianDelaySeconds = a.MedianDelaySeconds,
                    MaxDelaySeconds = a.MaxDelaySeconds,
                    Jumps = [.. a.Jumps.Select(static j => new ClockJumpReport(j.AtSeconds, j.Seconds))],
                    Residual = Durations(replay.Residuals),
                },
            Classes = Classes(total),
            ByDevice = [.. devices.OrderBy(d => d.Device, StringComparer.Ordinal)],
            ByAccess =
            [
                new("read", byAccess[(int)Access.Read]),
                new("write", byAccess[(int)Access.Write]),
                new("unknown", byAccess[(int)Access.None]),
            ],
        };
    }

    private string ClassName(DmaClass @class) => (@class, replay.Learned) switch
    {
        (DmaClass.Live, true) => "learned",
        (DmaClass.Live, false) => "live",
        (DmaClass.WithinTolerance, _) => "within the alignment tolerance",
        (DmaClass.MappedBefore, _) => "mapped before the recording began",
        (DmaClass.RecordedFault, _) => "faulted in the recording",
        (DmaClass.OutsideRecording, _) => "outside the kernel trace's time",
        _ => "not explained by any mapping",
    };
}
