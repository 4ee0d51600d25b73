namespace Ioasis.Replay.Planning;

/// <summary>How scattered the live mappings of one IOVA space are.</summary>
/// <param name="Extents">Runs without a gap.</param>
/// <param name="LiveBytes">Bytes mapped.</param>
/// <param name="SpanBytes">From the first byte to the last.</param>
/// <param name="LargestGapBytes">The largest gap between two runs.</param>
public readonly record struct Fragmentation(long Extents, long LiveBytes, ulong SpanBytes, ulong LargestGapBytes);

/// <summary>
/// The live mappings of one IOVA space, sorted by start: numbers of areas in chunks of sorted arrays. Look-ups are
/// logarithmic; a change moves at most one chunk.
/// </summary>
internal sealed class LiveAreas
{
    private const int ChunkSize = 128;

    private readonly List<Chunk> _chunks = [];

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
        int at = Math.Max(0, FindChunk(start));
        if (_chunks.Count == 0)
        {
            _chunks.Add(new());
        }

        Chunk chunk = _chunks[at];
        if (chunk.Count == ChunkSize)
        {
            Chunk upper = chunk.Split();
            _chunks.Insert(at + 1, upper);
            if (start >= upper.Starts[0])
            {
                chunk = upper;
            }
        }

        chunk.Insert(start, length, area);
    }

    /// <summary>Removes the area with a start.</summary>
    public void Remove(ulong start)
    {
        int at = FindChunk(start);
        int index = _chunks[at].FindBelow(start);
        _chunks[at].RemoveAt(index);
        Count--;
        if (_chunks[at].Count == 0)
        {
            _chunks.RemoveAt(at);
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
        int low = 0;
        int high = _chunks.Count;
        while (low < high)
        {
            int middle = (low + high) >> 1;
            if (_chunks[middle].Starts[0] <= address)
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

        public void Insert(ulong start, ulong length, int area)
        {
            int at = FindBelow(start) + 1;
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
