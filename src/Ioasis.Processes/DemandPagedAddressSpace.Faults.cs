using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Processes;

/// <content>Faults of threads and devices, fork, and swap.</content>
internal sealed partial class DemandPagedAddressSpace
{
    /// <inheritdoc/>
    public override Errno HandleFault(ulong address, Access access)
    {
        using (Lock.Acquire())
        {
            return Fault(address, access);
        }
    }

    /// <inheritdoc/>
    public override Errno Read(ulong address, Span<byte> destination)
    {
        while (destination.Length > 0)
        {
            int length = (int)Math.Min((ulong)destination.Length, PageFrames.PageSize - (address & PageMask));
            using (Lock.Acquire())
            {
                Errno error = Fault(address, Access.Read);
                if (error != Errno.Success)
                {
                    return error;
                }

                PhysicalAddress at = _pages[address >> PageLog2].Frame + (address & PageMask);
                if (Memory.Read(at, destination[..length]) != MemoryStatus.Success)
                {
                    return Errno.IoError;
                }
            }

            destination = destination[length..];
            address += (ulong)length;
        }

        return Errno.Success;
    }

    /// <inheritdoc/>
    public override Errno Write(ulong address, ReadOnlySpan<byte> source)
    {
        while (source.Length > 0)
        {
            int length = (int)Math.Min((ulong)source.Length, PageFrames.PageSize - (address & PageMask));
            using (Lock.Acquire())
            {
                Errno error = Fault(address, Access.Write);
                if (error != Errno.Success)
                {
                    return error;
                }

                PhysicalAddress at = _pages[address >> PageLog2].Frame + (address & PageMask);
                if (Memory.Write(at, source[..length]) != MemoryStatus.Success)
                {
                    return Errno.IoError;
                }
            }

            source = source[length..];
            address += (ulong)length;
        }

        return Errno.Success;
    }

    /// <summary>
    /// Makes a copy of the process: areas alike, pages shared until one side writes. The copy has no PASID and no device.
    /// </summary>
    /// <returns>
    /// Success; <see cref="Errno.OutOfMemory"/>; <see cref="Errno.NoEntry"/> after the end; <see cref="Errno.IoError"/> if a
    /// device could not be made to forget that it may write: then there is no copy.
    /// </returns>
    public Errno TryFork(out DemandPagedAddressSpace? child)
    {
        child = null;
        using (Lock.Acquire())
        {
            if (IsExiting)
            {
                return Errno.NoEntry;
            }

            Errno error = TryCreate(_frames, Table.Format, out DemandPagedAddressSpace? made);
            if (error != Errno.Success)
            {
                return error;
            }

            // From here on nobody writes to what will be shared; the next write copies.
            foreach (MemoryArea area in _areas.All)
            {
                if (area.Shared is null && (area.Access & Access.Write) != 0)
                {
                    error = TakeOut(area.Range);
                    if (error != Errno.Success)
                    {
                        _ = made!.Exit();
                        return error;
                    }
                }
            }

            foreach (MemoryArea area in _areas.All)
            {
                made!._areas.Add(area);
            }

            foreach ((ulong number, Page page) in _pages)
            {
                if (page.IsResident)
                {
                    _frames.Share(page.Frame);
                }
                else
                {
                    _frames.ShareSlot(page.Slot);
                }

                made!._pages.Add(number, page with { IsMapped = false, IsWritable = false });
            }

            (made!.ResidentPages, made.SwappedPages) = (ResidentPages, SwappedPages);
            child = made;
            return Errno.Success;
        }
    }

