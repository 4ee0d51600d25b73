namespace Ioasis.Core.Tests;

/// <summary>What an allocator must do, said as slowly as can be: one bit a granule.</summary>
internal sealed class IovaModel(ulong first, ulong last)
{
    private readonly HashSet<ulong> _taken = [];

    public int Taken => _taken.Count;

    public ulong? Highest(ulong count, ulong alignment, ulong limit)
    {
        ulong top = Math.Min(last, limit);
        for (ulong start = top - (top % alignment); ; start -= alignment)
        {
            if (start < first)
            {
                return null;
            }

            if (top >= start && top - start >= count - 1 && IsFree(start, count))
            {
                return start;
            }

            if (start < alignment)
            {
                return null;
            }
        }
    }

    public bool IsFree(ulong start, ulong count)
    {
        for (ulong i = start; i < start + count; i++)
        {
            if (i < first || i > last || _taken.Contains(i))
            {
                return false;
            }
        }

        return true;
    }

    public bool IsTaken(ulong start, ulong count)
    {
        for (ulong i = start; i < start + count; i++)
        {
            if (!_taken.Contains(i))
            {
                return false;
            }
        }

        return true;
    }

    public void Take(ulong start, ulong count)
    {
        for (ulong i = start; i < start + count; i++)
        {
            if (!_taken.Add(i))
            {
                throw new InvalidOperationException($"granule {i} is given out twice");
            }
        }
    }

    public void Give(ulong start, ulong count)
    {
        for (ulong i = start; i < start + count; i++)
        {
            if (!_taken.Remove(i))
            {
                throw new InvalidOperationException($"granule {i} was not taken");
            }
        }
    }

    public List<(ulong Start, ulong Last)> Free()
    {
        List<(ulong Start, ulong Last)> ranges = [];
        for (ulong i = first; i <= last; i++)
        {
            if (_taken.Contains(i))
            {
                continue;
            }

            if (ranges.Count > 0 && ranges[^1].Last + 1 == i)
            {
                ranges[^1] = (ranges[^1].Start, i);
            }
            else
            {
                ranges.Add((i, i));
            }
        }

        return ranges;
    }
}
