namespace Ioasis.Replay.Planning;

/// <summary>How scattered the live mappings of one IOVA space are.</summary>
/// <param name="Extents">Runs without a gap.</param>
/// <param name="LiveBytes">Bytes mapped.</param>
/// <param name="SpanBytes">From the first byte to the last.</param>
/// <param name="LargestGapBytes">The largest gap between two runs.</param>
internal readonly record struct Fragmentation(long Extents, long LiveBytes, ulong SpanBytes, ulong LargestGapBytes);

/// <summary>
/// The live mappings of one IOVA space, sorted by start: numbers of areas in chunks of sorted arrays. Look-ups are
/// logarithmic; a change moves at most one chunk.
/// </summary>
internal sealed class LiveAreas
{
    private const int ChunkSize = 128;

    private readonly List<Chunk> _chunks = [];

    // The first start of each chunk, one behind the other: a search for the chunk touches no other.
    private ulong[] _firsts = new ulong[16];

    // Where the last search ended: what is found is mostly removed next, and where nothing is, something is added.
    private int _hintChunk = -1;
    private int _hintIndex;

    /// <summary>How many there are.</summary>
    public int Count { get; private set; }

    /// <summary>All areas, by start.</summary>
    public IEnumerable<int> All => _chunks.SelectMany(static chunk => chunk.Areas.Take(chunk.Count));

    /// <summary>Collects the areas that share a byte with a range, by start.</summary>
    public void FindOverlaps(ulong start, ulong last, List<int> found)
    {
        found.Clear();
        int at = FindChunk(start);
        int index = 0;
        if (at < 0)
        {
            at = 0;
        }
        else
        {
            // The area that starts at or below an address is the only one below that can hold it.
            Chunk chunk = _chunks[at];
            index = chunk.FindBelow(start);
            if (start - chunk.Starts[index] >= chunk.Lengths[index])
            {
                index++;
            }
        }

        (_hintChunk, _hintIndex) = (at, index);
        for (; at < _chunks.Count; at++, index = 0)
        {
            Chunk chunk = _chunks[at];
            for (; index < chunk.Count; index++)
            {
                if (chunk.Starts[index] > last)
                {
                    return;
                }

                found.Add(chunk.Areas[index]);
            }
        }
    }

    /// <summary>Adds an area; there is none with the same start.</summary>
    public void Add(ulong start, ulong length, int area)
    {
        Count++;
        int at;
        int index;
        if (IsHintFor(start))
        {
            (at, index) = (_hintChunk, _hintIndex);
        }
        else
        {
            at = Math.Max(0, FindChunk(start));
            index = _chunks.Count == 0 ? 0 : _chunks[at].FindBelow(start) + 1;
        }

        _hintChunk = -1;
        if (_chunks.Count == 0)
        {
            InsertChunk(0, new());
        }

        Chunk chunk = _chunks[at];
        if (chunk.Count == ChunkSize)
        {
            InsertChunk(at + 1, chunk.Split());
            if (index > chunk.Count)
            {
                index -= chunk.Count;
                chunk = _chunks[++at];
            }
        }

        chunk.InsertAt(index, start, length, area);
        _firsts[at] = chunk.Starts[0];
    }

    /// <summary>Removes the area with a start.</summary>
    public void Remove(ulong start)
    {
        int at;
        int index;
        if (_hintChunk >= 0 && _hintChunk < _chunks.Count && _hintIndex < _chunks[_hintChunk].Count
            && _chunks[_hintChunk].Starts[_hintIndex] == start)
        {
            (at, index) = (_hintChunk, _hintIndex);
        }
        else
        {
            at = FindChunk(start);
            index = _chunks[at].FindBelow(start);
        }

        _hintChunk = -1;
        Chunk chunk = _chunks[at];
        chunk.RemoveAt(index);
        Count--;
        if (chunk.Count == 0)
        {
            _chunks.RemoveAt(at);
            _firsts.AsSpan(at + 1, _chunks.Count - at).CopyTo(_firsts.AsSpan(at));
        }
        else
        {
            _firsts[at] = chunk.Starts[0];
        }
    }

