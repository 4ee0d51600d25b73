using Ioasis.Replay.Report;

namespace Ioasis.Replay.Study;

/// <summary>
/// What a study of a recording found out. Sizes of IOTLBs are entries; ratios are 0 to 1; times are of the recording's clock unless the name
/// says otherwise.
/// </summary>
internal sealed record StudyReport
{
    /// <summary>The version of the JSON document.</summary>
    public int SchemaVersion { get; init; } = 1;

    /// <summary>Name and version of the program that made it.</summary>
    public required string Tool { get; init; }

    /// <summary>The files that were read.</summary>
    public required IReadOnlyList<InputReport> Inputs { get; init; }

    /// <summary>Whether the accesses are those of a log; otherwise they are assumed.</summary>
    public required bool IsLogged { get; init; }

    /// <summary>When devices use mappings, where that is assumed.</summary>
    public required AssumedUse Use { get; init; }

    /// <summary>Accesses that faulted in the recording: they are in no cache.</summary>
    public required long Faults { get; init; }

    /// <summary>Accesses of the log that no mapping explains: left out.</summary>
    public required long Unexplained { get; init; }

    /// <summary>Maps of the recording.</summary>
    public required long Maps { get; init; }

    /// <summary>Unmaps of the recording.</summary>
    public required long Unmaps { get; init; }

    /// <summary>Hits of every size under each rule for leaves; the mappings as they were are the first. Invalidation is strict.</summary>
    public required IReadOnlyList<LayoutReport> Layouts { get; init; }

    /// <summary>Each device's part of the hits of an IOTLB that all share, with the mappings as they were.</summary>
    public required IReadOnlyList<DeviceStudy> Devices { get; init; }

    /// <summary>Caches that were simulated entry by entry.</summary>
    public required IReadOnlyList<SimulationReport> Simulations { get; init; }

    /// <summary>Mappings that have large leaves, and those that could.</summary>
    public required IReadOnlyList<PageSizeReport> PageSizes { get; init; }

    /// <summary>Strict against lazy invalidation.</summary>
    public required InvalidationReport Invalidation { get; init; }

    /// <summary>Reads of walks.</summary>
    public required WalkReport Walks { get; init; }

    /// <summary>How IOVAs were given out.</summary>
    public required AllocationReport Allocation { get; init; }

    /// <summary>How fast the study was.</summary>
    public required ThroughputReport Throughput { get; init; }

    /// <summary>The mappings as they were.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public HitCurve AsMapped => Layouts[0].Curve;
}

/// <summary>Hits of fully associative caches of every size with least-recently-used replacement.</summary>
internal sealed record HitCurve
{
    /// <summary>All accesses.</summary>
    public required long Accesses { get; init; }

    /// <summary>Sizes at which the hits grow, ascending; between them, and behind the last, nothing changes.</summary>
    public required IReadOnlyList<int> Sizes { get; init; }

    /// <summary>Hits from each of the sizes on.</summary>
    public required IReadOnlyList<long> Hits { get; init; }

