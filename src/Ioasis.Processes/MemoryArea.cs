using Ioasis.Primitives;

namespace Ioasis.Processes;

/// <summary>A range of a process's addresses with one protection.</summary>
/// <param name="Range">Page-aligned, both ends inclusive.</param>
/// <param name="Access">What may be done there; nothing for a reservation. Write implies read.</param>
/// <param name="Shared">The memory behind it; null for memory of the process's own.</param>
/// <param name="SharedPage">The page of <paramref name="Shared"/> at the start of the range.</param>
internal readonly record struct MemoryArea(AddressRange Range, Access Access, SharedMemory? Shared = null, ulong SharedPage = 0)
{
    /// <summary>The part of the area in a range that it overlaps.</summary>
    internal MemoryArea Part(AddressRange range)
    {
        _ = Range.TryIntersect(range, out AddressRange common);
        return this with { Range = common, SharedPage = SharedPage + ((common.Start - Range.Start) >> 12) };
    }
}

/// <summary>The areas of a process, sorted and disjoint.</summary>
internal sealed class MemoryAreas
{
    private readonly List<MemoryArea> _areas = [];

    public IReadOnlyList<MemoryArea> All => _areas;

    public bool TryFind(ulong address, out MemoryArea area)
    {
        int index = FirstEndingAtOrAfter(address);
        area = index < _areas.Count ? _areas[index] : default;
        return index < _areas.Count && area.Range.Contains(address);
    }

    public bool Overlaps(AddressRange range)
    {
        int index = FirstEndingAtOrAfter(range.Start);
        return index < _areas.Count && _areas[index].Range.Overlaps(range);
    }

    /// <summary>Whether every byte of a range is in an area.</summary>
    public bool Covers(AddressRange range)
    {
        ulong next = range.Start;
        for (int i = FirstEndingAtOrAfter(next); i < _areas.Count && _areas[i].Range.Start <= next; i++)
        {
            if (_areas[i].Range.Last >= range.Last)
            {
                return true;
            }

            next = _areas[i].Range.Last + 1;
        }

        return false;
    }

    /// <summary>Adds an area that overlaps none.</summary>
    public void Add(in MemoryArea area) => _areas.Insert(FirstEndingAtOrAfter(area.Range.Start), area);

    /// <summary>Takes a range out, splitting the areas at its ends, and says what was in it.</summary>
    public List<MemoryArea> CutOut(AddressRange range)
    {
        List<MemoryArea> removed = [];
        int index = FirstEndingAtOrAfter(range.Start);
        while (index < _areas.Count && _areas[index].Range.Overlaps(range))
        {
            MemoryArea area = _areas[index];
            _areas.RemoveAt(index);
            removed.Add(area.Part(range));
            if (area.Range.Start < range.Start)
            {
                _areas.Insert(index++, area.Part(new(area.Range.Start, range.Start - 1)));
            }

            if (area.Range.Last > range.Last)
            {
                _areas.Insert(index, area.Part(new(range.Last + 1, area.Range.Last)));
            }
        }

        return removed;
    }

    public void Clear() => _areas.Clear();

    private int FirstEndingAtOrAfter(ulong address)
    {
        int low = 0;
        int high = _areas.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (_areas[middle].Range.Last < address)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }
}