    /// <summary>Moves the pages of a range that nobody shares to swap space. Devices are told first.</summary>
    /// <param name="address">Page-aligned.</param>
    /// <param name="length">Bytes, a multiple of the page size, not 0.</param>
    /// <param name="pages">How many were moved.</param>
    /// <returns>Success, or an error as of <see cref="Unmap"/>; what was not moved is as it was.</returns>
    public Errno SwapOut(ulong address, ulong length, out int pages)
    {
        pages = 0;
        Errno error = CheckRange(address, length, out AddressRange range);
        if (error != Errno.Success)
        {
            return error;
        }

        using (Lock.Acquire())
        {
            error = IsExiting ? Errno.NoEntry : TakeOut(range);
            foreach (ulong number in error == Errno.Success ? PagesIn(range) : [])
            {
                Page page = _pages[number];
                bool isOwn = page.IsResident && _areas.TryFind(number << PageLog2, out MemoryArea area) && area.Shared is null
                    && _frames.ReferencesOf(page.Frame) == 1;
                if (!isOwn)
                {
                    continue;
                }

                error = _frames.TrySwapOut(page.Frame, out long slot);
                if (error != Errno.Success)
                {
                    return error;
                }

                _pages[number] = new() { Slot = slot };
                ResidentPages--;
                SwappedPages++;
                pages++;
            }

            return error;
        }
    }

    // With the lock held.
    private Errno Fault(ulong address, Access access)
    {
        if (IsExiting || !_areas.TryFind(address, out MemoryArea area))
        {
            return Errno.BadAddress;
        }

        if (area.Access == Access.None || (access & ~area.Access) != 0)
        {
            return Errno.AccessDenied;
        }

        ulong number = address >> PageLog2;
        bool writes = (access & Access.Write) != 0;
        bool exists = _pages.TryGetValue(number, out Page page);
        if (exists && page.IsMapped && (page.IsWritable || !writes))
        {
            return Errno.Success;
        }

        Faults++;
        Errno error = page.IsResident ? Errno.Success : BringIn(area, number, exists, ref page);
        bool isShared = area.Shared is null && error == Errno.Success && _frames.ReferencesOf(page.Frame) > 1;
        if (error == Errno.Success && writes && (isShared || page.IsMapped))
        {
            error = MakeOwn(number, isShared, ref page);
            isShared = false;
        }

        if (error != Errno.Success)
        {
            return error;
        }

        bool isWritable = (area.Access & Access.Write) != 0 && !isShared;
        InvalidationGather gather = default;
        error = Table.Map(
            new(number << PageLog2), page.Frame, PageFrames.PageSize, isWritable ? area.Access : area.Access & ~Access.Write, ref gather);
        if (error == Errno.Success)
        {
            _pages[number] = page with { IsMapped = true, IsWritable = isWritable };
        }

        return error;
    }

    // The page becomes resident, not yet mapped. It stays so whatever comes after: the next fault goes on from there.
    private Errno BringIn(in MemoryArea area, ulong number, bool isSwapped, ref Page page)
    {
        PhysicalAddress frame;
        Errno error = isSwapped ? _frames.TrySwapIn(page.Slot, out frame)
            : area.Shared is { } shared ? shared.TryGet(area.SharedPage + (number - (area.Range.Start >> PageLog2)), out frame)
            : _frames.TryAllocate(out frame);
        if (error == Errno.Success)
        {
            page = new() { IsResident = true, Frame = frame };
            _pages[number] = page;
            ResidentPages++;
            SwappedPages -= isSwapped ? 1 : 0;
        }

        return error;
    }

    // A write to a page that the table has for reading only, or that another process has too. The copy is made while nobody can
    // write; the old page is let go when nobody can read it through this address any more.
    private Errno MakeOwn(ulong number, bool isShared, ref Page page)
    {
        PhysicalAddress copy = page.Frame;
        Errno error = isShared ? _frames.TryCopy(page.Frame, out copy) : Errno.Success;
        if (error != Errno.Success)
        {
            return error;
        }

        PhysicalAddress old = page.Frame;
        if (page.IsMapped)
        {
            ulong start = number << PageLog2;
            error = TakeOut(new(start, start + PageMask));
        }

        page = new() { IsResident = true, Frame = copy };
        _pages[number] = page;
        if (!isShared)
        {
            return error;
        }

        CopiesOnWrite++;
        if (error == Errno.Success)
        {
            _frames.Release(old);
        }
        else
        {
            _stranded.Add(old);
        }

        return error;
    }
}
