using System.Numerics;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// What devices that share an address space see of a client's memory (Linux: <c>io_pagetable</c>): the areas, the domains
/// that hold each of them, and the IOVAs that can be used. Serves iommufd's IOAS and VFIO's containers alike; knows no
/// descriptor, no object number and no device.
/// </summary>
/// <remarks>
/// Thread-safe by one lock. Every live area is in every domain, and its memory is pinned exactly if there is a domain.
/// All or nothing: a call that fails leaves areas, domains, pins and ranges as they were (invariant 3).
/// </remarks>
internal sealed partial class AddressSpace : ILazyRelease
{
    internal const ulong PageSize = 4096;

    // A larger alignment than the largest common leaf gains nothing.
    private const ulong MaxAutomaticAlignment = 1ul << 30;

    // Areas that one unmap call takes out of the tables before it waits for their invalidation.
    private const int UnmapChunk = 256;

    private readonly IoLock _lock = new();
    private readonly AreaTree<Area> _areas = new();
    private readonly Stack<Area> _freeAreas = [];
    private readonly List<Area> _unmapping = [];
    private readonly List<AddressSpaceDomain> _domains = [];
    private readonly IovaLimits _limits = new();
    private readonly ClientMemoryPool _memories;
    private readonly LazyInvalidationOptions _lazyOptions;
    private int _liveCount;
    private bool _largePages = true;
    private bool _lazy;
    private ulong _alignment = 1;

    public AddressSpace(ClientMemoryPool memories, LazyInvalidationOptions lazyOptions)
    {
        _memories = memories;
        _lazyOptions = lazyOptions;
    }

    /// <summary>Areas, those included that wait for an invalidation.</summary>
    public int AreaCount
    {
        get
        {
            using (_lock.Acquire())
            {
                return _areas.Count;
            }
        }
    }

    /// <summary>Reservations of domains and devices.</summary>
    public int ReservationCount
    {
        get
        {
            using (_lock.Acquire())
            {
                return _limits.ReservationCount;
            }
        }
    }

    /// <summary>Maps a client's memory.</summary>
    /// <param name="iova">In if <paramref name="isFixed"/>, out always.</param>
    /// <param name="isFixed">Whether the caller chose the IOVA.</param>
    /// <param name="userAddress">The memory.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="access">What devices may do.</param>
    public Errno Map(ref ulong iova, bool isFixed, ulong userAddress, ulong length, Access access)
    {
        if (userAddress > ulong.MaxValue - length)
        {
            return Errno.Overflow;
        }

        if (length == 0 || length > ulong.MaxValue - PageSize)
        {
            return Errno.InvalidArgument;
        }

        if (Injection.Hit(InjectionKind.Allocate) != Errno.Success)
        {
            return Errno.OutOfMemory;
        }

        using (_lock.Acquire())
        {
            Errno error = Place(ref iova, isFixed, userAddress, length);
            if (error != Errno.Success)
            {
                return error;
            }

            ClientMemory memory = _memories.Rent(userAddress, length, (access & Access.Write) != 0);
            error = AddArea(iova, length, memory, 0, access);
            if (error != Errno.Success)
            {
                return error;
            }

            return Errno.Success;
        }
    }

    /// <summary>Maps here what <paramref name="source"/> maps, by reference to the same memory.</summary>
    /// <param name="source">Where it is mapped; may be this one.</param>
    /// <param name="sourceIova">First IOVA there.</param>
    /// <param name="length">Bytes; mapped there without a hole.</param>
    /// <param name="iova">In if <paramref name="isFixed"/>, out always.</param>
    /// <param name="isFixed">Whether the caller chose the IOVA.</param>
    /// <param name="access">What devices may do.</param>
    public Errno Copy(AddressSpace source, ulong sourceIova, ulong length, ref ulong iova, bool isFixed, Access access)
    {
        List<Piece> pieces = [];
        Errno error = source.Collect(sourceIova, length, pieces);
        if (error != Errno.Success)
        {
            return error;
        }

        using (_lock.Acquire())
        {
            error = Place(ref iova, isFixed, pieces[0].Memory.UserAddress + pieces[0].Offset, length);
            int done = 0;
            ulong next = iova;
            while (error == Errno.Success && done < pieces.Count)
            {
                Piece piece = pieces[done++];
                error = AddArea(next, piece.Length, piece.Memory, piece.Offset, access);
                next += piece.Length;
            }

            if (error != Errno.Success)
            {
                // The pieces that were not handed over yet, and the areas of those that were.
                for (int i = done; i < pieces.Count; i++)
                {
                    _memories.Return(pieces[i].Memory);
                }

                if (done > 1)
                {
                    _ = UnmapRange(iova, next - 1 - pieces[done - 1].Length, lazy: false, out _);
                }
            }

            return error;
        }
    }

