using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.PageTables;

/// <summary>
/// A page table of a format that was chosen at run time: what a domain holds. This folder knows tables and nothing of devices
/// (S4.9): it writes entries and says what must be invalidated, but never invalidates.
/// </summary>
/// <remarks>
/// <para>Concurrency. Operations on disjoint ranges may run at the same time, without a lock; the caller orders operations on
/// ranges that overlap. Hardware walks all the while: an entry is stored whole, after what it points to.</para>
/// <para>A table page is installed with compare-and-swap; who loses the race uses the winner's. A table page is removed
/// only by an operation that covers the whole range it translates, so that nobody else can be working in it: every other
/// operation in it would overlap. It goes to the gather, not to the allocator, because hardware may still walk it
/// (S4.14).</para>
/// <para>What is made by <see cref="TryCreate"/> is a radix table; other kinds of table may derive from this type.</para>
/// </remarks>
internal abstract class IoPageTable : IDisposable
{
    /// <summary>The format.</summary>
    public abstract PageTableFormat Format { get; }

    /// <summary>The root table, which lives from the beginning (S4.10) to <see cref="Dispose()"/>.</summary>
    public abstract PhysicalAddress Root { get; }

    /// <summary>The IOVAs that can be mapped (S3.6).</summary>
    public abstract AddressRange Aperture { get; }

    /// <summary>Bit n is set if a leaf can have 2^n bytes. The lowest is the granule, 4 KiB.</summary>
    public abstract ulong PageSizes { get; }

    /// <summary>Bytes of table pages that the table holds now, the root included; those in a gather are not counted.</summary>
    public abstract long TableBytes { get; }

    /// <summary>Makes an empty table.</summary>
    /// <param name="format">Its format.</param>
    /// <param name="options">What it may use.</param>
    /// <param name="memory">Where table pages are; either it gives host pointers to all of them or to none.</param>
    /// <param name="pages">Where table pages come from.</param>
    /// <param name="table">The table, to be disposed.</param>
    /// <returns>
    /// Success; <see cref="Errno.OutOfMemory"/> for the root; <see cref="Errno.InvalidArgument"/> for an option that the
    /// format does not have.
    /// </returns>
    public static Errno TryCreate(
        PageTableFormat format,
        PageTableOptions options,
        IPhysicalMemory memory,
        IPageAllocator pages,
        out IoPageTable? table)
    {
        ArgumentNullException.ThrowIfNull(format);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(pages);
        table = null;
        return format.TryCreateTable(options, memory, pages, out table);
    }

    /// <summary>Maps a range with the largest leaves that alignment and length allow; all or nothing.</summary>
    /// <param name="iova">Aligned to the granule.</param>
    /// <param name="address">Aligned to the granule.</param>
    /// <param name="length">Bytes, a multiple of the granule, not 0.</param>
    /// <param name="access">What the device may do; where the format has no leaf for just that, more is permitted: most have none that is written only.</param>
    /// <param name="gather">
    /// Gets the empty tables that large leaves replaced. If it is not empty afterwards, the mapping may be used only after the
    /// invalidation: hardware may still hold a pointer to the empty table.
    /// </param>
    /// <param name="type">Memory type; other than <see cref="MemoryType.Default"/> only if the options permit it.</param>
    /// <param name="granulesOnly">Whether every leaf is of one granule, whatever larger ones are possible.</param>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> for alignment, an access of nothing, or a memory type;
    /// <see cref="Errno.OutOfRange"/> outside the aperture or the physical address space; <see cref="Errno.AddressInUse"/> if
    /// a part is mapped; <see cref="Errno.OutOfMemory"/> for tables; <see cref="Errno.IoError"/> if the memory failed. After
    /// an error nothing has changed, except after the last.
    /// </returns>
    public abstract Errno Map(
        Iova iova,
        PhysicalAddress address,
        ulong length,
        Access access,
        ref InvalidationGather gather,
        MemoryType type = MemoryType.Default,
        bool granulesOnly = false);

    /// <summary>
    /// Takes a range out of the table. Holes are skipped. A leaf that reaches beyond the range is split: what is beyond stays
    /// mapped without interruption, and the gather names the whole old leaf. Tables that only the range used go to the gather.
    /// </summary>
    /// <param name="iova">Aligned to the granule.</param>
    /// <param name="length">Bytes, a multiple of the granule, not 0.</param>
    /// <param name="gather">Gets what must be invalidated before the IOVAs or the memory may be reused.</param>
    /// <param name="unmapped">Bytes that were mapped and are no more.</param>
    /// <returns>
    /// Success, also if nothing was mapped; <see cref="Errno.InvalidArgument"/> for alignment; <see cref="Errno.OutOfRange"/>
    /// outside the aperture; <see cref="Errno.OutOfMemory"/> if a leaf had to be split and there was no page for it;
    /// <see cref="Errno.IoError"/> if the memory failed. After an error nothing has changed, except after the last.
    /// </returns>
    public abstract Errno Unmap(Iova iova, ulong length, ref InvalidationGather gather, out ulong unmapped);

    /// <summary>What the table says of an IOVA, of any alignment, inside or outside the aperture.</summary>
    /// <param name="iova">The address.</param>
    /// <param name="address">Where it leads, byte-exact.</param>
    /// <param name="access">What the device may do there.</param>
    /// <param name="leafSize">Size in bytes of the leaf.</param>
    /// <returns>Whether it is mapped.</returns>
    public abstract bool TryTranslate(Iova iova, out PhysicalAddress address, out Access access, out ulong leafSize);

    /// <summary>Finds the first leaf that ends at or after an IOVA: the way to go through all mappings.</summary>
    public abstract bool TryFindNext(Iova from, out PageMapping mapping);

    /// <summary>
    /// Reports the pages of a range that were written, and makes them clean if wanted. A leaf that reaches beyond the range
    /// stays dirty, because what is beyond would otherwise be forgotten.
    /// </summary>
    /// <param name="range">IOVAs, of any alignment.</param>
    /// <param name="bitmap">Gets a bit for each dirty page of the range; other bits are not touched.</param>
    /// <param name="clear">Whether to make them clean.</param>
    /// <param name="gather">Gets the leaves that were made clean: until the invalidation, hardware may write without marking it.</param>
    /// <returns>
    /// Success; <see cref="Errno.NotSupported"/> without <see cref="PageTableOptions.HardwareDirty"/>; <see cref="Errno.OutOfRange"/> outside the
    /// aperture; <see cref="Errno.IoError"/> if the memory failed.
    /// </returns>
    public abstract Errno ReadDirty(AddressRange range, in DirtyBitmap bitmap, bool clear, ref InvalidationGather gather);

    /// <summary>
    /// Gives the tables of a gather back to the allocator and empties it. Only after the invalidation that covers them has
    /// completed (S4.14).
    /// </summary>
    public abstract void Release(ref InvalidationGather gather);

    /// <summary>Gives every table page back, mapped or not. Nothing may walk the table any more.</summary>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Gives every table page back.</summary>
    protected abstract void Dispose(bool disposing);
}
