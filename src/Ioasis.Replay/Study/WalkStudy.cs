namespace Ioasis.Replay.Study;

/// <summary>
/// The walks behind one IOTLB, and a cache of their last tables (a page-walk cache): how many of them find the table that holds the leaf
/// without reading from the root, for every size of that cache.
/// </summary>
internal sealed class WalkStudy(int iotlb)
{
    private readonly StackDistances _tables = new(StudyOptions.LargestSize);
    private readonly DistanceHistogram[] _byClass = [.. Enumerable.Range(0, TranslationKey.Classes).Select(static _ => new DistanceHistogram())];

    /// <summary>Entries of the IOTLB.</summary>
    public int Iotlb => iotlb;

    /// <summary>An access with its distance in the stack of the IOTLB.</summary>
    public void Access(int device, ulong iova, int sizeClass, int distance)
    {
        if (distance == 0 || distance > iotlb)
        {
            _byClass[sizeClass].Add(_tables.Access(KeyOf(device, iova, sizeClass)));
        }
    }

    /// <summary>A mapping ends: an invalidation of an address takes what is cached of the walk to it too.</summary>
    public void Remove(int device, in StudiedArea area)
    {
        ulong last = area.Start + (area.Length - 1);
        foreach (int sizeClass in (ReadOnlySpan<int>)[0, 2, 3])
        {
            int log2 = TableLog2(sizeClass);
            if ((last >> log2) - (area.Start >> log2) > (ulong)_tables.Count)
            {
                _tables.RemoveWhere(new TranslationKey.InRange(device, area.Start >> log2 << log2, last));
                continue;
            }

            for (ulong table = area.Start >> log2; table <= last >> log2; table++)
            {
                _tables.Remove(KeyOf(device, table << log2, sizeClass));
            }
        }
    }

    /// <summary>Memory reads of all walks.</summary>
    /// <param name="levels">Levels of the tables.</param>
    /// <param name="cacheSize">Entries of the cache of last tables; 0 for none.</param>
    public long Reads(int levels, int cacheSize)
    {
        long reads = 0;
        for (int sizeClass = 0; sizeClass < _byClass.Length; sizeClass++)
        {
            DistanceHistogram walks = _byClass[sizeClass];
            reads += walks.Accesses + (walks.MissesAt(cacheSize) * (ReadsOf(levels, sizeClass) - 1));
        }

        return reads;
    }

    /// <summary>All walks.</summary>
    public long Walks => _byClass.Sum(static histogram => histogram.Accesses);

    /// <summary>Memory reads of one walk without a cache: an entry of each level down to the leaf's.</summary>
    public static int ReadsOf(int levels, int sizeClass) => Math.Max(1, levels - LevelsAbove(sizeClass));

    // 4 KiB and 64 KiB leaves lie in tables of the lowest level, which map 2 MiB each; larger leaves one level up for each 512.
    private static int LevelsAbove(int sizeClass) => Math.Max(0, sizeClass - 1);

    private static int TableLog2(int sizeClass) => 21 + (9 * LevelsAbove(sizeClass));

    private static ulong KeyOf(int device, ulong iova, int sizeClass)
    {
        int log2 = TableLog2(sizeClass);
        return TranslationKey.Of(device, iova >> log2 << log2, LevelsAbove(sizeClass));
    }
}
