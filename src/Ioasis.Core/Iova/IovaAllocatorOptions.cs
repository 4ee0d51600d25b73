namespace Ioasis.Core;

/// <summary>How an <see cref="IovaAllocator"/> caches.</summary>
internal sealed record IovaAllocatorOptions
{
    /// <summary>
    /// Sizes of 1, 2, 4, … 2^(n-1) granules are cached, 0 to <see cref="IovaAllocator.MaxCachedOrders"/>; 0 for no caches, so
    /// that every call goes to the tree.
    /// </summary>
    public int CachedOrders { get; init; } = IovaAllocator.MaxCachedOrders;

    /// <summary>IOVAs in a magazine, 1 or more.</summary>
    public int MagazineSize { get; init; } = 128;

    /// <summary>Full magazines of a size that the depot keeps, 0 or more.</summary>
    public int DepotMagazines { get; init; } = 32;

    /// <summary>
    /// IOVAs of a size that an empty cache takes from the tree at once, 1 to <see cref="MagazineSize"/>, rounded down to a power
    /// of two. They are neighbours, so that each processor fills cache lines of the page table for itself.
    /// </summary>
    public int RefillCount { get; init; } = 16;

    /// <summary>Caches side by side, 1 or more; null for one a processor.</summary>
    public int? Slots { get; init; }

    /// <summary>Which cache the calling thread uses; null for its processor's.</summary>
    internal Func<int>? SlotChooser { get; init; }
}

/// <summary>What an <see cref="IovaAllocator"/> did and holds.</summary>
/// <param name="CacheHits">Allocations that a cache of the processor served.</param>
/// <param name="DepotHits">Allocations that took a full magazine out of the depot first.</param>
/// <param name="TreeAllocations">Times that the tree gave IOVAs: refills, and sizes that are not cached.</param>
/// <param name="TreeFrees">Ranges that went back to the tree.</param>
/// <param name="Failures">Allocations for which there was no room.</param>
/// <param name="CachedBytes">Bytes of IOVAs that wait in the caches and the depot.</param>
/// <param name="FreeBytes">Bytes of IOVAs that are free in the tree.</param>
/// <param name="FreeRanges">Maximal free ranges in the tree.</param>
internal readonly record struct IovaAllocatorStatistics(
    long CacheHits,
    long DepotHits,
    long TreeAllocations,
    long TreeFrees,
    long Failures,
    ulong CachedBytes,
    ulong FreeBytes,
    int FreeRanges);
