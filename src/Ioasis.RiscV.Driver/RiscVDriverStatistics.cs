namespace Ioasis.RiscV.Driver;

/// <summary>What a driver did since it took over its IOMMU. Commands count once when they are queued, resubmissions not.</summary>
internal readonly record struct RiscVDriverStatistics
{
    /// <summary><c>IOTINVAL.VMA</c> commands.</summary>
    public long FirstStageInvalidations { get; init; }

    /// <summary><c>IOTINVAL.GVMA</c> commands.</summary>
    public long SecondStageInvalidations { get; init; }

    /// <summary><c>IODIR.INVAL_DDT</c> commands.</summary>
    public long DeviceDirectoryInvalidations { get; init; }

    /// <summary><c>IODIR.INVAL_PDT</c> commands.</summary>
    public long ProcessDirectoryInvalidations { get; init; }

    /// <summary><c>ATS.INVAL</c> commands.</summary>
    public long AtsInvalidations { get; init; }

    /// <summary><c>ATS.PRGR</c> commands.</summary>
    public long PageResponses { get; init; }

    /// <summary><c>IOFENCE.C</c> commands.</summary>
    public long Fences { get; init; }

    /// <summary>Synchronisations of a domain that reached this IOMMU.</summary>
    public long Synchronisations { get; init; }

    /// <summary>Invalidations of a whole address space (PSCID), for whatever reason.</summary>
    public long AddressSpaceFlushes { get; init; }

    /// <summary>Of those, the ones that took the place of too many commands for a range (S4.13).</summary>
    public long Collapses { get; init; }

    /// <summary>Times that the command queue was restarted after an error or a time-out (S4.15).</summary>
    public long QueueRecoveries { get; init; }

    /// <summary>Times that the command queue had to be given up.</summary>
    public long QueueFailures { get; init; }

    /// <summary>Fault records read.</summary>
    public long Faults { get; init; }

    /// <summary>Times that the fault queue ran over.</summary>
    public long FaultOverflows { get; init; }

    /// <summary>Faults of guests' own tables that were not reported to them, because they had not taken those before (S4.16).</summary>
    public long DroppedGuestEvents { get; init; }

    /// <summary>Page requests read.</summary>
    public long PageRequests { get; init; }

    /// <summary>Commands on their way.</summary>
    public int QueuedCommands { get; init; }

    /// <summary>PSCIDs in use.</summary>
    public int PscidsInUse { get; init; }

    /// <summary>GSCIDs in use.</summary>
    public int GscidsInUse { get; init; }

    /// <summary>Every invalidation command: the sum of the invalidations by kind.</summary>
    public long Invalidations =>
        FirstStageInvalidations + SecondStageInvalidations + DeviceDirectoryInvalidations + ProcessDirectoryInvalidations
        + AtsInvalidations;
}