    /// <summary>Unmaps the areas that lie within a range.</summary>
    /// <returns>
    /// Success; <see cref="Errno.NoEntry"/> if there is none, or one reaches beyond the range (those below it are gone then);
    /// <see cref="Errno.IoError"/> if an IOMMU did not complete the invalidation: the areas are gone for the user, their
    /// memory stays pinned.
    /// </returns>
    public Errno Unmap(ulong iova, ulong length, out ulong unmapped)
    {
        unmapped = 0;
        if (length == 0)
        {
            return Errno.InvalidArgument;
        }

        if (iova > ulong.MaxValue - (length - 1))
        {
            return Errno.Overflow;
        }

        using (_lock.Acquire())
        {
            PollLazy();
            return UnmapRange(iova, iova + (length - 1), _lazy, out unmapped);
        }
    }

    /// <summary>Unmaps everything; nothing to unmap is a success too.</summary>
    public Errno UnmapAll(out ulong unmapped)
    {
        using (_lock.Acquire())
        {
            Errno error = UnmapRange(0, ulong.MaxValue, _lazy, out unmapped);
            return error == Errno.NoEntry ? Errno.Success : error;
        }
    }

    /// <summary>Takes everything down. No domain may be left.</summary>
    public void Close()
    {
        using (_lock.Acquire())
        {
            _ = UnmapRange(0, ulong.MaxValue, lazy: false, out _);
        }
    }

    void ILazyRelease.Release(AddressRange range, ulong cookie0, ulong cookie1)
    {
        // Every call into a queue is made under the lock, so this runs under it too.
        Area? area = _areas.FindOverlap(range.Start, range.Start, out _, out _);
        if (area is { State: AreaState.Retired } && --area.Waiting == 0)
        {
            Free(area);
        }
    }

    private Errno Place(ref ulong iova, bool isFixed, ulong userAddress, ulong length)
    {
        PollLazy();
        if ((length & (_alignment - 1)) != 0)
        {
            return Errno.InvalidArgument;
        }

        Errno error = isFixed ? CheckIova(iova, length) : ChooseIova(userAddress, length, out iova);
        return error == Errno.Success && (userAddress & (PageSize - 1) & (_alignment - 1)) != 0
            ? Errno.InvalidArgument
            : error;
    }

    private Errno CheckIova(ulong iova, ulong length)
    {
        if ((iova & (_alignment - 1)) != 0)
        {
            return Errno.InvalidArgument;
        }

        if (!AddressRange.TryFromLength(iova, length, out AddressRange range))
        {
            return Errno.Overflow;
        }

        if (!_limits.Usable.Contains(range))
        {
            return Errno.InvalidArgument;
        }

        for (bool flushed = false; ; flushed = true)
        {
            if (FindOverlap(range, out bool retired) is null)
            {
                return Errno.Success;
            }

            if (!retired)
            {
                return Errno.Exists;
            }

            // Only areas whose invalidation is pending are in the way.
            Errno error = flushed ? Errno.IoError : FlushAll();
            if (error != Errno.Success)
            {
                return error;
            }
        }
    }

    // The first live area in a range, or else the first retired one.
    private Area? FindOverlap(AddressRange range, out bool retired)
    {
        Area? first = null;
        ulong cursor = range.Start;
        while (_areas.FindOverlap(cursor, range.Last, out _, out ulong last) is { } area)
        {
            if (area.State == AreaState.Live)
            {
                retired = false;
                return area;
            }

            first ??= area;
            if (last >= range.Last)
            {
                break;
            }

            cursor = last + 1;
        }

        retired = first is not null;
        return first;
    }

