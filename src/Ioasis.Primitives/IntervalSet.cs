using System.Collections;

namespace Ioasis.Primitives;

/// <summary>
/// A set of 64-bit addresses kept as sorted, disjoint, maximal ranges (touching ranges are joined): reserved regions,
/// usable IOVA ranges, free lists. Reaches 2^64-1 without wrapping (S3.12). Not thread-safe.
/// </summary>
/// <remarks>
/// Backed by a sorted array: look-ups are O(log n), <see cref="Add"/> and <see cref="Remove"/> O(n) moves in the worst case;
/// <see cref="FromUnsorted"/> builds in O(n log n).
/// </remarks>
internal sealed class IntervalSet : IReadOnlyList<AddressRange>
{
    private readonly List<AddressRange> _ranges;

    /// <summary>Makes an empty set.</summary>
    public IntervalSet() => _ranges = [];

    private IntervalSet(List<AddressRange> ranges) => _ranges = ranges;

    /// <summary>How many maximal ranges the set has.</summary>
    public int Count => _ranges.Count;

    /// <summary>The range at <paramref name="index"/>, in ascending order.</summary>
    public AddressRange this[int index] => _ranges[index];

    /// <summary>Makes a set of the union of ranges that may be unsorted, overlap or touch.</summary>
    public static IntervalSet FromUnsorted(IEnumerable<AddressRange> ranges)
    {
        List<AddressRange> sorted = [.. ranges];
        sorted.Sort();
        List<AddressRange> joined = new(sorted.Count);
        foreach (AddressRange range in sorted)
        {
            if (joined.Count > 0 && Touches(joined[^1], range.Start))
            {
                if (range.Last > joined[^1].Last)
                {
                    joined[^1] = new(joined[^1].Start, range.Last);
                }
            }
            else
            {
                joined.Add(range);
            }
        }

        return new(joined);
    }

    /// <summary>A copy that can be changed by itself.</summary>
    public IntervalSet Clone() => new([.. _ranges]);

    /// <summary>Adds every address of <paramref name="range"/>.</summary>
    public void Add(AddressRange range)
    {
        // The first range that overlaps or touches from the left, then all that the new one reaches.
        int first = range.Start == 0 ? 0 : FirstWithLastAtLeast(range.Start - 1);
        int end = first;
        ulong start = range.Start;
        ulong last = range.Last;
        while (end < _ranges.Count && (range.Last == ulong.MaxValue || _ranges[end].Start <= range.Last + 1))
        {
            start = Math.Min(start, _ranges[end].Start);
            last = Math.Max(last, _ranges[end].Last);
            end++;
        }

        _ranges.RemoveRange(first, end - first);
        _ranges.Insert(first, new(start, last));
    }

    /// <summary>Removes every address of <paramref name="range"/>.</summary>
    public void Remove(AddressRange range)
    {
        int first = FirstWithLastAtLeast(range.Start);
        int end = first;
        while (end < _ranges.Count && _ranges[end].Start <= range.Last)
        {
            end++;
        }

        if (first == end)
        {
            return;
        }

        AddressRange left = _ranges[first];
        AddressRange right = _ranges[end - 1];
        _ranges.RemoveRange(first, end - first);
        if (right.Last > range.Last)
        {
            _ranges.Insert(first, new(range.Last + 1, right.Last));
        }

        if (left.Start < range.Start)
        {
            _ranges.Insert(first, new(left.Start, range.Start - 1));
        }
    }

    /// <summary>Removes everything.</summary>
    public void Clear() => _ranges.Clear();

    /// <summary>Whether <paramref name="address"/> is in the set.</summary>
    public bool Contains(ulong address)
    {
        int index = FirstWithLastAtLeast(address);
        return index < _ranges.Count && _ranges[index].Start <= address;
    }

    /// <summary>Whether every address of <paramref name="range"/> is in the set.</summary>
    public bool Contains(AddressRange range)
    {
        int index = FirstWithLastAtLeast(range.Start);
        return index < _ranges.Count && _ranges[index].Contains(range);
    }

    /// <summary>Whether the set and <paramref name="range"/> share an address.</summary>
    public bool Overlaps(AddressRange range)
    {
        int index = FirstWithLastAtLeast(range.Start);
        return index < _ranges.Count && _ranges[index].Start <= range.Last;
    }

    /// <summary>The addresses of <paramref name="within"/> that are not in the set.</summary>
    public IntervalSet Complement(AddressRange within)
    {
        IntervalSet result = new();
        ulong next = within.Start;
        for (int i = FirstWithLastAtLeast(within.Start); i < _ranges.Count && _ranges[i].Start <= within.Last; i++)
        {
            if (_ranges[i].Start > next)
            {
                result._ranges.Add(new(next, _ranges[i].Start - 1));
            }

            if (_ranges[i].Last >= within.Last)
            {
                return result;
            }

            next = _ranges[i].Last + 1;
        }

        result._ranges.Add(new(next, within.Last));
        return result;
    }

    /// <summary>The addresses that are in both sets.</summary>
    public IntervalSet Intersect(IntervalSet other)
    {
        List<AddressRange> common = [];
        int i = 0;
        int j = 0;
        while (i < _ranges.Count && j < other._ranges.Count)
        {
            if (_ranges[i].TryIntersect(other._ranges[j], out AddressRange piece))
            {
                common.Add(piece);
            }

            if (_ranges[i].Last < other._ranges[j].Last)
            {
                i++;
            }
            else
            {
                j++;
            }
        }

        return new(common);
    }

    /// <inheritdoc/>
    public IEnumerator<AddressRange> GetEnumerator() => _ranges.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    private static bool Touches(AddressRange left, ulong start) => left.Last == ulong.MaxValue || start <= left.Last + 1;

    private int FirstWithLastAtLeast(ulong address)
    {
        int low = 0;
        int high = _ranges.Count;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (_ranges[middle].Last < address)
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
