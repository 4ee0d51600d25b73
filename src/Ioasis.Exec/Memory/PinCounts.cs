namespace Ioasis.Exec;

/// <summary>
/// How often each page of a range of up to a gibibyte is pinned. Ranges that cover 2 MiB whole are counted once for all of it, so that long ranges cost
/// little. Not thread-safe.
/// </summary>
internal sealed class PinCounts
{
    private const int PageShift = 12;
    private const int ChunkPages = 512;

    private readonly Chunk[] _chunks = new Chunk[(int)(ProgramPages.GranuleSize >> PageShift) / ChunkPages];

    /// <summary>Whether all ranges were whole pages: then nothing is counted when all are taken back.</summary>
    public bool IsExact { get; private set; } = true;

    /// <summary>Counts a range once more.</summary>
    /// <param name="start">First byte.</param>
    /// <param name="length">Bytes, not 0.</param>
    public void Add(ulong start, ulong length) => Change(start, length, 1);

    /// <summary>Counts a range once less.</summary>
    /// <param name="start">First byte.</param>
    /// <param name="length">Bytes, not 0.</param>
    public void Remove(ulong start, ulong length) => Change(start, length, -1);

    /// <summary>Whether any page of a range is pinned.</summary>
    /// <param name="start">First byte.</param>
    /// <param name="length">Bytes, not 0.</param>
    public bool IsAny(ulong start, ulong length)
    {
        int end = EndOf(start, length);
        for (int page = (int)(start >> PageShift); page < end;)
        {
            int from = page % ChunkPages;
            int to = Math.Min(ChunkPages, from + end - page);
            ref Chunk chunk = ref _chunks[page / ChunkPages];
            if (chunk.Whole > 0 || (chunk.Pages is not null && chunk.Pages.AsSpan(from, to - from).IndexOfAnyExcept(0) >= 0))
            {
                return true;
            }

            page += to - from;
        }

        return false;
    }

    private static int EndOf(ulong start, ulong length) => (int)((start + length + (1ul << PageShift) - 1) >> PageShift);

    private void Change(ulong start, ulong length, int by)
    {
        IsExact &= ((start | length) & ((1ul << PageShift) - 1)) == 0;
        int end = EndOf(start, length);
        for (int page = (int)(start >> PageShift); page < end;)
        {
            int from = page % ChunkPages;
            int to = Math.Min(ChunkPages, from + end - page);
            ref Chunk chunk = ref _chunks[page / ChunkPages];
            if (to - from == ChunkPages && (by > 0 || chunk.Whole > 0))
            {
                chunk.Whole += by;
            }
            else
            {
                ChangePages(ref chunk, from, to, by);
            }

            page += to - from;
        }
    }

    private static void ChangePages(ref Chunk chunk, int from, int to, int by)
    {
        int[] pages = chunk.Pages ??= new int[ChunkPages];

        // A part of what was counted whole: from now on by pages.
        if (by < 0 && chunk.Whole > 0 && pages.AsSpan(from, to - from).Contains(0))
        {
            chunk.Whole--;
            for (int i = 0; i < ChunkPages; i++)
            {
                pages[i]++;
            }
        }

        for (int i = from; i < to; i++)
        {
            pages[i] = Math.Max(0, pages[i] + by);
        }
    }

    private struct Chunk
    {
        public int Whole;
        public int[]? Pages;
    }
}
