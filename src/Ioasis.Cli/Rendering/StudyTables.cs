using Ioasis.Replay.Study;
using static Ioasis.Cli.Rendering.Format;

namespace Ioasis.Cli.Rendering;

/// <summary>A table of a study, as text and page both show it.</summary>
/// <param name="Id">A short name for links.</param>
/// <param name="Title">What it is.</param>
/// <param name="Note">A sentence or two on how to read it.</param>
/// <param name="Headers">Columns: the first holds words, and those that begin with <c>&lt;</c>.</param>
/// <param name="Rows">Rows.</param>
internal sealed record StudyTable(string Id, string Title, string Note, string[] Headers, IReadOnlyList<string[]> Rows);

/// <summary>The tables of a study.</summary>
internal static class StudyTables
{
    private const int MostDevices = 12;
    private static readonly int[] s_deviceSizes = [8, 32, 64, 256, 1024, 4096, 65536];

    /// <summary>Sizes that tables show.</summary>
    public static IReadOnlyList<int> Sizes { get; } = [.. Enumerable.Range(0, 17).Select(static log2 => 1 << log2)];

    /// <summary>In a line: what was studied, and with which accesses.</summary>
    public static string Introduction(StudyReport report)
    {
        long accesses = report.AsMapped.Accesses;
        string source = report.IsLogged
            ? $"{Plural(accesses, "access", "accesses")} of the log"
            : $"{Plural(accesses, "access", "accesses")} assumed: each page once {UseWords(report.Use)}";
        string left = report.Faults + report.Unexplained == 0
            ? ""
            : $"; left out: {Plural(report.Faults, "fault")}, {Plural(report.Unexplained, "access", "accesses")} that no mapping explains";
        return $"{Plural(report.Maps, "map")} and {Plural(report.Unmaps, "unmap")} of {Plural(report.Devices.Count, "device")} in {Seconds(report.Inputs[0].SpanSeconds)}; {source}{left}.";
    }

    /// <summary>All tables of one study.</summary>
    public static IReadOnlyList<StudyTable> Of(StudyReport report) =>
        [Layouts(report), Devices(report), Simulations(report), PageSizes(report), Invalidation(report), Walks(report), Allocation(report), Fragmentation(report)];

    /// <summary>Two studies beside each other.</summary>
    public static StudyTable Comparison(StudyReport first, StudyReport second) => new(
        "comparison",
        $"A ({Name(first)}) against B ({Name(second)})",
        "Hit ratios with the mappings as they were; the difference is in points of per cent.",
        ["entries", "A", "B", "B - A", "A with 2 MiB", "B with 2 MiB", "A lazy", "B lazy"],
        [
            .. Sizes.Select(size => (string[])[
                Count(size),
                Percent(first.AsMapped.RatioAt(size)),
                Percent(second.AsMapped.RatioAt(size)),
                Points(second.AsMapped.RatioAt(size) - first.AsMapped.RatioAt(size)),
                Percent(CurveOf(first, LeafRule.Aligned2MiB).RatioAt(size)),
                Percent(CurveOf(second, LeafRule.Aligned2MiB).RatioAt(size)),
                Percent(first.Invalidation.LazyCurve.RatioAt(size)),
                Percent(second.Invalidation.LazyCurve.RatioAt(size)),
            ]),
        ]);

    /// <summary>The rest of a comparison: what is one number for each.</summary>
    public static StudyTable ComparedFigures(StudyReport first, StudyReport second)
    {
        return new(
            "compared-figures",
            "In figures",
            "Costs by the model of each study.",
            ["<", "A", "B"],
            [
                Row("accesses", static r => Count(r.AsMapped.Accesses)),
                Row("maps", static r => Count(r.Maps)),
                Row("strict: commands", static r => Count(r.Invalidation.Strict.Commands)),
                Row("strict: waits", static r => Count(r.Invalidation.Strict.Waits)),
                Row("strict: cost", static r => Seconds(r.Invalidation.Strict.CommandSeconds + r.Invalidation.Strict.WalkSeconds)),
                Row("lazy: flushes", static r => Count(r.Invalidation.Lazy.Waits)),
                Row("lazy: cost", static r => Seconds(r.Invalidation.Lazy.CommandSeconds + r.Invalidation.Lazy.WalkSeconds)),
                Row("walks", static r => Count(r.Walks.Walks)),
                Row("most leaves at a time", static r => Count(r.Allocation.PeakLeaves)),
                Row("most bytes at a time", static r => Bytes(r.Allocation.PeakLiveBytes)),
            ]);

        string[] Row(string name, Func<StudyReport, string> value) => [name, value(first), value(second)];
    }