    /// <summary>Hits of a cache with so many entries.</summary>
    public long HitsAt(int size)
    {
        int low = 0;
        int high = Sizes.Count;
        while (low < high)
        {
            int middle = (low + high) >> 1;
            if (Sizes[middle] <= size)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low == 0 ? 0 : Hits[low - 1];
    }

    /// <summary>The part of the accesses that hits; 0 without an access.</summary>
    public double RatioAt(int size) => Accesses == 0 ? 0 : HitsAt(size) / (double)Accesses;
}

/// <summary>Hits under a rule for leaves.</summary>
/// <param name="Rule">The rule.</param>
/// <param name="Curve">The hits.</param>
internal sealed record LayoutReport(LeafRule Rule, HitCurve Curve);

/// <summary>A device of the study.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Maps">Its maps.</param>
/// <param name="Curve">Hits of its accesses in an IOTLB that all devices share.</param>
/// <param name="MostLeaves">Most leaves that it had mapped at one time.</param>
/// <param name="PeakFragmentation">Its IOVA space when most bytes were mapped.</param>
internal sealed record DeviceStudy(string Name, long Maps, HitCurve Curve, long MostLeaves, FragmentationReport PeakFragmentation);

/// <summary>A cache that was simulated.</summary>
/// <param name="Entries">Its entries.</param>
/// <param name="Ways">Entries of a set.</param>
/// <param name="Replacement">Which entry of a full set goes.</param>
/// <param name="Hits">Hits.</param>
/// <param name="FullyAssociativeHits">Hits of a fully associative one with least-recently-used replacement.</param>
internal sealed record SimulationReport(int Entries, int Ways, Replacement Replacement, long Hits, long FullyAssociativeHits);

/// <summary>Leaves of one size: who has them, and who could.</summary>
/// <param name="SizeBytes">What one leaf maps.</param>
/// <param name="Maps">All maps.</param>
/// <param name="Bytes">Bytes of all maps.</param>
/// <param name="LongEnough">Maps that are as long as a leaf: those that have one if buffer and IOVA are aligned.</param>
/// <param name="AlignedBytes">Bytes in such leaves then.</param>
/// <param name="IovaAligned">Maps that have one if only the IOVA is chosen with the alignment of the buffer.</param>
/// <param name="IovaAlignedBytes">Bytes in such leaves then.</param>
/// <param name="AsMapped">Maps that have one as they are.</param>
/// <param name="AsMappedBytes">Bytes in such leaves.</param>
internal sealed record PageSizeReport(
    long SizeBytes, long Maps, long Bytes, long LongEnough, long AlignedBytes, long IovaAligned, long IovaAlignedBytes, long AsMapped, long AsMappedBytes);

/// <summary>Strict against lazy invalidation.</summary>
/// <param name="Costs">What the costs below were reckoned with.</param>
/// <param name="Iotlb">The size of the IOTLB whose walks they contain.</param>
/// <param name="Strict">An invalidation and a wait for each unmap.</param>
/// <param name="Lazy">One for many.</param>
/// <param name="LazyCurve">Hits of every size when entries stay until a flush.</param>
/// <param name="MeanStaleSeconds">How long a page stays reachable after its unmap when invalidation is lazy, on average.</param>
/// <param name="LongestStaleSeconds">The same at most.</param>
/// <param name="MostStalePages">Most pages of 4 KiB that were unmapped and still reachable at one time.</param>
internal sealed record InvalidationReport(
    StudyCosts Costs, int Iotlb, InvalidationCost Strict, InvalidationCost Lazy, HitCurve LazyCurve, double MeanStaleSeconds, double LongestStaleSeconds,
    long MostStalePages);

/// <summary>What one way of invalidating costs.</summary>
/// <param name="Commands">Commands in the queue, fences not counted.</param>
/// <param name="Waits">Fences that somebody waits for.</param>
/// <param name="WalkReads">Memory reads of walks, with tables of four levels and no cache of walks.</param>
/// <param name="CommandSeconds">Cost of commands and waits.</param>
/// <param name="WalkSeconds">Cost of walks.</param>
internal sealed record InvalidationCost(long Commands, long Waits, long WalkReads, double CommandSeconds, double WalkSeconds);

/// <summary>Reads of walks behind one IOTLB.</summary>
/// <param name="Iotlb">Its entries, fully associative.</param>
/// <param name="Walks">Walks.</param>
/// <param name="CacheSizes">Entries of a cache of the tables that hold leaves; 0 for none.</param>
/// <param name="Modes">Reads by paging mode.</param>
internal sealed record WalkReport(int Iotlb, long Walks, IReadOnlyList<int> CacheSizes, IReadOnlyList<WalkModeReport> Modes);

/// <summary>Reads of walks in one paging mode.</summary>
/// <param name="Mode">Its name.</param>
/// <param name="Levels">Levels of its tables.</param>
/// <param name="Reads">Memory reads for each of <see cref="WalkReport.CacheSizes"/>.</param>
/// <param name="NestedReads">Memory reads without a cache when a second stage of as many levels translates each of them.</param>
internal sealed record WalkModeReport(string Mode, int Levels, IReadOnlyList<long> Reads, long NestedReads);

/// <summary>How IOVAs were given out.</summary>
/// <param name="PeakLiveBytes">Most bytes mapped at one time.</param>
/// <param name="PeakLeaves">Most leaves at one time, the devices' peaks summed up: an IOTLB of that size never has to evict.</param>
/// <param name="Reused">Maps at an IOVA that was mapped before.</param>
/// <param name="Reach">What IOTLBs of some sizes reach.</param>
internal sealed record AllocationReport(long PeakLiveBytes, long PeakLeaves, long Reused, IReadOnlyList<ReachReport> Reach);

/// <summary>What an IOTLB reaches.</summary>
/// <param name="Size">Its entries.</param>
/// <param name="LeafShare">The part of the leaves at the peak that it holds at once.</param>
internal sealed record ReachReport(int Size, double LeafShare);
