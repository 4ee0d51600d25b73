namespace Ioasis.Devices.Nvme;

/// <summary>
/// Blocks that "write uncorrectable" made unreadable until they are written again. Ranges in order, without overlap. Costs one
/// comparison while there are none.
/// </summary>
internal sealed class NvmeBadBlocks
{
    private const int Limit = 65536;

    private readonly List<(ulong First, ulong End)> _ranges = [];

    /// <summary>Forgets all.</summary>
    public void Clear() => _ranges.Clear();

    /// <summary>Makes a range unreadable.</summary>
    /// <returns>Whether there is room to remember it.</returns>
    public bool Add(ulong first, ulong end)
    {
        Remove(first, end);
        if (_ranges.Count >= Limit)
        {
            return false;
        }

        _ranges.Insert(Find(first), (first, end));
        return true;
    }

    /// <summary>A range was written.</summary>
    public void Remove(ulong first, ulong end)
    {
        if (_ranges.Count == 0)
        {
            return;
        }

        int i = Find(first);
        if (i > 0 && _ranges[i - 1].End > first)
        {
            i--;
        }

        while (i < _ranges.Count && _ranges[i].First < end)
        {
            (ulong start, ulong stop) = _ranges[i];
            _ranges.RemoveAt(i);
            if (start < first)
            {
                _ranges.Insert(i++, (start, first));
            }

            if (stop > end)
            {
                _ranges.Insert(i++, (end, stop));
            }
        }
    }

    /// <summary>Whether a range has such a block.</summary>
    public bool Touches(ulong first, ulong end)
    {
        if (_ranges.Count == 0)
        {
            return false;
        }

        int i = Find(first);
        return (i > 0 && _ranges[i - 1].End > first) || (i < _ranges.Count && _ranges[i].First < end);
    }

    // The first range that begins at or after a block.
    private int Find(ulong first)
    {
        int low = 0;
        int high = _ranges.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (_ranges[middle].First < first)
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
