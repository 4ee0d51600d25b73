namespace Ioasis.Replay.Planning;

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

    /// <summary>A place in the order.</summary>
    /// <param name="ChunkIndex">Which chunk.</param>
    /// <param name="Index">Where in it.</param>
    public readonly record struct Place(int ChunkIndex, int Index);

    /// <summary>The area that starts at or below an address: the only one that can hold it.</summary>
    /// <returns>Its number, or -1.</returns>
    public int Below(ulong address, out Place place)
    {
        int chunk = FindChunk(address);
        if (chunk < 0)
        {
            place = new(0, -1);
            return -1;
        }

        int index = _chunks[chunk].FindBelow(address);
        place = new(chunk, index);
        return _chunks[chunk].Areas[index];
    }

    /// <summary>The area after a place, or -1; the place moves to it.</summary>
    public int Next(ref Place place)
    {
        if (_chunks.Count == 0)
        {
            return -1;
        }

        int chunk = place.ChunkIndex;
        int index = place.Index + 1;
        if (index >= _chunks[chunk].Count)
        {
            chunk++;
            index = 0;
            if (chunk >= _chunks.Count)
            {
                return -1;
            }
        }

        place = new(chunk, index);
        return _chunks[chunk].Areas[index];
    }

    /// <summary>Adds an area; there is none with the same start.</summary>
    public void Add(ulong start, int area)
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

        chunk.Insert(start, area);
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
        public readonly int[] Areas = new int[ChunkSize];

        public int Count { get; private set; }

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

        public void Insert(ulong start, int area)
        {
            int at = FindBelow(start) + 1;
            Array.Copy(Starts, at, Starts, at + 1, Count - at);
            Array.Copy(Areas, at, Areas, at + 1, Count - at);
            Starts[at] = start;
            Areas[at] = area;
            Count++;
        }

        public void RemoveAt(int at)
        {
            Count--;
            Array.Copy(Starts, at + 1, Starts, at, Count - at);
            Array.Copy(Areas, at + 1, Areas, at, Count - at);
        }

        public Chunk Split()
        {
            Chunk upper = new();
            int half = Count / 2;
            upper.Count = Count - half;
            Array.Copy(Starts, half, upper.Starts, 0, upper.Count);
            Array.Copy(Areas, half, upper.Areas, 0, upper.Count);
            Count = half;
            return upper;
        }
    }
}
