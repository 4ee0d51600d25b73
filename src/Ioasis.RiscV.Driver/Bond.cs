using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <summary>What an IOMMU caches an address space under: a PSCID of the host, or the GSCID of a VM (section 2.8).</summary>
/// <param name="IsSecondStage">Whether it is a GSCID.</param>
/// <param name="Identifier">The PSCID or GSCID.</param>
internal readonly record struct SpaceTag(bool IsSecondStage, uint Identifier)
{
    /// <summary>The invalidation of everything under it, of its own stage.</summary>
    public Command InvalidateAll => IsSecondStage
        ? Command.InvalidateSecondStage(Identifier, null)
        : Command.InvalidateFirstStage(null, Identifier, null);

    /// <summary>The invalidation of an address, of its own stage; see <see cref="Command.InvalidateFirstStage"/>.</summary>
    public Command Invalidate(ulong address, int sizeLog2 = 12, bool nonLeaf = false) => IsSecondStage
        ? Command.InvalidateSecondStage(Identifier, address, sizeLog2, nonLeaf)
        : Command.InvalidateFirstStage(null, Identifier, address, sizeLog2, nonLeaf);
}

/// <summary>
/// One domain in one IOMMU (S4.1): the PSCID or GSCID under which that IOMMU caches the domain's translations. It lives while a
/// device (or a PASID of one) behind the IOMMU is attached to the domain, and holds the IOMMU itself, not a device (S4.3).
/// </summary>
internal sealed class Bond(BondSet set, RiscVIommuInstance iommu, SpaceTag tag)
{
    public BondSet Set { get; } = set;

    public RiscVIommuInstance Iommu { get; } = iommu;

    public SpaceTag Tag { get; } = tag;

    /// <summary>Attachments that use it; changed under the lock of the set (S4.5).</summary>
    public int Attachments { get; set; }
}

/// <summary>
/// One device, or one PASID of it, that caches translations of a domain itself (S4.5): besides the IOMMU, it has to be told of
/// every unmap.
/// </summary>
internal sealed class AtsBond(RiscVIommuInstance iommu, DeviceState device, Pasid pasid, bool isGuest = false)
{
    public RiscVIommuInstance Iommu { get; } = iommu;

    public DeviceState Device { get; } = device;

    public Pasid Pasid { get; } = pasid;

    /// <summary>
    /// What the device caches is addressed by a guest's first stage, perhaps for several PASIDs of the guest: a range of the
    /// second stage says nothing to it.
    /// </summary>
    public bool IsGuest { get; } = isGuest;
}
