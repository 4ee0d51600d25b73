using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>A paging domain of an address space, with what it still owes. Used under the address space's lock.</summary>
internal sealed class AddressSpaceDomain
{
    public AddressSpaceDomain(PagingDomain domain, LazyInvalidationOptions options)
    {
        Domain = domain;
        Batch = new(domain);
        Lazy = new(domain, options);
        Direct = new(domain);
    }

    /// <summary>The domain.</summary>
    public PagingDomain Domain { get; }

    /// <summary>Unmaps of the call in progress.</summary>
    public UnmapBatch Batch { get; }

    /// <summary>Invalidations of earlier calls that were deferred, or that an IOMMU could not complete.</summary>
    public LazyInvalidation Lazy { get; }

    /// <summary>The one-to-one mappings that devices need in it.</summary>
    public DirectMappings Direct { get; }

    /// <summary>Retired areas that could not be taken out of the tables: devices reach them until that is done.</summary>
    public List<Area> Stuck { get; } = [];

    /// <summary>Unmaps that are not complete.</summary>
    public int PendingCount => Lazy.PendingCount + Stuck.Count;

    /// <summary>The smallest leaf.</summary>
    public ulong Granule => Domain.PageSizes & (0 - Domain.PageSizes);

    /// <summary>Tries again to take out of the tables what could not be; what succeeds waits for the next flush.</summary>
    /// <returns>Success if nothing is left.</returns>
    public Errno TakeOutStuck(ILazyRelease release)
    {
        for (int i = Stuck.Count - 1; i >= 0; i--)
        {
            Area area = Stuck[i];
            if (Batch.Unmap(new(area.Start), area.Length) == Errno.Success)
            {
                // First from here: a queue that fills up frees areas.
                Stuck.RemoveAt(i);
                _ = Batch.Defer(Lazy, area.Range, release, 0, 0);
            }
        }

        return Stuck.Count == 0 ? Errno.Success : Errno.IoError;
    }
}
