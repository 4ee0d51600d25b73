using Ioasis.PageTables;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>What an IOMMU can do, as the core needs to know it.</summary>
internal sealed record IommuCapabilities
{
    /// <summary>Largest number of PASID bits, 0 if it has none.</summary>
    public int PasidBits { get; init; }

    /// <summary>It answers PCIe ATS.</summary>
    public bool Ats { get; init; }

    /// <summary>It takes page requests.</summary>
    public bool PageRequests { get; init; }

    /// <summary>It tracks dirty pages by itself.</summary>
    public bool DirtyTracking { get; init; }

    /// <summary>It translates in two stages.</summary>
    public bool Nesting { get; init; }

    /// <summary>A guest's first stage can be attached to one PASID of a device, and not only to the device.</summary>
    public bool NestedPasids { get; init; }

    /// <summary>
    /// The formats of tables of processes (<see cref="ProcessAddressSpace"/>) that it can walk, the best first; none if it has no
    /// first stage.
    /// </summary>
    public IReadOnlyList<PageTableFormat> ProcessFormats { get; init; } = [];
}

/// <summary>
/// The driver seam: one IOMMU as its driver presents it. The core names no concrete driver; whatever is specific (table
/// formats, directories, queues, invalidation) is behind these calls.
/// </summary>
internal abstract class IommuInstance
{
    /// <summary>Prepares what the core keeps for each IOMMU.</summary>
    protected IommuInstance() => PageRequests = new(this);

    /// <summary>The page requests of the devices behind it, on their way to who handles them.</summary>
    public PageRequestRouter PageRequests { get; }

    /// <summary>A name for people.</summary>
    public abstract string Name { get; }

    /// <summary>What it can do.</summary>
    public abstract IommuCapabilities Capabilities { get; }

    /// <summary>
    /// Why a device with an ID cannot be behind this IOMMU, in words for people: it tells fewer IDs apart, or serves other buses. Null if
    /// it can. <see cref="ProbeDevice"/> refuses such a device with <see cref="Errno.NoDeviceOrAddress"/>.
    /// </summary>
    public virtual string? ReasonToRefuse(DeviceId id) => null;

    /// <summary>What the driver has in use and did, as far as every kind of IOMMU has it.</summary>
    public virtual IommuUsage Usage => default;

    /// <summary>Makes the driver know a device. Until it is attached to something else, every DMA of it faults.</summary>
    protected internal abstract Errno ProbeDevice(IommuDevice device);

    /// <summary>The device goes: the driver blocks its DMA, drains, and forgets it.</summary>
    protected internal abstract void ReleaseDevice(IommuDevice device);

    /// <summary>Allocates a paging domain whose format suits <paramref name="device"/>, with its root table (S4.10).</summary>
    public abstract Errno TryAllocatePagingDomain(
        IommuDevice device, in PagingDomainOptions options, out PagingDomain? domain);

    /// <summary>Whether the user can say more of a paging domain, in a layout of the driver's (<see cref="PagingDomainOptions.Data"/>).</summary>
    public virtual bool TakesPagingData(uint type) => false;

    /// <summary>
    /// Allocates a domain of a guest's first stage on a second stage of the host. What is not the guest's to choose is refused,
    /// not ignored.
    /// </summary>
    /// <param name="device">The device that the domain is for.</param>
    /// <param name="parent">A domain made with <see cref="PagingDomainOptions.NestParent"/>.</param>
    /// <param name="dataType">Which layout the data has.</param>
    /// <param name="data">What the guest wants, in the driver's layout.</param>
    /// <param name="domain">The domain.</param>
    /// <returns>
    /// Success; <see cref="Errno.NotSupported"/> if the IOMMU cannot nest, or does not know the layout;
    /// <see cref="Errno.InvalidArgument"/> for another parent or data that is not well-formed.
    /// </returns>
    public virtual Errno TryAllocateNestedDomain(
        IommuDevice device, PagingDomain parent, uint dataType, ReadOnlySpan<byte> data, out NestedDomain? domain)
    {
        domain = null;
        return Errno.NotSupported;
    }

    /// <summary>Gives a guest a part of the IOMMU as its own.</summary>
    /// <param name="device">A device behind the IOMMU.</param>
    /// <param name="parent">A domain made with <see cref="PagingDomainOptions.NestParent"/>.</param>
    /// <param name="type">Which kind of part.</param>
    /// <param name="data">In: what the guest wants, in the driver's layout. Out: the driver's answer in it, if it has one.</param>
    /// <param name="made">The part.</param>
    /// <returns>
    /// Success; <see cref="Errno.NotSupported"/> if the IOMMU has no such kind; <see cref="Errno.InvalidArgument"/> for another
    /// parent or data that is not well-formed.
    /// </returns>
    public virtual Errno TryAllocateVirtualIommu(
        IommuDevice device, PagingDomain parent, uint type, Span<byte> data, out VirtualIommu? made)
    {
        made = null;
        return Errno.NotSupported;
    }

