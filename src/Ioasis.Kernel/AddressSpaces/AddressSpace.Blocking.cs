using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <content>
/// IOVAs that the kernel does not choose, as entries of the tree of areas: so the choice costs the same however many ranges
/// are reserved. They are put in when an IOVA is chosen for the first time after the limits changed; whoever chooses its IOVAs
/// itself never pays for them.
/// </content>
internal sealed partial class AddressSpace
{
    private int _blockedCount;
    private bool _isBlocked;

    /// <summary>For tests: nodes of the tree that the last choice of an IOVA looked at.</summary>
    internal int LastSearchVisits => _areas.LastVisits;

    private void BlockForbidden()
    {
        if (_isBlocked)
        {
            return;
        }

        _isBlocked = true;
        IntervalSet choosable = _limits.Allowed.Count > 0 ? _limits.Allowed : _limits.Usable;
        ulong next = 0;
        for (int i = 0; i < choosable.Count; i++)
        {
            if (choosable[i].Start > next)
            {
                Block(new(next, choosable[i].Start - 1));
            }

            if (choosable[i].Last == ulong.MaxValue)
            {
                return;
            }

            next = choosable[i].Last + 1;
        }

        Block(new(next, ulong.MaxValue));
    }

    // The limits change: what they forbade is a hole like any other until the next choice.
    private void Unblock()
    {
        _isBlocked = false;
        if (_blockedCount == 0)
        {
            return;
        }

        List<Area> blocked = new(_blockedCount);
        _areas.Visit((_, area) =>
        {
            if (area.State == AreaState.Blocked)
            {
                blocked.Add(area);
            }

            return true;
        });
        blocked.ForEach(RemoveBlocked);
    }

    // Where areas are, they block enough.
    private void Block(AddressRange range)
    {
        ulong next = range.Start;
        while (_areas.FindOverlap(next, range.Last, out ulong start, out ulong last) is not null)
        {
            if (start > next)
            {
                AddBlocked(next, start - 1);
            }

            if (last >= range.Last)
            {
                return;
            }

            next = last + 1;
        }

        AddBlocked(next, range.Last);
    }

    // With a list of IOVAs that the user wants to keep, areas may lie on others, which the kernel does not choose.
    private void AddToTree(Area area)
    {
        if (_isBlocked && _limits.Allowed.Count > 0)
        {
            MakeRoom(area.Start, area.Last);
        }

        _areas.Add(area.Start, area.Last, area);
    }

    private void RemoveFromTree(Area area)
    {
        _ = _areas.Remove(area.Start);
        if (_isBlocked && _limits.Allowed.Count > 0)
        {
            foreach (AddressRange range in _limits.Allowed.Complement(area.Range))
            {
                AddBlocked(range.Start, range.Last);
            }
        }
    }

    private void MakeRoom(ulong start, ulong last)
    {
        while (_areas.FindOverlap(start, last, out ulong blockedStart, out ulong blockedLast) is { } blocked)
        {
            RemoveBlocked(blocked);
            if (blockedStart < start)
            {
                AddBlocked(blockedStart, start - 1);
            }

            if (blockedLast > last)
            {
                AddBlocked(last + 1, blockedLast);
            }
        }
    }

    private void AddBlocked(ulong start, ulong last)
    {
        // Beside others they become one, or an hour of mapping and unmapping would leave one for each page.
        if (start > 0 && _areas.FindOverlap(start - 1, start - 1, out ulong before, out _) is { State: AreaState.Blocked } left)
        {
            RemoveBlocked(left);
            start = before;
        }

        if (last < ulong.MaxValue
            && _areas.FindOverlap(last + 1, last + 1, out _, out ulong after) is { State: AreaState.Blocked } right)
        {
            RemoveBlocked(right);
            last = after;
        }

        Area area = _freeAreas.TryPop(out Area? free) ? free : new();
        area.Start = start;
        area.Last = last;
        area.State = AreaState.Blocked;
        _areas.Add(start, last, area);
        _blockedCount++;
    }

    private void RemoveBlocked(Area area)
    {
        _ = _areas.Remove(area.Start);
        area.State = AreaState.Free;
        _freeAreas.Push(area);
        _blockedCount--;
    }
}