    private Errno ChooseIova(ulong userAddress, ulong length, out ulong iova)
    {
        iova = 0;
        if (length >= ulong.MaxValue / 2)
        {
            return Errno.Overflow;
        }

        // The alignment that the memory has is kept, so that large leaves are possible.
        ulong alignment = BitOperations.RoundUpToPowerOf2(length);
        if (userAddress != 0)
        {
            alignment = Math.Min(alignment, userAddress & (0 - userAddress));
        }

        alignment = Math.Min(alignment, MaxAutomaticAlignment);
        if (alignment < _alignment)
        {
            return Errno.InvalidArgument;
        }

        alignment = Math.Max(alignment, PageSize);
        ulong offset = userAddress & (PageSize - 1);
        if (TryChooseIova(length, alignment, offset, out iova))
        {
            return Errno.Success;
        }

        return PendingCount > 0 && FlushAll() == Errno.Success && TryChooseIova(length, alignment, offset, out iova)
            ? Errno.Success
            : Errno.NoSpace;
    }

    private bool TryChooseIova(ulong length, ulong alignment, ulong offset, out ulong iova)
    {
        // Neither the first page nor the last is ever chosen: 0 and -1 stand for "none" in too many programs.
        const ulong Lowest = PageSize;
        const ulong Highest = ulong.MaxValue - PageSize;
        IntervalSet ranges = _limits.Allowed.Count > 0 ? _limits.Allowed : _limits.Usable;
        ulong grain = Math.Min(alignment, _alignment);
        for (int i = 0; i < ranges.Count; i++)
        {
            ulong start = Math.Max(Lowest, ranges[i].Start);
            ulong last = Math.Min(Highest, ranges[i].Last);
            if (start <= last && _areas.TryFindHole(start, last, length, alignment, offset, grain, out iova))
            {
                return true;
            }
        }

        iova = 0;
        return false;
    }

    // Takes over the caller's reference to the memory, also when it fails.
    private Errno AddArea(ulong iova, ulong length, ClientMemory memory, ulong offset, Access access)
    {
        if ((access & Access.Write) != 0 && !memory.Writable)
        {
            _memories.Return(memory);
            return Errno.NotPermitted;
        }

        if (!_freeAreas.TryPop(out Area? area))
        {
            area = new();
        }

        area.Start = iova;
        area.Last = iova + (length - 1);
        area.Memory = memory;
        area.Offset = offset;
        area.Access = access;
        area.Waiting = 0;
        area.Pinned = false;
        area.State = AreaState.Live;
        _liveCount++;
        if (_domains.Count > 0)
        {
            Errno error = Fill(area);
            if (error != Errno.Success)
            {
                return error;
            }
        }

        _areas.Add(area.Start, area.Last, area);
        return Errno.Success;
    }

    // Pins an area that is in no tree yet and puts it into every domain. When that fails the area is gone.
    private Errno Fill(Area area)
    {
        Errno error = area.Memory!.Pin();
        if (error != Errno.Success)
        {
            _liveCount--;
            Recycle(area);
            return error;
        }

        area.Pinned = true;
        int filled = 0;
        while (filled < _domains.Count && error == Errno.Success)
        {
            error = Fill(area, _domains[filled++].Domain);
        }

        if (error == Errno.Success)
        {
            return Errno.Success;
        }

        // A device may have used the area in the meantime, so what was mapped is invalidated like any other.
        _areas.Add(area.Start, area.Last, area);
        _unmapping.Clear();
        _unmapping.Add(area);
        _ = Retire(filled, lazy: false);
        return error == Errno.OutOfRange ? Errno.InvalidArgument : error;
    }

    private Errno Fill(Area area, PagingDomain domain)
    {
        ulong length = area.Length;
        for (ulong done = 0; done < length;)
        {
            ulong bytes = area.Memory!.Locate(area.Offset + done, length - done, out PhysicalAddress address);
            if (!_largePages)
            {
                bytes = Math.Min(bytes, PageSize);
            }

            Errno error = domain.Map(new(area.Start + done), address, bytes, area.Access);
            if (error != Errno.Success)
            {
                return error;
            }

            done += bytes;
        }

        return Errno.Success;
    }

