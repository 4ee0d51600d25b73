namespace Ioasis.Replay.Report;

/// <summary>What the IOMMU's hardware model did over the whole replay, checks included.</summary>
internal sealed record HardwareReport
{
    /// <summary>Sum over all devices.</summary>
    public required TranslationReport Total { get; init; }

    /// <summary>Device-directory cache hits.</summary>
    public required long DirectoryHits { get; init; }

    /// <summary>Device-directory cache misses: each walks the directory in memory.</summary>
    public required long DirectoryMisses { get; init; }

    /// <summary>Commands that the driver queued, by kind, with what each kind removed.</summary>
    public required IReadOnlyList<InvalidationCount> Commands { get; init; }

    /// <summary>Faults by cause; those that a check provoked on purpose are among them.</summary>
    public required IReadOnlyList<FaultCount> Faults { get; init; }
}

/// <summary>Requests of one device, or of all.</summary>
internal sealed record TranslationReport
{
    /// <summary>Translations asked for, faulting ones included.</summary>
    public required long Translations { get; init; }

    /// <summary>Answered from the IOTLB.</summary>
    public required long IotlbHits { get; init; }

    /// <summary>Not in the IOTLB.</summary>
    public required long IotlbMisses { get; init; }

    /// <summary>Entries that gave way to another.</summary>
    public required long IotlbEvictions { get; init; }

    /// <summary>Page-table walks.</summary>
    public required long Walks { get; init; }

    /// <summary>Memory reads of those walks.</summary>
    public required long WalkMemoryReads { get; init; }

    /// <summary>Requests that faulted.</summary>
    public required long Faults { get; init; }

    /// <summary>Hits of all look-ups: 0 to 1; 0 when there was none.</summary>
    public double HitRatio => IotlbHits + IotlbMisses == 0 ? 0 : IotlbHits / (double)(IotlbHits + IotlbMisses);

    /// <summary>Memory reads of an average walk; 0 when there was none.</summary>
    public double MemoryReadsPerWalk => Walks == 0 ? 0 : WalkMemoryReads / (double)Walks;
}

/// <summary>Commands of one kind.</summary>
/// <param name="Kind">Name of the specification with its operands: <c>IOTINVAL.VMA address</c>, <c>IODIR.INVAL_DDT</c>, <c>IOFENCE.C</c>….</param>
/// <param name="Commands">How many.</param>
/// <param name="EntriesRemoved">IOTLB (or directory-cache) entries that they removed.</param>
internal sealed record InvalidationCount(string Kind, long Commands, long EntriesRemoved);

/// <summary>Faults of one cause.</summary>
/// <param name="Cause">Number of the cause, as the specification of the IOMMU has it.</param>
/// <param name="Name">Its name there.</param>
/// <param name="Count">How many.</param>
/// <param name="Expected">How many of them a check or the recording called for.</param>
internal sealed record FaultCount(int Cause, string Name, long Count, long Expected);

/// <summary>Invalidations that the recording itself tells of.</summary>
internal sealed record RecordedInvalidationReport
{
    /// <summary>By kind, in the recording's words; empty when it tells of none.</summary>
    public required IReadOnlyList<NamedCount> ByKind { get; init; }

    /// <summary>From an unmap to the next recorded invalidation, or null when the recording has none.</summary>
    public DurationReport? UnmapToInvalidation { get; init; }
}