    /// <summary>A rule in words.</summary>
    public static string RuleName(LeafRule rule) => rule switch
    {
        LeafRule.AsMapped => "as mapped",
        LeafRule.SmallestOnly => "4 KiB only",
        LeafRule.IovaAlignedToMemory => "IOVA aligned",
        LeafRule.Aligned64KiB => "64 KiB aligned",
        _ => "2 MiB aligned",
    };

    /// <summary>What a study is called by.</summary>
    public static string Name(StudyReport report) => report.Inputs[0].Path is "-" ? "standard input" : Path.GetFileName(report.Inputs[0].Path);

    private static StudyTable Layouts(StudyReport r) => new(
        "sizes",
        "IOTLB hit ratio by size",
        "Fully associative, least recently used, exact for every size. Columns: leaves as they were mapped; 4 KiB leaves only; IOVAs aligned as the memory is; "
        + "IOVAs and buffers aligned to 64 KiB and to 2 MiB; as mapped with lazy invalidation.",
        ["entries", .. r.Layouts.Select(static layout => RuleName(layout.Rule)), "lazy"],
        [
            .. Sizes.Select(size => (string[])[
                Count(size), .. r.Layouts.Select(layout => Percent(layout.Curve.RatioAt(size))), Percent(r.Invalidation.LazyCurve.RatioAt(size))]),
        ]);

    private static StudyTable Devices(StudyReport r) => new(
        "devices",
        "By device",
        "What each device's accesses hit in an IOTLB of that size which all devices share."
        + (r.Devices.Count > MostDevices ? $" The {MostDevices} of {r.Devices.Count} devices with most accesses." : ""),
        ["device", "maps", "accesses", .. s_deviceSizes.Select(static size => Count(size))],
        [
            .. r.Devices.Take(MostDevices).Select(device => (string[])[
                Printable(device.Name), Count(device.Maps), Count(device.Curve.Accesses),
                .. s_deviceSizes.Select(size => device.Curve.Accesses == 0 ? "–" : Percent(device.Curve.RatioAt(size)))]),
        ]);

    private static StudyTable Simulations(StudyReport r) => new(
        "associativity",
        "Associativity and replacement",
        "Simulated entry by entry, with the mappings as they were; beside them a fully associative cache of the same size.",
        ["entries x ways", "LRU", "FIFO", "random", "fully associative"],
        [
            .. r.Simulations.GroupBy(static s => (s.Entries, s.Ways)).Select(group => (string[])[
                new CacheGeometry(group.Key.Entries, group.Key.Ways).ToString(),
                .. Enum.GetValues<Replacement>().Select(policy => Ratio(group.First(s => s.Replacement == policy).Hits, r.AsMapped.Accesses)),
                Ratio(group.First().FullyAssociativeHits, r.AsMapped.Accesses)]),
        ]);

    private static StudyTable PageSizes(StudyReport r) => new(
        "pages",
        "Page sizes and alignment",
        "Maps (and their bytes) that have a leaf of that size as they are, that had one if only their IOVAs were aligned as the memory is, and that had one if buffers "
        + "were aligned too.",
        ["leaf", "as mapped", "bytes", "IOVA aligned", "bytes", "all aligned", "bytes"],
        [
            .. r.PageSizes.Select(static p => (string[])[
                Bytes(p.SizeBytes), Ratio(p.AsMapped, p.Maps), Ratio(p.AsMappedBytes, p.Bytes), Ratio(p.IovaAligned, p.Maps), Ratio(p.IovaAlignedBytes, p.Bytes),
                Ratio(p.LongEnough, p.Maps), Ratio(p.AlignedBytes, p.Bytes)]),
        ]);

