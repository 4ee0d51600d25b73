using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Primitives;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Ioasis.Intel.Driver;

/// <summary>Which tables an IOMMU is run with (VT-d specification, sections 3.4.2, 3.4.3).</summary>
public enum VtdMode
{
    /// <summary>Scalable mode where the hardware has it, else legacy mode.</summary>
    Auto,

    /// <summary>Root and context tables: second stages only, no PASIDs.</summary>
    Legacy,

    /// <summary>Scalable mode: PASIDs, first and second stages.</summary>
    Scalable,
}

/// <summary>A message that the IOMMU stores for one of its events (sections 11.4.7.3, 11.4.7.4).</summary>
/// <param name="Address">Where it is stored; 4-byte aligned.</param>
/// <param name="Data">What is stored.</param>
internal readonly record struct VtdMessage(PhysicalAddress Address, uint Data);

/// <summary>How the driver runs an IOMMU. The defaults suit every IOMMU; what it cannot do is found out, not configured.</summary>
public sealed record VtdDriverOptions
{
    /// <summary>Where messages go by default: the interrupt controller of processor 0.</summary>
    private const ulong DefaultMessageAddress = InterruptAddress.First;

    /// <summary>A name for people and log lines.</summary>
    public string Name { get; init; } = "vtd";

    /// <summary>The PCI segment of the devices behind it, 0 to 65535 (section 8.3, "Segment Number").</summary>
    public int Segment { get; init; }

    /// <summary>Which mode.</summary>
    public VtdMode Mode { get; init; } = VtdMode.Auto;

    /// <summary>
    /// Levels of new tables, 3, 4 or 5, if the IOMMU has them; otherwise the largest number below, otherwise the smallest above. A
    /// first stage has 4 or 5.
    /// </summary>
    public int PreferredLevels { get; init; } = 4;

    /// <summary>
    /// Whether paging domains are first stages where the hardware allows it; else they are second stages. Domains under nested ones
    /// and those that track dirty pages are second stages in any case.
    /// </summary>
    public bool FirstStageDomains { get; init; }

    /// <summary>Whether accesses always snoop, where the hardware has snoop control: devices cannot bypass the processors' caches.</summary>
    public bool ForceSnoop { get; init; } = true;

    /// <summary>log2 of the descriptors of the invalidation queue, 7 to 15; in legacy mode at least 8.</summary>
    public int QueueSizeLog2 { get; init; } = 8;

    /// <summary>log2 of the descriptors of the page-request queue, 7 to 14.</summary>
    public int PageRequestQueueSizeLog2 { get; init; } = 8;

    /// <summary>Bits of a physical address, 36 to 52; the platform's firmware tells it (section 8.1, "Host Address Width").</summary>
    public int HostAddressWidth { get; init; } = 52;

    /// <summary>The message of faults and queue errors.</summary>
    internal VtdMessage FaultMessage { get; init; } = new(new(DefaultMessageAddress), 0x21);

    /// <summary>The message of page requests.</summary>
    internal VtdMessage PageRequestMessage { get; init; } = new(new(DefaultMessageAddress), 0x22);

    /// <summary>The message of completed invalidations.</summary>
    internal VtdMessage InvalidationMessage { get; init; } = new(new(DefaultMessageAddress), 0x23);

    /// <summary>Longest wait for a command or for a change of a control register.</summary>
    public TimeSpan CommandTimeout { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>
    /// Longest wait for a device to answer an invalidation, as long as the IOMMU itself has not given up: PCIe grants the device 60 s
    /// and half of that again.
    /// </summary>
    public TimeSpan AtsTimeout { get; init; } = TimeSpan.FromSeconds(100);

    /// <summary>
    /// Most descriptors for one unmap in one IOMMU, 1 to 64; a range that needs more becomes one invalidation of the domain (S4.13).
    /// </summary>
    public int InvalidationLimit { get; init; } = 32;

    /// <summary>Most bits of a domain-ID to use, 2 to 16; the hardware may have fewer.</summary>
    public int DomainIdBits { get; init; } = 16;

    /// <summary>Bit n permits leaves of 2^n bytes, where hardware and format have them. 4 KiB is always permitted.</summary>
    public ulong LeafSizes { get; init; } = ulong.MaxValue;

    /// <summary>As <see cref="LeafSizes"/>, for domains made for dirty tracking: what a leaf covers is dirty as a whole.</summary>
    public ulong DirtyTrackingLeafSizes { get; init; } = ulong.MaxValue;

    /// <summary>What the IOMMU does other than the specification asks.</summary>
    internal VtdQuirks Quirks { get; init; }

    /// <summary>Fault records that are logged in one second; more are counted and reported to the sink, but not logged (S4.16).</summary>
    public int FaultLogsPerSecond { get; init; } = 10;

    /// <summary>Who is told of faults.</summary>
    internal IIommuFaultSink? FaultSink { get; init; }

    /// <summary>The clock of all waits.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Where log lines go.</summary>
    public ILogger Logger { get; init; } = NullLogger.Instance;

    /// <summary>Whether a physical address is one that the hardware has.</summary>
    internal bool IsWithinHost(PhysicalAddress address) => address.Value >> HostAddressWidth == 0;

    /// <summary>The first option that is out of its range, in words; null if none is.</summary>
    internal string? FindFault() =>
        Segment is < 0 or > ushort.MaxValue ? $"a PCI segment has 16 bits, not {Segment}"
        : !Enum.IsDefined(Mode) ? $"there is no mode {(int)Mode}"
        : PreferredLevels is < 3 or > 5 ? $"tables have 3 to 5 levels, not {PreferredLevels}"
        : QueueSizeLog2 is < 7 or > 15 ? $"the invalidation queue has 2^7 to 2^15 descriptors, not 2^{QueueSizeLog2}"
        : PageRequestQueueSizeLog2 is < 7 or > 14 ? $"the page-request queue has 2^7 to 2^14 descriptors, not 2^{PageRequestQueueSizeLog2}"
        : HostAddressWidth is < 36 or > 52 ? $"physical addresses have 36 to 52 bits, not {HostAddressWidth}"
        : InvalidationLimit is < 1 or > InvalidationPlan.MaxDescriptors ? $"an unmap has 1 to 64 descriptors, not {InvalidationLimit}"
        : DomainIdBits is < 2 or > 16 ? $"a domain-ID has 2 to 16 bits, not {DomainIdBits}"
        : CommandTimeout <= TimeSpan.Zero || AtsTimeout <= TimeSpan.Zero ? "a time-out is not positive"
        : ((FaultMessage.Address.Value | PageRequestMessage.Address.Value | InvalidationMessage.Address.Value) & 3) != 0
            ? "a message's address is not a multiple of 4"
        : null;
}
