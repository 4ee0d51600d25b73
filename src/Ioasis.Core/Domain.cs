using Ioasis.PageTables;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>What a domain does with the DMA of the devices attached to it.</summary>
internal enum DomainKind
{
    /// <summary>Every DMA faults.</summary>
    Blocked,

    /// <summary>Addresses pass unchanged.</summary>
    Identity,

    /// <summary>Addresses are translated by a table that the core maps and unmaps in.</summary>
    Paging,

    /// <summary>A guest's first stage on top of a paging domain of the host.</summary>
    Nested,

    /// <summary>The address space of a process.</summary>
    Sva,
}

/// <summary>What a device, or one PASID of it, can be attached to. It belongs to no IOMMU (S4.2).</summary>
internal abstract class Domain : IDisposable
{
    private int _strays;

    /// <summary>What the domain does.</summary>
    public abstract DomainKind Kind { get; }

    /// <summary>
    /// Who makes pages available that attached devices ask for; null if nobody does. To be set before anything is attached.
    /// </summary>
    public IPageRequestHandler? PageRequestHandler { get; set; }

    /// <summary>
    /// Whether a device may still translate by the domain though its group is attached to something else: an IOMMU did not confirm
    /// the way back from an attach that failed. What is mapped must then stay as it is; see <see cref="IommuGroup"/>.
    /// </summary>
    public bool IsInDoubt => Volatile.Read(ref _strays) > 0;

    /// <summary>A device may translate by the domain though its group does not, or does so no more.</summary>
    internal void AddStray(int count) => Interlocked.Add(ref _strays, count);

    /// <summary>Releases the tables. Nothing may be attached any more.</summary>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Releases the tables.</summary>
    protected virtual void Dispose(bool disposing)
    {
    }
}

/// <summary>The domain in which every DMA faults. One for all: it has no state.</summary>
internal sealed class BlockedDomain : Domain
{
    private BlockedDomain()
    {
    }

    /// <summary>The domain.</summary>
    public static BlockedDomain Instance { get; } = new();

    /// <inheritdoc/>
    public override DomainKind Kind => DomainKind.Blocked;
}

/// <summary>The domain in which addresses pass unchanged. One for all: it has no state.</summary>
internal sealed class IdentityDomain : Domain
{
    private IdentityDomain()
    {
    }

    /// <summary>The domain.</summary>
    public static IdentityDomain Instance { get; } = new();

    /// <inheritdoc/>
    public override DomainKind Kind => DomainKind.Identity;
}

/// <summary>
/// A domain with a page table of the core's own. Maps and unmaps of disjoint ranges may run at the same time; the caller
/// orders those of overlapping ranges, as an IOAS does with its area tree.
/// </summary>
internal abstract class PagingDomain : Domain
{
    /// <inheritdoc/>
    public sealed override DomainKind Kind => DomainKind.Paging;

    /// <summary>The IOVAs that the domain can translate (S3.6).</summary>
    public abstract AddressRange Aperture { get; }

    /// <summary>Bit n is set if a leaf can be 2^n bytes. The lowest set bit is the granule of every map and unmap.</summary>
    public abstract ulong PageSizes { get; }

    /// <summary>Maps a range, with the largest leaves that alignment and length allow; all or nothing.</summary>
    /// <param name="iova">Aligned to the granule.</param>
    /// <param name="address">Aligned to the granule.</param>
    /// <param name="length">Bytes, a multiple of the granule, not 0.</param>
    /// <param name="access">What the device may do.</param>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> for alignment; <see cref="Errno.OutOfRange"/> outside the aperture;
    /// <see cref="Errno.AddressInUse"/> if a part is mapped; <see cref="Errno.OutOfMemory"/> for tables; <see cref="Errno.IoError"/> if an
    /// IOMMU did not confirm that it forgot what was there before: then nothing is mapped, but a device that tried the range in between may
    /// reach the memory until an <see cref="Unmap"/> of the range and <see cref="Sync"/> succeed.
    /// </returns>
    public abstract Errno Map(Iova iova, PhysicalAddress address, ulong length, Access access);

    /// <summary>As <see cref="Map"/>, with leaves of one granule only: any part can then go without a leaf being split.</summary>
    /// <param name="iova">Aligned to the granule.</param>
    /// <param name="address">Aligned to the granule.</param>
    /// <param name="length">Bytes, a multiple of the granule, not 0.</param>
    /// <param name="access">What the device may do.</param>
    /// <returns>The errors of <see cref="Map"/>.</returns>
    public abstract Errno MapGranules(Iova iova, PhysicalAddress address, ulong length, Access access);

    /// <summary>
    /// Takes a range out of the tables. Until <see cref="Sync"/> has returned for the gather, devices may still reach the
    /// pages: neither the IOVAs nor the memory may be reused. Holes are skipped. A leaf larger than the range is split.
    /// </summary>
    /// <param name="iova">Aligned to the granule.</param>
    /// <param name="length">Bytes, a multiple of the granule, not 0.</param>
    /// <param name="gather">Gets what must be invalidated.</param>
    /// <param name="unmapped">Bytes that were mapped and are no more.</param>
    /// <returns>
    /// Success, also if nothing was mapped; <see cref="Errno.InvalidArgument"/> for alignment; <see cref="Errno.OutOfRange"/>
    /// outside the aperture; <see cref="Errno.OutOfMemory"/> if a leaf had to be split and there was no table for it: then
    /// nothing has changed; <see cref="Errno.IoError"/> if the memory of a table failed: then a part may be gone, which the gather
    /// holds, and devices reach the rest. After an error the memory must not be reused; the call can be repeated.
    /// </returns>
    public abstract Errno Unmap(Iova iova, ulong length, ref InvalidationGather gather, out ulong unmapped);