    /// <summary>How scattered they are now. Only chunks that changed since the last time are looked through.</summary>
    public Fragmentation Measure()
    {
        if (Count == 0)
        {
            return default;
        }

        long extents = 0;
        ulong bytes = 0;
        ulong gap = 0;
        ulong end = 0;
        foreach (Chunk chunk in _chunks)
        {
            chunk.Measure();
            ulong start = chunk.Starts[0];
            extents += chunk.Extents;
            if (extents > chunk.Extents)
            {
                if (start == end)
                {
                    extents--;
                }
                else
                {
                    gap = Math.Max(gap, start - end);
                }
            }

            bytes += chunk.Bytes;
            gap = Math.Max(gap, chunk.LargestGap);
            end = chunk.Starts[chunk.Count - 1] + chunk.Lengths[chunk.Count - 1];
        }

        return new(extents, (long)bytes, end - _chunks[0].Starts[0], gap);
    }

    /// <summary>The last chunk whose first start is at or below an address, or -1.</summary>
    private int FindChunk(ulong address)
    {
        ReadOnlySpan<ulong> firsts = _firsts.AsSpan(0, _chunks.Count);
        int low = 0;
        int high = firsts.Length;
        while (low < high)
        {
            int middle = (low + high) >> 1;
            if (firsts[middle] <= address)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low - 1;
    }

    // Whether an area with a start goes exactly where the last search ended.
    private bool IsHintFor(ulong start)
    {
        if (_hintChunk < 0 || _hintChunk >= _chunks.Count)
        {
            return false;
        }

        Chunk chunk = _chunks[_hintChunk];
        return (_hintIndex > 0 ? chunk.Starts[_hintIndex - 1] < start : _hintChunk == 0)
            && (_hintIndex < chunk.Count
                ? start < chunk.Starts[_hintIndex]
                : _hintChunk + 1 == _chunks.Count || start < _firsts[_hintChunk + 1]);
    }

    private void InsertChunk(int at, Chunk chunk)
    {
        if (_chunks.Count == _firsts.Length)
        {
            Array.Resize(ref _firsts, _firsts.Length * 2);
        }

        _firsts.AsSpan(at, _chunks.Count - at).CopyTo(_firsts.AsSpan(at + 1));
        _chunks.Insert(at, chunk);
        _firsts[at] = chunk.Count > 0 ? chunk.Starts[0] : 0;
    }

    private sealed class Chunk
    {
        public readonly ulong[] Starts = new ulong[ChunkSize];
        public readonly ulong[] Lengths = new ulong[ChunkSize];
        public readonly int[] Areas = new int[ChunkSize];
        private bool _measured;

        public int Count { get; private set; }

        public long Extents { get; private set; }

        public ulong Bytes { get; private set; }

        public ulong LargestGap { get; private set; }

        public int FindBelow(ulong address)
        {
            int low = 0;
            int high = Count;
            while (low < high)
            {
                int middle = (low + high) >> 1;
                if (Starts[middle] <= address)
                {
                    low = middle + 1;
                }
                else
                {
                    high = middle;
                }
            }

            return low - 1;
        }

        public void InsertAt(int at, ulong start, ulong length, int area)
        {
            Move(at, at + 1, Count - at);
            Starts[at] = start;
            Lengths[at] = length;
            Areas[at] = area;
            Count++;
        }

        public void RemoveAt(int at)
        {
            Count--;
            Move(at + 1, at, Count - at);
        }

        public Chunk Split()
        {
            Chunk upper = new();
            int half = Count / 2;
            upper.Count = Count - half;
            Array.Copy(Starts, half, upper.Starts, 0, upper.Count);
            Array.Copy(Lengths, half, upper.Lengths, 0, upper.Count);
            Array.Copy(Areas, half, upper.Areas, 0, upper.Count);
            Count = half;
            _measured = false;
            return upper;
        }

        public void Measure()
        {
            if (_measured)
            {
                return;
            }

            _measured = true;
            Extents = 1;
            Bytes = Lengths[0];
            LargestGap = 0;
            for (int i = 1; i < Count; i++)
            {
                Bytes += Lengths[i];
                ulong end = Starts[i - 1] + Lengths[i - 1];
                if (Starts[i] != end)
                {
                    Extents++;
                    LargestGap = Math.Max(LargestGap, Starts[i] - end);
                }
            }
        }

        private void Move(int from, int to, int count)
        {
            _measured = false;
            Starts.AsSpan(from, count).CopyTo(Starts.AsSpan(to));
            Lengths.AsSpan(from, count).CopyTo(Lengths.AsSpan(to));
            Areas.AsSpan(from, count).CopyTo(Areas.AsSpan(to));
        }
    }
}
