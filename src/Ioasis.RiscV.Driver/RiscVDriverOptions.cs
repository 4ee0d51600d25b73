using Ioasis.Core;
using Ioasis.Primitives;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Ioasis.RiscV.Driver;

/// <summary>A first-stage paging mode, by the bits of IOVA that it translates (Privileged specification, 12.4 to 12.6).</summary>
public enum PagingMode
{
    /// <summary>Three levels, 39 bits.</summary>
    Sv39 = 39,

    /// <summary>Four levels, 48 bits.</summary>
    Sv48 = 48,

    /// <summary>Five levels, 57 bits.</summary>
    Sv57 = 57,
}

/// <summary>A message that the platform gives to the IOMMU for one of its interrupt vectors (section 5.29, "msi_cfg_tbl").</summary>
/// <param name="Address">Where the message is stored; 4-byte aligned.</param>
/// <param name="Data">What is stored.</param>
internal readonly record struct MsiMessage(PhysicalAddress Address, uint Data);

/// <summary>How the driver runs an IOMMU. The defaults suit every IOMMU; what it cannot do is found out, not configured.</summary>
public sealed record RiscVDriverOptions
{
    /// <summary>A name for people and log lines.</summary>
    public string Name { get; init; } = "riscv-iommu";

    /// <summary>
    /// The paging mode for new domains, if the IOMMU has it; otherwise the largest below it, otherwise the smallest above it.
    /// </summary>
    public PagingMode PreferredMode { get; init; } = PagingMode.Sv48;

    /// <summary>Whether domains use 64 KiB leaves (Svnapot), which every IOMMU must support (section 5.3).</summary>
    public bool UseNapot { get; init; } = true;

    /// <summary>log2 of the entries of the command queue, 3 to 15; the hardware may have room for fewer.</summary>
    public int CommandQueueSizeLog2 { get; init; } = 10;

    /// <summary>log2 of the records of the fault queue, 1 to 15.</summary>
    public int FaultQueueSizeLog2 { get; init; } = 9;

    /// <summary>log2 of the records of the page-request queue, 1 to 15.</summary>
    public int PageRequestQueueSizeLog2 { get; init; } = 8;

    /// <summary>Bits of device ID that must be covered; an IOMMU whose directory cannot is refused. 0 takes any.</summary>
    public int RequiredDeviceIdBits { get; init; }

    /// <summary>
    /// IOVAs at which devices expect the platform's MSI doorbells, if the platform has any: reported as reserved, so that
    /// nothing else is mapped there.
    /// </summary>
    public AddressRange? MsiWindow { get; init; }

    /// <summary>Whether wires are preferred to messages where the IOMMU can do both.</summary>
    public bool PreferWiredInterrupts { get; init; } = true;

    /// <summary>Messages for the vectors, from 0; needed only where wires are not used. The last serves the vectors beyond.</summary>
    internal IReadOnlyList<MsiMessage> MsiMessages { get; init; } = [];

    /// <summary>Longest wait for a command or for a change of a control register.</summary>
    public TimeSpan CommandTimeout { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>
    /// Longest wait for a device to answer an ATS invalidation, as long as the IOMMU itself has not given up: PCIe grants the
    /// device 60 s and half of that again.
    /// </summary>
    public TimeSpan AtsTimeout { get; init; } = TimeSpan.FromSeconds(100);

    /// <summary>
    /// Most invalidation commands for one unmap in one IOMMU, 1 to 64; a range that needs more becomes one invalidation of
    /// the address space (S4.13).
    /// </summary>
    public int InvalidationCommandLimit { get; init; } = 32;

    /// <summary>What the IOMMU is known to do other than the specification asks.</summary>
    internal RiscVQuirks Quirks { get; init; }

    /// <summary>Bits of PSCID to use, 1 to 20.</summary>
    public int PscidBits { get; init; } = 20;

    /// <summary>Bits of GSCID to use, 1 to 16.</summary>
    public int GscidBits { get; init; } = 16;

    /// <summary>Bit n permits leaves of 2^n bytes, where the format has them. 4 KiB is always permitted.</summary>
    public ulong LeafSizes { get; init; } = ulong.MaxValue;

    /// <summary>
    /// Bit n permits leaves of 2^n bytes in domains made for dirty tracking: what a leaf covers is dirty as a whole. 4 KiB is
    /// always permitted.
    /// </summary>
    public ulong DirtyTrackingLeafSizes { get; init; } = ulong.MaxValue;

    /// <summary>Fault records that are logged in one second; more are counted, reported to the sink, but not logged (S4.16).</summary>
    public int FaultLogsPerSecond { get; init; } = 10;

    /// <summary>Who is told of faults.</summary>
    internal IIommuFaultSink? FaultSink { get; init; }

    /// <summary>The clock of all waits.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Where log lines go.</summary>
    public ILogger Logger { get; init; } = NullLogger.Instance;
}
