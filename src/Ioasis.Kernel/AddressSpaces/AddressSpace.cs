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
    private const ulong PromisedAlignment = 1ul << 21;

    // Areas that one unmap call takes out of the tables before it waits for their invalidation.
    private const int UnmapChunk = 256;

    // Of the copy in progress in this thread: copies in the steady state allocate nothing.
    [ThreadStatic]
    private static List<Piece>? t_pieces;

    private readonly IoLock _lock = new();
    private readonly AreaTree<Area> _areas = new();
    private readonly Stack<Area> _freeAreas = [];
    private readonly List<Area> _unmapping = [];
    private readonly List<AddressSpaceDomain> _domains = [];
    private readonly IovaLimits _limits = new();
    private readonly ClientMemoryPool _memories;
    private readonly LazyInvalidationOptions _lazyOptions;
    private readonly bool _pinsByProcess;
    private int _liveCount;
    private int _lostAddresses;
    private bool _largePages = true;
    private bool _lazy;
    private ulong _alignment = 1;

    /// <summary>Makes an empty address space.</summary>
    /// <param name="memories">Where the books on memory are kept.</param>
    /// <param name="lazyOptions">Limits of deferred invalidation.</param>
    /// <param name="pinsByProcess">Whether a process pays for what it has mapped, or its user.</param>
    public AddressSpace(ClientMemoryPool memories, LazyInvalidationOptions lazyOptions, bool pinsByProcess)
    {
        _memories = memories;
        _lazyOptions = lazyOptions;
        _pinsByProcess = pinsByProcess;
    }

    /// <summary>Areas, those included that wait for an invalidation.</summary>
    public int AreaCount
    {
        get
        {
            using (_lock.Acquire())
            {
                return _areas.Count - _blockedCount;
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

    /// <summary>What is there, by count: unchanged after a call that failed or was undone.</summary>
    public AddressSpaceAudit Audit
    {
        get
        {
            using (_lock.Acquire())
            {
                int retired = _areas.Count - _blockedCount - _liveCount;
                return new(
                    _liveCount,
                    retired,
                    _lostAddresses,
                    _domains.Count,
                    _limits.ReservationCount,
                    _domains.Sum(static domain => domain.Direct.Count),
                    PendingCount,
                    _alignment,
                    string.Join(' ', _limits.Usable));
            }
        }
    }

    /// <summary>Maps a client's memory.</summary>
    /// <param name="owner">Whose memory, and who pays for it.</param>
    /// <param name="iova">In if <paramref name="isFixed"/>, out always.</param>
    /// <param name="isFixed">Whether the caller chose the IOVA.</param>
    /// <param name="userAddress">The memory.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="access">What devices may do.</param>
    public Errno Map(MemoryOwner owner, ref ulong iova, bool isFixed, ulong userAddress, ulong length, Access access) =>
        Map(owner, null, ref iova, isFixed, userAddress, userAddress, length, access);

    /// <summary>Maps a part of a file.</summary>
    /// <param name="owner">Who pays for it.</param>
    /// <param name="file">The file; it is held while the part is mapped.</param>
    /// <param name="iova">In if <paramref name="isFixed"/>, out always.</param>
    /// <param name="isFixed">Whether the caller chose the IOVA.</param>
    /// <param name="start">Offset in the file.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="access">What devices may do.</param>
    public Errno MapFile(
        MemoryOwner owner, MemoryFile file, ref ulong iova, bool isFixed, ulong start, ulong length, Access access)
    {
        if (start > file.Length || length > file.Length - start)
        {
            return length == 0 || start <= ulong.MaxValue - length ? Errno.InvalidArgument : Errno.Overflow;
        }

        return Map(owner, file, ref iova, isFixed, file.Address + start, start, length, access);
    }

    /// <summary>Maps a part of another device's memory.</summary>
    /// <param name="owner">Who maps it; nobody pays.</param>
    /// <param name="buffer">The memory; it is held while the part is mapped.</param>
    /// <param name="iova">In if <paramref name="isFixed"/>, out always.</param>
    /// <param name="isFixed">Whether the caller chose the IOVA.</param>
    /// <param name="start">Offset in it.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="access">What devices may do.</param>
    /// <returns>
    /// As for other memory; <see cref="Errno.NoDevice"/> if the device has taken it back; <see cref="Errno.NotSupported"/> if it is in
    /// several parts.
    /// </returns>
    public Errno MapDevice(
        MemoryOwner owner, DmaBufferFile buffer, ref ulong iova, bool isFixed, ulong start, ulong length, Access access)
    {
        if (length == 0)
        {
            return Errno.InvalidArgument;
        }

        if (start > ulong.MaxValue - (length - 1))
        {
            return Errno.Overflow;
        }

        if (start > buffer.Length || length > buffer.Length - start)
        {
            return Errno.InvalidArgument;
        }

        return buffer.IsRevoked ? Errno.NoDevice
            : buffer.Ranges.Count != 1 ? Errno.NotSupported
            : Map(owner, buffer, ref iova, isFixed, buffer.Ranges[0].Address.Value + start, start, length, access);
    }

    // Of a file, the place in it stands for the address whose alignment an automatic IOVA keeps.
    private Errno Map(
        MemoryOwner owner,
        OpenFile? file,
        ref ulong iova,
        bool isFixed,
        ulong userAddress,
        ulong placement,
        ulong length,
        Access access)
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
            Errno error = Place(ref iova, isFixed, placement, length);
            if (error != Errno.Success)
            {
                return error;
            }

            _ = file?.TryReference();
            ClientMemory memory =
                _memories.Rent(owner, _pinsByProcess, file, userAddress, length, (access & Access.Write) != 0);
            memory.PlacementSkew = userAddress - placement;
            return AddArea(iova, length, memory, 0, access);
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
        List<Piece> pieces = t_pieces ??= [];
        pieces.Clear();
        Errno error = source.Collect(sourceIova, length, pieces);
        if (error != Errno.Success)
        {
            return error;
        }

        using (_lock.Acquire())
        {
            error = Place(ref iova, isFixed, pieces[0].Memory.Placement + pieces[0].Offset, length);
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

        return UnmapReleased(new(iova, iova + (length - 1)), out unmapped);
    }

    /// <summary>Unmaps everything; nothing to unmap is a success too.</summary>
    public Errno UnmapAll(out ulong unmapped)
    {
        Errno error = UnmapReleased(AddressRange.All, out unmapped);
        return error == Errno.NoEntry ? Errno.Success : error;
    }

    // Users unpin first. Areas below one that is held go; it and what is above it stay.
    private Errno UnmapReleased(AddressRange range, out ulong unmapped)
    {
        unmapped = 0;
        for (int attempt = 0; ; attempt++)
        {
            AddressRange pinned;
            using (_lock.Acquire())
            {
                PollLazy();
                Errno users = CheckUsers(range, attempt, out pinned);
                if (users == Errno.Success)
                {
                    return UnmapRange(range.Start, range.Last, _lazy, out unmapped);
                }

                if (users != Errno.TryAgain)
                {
                    _ = pinned.Start > range.Start && UnmapRange(range.Start, pinned.Start - 1, _lazy, out unmapped) == Errno.Success;
                    return users;
                }
            }

            TellUsers(pinned);
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
        area.LostAddress = false;
        area.State = AreaState.Live;
        area.IsGoing = false;
        area.UserPins = 0;
        area.Holders = 0;
        area.IsHollow = HoldDevice(memory);
        _liveCount++;
        if (_domains.Count > 0)
        {
            Errno error = Fill(area);
            if (error != Errno.Success)
            {
                return error;
            }
        }

        AddToTree(area);
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
        AddToTree(area);
        _unmapping.Clear();
        _unmapping.Add(area);
        _ = Retire(filled, lazy: false);
        return error == Errno.OutOfRange ? Errno.InvalidArgument : error;
    }

    private Errno Fill(Area area, PagingDomain domain)
    {
        if (area.IsHollow)
        {
            return Errno.Success;
        }

        ulong length = area.Length;
        for (ulong done = 0; done < length;)
        {
            ulong bytes = area.Memory!.Locate(area.Offset + done, length - done, out PhysicalAddress address);
            Errno error = _largePages
                ? domain.Map(new(area.Start + done), address, bytes, area.Access)
                : domain.MapGranules(new(area.Start + done), address, bytes, area.Access);
            if (error != Errno.Success)
            {
                return error;
            }

            done += bytes;
        }

        return Errno.Success;
    }

    private void Free(Area area)
    {
        RemoveFromTree(area);
        Recycle(area);
    }

    private void Recycle(Area area)
    {
        ClientMemory memory = area.Memory!;
        if (area.Pinned)
        {
            memory.Unpin();
        }

        memory.Device?.RemoveUser(this);
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

/// <summary>What an address space holds.</summary>
/// <param name="Live">Areas that are mapped.</param>
/// <param name="Retired">Areas that wait until no device reaches them.</param>
/// <param name="LostAddresses">Areas without a user address.</param>
/// <param name="Domains">Domains.</param>
/// <param name="Reservations">Reservations of domains and devices.</param>
/// <param name="DirectRegions">One-to-one mappings, each once for each device that needs it.</param>
/// <param name="Pending">Unmaps that are not complete, once for each domain.</param>
/// <param name="Alignment">What IOVAs, lengths and memory must be multiples of.</param>
/// <param name="Usable">The usable IOVAs.</param>
internal readonly record struct AddressSpaceAudit(
    int Live,
    int Retired,
    int LostAddresses,
    int Domains,
    int Reservations,
    int DirectRegions,
    int Pending,
    ulong Alignment,
    string Usable);