    private static StudyTable Invalidation(StudyReport r) => new(
        "invalidation",
        "Strict against lazy invalidation",
        $"A command costs {Nanoseconds(r.Invalidation.Costs.Command)}, a wait {Nanoseconds(r.Invalidation.Costs.Wait)}, a read of a walk {Nanoseconds(r.Invalidation.Costs.Read)} (--cost); walks are those "
        + $"behind {Plural(r.Invalidation.Iotlb, "entry", "entries")} with tables of four levels. When lazy, a page stays reachable for {Seconds(r.Invalidation.MeanStaleSeconds)} after its unmap on average, "
        + $"{Seconds(r.Invalidation.LongestStaleSeconds)} at most, and {Plural(r.Invalidation.MostStalePages, "page")} at one time.",
        ["invalidation", "commands", "waits", "walk reads", "cost of invalidation", "cost of walks", "an unmap"],
        [Costs("strict", r.Invalidation.Strict, r.Unmaps), Costs("lazy", r.Invalidation.Lazy, r.Unmaps)]);

    private static StudyTable Walks(StudyReport r) => new(
        "walks",
        "Paging modes and reads of walks",
        $"{Plural(r.Walks.Walks, "walk")} behind an IOTLB of {Plural(r.Walks.Iotlb, "entry", "entries")} (--iotlb): reads of memory for each, by the size of a cache of the tables that hold leaves. "
        + "Nested: a second stage of as many levels translates each read, without a cache.",
        ["mode", .. r.Walks.CacheSizes.Select(static size => size == 0 ? "no cache" : Count(size)), "nested"],
        [
            .. r.Walks.Modes.Select(mode => (string[])[
                mode.Mode, .. mode.Reads.Select(reads => PerWalk(reads, r.Walks.Walks)), PerWalk(mode.NestedReads, r.Walks.Walks)]),
        ]);

    private static StudyTable Allocation(StudyReport r) => new(
        "reach",
        "Reach of the IOTLB",
        $"At the peak {Bytes(r.Allocation.PeakLiveBytes)} were mapped, with {Plural(r.Allocation.PeakLeaves, "leaf", "leaves")} at most (the devices' peaks together): how much of it each size holds at once. "
        + $"{Plural(r.Allocation.Reused, "map")} ({Ratio(r.Allocation.Reused, r.Maps)}) took IOVAs that had been mapped before.",
        ["entries", "of the leaves"],
        [.. r.Allocation.Reach.Select(static reach => (string[])[Count(reach.Size), Percent(reach.LeafShare)])]);

    private static StudyTable Fragmentation(StudyReport r) => new(
        "fragmentation",
        "IOVA space at the peak",
        "How scattered each device's mappings were when it had most.",
        ["device", "leaves", "runs", "mapped", "span", "holes", "largest gap"],
        [
            .. r.Devices.Where(static device => device.Maps > 0).Take(MostDevices).Select(static device => (string[])[
                Printable(device.Name), Count(device.MostLeaves), Count(device.PeakFragmentation.Extents), Bytes(device.PeakFragmentation.LiveBytes),
                Bytes(device.PeakFragmentation.SpanBytes), Percent(device.PeakFragmentation.HoleFraction), Bytes(device.PeakFragmentation.LargestGapBytes)]),
        ]);

    private static string[] Costs(string name, InvalidationCost cost, long unmaps) =>
    [
        name, Count(cost.Commands), Count(cost.Waits), Count(cost.WalkReads), Seconds(cost.CommandSeconds), Seconds(cost.WalkSeconds),
        unmaps == 0 ? "–" : Seconds((cost.CommandSeconds + cost.WalkSeconds) / unmaps),
    ];

    private static HitCurve CurveOf(StudyReport report, LeafRule rule) => report.Layouts.First(layout => layout.Rule == rule).Curve;

    private static string Ratio(long part, long all) => all == 0 ? "–" : Percent(part / (double)all);

    private static string PerWalk(long reads, long walks) => walks == 0 ? "–" : Format.Ratio(reads / (double)walks);

    private static string Nanoseconds(double value) => Seconds(value / 1e9);

    private static string Points(double difference) =>
        (difference * 100).ToString("+0.00;-0.00;0.00", System.Globalization.CultureInfo.InvariantCulture);

    private static string UseWords(AssumedUse use) => use switch
    {
        AssumedUse.Map => "after its map",
        AssumedUse.Unmap => "before its unmap",
        _ => "after its map and once before its unmap",
    };
}
