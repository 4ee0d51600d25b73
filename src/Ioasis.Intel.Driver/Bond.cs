using Ioasis.Primitives;

namespace Ioasis.Intel.Driver;

/// <summary>
/// One address space in one IOMMU (S4.1): the domain-ID under which that IOMMU caches it, and the PASIDs under which it caches it as a
/// first stage. It lives while a device (or a PASID of one) behind the IOMMU is attached, and holds the IOMMU itself, not a device (S4.3).
/// </summary>
internal sealed class Bond(BondSet set, VtdIommuInstance iommu, uint domainId)
{
    private uint[] _pasids = [];

    public BondSet Set { get; } = set;

    public VtdIommuInstance Iommu { get; } = iommu;

    public uint DomainId { get; } = domainId;

    /// <summary>Attachments under each PASID; changed under the lock of the set (S4.5).</summary>
    public Dictionary<uint, int> Attachments { get; } = [];

    /// <summary>The PASIDs as they are now: replaced, never changed.</summary>
    public uint[] Pasids => Volatile.Read(ref _pasids);

    /// <summary>Changes how many attachments a PASID has.</summary>
    public void Count(uint pasid, int more)
    {
        int now = Attachments.GetValueOrDefault(pasid) + more;
        if (now == 0)
        {
            _ = Attachments.Remove(pasid);
        }
        else
        {
            Attachments[pasid] = now;
        }

        if (now == 0 || now == more)
        {
            Volatile.Write(ref _pasids, [.. Attachments.Keys]);
        }
    }
}

/// <summary>One device, or one PASID of it, that caches translations of an address space itself (S4.5).</summary>
internal sealed class AtsBond(VtdIommuInstance iommu, DeviceState device, Pasid pasid, bool isGuest = false)
{
    public VtdIommuInstance Iommu { get; } = iommu;

    public DeviceState Device { get; } = device;

    public Pasid Pasid { get; } = pasid;

    /// <summary>What the device caches is addressed by a guest's first stage: a range of the second stage says nothing to it.</summary>
    public bool IsGuest { get; } = isGuest;
}
