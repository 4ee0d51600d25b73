namespace Ioasis.Replay.Planning;

// Who has live mappings in a range.
public sealed partial class Planner
{
    /// <summary>Collects the live areas that share a byte with a range.</summary>
    private bool FindOverlaps(LiveAreas live, ulong start, ulong last)
    {
        _found.Clear();
        int area = live.Below(start, out LiveAreas.Place place);
        if (area >= 0 && start - _areas[area].Start < _areas[area].Length)
        {
            _found.Add(area);
        }

        while ((area = live.Next(ref place)) >= 0 && _areas[area].Start <= last)
        {
            _found.Add(area);
        }

        return _found.Count > 0;
    }

    /// <summary>The device that has mappings in a range: with several the one that they cover best.</summary>
    private int FindOwner(ulong start, ulong last, out int owner)
    {
        owner = -1;
        int count = 0;
        ulong best = 0;
        for (int device = 0; device < _live.Count; device++)
        {
            if (!FindOverlaps(_live[device], start, last))
            {
                continue;
            }

            // Covered bytes, and a whole range before one that cuts areas: an unmap ends what was mapped.
            ulong covered = 0;
            bool whole = true;
            foreach (int found in _found)
            {
                Area area = _areas[found];
                ulong areaLast = area.Start + (area.Length - 1);
                covered += Math.Min(areaLast, last) - Math.Max(area.Start, start) + 1;
                whole &= area.Start >= start && areaLast <= last;
            }

            if (whole)
            {
                count++;
                covered += 1ul << 62;
            }

            if (owner < 0 || covered > best)
            {
                best = covered;
                owner = device;
            }
        }

        return Math.Max(count, owner < 0 ? 0 : 1);
    }

    private void CountConflicts(int device, ulong start, ulong length)
    {
        ulong last = start + (length - 1);
        if (device != _rest)
        {
            if (_rest >= 0 && FindOverlaps(_live[_rest], start, last))
            {
                _conflicts[device]++;
            }

            return;
        }

        foreach (int other in _candidates)
        {
            if (other != _rest && FindOverlaps(_live[other], start, last))
            {
                _conflicts[other]++;
            }
        }
    }
}
