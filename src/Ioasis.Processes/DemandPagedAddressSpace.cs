using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Processes;

/// <summary>
/// An address space with demand paging, copy-on-write and swap: what an operating system's memory management is to an IOMMU.
/// Nothing is in the table before it is touched, by a thread or, through a page request, by a device.
/// </summary>
/// <remarks>
/// An entry of the table never changes from one page or permission to another: it is taken out, whoever may have cached it is
/// told, and the next fault puts the new one in. So a page is <em>resident</em> without being <em>mapped</em> for a while, and
/// the fault that comes then costs no memory.
/// </remarks>
internal sealed partial class DemandPagedAddressSpace : ProcessAddressSpace
{
    private const int PageLog2 = 12;
    private const ulong PageMask = PageFrames.PageSize - 1;

    private readonly PageFrames _frames;
    private readonly MemoryAreas _areas = new();
    private readonly Dictionary<ulong, Page> _pages = [];

    // What a device may still reach, because it could not be made to forget: kept until the end.
    private readonly List<PhysicalAddress> _stranded = [];
    private readonly List<(PhysicalAddress Address, int SizeLog2)> _strandedTables = [];

    private DemandPagedAddressSpace(IoPageTable table, PageFrames frames)
        : base(table, frames.Memory) => _frames = frames;

    /// <summary>Pages in memory.</summary>
    public int ResidentPages { get; private set; }

    /// <summary>Pages in swap space.</summary>
    public int SwappedPages { get; private set; }

    /// <summary>Faults that found the page missing, in swap space, or without the permission.</summary>
    public long Faults { get; private set; }

    /// <summary>Pages that were copied because another process shares them.</summary>
    public long CopiesOnWrite { get; private set; }

    /// <summary>Makes an empty address space.</summary>
    /// <param name="frames">Where its pages come from; table pages come from the same allocator.</param>
    /// <param name="format">A first-stage format with entries of 8 bytes.</param>
    /// <param name="addressSpace">The address space.</param>
    /// <returns>
    /// Success; <see cref="Errno.OutOfMemory"/> for the root table; <see cref="Errno.InvalidArgument"/> for another format.
    /// </returns>
    public static Errno TryCreate(PageFrames frames, PageTableFormat format, out DemandPagedAddressSpace? addressSpace)
    {
        ArgumentNullException.ThrowIfNull(frames);
        ArgumentNullException.ThrowIfNull(format);
        addressSpace = null;
        if (format.Stage != TranslationStage.First || format.EntrySizeLog2 != 3)
        {
            return Errno.InvalidArgument;
        }

        // Single pages only: each has a life of its own.
        Errno error = IoPageTable.TryCreate(
            format, new() { LeafSizes = 1ul << PageLog2 }, frames.Memory, frames.Allocator, out IoPageTable? table);
        if (error == Errno.Success)
        {
            addressSpace = new(table!, frames);
        }

        return error;
    }

    /// <summary>Adds memory of the process's own, zero when first touched.</summary>
    /// <param name="address">Page-aligned.</param>
    /// <param name="length">Bytes, a multiple of the page size, not 0.</param>
    /// <param name="access">What may be done there; nothing makes a reservation.</param>
    /// <param name="shared">Memory to share with other processes instead.</param>
    /// <param name="sharedPage">The page of <paramref name="shared"/> at <paramref name="address"/>.</param>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> for alignment; <see cref="Errno.OutOfRange"/> outside the user half;
    /// <see cref="Errno.Exists"/> if a part is taken; <see cref="Errno.NoEntry"/> after the end.
    /// </returns>
    public Errno Map(ulong address, ulong length, Access access, SharedMemory? shared = null, ulong sharedPage = 0)
    {
        Errno error = CheckRange(address, length, out AddressRange range);
        if (error != Errno.Success)
        {
            return error;
        }

        using (Lock.Acquire())
        {
            if (IsExiting)
            {
                return Errno.NoEntry;
            }

            if (_areas.Overlaps(range))
            {
                return Errno.Exists;
            }

            _areas.Add(new(range, Normalize(access), shared, sharedPage));
            return Errno.Success;
        }
    }

    /// <summary>
    /// Removes whatever is in a range. When it returns success, neither a thread nor a device reaches the memory any more, and
    /// it may be anybody's (S2.11).
    /// </summary>
    /// <returns>
    /// Success, also for holes; <see cref="Errno.InvalidArgument"/>, <see cref="Errno.OutOfRange"/> as for <see cref="Map"/>;
    /// <see cref="Errno.IoError"/> if a device could not be made to forget: the range is gone, its memory is never reused.
    /// </returns>
    public Errno Unmap(ulong address, ulong length)
    {
        Errno error = CheckRange(address, length, out AddressRange range);
        if (error != Errno.Success)
        {
            return error;
        }

        using (Lock.Acquire())
        {
            if (IsExiting)
            {
                return Errno.NoEntry;
            }

            List<Page> removed = RemovePages(range);
            error = TakeOut(range);
            _ = _areas.CutOut(range);
            removed.ForEach(error == Errno.Success ? Drop : Strand);
            return error;
        }
    }

