using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <content>What VFIO's containers do otherwise than iommufd: how an unmap may cut, and user addresses that change.</content>
internal sealed partial class AddressSpace
{
    /// <summary>Whether something is mapped in a range.</summary>
    public bool IsMapped(AddressRange range)
    {
        using (_lock.Acquire())
        {
            return FindOverlap(range, out bool retired) is not null && !retired;
        }
    }

    /// <summary>Whether a mapping lies partly in a range and partly not.</summary>
    public bool IsCut(AddressRange range)
    {
        using (_lock.Acquire())
        {
            return IsCutLocked(range);
        }
    }

    /// <summary>The mappings that begin in a range, in order.</summary>
    public List<AddressRange> GetMappings(AddressRange range)
    {
        using (_lock.Acquire())
        {
            List<AddressRange> mappings = [];
            foreach (Area area in FindLiveAreas(range))
            {
                mappings.Add(area.Range);
            }

            return mappings;
        }
    }

    /// <summary>
    /// Unmaps by VFIO's rules. Version 2: neither end of the range may lie within a mapping. Version 1: a mapping that begins
    /// before the range ends the call, one that reaches beyond it goes whole.
    /// </summary>
    /// <param name="range">The range.</param>
    /// <param name="isVersion2">Which rule.</param>
    /// <param name="unmapped">Bytes that were mapped.</param>
    /// <param name="mappings">Mappings that are gone.</param>
    /// <param name="lostAddresses">How many of them had lost their user address.</param>
    /// <returns>Success, also if nothing was mapped; <see cref="Errno.InvalidArgument"/>; <see cref="Errno.IoError"/>.</returns>
    public Errno UnmapByVfioRules(
        AddressRange range, bool isVersion2, out ulong unmapped, out int mappings, out int lostAddresses)
    {
        unmapped = 0;
        mappings = 0;
        lostAddresses = 0;
        for (int attempt = 0; ; attempt++)
        {
            AddressRange pinned;
            using (_lock.Acquire())
            {
                AddressRange wanted = range;
                if (!TryApplyVfioRules(ref wanted, isVersion2, out bool isEmpty))
                {
                    return Errno.InvalidArgument;
                }

                if (isEmpty)
                {
                    return Errno.Success;
                }

                Errno error = CheckUsers(wanted, attempt, out pinned);
                if (error == Errno.Success)
                {
                    int before = _liveCount;
                    lostAddresses = _lostAddresses == 0 ? 0 : FindLiveAreas(wanted).Count(static area => area.LostAddress);
                    _lostAddresses -= lostAddresses;
                    error = UnmapRange(wanted.Start, wanted.Last, lazy: false, out unmapped);
                    mappings = before - _liveCount;
                    return error == Errno.NoEntry ? Errno.Success : error;
                }

                if (error != Errno.TryAgain)
                {
                    return error;
                }
            }

            TellUsers(pinned);
        }
    }

    /// <summary>Notes that the user's addresses of mappings are not valid any more. All or nothing.</summary>
    /// <returns>Success; <see cref="Errno.InvalidArgument"/> if the range cuts one, or one is not valid already.</returns>
    public Errno InvalidateUserAddresses(AddressRange range, bool isVersion2, out ulong bytes)
    {
        bytes = 0;
        using (_lock.Acquire())
        {
            if (!TryApplyVfioRules(ref range, isVersion2, out bool isEmpty))
            {
                return Errno.InvalidArgument;
            }

            if (isEmpty)
            {
                return Errno.Success;
            }

            List<Area> areas = FindLiveAreas(range);
            if (areas.Exists(static area => area.LostAddress))
            {
                return Errno.InvalidArgument;
            }

            foreach (Area area in areas)
            {
                area.LostAddress = true;
                bytes += area.Length;
            }

            _lostAddresses += areas.Count;
            return Errno.Success;
        }
    }