    /// <summary>
    /// Invalidates what the gather holds in every IOMMU to which the domain is attached, waits for it to complete, frees the
    /// table pages, and clears the gather.
    /// </summary>
    /// <returns>Success, or <see cref="Errno.IoError"/> if an IOMMU could not be made to complete it: then nothing is freed.</returns>
    public abstract Errno Sync(ref InvalidationGather gather);

    /// <summary>What the table says of an IOVA.</summary>
    /// <param name="iova">Any alignment.</param>
    /// <param name="address">Where it leads, byte-exact.</param>
    /// <param name="access">What the device may do there.</param>
    /// <param name="leafSize">Size in bytes of the leaf.</param>
    public abstract bool TryTranslate(Iova iova, out PhysicalAddress address, out Access access, out ulong leafSize);

    /// <summary>
    /// Adds what is mapped, in the order of IOVAs, leaf by leaf. What others map and unmap meanwhile may be among it or not. A domain that
    /// does not know adds nothing.
    /// </summary>
    /// <param name="mappings">Gets them.</param>
    public virtual void AddMappingsTo(ICollection<PageMapping> mappings)
    {
    }

    /// <summary>Bytes of table pages, the root included.</summary>
    public abstract long TableBytes { get; }

    /// <summary>The format of the table; null for a domain that translates in another way.</summary>
    public virtual PageTableFormat? Format => null;

    /// <summary>Whether nested domains can stand on it (<see cref="PagingDomainOptions.NestParent"/>).</summary>
    public virtual bool IsNestParent => false;

    /// <summary>Whether PASIDs of devices can be attached to it.</summary>
    public virtual bool SupportsPasids => true;

    /// <summary>Whether the hardware can say which pages devices wrote (S4.17); fixed when the domain is made.</summary>
    public virtual bool SupportsDirtyTracking => false;

    /// <summary>
    /// Starts or stops dirty tracking, also while devices do DMA. Everything counts as clean when it starts; while it is
    /// stopped, nothing is recorded.
    /// </summary>
    /// <param name="enable">Whether to track. Setting what is set already does nothing.</param>
    /// <returns>
    /// Success; <see cref="Errno.NotSupported"/> without <see cref="SupportsDirtyTracking"/>; <see cref="Errno.IoError"/> if an
    /// IOMMU did not confirm it: then tracking is as it was.
    /// </returns>
    public virtual Errno SetDirtyTracking(bool enable) => Errno.NotSupported;

    /// <summary>
    /// Reports the pages of a range that devices wrote since they were last made clean, and makes them clean if wanted. When it
    /// returns, the next write to a page that was made clean is recorded again.
    /// </summary>
    /// <param name="iova">Start of the range.</param>
    /// <param name="length">Bytes, not 0.</param>
    /// <param name="clear">Whether to make the pages clean.</param>
    /// <param name="bitmap">Gets a bit for each page written; other bits are not touched.</param>
    /// <returns>
    /// Success; <see cref="Errno.NotSupported"/> without <see cref="SupportsDirtyTracking"/>;
    /// <see cref="Errno.InvalidArgument"/> if tracking is not on or the range is empty; <see cref="Errno.OutOfRange"/> outside
    /// the aperture; <see cref="Errno.IoError"/> if an IOMMU did not confirm the invalidation: what was reported is true, but
    /// further writes to those pages may go unnoticed until a call succeeds.
    /// </returns>
    public virtual Errno ReadDirty(Iova iova, ulong length, bool clear, in DirtyBitmap bitmap) => Errno.NotSupported;

    /// <summary>As <see cref="ReadDirty"/>, into plain words: it spares a caller of the core the page tables' own bitmap.</summary>
    /// <param name="iova">Start of the range.</param>
    /// <param name="length">Bytes, not 0.</param>
    /// <param name="clear">Whether to make the pages clean.</param>
    /// <param name="words">Bit n of word n / 64 for page n.</param>
    /// <param name="bitmapStart">The IOVA of bit 0.</param>
    /// <param name="pageSizeLog2">log2 of the bytes that a bit stands for.</param>
    /// <returns>As <see cref="ReadDirty"/>.</returns>
    public Errno ReadDirtyWords(
        Iova iova, ulong length, bool clear, Span<ulong> words, Iova bitmapStart, int pageSizeLog2) =>
        ReadDirty(iova, length, clear, new DirtyBitmap(words, bitmapStart, pageSizeLog2));
}

/// <summary>What a paging domain must be able to do.</summary>
internal readonly record struct PagingDomainOptions
{
    /// <summary>Dirty tracking will be used.</summary>
    public bool DirtyTracking { get; init; }

    /// <summary>The domain will be the second stage under nested domains.</summary>
    public bool NestParent { get; init; }

    /// <summary>The domain will be attached to PASIDs.</summary>
    public bool Pasid { get; init; }

    /// <summary>Which layout <see cref="Data"/> has; 0 for nothing. Only what <see cref="IommuInstance.TakesPagingData"/> takes.</summary>
    public uint DataType { get; init; }

    /// <summary>What the user wants of the table beside, in the driver's layout.</summary>
    public ReadOnlyMemory<byte> Data { get; init; }
}
