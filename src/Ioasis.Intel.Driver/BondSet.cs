using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Driver;

/// <summary>
/// The bonds of one address space: in which IOMMUs, and under which domain-ID and PASIDs, its translations may be cached, and which
/// devices cache them. It is there from the beginning with its address space (S4.11) and knows nothing of its tables.
/// </summary>
/// <param name="isFirstStage">Whether ranges are addresses of a first stage, cached by PASID.</param>
internal sealed class BondSet(bool isFirstStage)
{
    private readonly IoLock _lock = new();

    // Replaced, never changed: invalidators read them without a lock.
    private Bond[] _bonds = [];
    private AtsBond[] _atsBonds = [];

    /// <summary>IOMMUs that a device is attached through.</summary>
    public int Count => Volatile.Read(ref _bonds).Length;

    /// <summary>Whether some IOMMU may hold that an address is not mapped (<c>CAP_REG.CM</c>), or has to be told of what was written (<c>RWBF</c>).</summary>
    public bool CachesAbsence
    {
        get
        {
            // The entries are written before the bonds are read; see Acquire for the other side.
            Interlocked.MemoryBarrier();
            foreach (Bond bond in Volatile.Read(ref _bonds))
            {
                if (bond.Iommu.MapsNeedInvalidation)
                {
                    return true;
                }
            }

            return false;
        }
    }

    /// <summary>
    /// Makes sure that there is a bond to an IOMMU, for one more attachment. When it returns, invalidators see the bond and the PASID (S4.7).
    /// </summary>
    /// <returns>Success, or <see cref="Errno.NoSpace"/> without a domain-ID.</returns>
    public Errno Acquire(VtdIommuInstance iommu, uint pasid, out Bond? bond)
    {
        using (_lock.Acquire())
        {
            bond = Array.Find(_bonds, b => b.Iommu == iommu);
            if (bond is null)
            {
                Errno error = iommu.TryAllocateDomainId(out uint domainId);
                if (error != Errno.Success)
                {
                    return error;
                }

                bond = new(this, iommu, domainId);
                bond.Count(pasid, 1);
                Volatile.Write(ref _bonds, [.. _bonds, bond]);
            }
            else
            {
                bond.Count(pasid, 1);
            }
        }

        // Either an unmap that clears its entries now sees the bond, or the hardware, which cannot load the domain-ID before what
        // follows this barrier, sees the cleared entries. The barrier of the unmap is in Invalidate.
        Interlocked.MemoryBarrier();
        return Errno.Success;
    }

    /// <summary>
    /// Ends one attachment. The hardware has been switched and its caches flushed (S4.8): if it was the last attachment, the bond goes and
    /// its domain-ID may be used again.
    /// </summary>
    public void Release(Bond bond, uint pasid)
    {
        using (_lock.Acquire())
        {
            bond.Count(pasid, -1);
            if (bond.Attachments.Count > 0)
            {
                return;
            }

            Volatile.Write(ref _bonds, Array.FindAll(_bonds, b => b != bond));
        }

        bond.Iommu.FreeDomainId(bond.DomainId);
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

    /// <summary>
    /// Invalidates what a gather names wherever it may be cached, and waits for it: in every IOMMU, all asked before any is waited for
    /// (S4.13), then in every device, which can fetch nothing stale again. The table entries were cleared before.
    /// </summary>
    /// <returns>Success, or <see cref="Errno.IoError"/> if an IOMMU could not be made to complete it.</returns>
    public Errno Invalidate(in InvalidationGather gather)
    {
        Interlocked.MemoryBarrier();
        Bond[] bonds = Volatile.Read(ref _bonds);
        if (bonds.Length == 0)
        {
            return Errno.Success;
        }

        Errno error = bonds.Length == 1 ? InvalidateIn(bonds[0], gather) : InvalidateInAll(bonds, gather);
        AtsBond[] devices = Volatile.Read(ref _atsBonds);
        return error == Errno.Success && devices.Length > 0
            ? DeviceInvalidation.Invalidate(devices, Core.PcieInvalidation.PayloadFor(gather.Range))
            : error;
    }

    private Errno InvalidateIn(Bond bond, in InvalidationGather gather)
    {
        Span<QueueDescriptor> descriptors = stackalloc QueueDescriptor[InvalidationPlan.MaxDescriptors];
        int count = InvalidationPlan.Build(gather, bond, isFirstStage, descriptors, out BatchKind kind);

        // An IOMMU that was removed is off and translates nothing.
        Errno error = bond.Iommu.Queue.SubmitAndWait(descriptors[..count], kind);
        return error == Errno.NoDevice ? Errno.Success : error;
    }

    private Errno InvalidateInAll(Bond[] bonds, in InvalidationGather gather)
    {
        ulong[] tickets = new ulong[bonds.Length];
        Span<QueueDescriptor> descriptors = stackalloc QueueDescriptor[InvalidationPlan.MaxDescriptors];
        Errno result = Errno.Success;
        for (int i = 0; i < bonds.Length; i++)
        {
            int count = InvalidationPlan.Build(gather, bonds[i], isFirstStage, descriptors, out BatchKind kind);
            Errno error = bonds[i].Iommu.Queue.Submit(descriptors[..count], kind, out tickets[i]);
            result = error is Errno.Success or Errno.NoDevice ? result : error;
        }

        for (int i = 0; i < bonds.Length; i++)
        {
            Errno error = tickets[i] == 0 ? Errno.Success : bonds[i].Iommu.Queue.Wait(tickets[i]);
            result = error is Errno.Success or Errno.NoDevice ? result : error;
        }

        return result;
    }
}