    /// <summary>Gives a mapping that lost its user address a new one: there the user has the same pages.</summary>
    /// <returns>
    /// Success; <see cref="Errno.NoEntry"/> if nothing is mapped in the range; <see cref="Errno.InvalidArgument"/> if it is not
    /// exactly one mapping, or that has its address.
    /// </returns>
    public Errno FindAddress(AddressRange range, ulong userAddress)
    {
        using (_lock.Acquire())
        {
            Area? area = FindOverlap(range, out bool retired);
            if (area is null || retired)
            {
                return Errno.NoEntry;
            }

            if (!area.LostAddress || area.Range != range)
            {
                return Errno.InvalidArgument;
            }

            area.LostAddress = false;
            _lostAddresses--;
            area.Memory!.Move(userAddress);
            return Errno.Success;
        }
    }

    /// <summary>Makes of a mapping that spans an IOVA two: one that ends before it, and one that begins there.</summary>
    /// <returns>
    /// Success, also if none spans it; <see cref="Errno.InvalidArgument"/> for alignment, if a leaf may span it, or if it is pinned;
    /// <see cref="Errno.OutOfMemory"/>.
    /// </returns>
    public Errno Cut(ulong iova)
    {
        using (_lock.Acquire())
        {
            if (FindLive(iova) is not { } area || area.Start == iova)
            {
                return Errno.Success;
            }

            if ((iova & (_alignment - 1)) != 0 || (_largePages && _domains.Count > 0) || area.UserPins > 0)
            {
                return Errno.InvalidArgument;
            }

            if (Injection.Hit(InjectionKind.Allocate) != Errno.Success)
            {
                return Errno.OutOfMemory;
            }

            // Both refer to the memory, which is pinned for each of them if it is for one.
            ClientMemory memory = area.Memory!;
            memory.Reference();
            Errno error = area.Pinned ? memory.Pin() : Errno.Success;
            if (error != Errno.Success)
            {
                _memories.Return(memory);
                return error;
            }

            if (!_freeAreas.TryPop(out Area? rest))
            {
                rest = new();
            }

            rest.Start = iova;
            rest.Last = area.Last;
            rest.Memory = memory;
            rest.Offset = area.Offset + (iova - area.Start);
            rest.Access = area.Access;
            rest.Waiting = 0;
            rest.Pinned = area.Pinned;
            rest.LostAddress = area.LostAddress;
            rest.IsGoing = area.IsGoing;
            rest.UserPins = 0;
            rest.Holders = 0;
            rest.State = AreaState.Live;
            rest.IsHollow = HoldDevice(memory) || area.IsHollow;
            RemoveFromTree(area);
            area.Last = iova - 1;
            AddToTree(area);
            AddToTree(rest);
            _liveCount++;
            return Errno.Success;
        }
    }

    /// <summary>Whether a mapping has lost its user address, so that its memory could not be pinned anew.</summary>
    public bool HasLostAddresses
    {
        get
        {
            using (_lock.Acquire())
            {
                return _lostAddresses > 0;
            }
        }
    }

    // False if version 2 forbids the range; else the range as it counts.
    private bool TryApplyVfioRules(ref AddressRange range, bool isVersion2, out bool isEmpty)
    {
        isEmpty = false;
        if (isVersion2)
        {
            return !IsCutLocked(range);
        }

        if (FindLive(range.Start) is { } first && first.Start < range.Start)
        {
            isEmpty = true;
        }
        else if (FindLive(range.Last) is { } last)
        {
            range = new(range.Start, last.Last);
        }

        return true;
    }

    private bool IsCutLocked(AddressRange range) =>
        (FindLive(range.Start) is { } first && first.Start != range.Start)
        || (FindLive(range.Last) is { } last && last.Last != range.Last);

    private List<Area> FindLiveAreas(AddressRange range)
    {
        List<Area> areas = [];
        ulong cursor = range.Start;
        while (_areas.FindOverlap(cursor, range.Last, out _, out ulong last) is { } area)
        {
            if (area.State == AreaState.Live && area.Start >= range.Start)
            {
                areas.Add(area);
            }

            if (last >= range.Last)
            {
                break;
            }

            cursor = last + 1;
        }

        return areas;
    }
}
