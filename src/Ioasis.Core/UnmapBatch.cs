using Ioasis.PageTables;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// Unmaps of one paging domain that share one invalidation. Until <see cref="Complete"/> or <see cref="Defer"/> has returned,
/// neither the IOVAs nor the memory may be reused (invariant 2). Reusable; not thread-safe.
/// </summary>
/// <remarks>It spares a caller of the core the page tables' own gather.</remarks>
internal sealed class UnmapBatch
{
    private readonly PagingDomain _domain;
    private InvalidationGather _gather;

    /// <summary>Makes an empty batch.</summary>
    public UnmapBatch(PagingDomain domain)
    {
        ArgumentNullException.ThrowIfNull(domain);
        _domain = domain;
    }

    /// <summary>Takes a range out of the tables; see <see cref="PagingDomain.Unmap"/>.</summary>
    /// <returns>The errors of <see cref="PagingDomain.Unmap"/>: then devices still reach the memory, and may be told of a part only.</returns>
    public Errno Unmap(Iova iova, ulong length) => _domain.Unmap(iova, length, ref _gather, out _);

    /// <summary>Invalidates everything that was unmapped, waits for it, and frees the tables.</summary>
    /// <returns>Success, also for an empty batch; or <see cref="Errno.IoError"/>: then the batch keeps what it holds.</returns>
    public Errno Complete() => _gather.IsEmpty ? Errno.Success : _domain.Sync(ref _gather);

    /// <summary>Leaves the invalidation to a queue, which then owns it; see <see cref="LazyInvalidation.Defer"/>.</summary>
    public Errno Defer(LazyInvalidation queue, AddressRange range, ILazyRelease release, ulong cookie0, ulong cookie1)
    {
        ArgumentNullException.ThrowIfNull(queue);
        return queue.Defer(ref _gather, range, release, cookie0, cookie1);
    }
}
