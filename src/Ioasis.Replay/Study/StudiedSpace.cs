using Ioasis.Replay.Planning;

namespace Ioasis.Replay.Study;

/// <summary>The live mappings of one device, and the most leaves that they had.</summary>
internal sealed class StudiedSpace
{
    private readonly LiveAreas _live = new();
    private readonly List<StudiedArea> _areas = [];
    private readonly Stack<int> _free = new();
    private readonly List<int> _found = [];
    private long _leaves;

    /// <summary>Most leaves at one time: the IOTLB that holds everything.</summary>
    public long MostLeaves { get; private set; }

    /// <summary>A mapping begins.</summary>
    public void Add(in StudiedArea area)
    {
        if (!_free.TryPop(out int number))
        {
            number = _areas.Count;
            _areas.Add(default);
        }

        _areas[number] = area;
        _live.Add(area.Start, area.Length, number);
        _leaves += LeavesOf(area);
        MostLeaves = Math.Max(MostLeaves, _leaves);
    }

    /// <summary>The mapping that has a byte.</summary>
    public bool TryFind(ulong iova, out StudiedArea area)
    {
        _live.FindOverlaps(iova, iova, _found);
        area = _found.Count > 0 ? _areas[_found[0]] : default;
        return _found.Count > 0;
    }

    /// <summary>A mapping ends.</summary>
    /// <returns>Its leaves.</returns>
    public long Remove(ulong start, out StudiedArea area)
    {
        if (!TryFind(start, out area))
        {
            return 0;
        }

        _free.Push(_found[0]);
        _live.Remove(area.Start);
        long leaves = LeavesOf(area);
        _leaves -= leaves;
        return leaves;
    }

    private static long LeavesOf(in StudiedArea area)
    {
        if (area.Length < LeafLayout.SmallestWithLarger)
        {
            return (long)(area.Length >> 12);
        }

        Span<long> counts = stackalloc long[64];
        counts.Clear();
        LeafSizes.Count(area.Start, area.Physical, area.Length, counts);
        return counts.Sum();
    }
}