    /// <summary>Changes what may be done in a range that is mapped throughout.</summary>
    /// <returns>
    /// Success: no thread and no device can do any more what is not permitted now; <see cref="Errno.OutOfMemory"/> if the range
    /// has holes; others as for <see cref="Unmap"/>.
    /// </returns>
    public Errno Protect(ulong address, ulong length, Access access)
    {
        Errno error = CheckRange(address, length, out AddressRange range);
        if (error != Errno.Success)
        {
            return error;
        }

        using (Lock.Acquire())
        {
            if (IsExiting)
            {
                return Errno.NoEntry;
            }

            if (!_areas.Covers(range))
            {
                return Errno.OutOfMemory;
            }

            foreach (MemoryArea area in _areas.CutOut(range))
            {
                _areas.Add(area with { Access = Normalize(access) });
            }

            return TakeOut(range);
        }
    }

    // Takes the entries of a range out of the table and has everybody forget them. The pages stay resident.
    private Errno TakeOut(AddressRange range)
    {
        InvalidationGather gather = default;
        Errno error = Table.Unmap(new(range.Start), range.Length, ref gather, out _);
        foreach (ulong page in PagesIn(range))
        {
            _pages[page] = _pages[page] with { IsMapped = false, IsWritable = false };
        }

        error = error == Errno.Success ? Notify(gather) : error;
        if (error == Errno.Success)
        {
            Table.Release(ref gather);
        }
        else
        {
            _strandedTables.AddRange(gather.FreedTables);
            gather.Clear();
        }

        return error;
    }

    private List<ulong> PagesIn(AddressRange range)
    {
        List<ulong> found = [];
        ulong first = range.Start >> PageLog2;
        ulong count = range.Length >> PageLog2;
        if (count > (ulong)_pages.Count)
        {
            found.AddRange(_pages.Keys.Where(page => page - first < count));
            return found;
        }

        for (ulong page = first; page < first + count; page++)
        {
            if (_pages.ContainsKey(page))
            {
                found.Add(page);
            }
        }

        return found;
    }

    private List<Page> RemovePages(AddressRange range)
    {
        List<Page> removed = [];
        foreach (ulong number in PagesIn(range))
        {
            _ = _pages.Remove(number, out Page page);
            removed.Add(page);
            ResidentPages -= page.IsResident ? 1 : 0;
            SwappedPages -= page.IsResident ? 0 : 1;
        }

        return removed;
    }

    private void Drop(Page page)
    {
        if (page.IsResident)
        {
            _frames.Release(page.Frame);
        }
        else
        {
            _frames.ReleaseSlot(page.Slot);
        }
    }

    private void Strand(Page page)
    {
        if (page.IsResident)
        {
            _stranded.Add(page.Frame);
        }
        else
        {
            _frames.ReleaseSlot(page.Slot);
        }
    }

    /// <inheritdoc/>
    protected override void ReleasePages()
    {
        foreach (Page page in _pages.Values)
        {
            Drop(page);
        }

        foreach (PhysicalAddress frame in _stranded)
        {
            _frames.Release(frame);
        }

        foreach ((PhysicalAddress table, int sizeLog2) in _strandedTables)
        {
            _frames.Allocator.Free(table, sizeLog2);
        }

        _pages.Clear();
        _areas.Clear();
        _stranded.Clear();
        _strandedTables.Clear();
        (ResidentPages, SwappedPages) = (0, 0);
    }

    private Errno CheckRange(ulong address, ulong length, out AddressRange range)
    {
        range = default;
        if (((address | length) & PageMask) != 0 || length == 0)
        {
            return Errno.InvalidArgument;
        }

        return AddressRange.TryFromLength(address, length, out range) && Table.Aperture.Contains(range)
            ? Errno.Success
            : Errno.OutOfRange;
    }

    private static Access Normalize(Access access) =>
        (access & (Access.Write | Access.Execute)) != 0 ? access | Access.Read : access;

    /// <summary>A page of the process's own or of shared memory.</summary>
    private readonly record struct Page
    {
        /// <summary>Whether it is in memory; otherwise it is in swap space.</summary>
        public bool IsResident { get; init; }

        public PhysicalAddress Frame { get; init; }

        public long Slot { get; init; }

        /// <summary>Whether the table has it.</summary>
        public bool IsMapped { get; init; }

        /// <summary>Whether the table permits writes.</summary>
        public bool IsWritable { get; init; }
    }
}
