namespace Ioasis.Replay.Study;

/// <summary>How many mappings have large leaves, and how many could have had them.</summary>
internal sealed class PageSizeStudy
{
    private static readonly int[] s_sizesLog2 = [16, 21, 30];
    private readonly Sums[] _sums = [.. s_sizesLog2.Select(static log2 => new Sums { Log2 = log2 })];
    private long _maps;
    private ulong _bytes;

    /// <summary>A mapping begins.</summary>
    public void Add(in StudiedArea area)
    {
        _maps++;
        _bytes += area.Length;
        if (area.Length < LeafLayout.SmallestWithLarger)
        {
            return;
        }

        foreach (Sums sums in _sums)
        {
            ulong size = 1ul << sums.Log2;
            if (area.Length < size)
            {
                return;
            }

            sums.LongEnough++;
            ulong whole = area.Length & ~(size - 1);
            sums.AlignedBytes += whole;

            // From the first boundary in memory on.
            ulong skipped = (0 - area.Physical) & (size - 1);
            ulong covered = skipped < area.Length ? (area.Length - skipped) & ~(size - 1) : 0;
            sums.IovaAligned += covered > 0 ? 1 : 0;
            sums.IovaAlignedBytes += covered;
            if (((area.Start ^ area.Physical) & (size - 1)) == 0)
            {
                sums.AsMapped += covered > 0 ? 1 : 0;
                sums.AsMappedBytes += covered;
            }
        }
    }

    /// <summary>The report.</summary>
    public IReadOnlyList<PageSizeReport> ToReport() =>
    [
        .. _sums.Select(sums => new PageSizeReport(
            1L << sums.Log2, _maps, (long)_bytes, sums.LongEnough, (long)sums.AlignedBytes, sums.IovaAligned, (long)sums.IovaAlignedBytes, sums.AsMapped,
            (long)sums.AsMappedBytes)),
    ];

    private sealed class Sums
    {
        public int Log2 { get; init; }

        public long LongEnough { get; set; }

        public ulong AlignedBytes { get; set; }

        public long IovaAligned { get; set; }

        public ulong IovaAlignedBytes { get; set; }

        public long AsMapped { get; set; }

        public ulong AsMappedBytes { get; set; }
    }
}
