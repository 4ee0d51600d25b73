namespace Ioasis.Replay.Planning;

/// <summary>Which leaves a range needs at least: 4 KiB, 64 KiB (Svnapot), 2 MiB, 1 GiB, 512 GiB.</summary>
internal static class LeafSizes
{
    private static ReadOnlySpan<int> Log2 => [39, 30, 21, 16, 12];

    /// <summary>Whether leaves of more than one size are needed.</summary>
    public static bool IsMixed(ulong iova, ulong physical, ulong length)
    {
        int first = 0;
        while (length > 0)
        {
            int size = Largest(iova, physical, length);
            if (first == 0)
            {
                first = size;
            }
            else if (size != first)
            {
                return true;
            }

            // Whole runs of one size at once: up to the next boundary of a larger one, or as much as is left.
            ulong step = 1ul << size;
            iova += step;
            physical += step;
            length -= step;
            if (size == 12 && length >= 1 << 16 && ((iova ^ physical) & 0xffff) != 0)
            {
                return false; // No two addresses of such a range are aligned alike: only small leaves.
            }
        }

        return false;
    }

    /// <summary>Adds a range's leaves to counts by log2 of their size.</summary>
    public static void Count(ulong iova, ulong physical, ulong length, Span<long> counts)
    {
        if (length <= 1 << 15)
        {
            counts[12] += (long)(length >> 12);
            return;
        }

        while (length > 0)
        {
            // As many leaves of one size as fit before a larger one does.
            int size = Largest(iova, physical, length);
            ulong leaves = 0;
            do
            {
                leaves++;
                iova += 1ul << size;
                physical += 1ul << size;
                length -= 1ul << size;
            }
            while (length > 0 && Largest(iova, physical, length) == size);

            counts[size] += (long)leaves;
        }
    }

    private static int Largest(ulong iova, ulong physical, ulong length)
    {
        foreach (int log2 in Log2)
        {
            ulong mask = (1ul << log2) - 1;
            if (length > mask && ((iova | physical) & mask) == 0)
            {
                return log2;
            }
        }

        return 12;
    }
}
