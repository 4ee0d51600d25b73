namespace Ioasis.RiscV.Driver;

/// <summary>
/// Mistakes that the driver makes on purpose when a test asks for them, to show that the tests would find them. They are the
/// ones that such a driver is likely to have.
/// </summary>
[Flags]
internal enum DriverMutation
{
    None = 0,

    /// <summary>An unmap is not followed by an invalidation (invariant 1).</summary>
    SkipInvalidationAfterUnmap = 1,

    /// <summary>The bond is published only after the hardware can load its PSCID (S4.7).</summary>
    BondAfterContext = 2,

    /// <summary>A detach does not invalidate the device context.</summary>
    SkipDirectoryInvalidation = 4,

    /// <summary>A PSCID is given back without its flush (S4.8).</summary>
    PscidFreedBeforeFlush = 8,

    /// <summary>One invalidation for each device instead of each bond (S4.4).</summary>
    InvalidatePerDevice = 16,

    /// <summary>Table pages are freed before the invalidation (S4.14).</summary>
    TablesFreedBeforeFence = 32,

    /// <summary>A command queue error counts as completion (S4.15).</summary>
    ErrorIsCompletion = 64,

    /// <summary>A context that was invalid is made valid without a command (an emulator would not notice; section 6.3.9).</summary>
    SkipInvalidationOfNewContext = 128,

    /// <summary>An invalidation finds the IOMMU through the device that made the bond, which may be gone (S4.3).</summary>
    DeviceFollowedAfterUnplug = 256,

    /// <summary>The root of a domain is made at its first attach, without a lock (S4.10).</summary>
    RootMadeByAttach = 512,

    /// <summary>An unmap in a second stage invalidates the first stages under it instead (section 3.1.1).</summary>
    SecondStageForgotten = 1024,

    /// <summary>Pages are made clean without an invalidation, so that the next write may not be recorded.</summary>
    DirtyClearedWithoutInvalidation = 2048,

    /// <summary>What a guest invalidates is invalidated as if it were the host's, without the GSCID.</summary>
    GuestInvalidatedAsHost = 4096,

    /// <summary>Table pages go while a thread of the driver still walks them.</summary>
    TablesFreedUnderWalker = 8192,

    /// <summary>A device context changes while the device is being asked to forget, so that its answer is lost.</summary>
    ContextChangedUnderInvalidation = 16384,

    /// <summary>The end of an IOMMU does not wait for threads that handle its interrupts (S4.3).</summary>
    InterruptNotAwaited = 32768,

    /// <summary>A device loses its name in a guest's IOMMU while an event of it is being reported.</summary>
    ReporterNotAwaited = 65536,

    /// <summary>Who queues commands for others tells them that they are done before the fence behind them is (S4.15).</summary>
    AnsweredBeforeFence = 131072,

    /// <summary>Who queues commands for others takes the fence before them for theirs.</summary>
    EarlierFenceTakenForOthers = 262144,
}
