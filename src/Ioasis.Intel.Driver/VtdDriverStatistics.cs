namespace Ioasis.Intel.Driver;

/// <summary>What the driver of one IOMMU did so far.</summary>
internal readonly record struct VtdDriverStatistics
{
    /// <summary>Invalidations of the context cache.</summary>
    public long ContextInvalidations { get; init; }

    /// <summary>Invalidations of the PASID cache.</summary>
    public long PasidInvalidations { get; init; }

    /// <summary>Invalidations of the IOTLB by domain.</summary>
    public long DomainInvalidations { get; init; }

    /// <summary>Invalidations of the IOTLB by domain and PASID.</summary>
    public long FirstStageInvalidations { get; init; }

    /// <summary>Invalidation requests to devices.</summary>
    public long DeviceInvalidations { get; init; }

    /// <summary>Answers to groups of page requests.</summary>
    public long PageResponses { get; init; }

    /// <summary>Wait descriptors.</summary>
    public long Waits { get; init; }

    /// <summary>Synchronisations of domains: batches of the queue.</summary>
    public long Synchronisations { get; init; }

    /// <summary>Invalidations of a whole domain or PASID.</summary>
    public long Flushes { get; init; }

    /// <summary>Of those, the ones in place of too many descriptors.</summary>
    public long Collapses { get; init; }

    /// <summary>Times that the invalidation queue was restarted.</summary>
    public long QueueRecoveries { get; init; }

    /// <summary>Times that descriptors were lost.</summary>
    public long QueueFailures { get; init; }

    /// <summary>Unexpected answers of devices (ICE).</summary>
    public long CompletionErrors { get; init; }

    /// <summary>Fault records that were read.</summary>
    public long Faults { get; init; }

    /// <summary>Times that fault records were lost.</summary>
    public long FaultOverflows { get; init; }

    /// <summary>Page requests that were read.</summary>
    public long PageRequests { get; init; }

    /// <summary>Descriptors on their way.</summary>
    public int QueuedDescriptors { get; init; }

    /// <summary>Every invalidation descriptor: the sum of the invalidations by kind.</summary>
    public long Invalidations =>
        ContextInvalidations + PasidInvalidations + DomainInvalidations + FirstStageInvalidations + DeviceInvalidations;

    /// <summary>Domain-IDs in use, the one of pass-through included.</summary>
    public int DomainIdsInUse { get; init; }
}
