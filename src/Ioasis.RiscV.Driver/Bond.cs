using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.RiscV.Driver;

/// <summary>
/// One domain in one IOMMU (S4.1): the PSCID under which that IOMMU caches the domain's translations. It lives while a device
/// (or a PASID of one) behind the IOMMU is attached to the domain, and holds the IOMMU itself, not a device (S4.3).
/// </summary>
internal sealed class Bond(RiscVPagingDomain domain, RiscVIommuInstance iommu, uint pscid)
{
    public RiscVPagingDomain Domain { get; } = domain;

    public RiscVIommuInstance Iommu { get; } = iommu;

    public uint Pscid { get; } = pscid;

    /// <summary>Attachments that use it; changed under the domain's lock (S4.5).</summary>
    public int Attachments { get; set; }

    /// <summary>For a mutation: the device that made the bond. The driver itself never keeps it (S4.3).</summary>
    public IommuDevice? MadeBy { get; set; }
}

/// <summary>
/// One device, or one PASID of it, that caches translations of a domain itself (S4.5): besides the IOMMU, it has to be told of
/// every unmap.
/// </summary>
internal sealed class AtsBond(RiscVIommuInstance iommu, DeviceState device, Pasid pasid)
{
    public RiscVIommuInstance Iommu { get; } = iommu;

    public DeviceState Device { get; } = device;

    public Pasid Pasid { get; } = pasid;
}
