using Ioasis.Core;

namespace Ioasis.Kernel;

/// <summary>A paging domain of an address space, with the invalidations that it still owes.</summary>
internal sealed class AddressSpaceDomain
{
    public AddressSpaceDomain(PagingDomain domain, LazyInvalidationOptions options)
    {
        Domain = domain;
        Batch = new(domain);
        Lazy = new(domain, options);
    }

    /// <summary>The domain.</summary>
    public PagingDomain Domain { get; }

    /// <summary>Unmaps of the call in progress. Used under the address space's lock.</summary>
    public UnmapBatch Batch { get; }

    /// <summary>Invalidations of earlier calls that were deferred, or that an IOMMU could not complete.</summary>
    public LazyInvalidation Lazy { get; }

    /// <summary>The smallest leaf.</summary>
    public ulong Granule => Domain.PageSizes & (0 - Domain.PageSizes);
}
