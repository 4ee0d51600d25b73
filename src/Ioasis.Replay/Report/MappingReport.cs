using Ioasis.Primitives;

namespace Ioasis.Replay.Report;

/// <summary>One device of the recording and what went through the IOMMU for it.</summary>
internal sealed record DeviceReport
{
    /// <summary>Name as in the recording, as <c>0000:00:02.0</c>.</summary>
    public required string Name { get; init; }

    /// <summary>Its requester ID at the IOMMU.</summary>
    public required DeviceId DeviceId { get; init; }

    /// <summary>Maps of this device, direct regions included.</summary>
    public required long Maps { get; init; }

    /// <summary>Unmaps of this device.</summary>
    public required long Unmaps { get; init; }

    /// <summary>Maps that were there before the device was attached (reserved direct regions).</summary>
    public required long DirectRegions { get; init; }

    /// <summary>Bytes mapped over the whole recording.</summary>
    public required long MappedBytes { get; init; }

    /// <summary>Most bytes mapped at one time.</summary>
    public required long PeakLiveBytes { get; init; }

    /// <summary>Most ranges mapped at one time.</summary>
    public required long PeakLiveRanges { get; init; }

    /// <summary>Bytes mapped when the recording ends.</summary>
    public required long EndLiveBytes { get; init; }

    /// <summary>Ranges mapped when the recording ends.</summary>
    public required long EndLiveRanges { get; init; }

    /// <summary>IOVA space at the moment of <see cref="PeakLiveBytes"/>.</summary>
    public required FragmentationReport PeakFragmentation { get; init; }

    /// <summary>IOVA space when the recording ends.</summary>
    public required FragmentationReport EndFragmentation { get; init; }

    /// <summary>Memory of its page tables.</summary>
    public required PageTableReport PageTables { get; init; }

    /// <summary>What its requests did in the hardware model.</summary>
    public required TranslationReport Translation { get; init; }

    /// <summary>DMA of the device-side log, when there is one.</summary>
    public long LoggedDmas { get; init; }
}

/// <summary>How scattered the live mappings of one IOVA space are.</summary>
internal sealed record FragmentationReport
{
    /// <summary>Live mappings joined where they touch.</summary>
    public required long Extents { get; init; }

    /// <summary>Bytes in them.</summary>
    public required long LiveBytes { get; init; }

    /// <summary>From the first live byte to the last, both counted; 0 when nothing is live.</summary>
    public required ulong SpanBytes { get; init; }

    /// <summary>The largest hole between two extents.</summary>
    public required ulong LargestGapBytes { get; init; }

    /// <summary>The part of the span that is not mapped: 0 (dense) to 1 (scattered).</summary>
    public double HoleFraction => SpanBytes == 0 ? 0 : Math.Clamp(1 - (LiveBytes / (double)SpanBytes), 0, 1);

    /// <summary>Nothing is live.</summary>
    public static FragmentationReport Empty { get; } =
        new() { Extents = 0, LiveBytes = 0, SpanBytes = 0, LargestGapBytes = 0 };
}

/// <summary>Maps and unmaps of all devices, and what stayed mapped.</summary>
internal sealed record MappingReport
{
    /// <summary>How many never-unmapped ranges a report lists in full.</summary>
    public const int ListedRanges = 100;

    /// <summary>Map events.</summary>
    public required long Maps { get; init; }

    /// <summary>Unmap events.</summary>
    public required long Unmaps { get; init; }

    /// <summary>Bytes of all maps.</summary>
    public required long MappedBytes { get; init; }

    /// <summary>Bytes of all unmaps.</summary>
    public required long UnmappedBytes { get; init; }

    /// <summary>Maps and unmaps by the size of the range, most frequent first.</summary>
    public required IReadOnlyList<RangeSizeCount> BySize { get; init; }

    /// <summary>Leaf entries of the page tables by the size that each maps, smallest first.</summary>
    public required IReadOnlyList<LeafSizeCount> Leaves { get; init; }

    /// <summary>Most bytes mapped at one time, over all devices.</summary>
    public required long PeakLiveBytes { get; init; }

    /// <summary>When that was.</summary>
    public required double PeakLiveBytesAtSeconds { get; init; }

    /// <summary>Most ranges mapped at one time, over all devices.</summary>
    public required long PeakLiveRanges { get; init; }

    /// <summary>Bytes mapped when the recording ends.</summary>
    public required long EndLiveBytes { get; init; }

    /// <summary>Ranges mapped when the recording ends.</summary>
    public required long EndLiveRanges { get; init; }

    /// <summary>How long ranges were mapped (those that were unmapped), or null when none was.</summary>
    public DurationReport? Lifetimes { get; init; }

    /// <summary>Ranges that were mapped and never unmapped: leaks, rings that live as long as the driver, or traffic in flight.</summary>
    public required long NeverUnmapped { get; init; }

    /// <summary>Bytes in them.</summary>
    public required long NeverUnmappedBytes { get; init; }

    /// <summary>The oldest <see cref="ListedRanges"/> of them.</summary>
    public required IReadOnlyList<NeverUnmappedRange> NeverUnmappedRanges { get; init; }
}

/// <summary>Maps and unmaps of ranges of one size.</summary>
/// <param name="SizeBytes">Size of the range.</param>
/// <param name="Maps">Maps of that size.</param>
/// <param name="Unmaps">Unmaps of that size; one may cover many maps.</param>
internal sealed record RangeSizeCount(long SizeBytes, long Maps, long Unmaps);

/// <summary>Leaf entries of one size.</summary>
/// <param name="SizeBytes">What one entry maps: 4 KiB, 64 KiB (Svnapot, 16 table entries count as one), 2 MiB, 1 GiB, ….</param>
/// <param name="Installed">Entries installed over the whole replay.</param>
/// <param name="EndLive">Entries that are there when the recording ends.</param>
internal sealed record LeafSizeCount(long SizeBytes, long Installed, long EndLive);

/// <summary>A range that the recording maps and never unmaps.</summary>
internal sealed record NeverUnmappedRange
{
    /// <summary>The device's name.</summary>
    public required string Device { get; init; }

    /// <summary>First byte.</summary>
    public required Iova Iova { get; init; }

    /// <summary>Size of what is still mapped.</summary>
    public required long LengthBytes { get; init; }

    /// <summary>Recorded physical address of the first byte.</summary>
    public required PhysicalAddress PhysicalAddress { get; init; }

    /// <summary>Line of the map in the recording.</summary>
    public required long Line { get; init; }

    /// <summary>When it was mapped.</summary>
    public required double MappedAtSeconds { get; init; }
}

/// <summary>Memory of page tables: all levels, the root included.</summary>
/// <param name="PeakBytes">Most at one time.</param>
/// <param name="EndBytes">When the recording ends.</param>
internal sealed record PageTableReport(long PeakBytes, long EndBytes);

/// <summary>A distribution of durations.</summary>
/// <param name="Count">How many were measured.</param>
/// <param name="MedianSeconds">Half are no longer than this.</param>
/// <param name="P90Seconds">90 % are no longer than this.</param>
/// <param name="P99Seconds">99 % are no longer than this.</param>
/// <param name="MaxSeconds">The longest.</param>
internal sealed record DurationReport(long Count, double MedianSeconds, double P90Seconds, double P99Seconds, double MaxSeconds);