    private Errno UnmapRange(ulong start, ulong last, bool lazy, out ulong unmapped)
    {
        unmapped = 0;
        ulong cursor = start;
        bool more = true;
        while (more)
        {
            Errno stop = Errno.Success;
            _unmapping.Clear();
            while (more && stop == Errno.Success && _unmapping.Count < UnmapChunk)
            {
                Area? area = _areas.FindOverlap(cursor, last, out ulong areaStart, out ulong areaLast);
                if (area is null)
                {
                    more = false;
                    break;
                }

                if (area.State == AreaState.Live)
                {
                    if (areaStart < start || areaLast > last)
                    {
                        stop = Errno.NoEntry;
                        break;
                    }

                    _unmapping.Add(area);
                    unmapped += areaLast - areaStart + 1;
                }

                more = areaLast < last;
                cursor = areaLast + 1;
            }

            Errno error = Retire(_domains.Count, lazy);
            if (error != Errno.Success || stop != Errno.Success)
            {
                return error != Errno.Success ? error : stop;
            }
        }

        return unmapped > 0 ? Errno.Success : Errno.NoEntry;
    }

    // Takes the areas of the list out of the first domains and frees them, as far as the invalidations allow.
    private Errno Retire(int domains, bool lazy)
    {
        foreach (Area area in _unmapping)
        {
            area.State = AreaState.Retired;
            _liveCount--;
            area.Waiting = domains;
            if (domains == 0)
            {
                Free(area);
            }
        }

        for (int i = 0; i < domains; i++)
        {
            foreach (Area area in _unmapping)
            {
                _ = _domains[i].Batch.Unmap(new(area.Start), area.Length);
            }
        }

        Errno result = Errno.Success;
        for (int i = 0; i < domains; i++)
        {
            AddressSpaceDomain domain = _domains[i];
            Errno error = lazy ? Errno.TryAgain : domain.Batch.Complete();
            if (error == Errno.Success)
            {
                foreach (Area area in _unmapping)
                {
                    if (--area.Waiting == 0)
                    {
                        Free(area);
                    }
                }

                continue;
            }

            result = lazy ? result : error;

            // The first takes the invalidation of all along; a queue that fills up may free areas while this runs.
            for (int j = 0; j < _unmapping.Count; j++)
            {
                AddressRange range = _unmapping[j].Range;
                _ = domain.Batch.Defer(domain.Lazy, range, this, 0, 0);
            }
        }

        return result;
    }

    private void Free(Area area)
    {
        _ = _areas.Remove(area.Start);
        Recycle(area);
    }

    private void Recycle(Area area)
    {
        ClientMemory memory = area.Memory!;
        if (area.Pinned)
        {
            memory.Unpin();
        }

        _memories.Return(memory);
        area.Memory = null;
        area.State = AreaState.Free;
        _freeAreas.Push(area);
    }

    // The memory under a range without holes, with a reference to each piece.
    private Errno Collect(ulong iova, ulong length, List<Piece> pieces)
    {
        if (length == 0)
        {
            return Errno.InvalidArgument;
        }

        if (!AddressRange.TryFromLength(iova, length, out AddressRange range))
        {
            return Errno.Overflow;
        }

        using (_lock.Acquire())
        {
            ulong cursor = iova;
            while (true)
            {
                Area? area = _areas.FindOverlap(cursor, cursor, out _, out _);
                if (area is not { State: AreaState.Live })
                {
                    foreach (Piece piece in pieces)
                    {
                        _memories.Return(piece.Memory);
                    }

                    return Errno.NoEntry;
                }

                ulong last = Math.Min(area.Last, range.Last);
                area.Memory!.Reference();
                pieces.Add(new(area.Memory, area.Offset + (cursor - area.Start), last - cursor + 1));
                if (last == range.Last)
                {
                    return Errno.Success;
                }

                cursor = last + 1;
            }
        }
    }

    private readonly record struct Piece(ClientMemory Memory, ulong Offset, ulong Length);
}
