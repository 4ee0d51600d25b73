using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.RiscV.Driver;

/// <summary>
/// The bonds of one address space: in which IOMMUs, and under which PSCID or GSCID, its translations may be cached, and which
/// devices cache them. It is there from the beginning with its address space (S4.11) and knows nothing of its tables.
/// </summary>
/// <param name="isSecondStage">Whether bonds carry GSCIDs rather than PSCIDs.</param>
internal sealed partial class BondSet(bool isSecondStage)
{
    private readonly IoLock _lock = new();

    // Replaced, never changed: invalidators read them without a lock.
    private Bond[] _bonds = [];
    private AtsBond[] _atsBonds = [];

    /// <summary>IOMMUs that a device is attached through.</summary>
    public int Count => Volatile.Read(ref _bonds).Length;

    /// <summary>The bonds as they are now.</summary>
    public Bond[] Bonds => Volatile.Read(ref _bonds);

    /// <summary>The devices that cache, as they are now.</summary>
    public AtsBond[] AtsBonds => Volatile.Read(ref _atsBonds);

    /// <summary>
    /// Makes sure that there is a bond to an IOMMU, for one more attachment. When it returns, invalidators see the bond (S4.7).
    /// </summary>
    /// <returns>
    /// Success; <see cref="Errno.NoSpace"/> without a PSCID or GSCID; or the errors of the command queue.
    /// </returns>
    public Errno Acquire(RiscVIommuInstance iommu, out Bond? bond)
    {
        using (_lock.Acquire())
        {
            bond = Array.Find(_bonds, b => b.Iommu == iommu);
            if (bond is not null)
            {
                bond.Attachments++;
                return Errno.Success;
            }

            Errno error = iommu.TryAllocateTag(isSecondStage, out SpaceTag tag);
            if (error != Errno.Success)
            {
                return error;
            }

            bond = new(this, iommu, tag) { Attachments = 1 };
            Volatile.Write(ref _bonds, [.. _bonds, bond]);
        }

        // Either an unmap that clears its entries now sees the bond, or the hardware, which cannot load the tag before what
        // follows this barrier, sees the cleared entries. The barrier of the unmap is in Invalidate.
        Interlocked.MemoryBarrier();
        return Errno.Success;
    }

    /// <summary>
    /// Ends one attachment. The hardware has been switched and the tag flushed (S4.8): if it was the last attachment, the bond
    /// goes and its PSCID or GSCID may be used again.
    /// </summary>
    public void Release(Bond bond)
    {
        using (_lock.Acquire())
        {
            if (--bond.Attachments > 0)
            {
                return;
            }

            Volatile.Write(ref _bonds, Array.FindAll(_bonds, b => b != bond));
        }

        bond.Iommu.FreeTag(bond.Tag);
    }

    /// <summary>Makes sure that a device which caches translations is told of every unmap from now on (S4.5, S4.7).</summary>
    public void AddAts(AtsBond bond)
    {
        using (_lock.Acquire())
        {
            Volatile.Write(ref _atsBonds, [.. _atsBonds, bond]);
        }

        Interlocked.MemoryBarrier();
    }

    /// <summary>The device has forgotten everything: it need not be told any more.</summary>
    public void RemoveAts(AtsBond bond)
    {
        using (_lock.Acquire())
        {
            Volatile.Write(ref _atsBonds, Array.FindAll(_atsBonds, b => b != bond));
        }
    }
}