    /// <summary>
    /// Describes the hardware to a user who builds tables for it, in the driver's layout. As many bytes are stored as both have;
    /// the rest of <paramref name="data"/> is not touched.
    /// </summary>
    /// <param name="type">Which layout it is; 0 if there is nothing to say.</param>
    /// <param name="data">Gets the description.</param>
    /// <param name="needed">Bytes that the whole description has.</param>
    /// <returns>Success.</returns>
    public virtual Errno GetHardwareInfo(out uint type, Span<byte> data, out int needed)
    {
        type = 0;
        needed = 0;
        return Errno.Success;
    }

    /// <summary>
    /// Switches what a device (PASID 0) or one PASID of it is attached to. When it returns success, no DMA uses
    /// <paramref name="current"/> any more; when it fails, <paramref name="current"/> is still in force (invariant 3).
    /// </summary>
    /// <param name="device">A device that was probed.</param>
    /// <param name="pasid">0 for requests without PASID.</param>
    /// <param name="next">What to attach to.</param>
    /// <param name="current">What it is attached to.</param>
    /// <returns>Success; <see cref="Errno.InvalidArgument"/> if the IOMMU cannot walk the domain's format; others.</returns>
    protected internal abstract Errno SetDomain(IommuDevice device, Pasid pasid, Domain next, Domain current);

    /// <summary>Answers a group of page requests. Called from any thread; must not wait for a handler.</summary>
    /// <returns>Success, or why the device will not get the answer.</returns>
    protected internal virtual Errno SendPageResponse(PageRequestGroup group, PageResponseCode code) => Errno.NotSupported;

    /// <summary>Hands to <see cref="PageRequests"/> every request that the hardware had queued when it was called.</summary>
    protected internal virtual void ReadPageRequests()
    {
    }

    /// <summary>A group could not be served and the device was told so: to be reported as a fault (S2.11).</summary>
    protected internal virtual void ReportPageRequest(PageRequestGroup group, PageResponseCode code)
    {
    }

    /// <summary>
    /// Allocates a domain that is the address space of a process: what the devices attached to it translate by is the
    /// process's own table, and they ask the process for pages that are not there.
    /// </summary>
    /// <param name="device">The device that will be attached.</param>
    /// <param name="addressSpace">The process's memory.</param>
    /// <param name="domain">The domain.</param>
    /// <returns>
    /// Success; <see cref="Errno.NotSupported"/> if the IOMMU cannot; <see cref="Errno.InvalidArgument"/> if it cannot walk the
    /// process's table; <see cref="Errno.OutOfMemory"/>.
    /// </returns>
    public virtual Errno TryAllocateSvaDomain(IommuDevice device, ProcessAddressSpace addressSpace, out SvaDomain? domain)
    {
        domain = null;
        return Errno.NotSupported;
    }

    /// <summary>As <see cref="SetDomain"/>; besides, no page request of the old domain stays without an answer.</summary>
    internal Errno SwitchDomain(IommuDevice device, Pasid pasid, Domain next, Domain current) =>
        device.PageRequests && Capabilities.PageRequests
            ? PageRequests.Switch(device, pasid, next, () => SetDomain(device, pasid, next, current))
            : SetDomain(device, pasid, next, current);

    /// <summary>As <see cref="ReleaseDevice"/>; besides, its page requests are answered and forgotten.</summary>
    internal void RemoveDevice(IommuDevice device)
    {
        ReleaseDevice(device);
        if (device.PageRequests && Capabilities.PageRequests)
        {
            PageRequests.Forget(device);
        }
    }

    /// <summary>The IOVA ranges of a device that are not free to map.</summary>
    protected internal abstract IReadOnlyList<ReservedRegion> GetReservedRegions(IommuDevice device);
}

/// <summary>What the driver of an IOMMU has in use and did.</summary>
/// <param name="AddressSpaces">Numbers by which the IOMMU's caches tell address spaces apart, that domains have.</param>
/// <param name="Invalidations">Commands that made it, or devices, forget something.</param>
/// <param name="TranslationInvalidations">Of those, the ones about translations of domains that are not the second stage of a guest.</param>
/// <param name="PageResponses">Groups of page requests answered.</param>
internal readonly record struct IommuUsage(
    int AddressSpaces, long Invalidations, long TranslationInvalidations, long PageResponses);

/// <summary>Why a region is reserved (Linux: <c>enum iommu_resv_type</c>).</summary>
public enum ReservedRegionKind
{
    /// <summary>Must be mapped one to one at all times.</summary>
    Direct,

    /// <summary>Must be mapped one to one only until a driver takes the device.</summary>
    DirectRelaxable,

    /// <summary>Must not be mapped: not translated, or with side effects.</summary>
    Reserved,

    /// <summary>The hardware's MSI window.</summary>
    Msi,

    /// <summary>An MSI window that software chose.</summary>
    SoftwareMsi,
}

/// <summary>A reserved region of a device.</summary>
/// <param name="Range">IOVAs, both ends inclusive.</param>
/// <param name="Kind">Why.</param>
/// <param name="Access">For direct regions: what the device may do there.</param>
public readonly record struct ReservedRegion(AddressRange Range, ReservedRegionKind Kind, Access Access = Access.ReadWrite);
