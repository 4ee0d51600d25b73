namespace Ioasis.Kernel;

/// <content>The search for a hole.</content>
internal sealed partial class AreaTree<T>
{
    // Nodes that are looked at for a hole in which a range fits by luck: beyond, a hole in which it fits surely is worth more
    // than its alignment.
    private const int TightBudget = 16;

    /// <summary>For tests: nodes that the last search looked at.</summary>
    internal int LastVisits { get; private set; }

    /// <summary>
    /// Finds the lowest start of a free place for <paramref name="length"/> bytes from <paramref name="lowest"/> to
    /// <paramref name="highest"/> inclusive, at an address that is <paramref name="offset"/> modulo <paramref name="alignment"/>.
    /// </summary>
    /// <param name="lowest">First byte that may be used.</param>
    /// <param name="highest">Last byte that may be used.</param>
    /// <param name="length">Bytes, not 0.</param>
    /// <param name="alignment">A power of two.</param>
    /// <param name="offset">Below <paramref name="alignment"/>.</param>
    /// <param name="grain">What all ranges and limits are multiples of, a power of two up to <paramref name="alignment"/>.</param>
    /// <param name="least">
    /// The alignment that must be kept, a power of two up to <paramref name="alignment"/>; more is welcome but not looked for at
    /// any price.
    /// </param>
    /// <param name="start">The place.</param>
    public bool TryFindHole(
        ulong lowest, ulong highest, ulong length, ulong alignment, ulong offset, ulong grain, ulong least, out ulong start)
    {
        LastVisits = 0;

        // A hole that fits in any position is found without looking into others: O(log n).
        if (TryFindSure(lowest, highest, length, alignment, offset, grain, out start))
        {
            return true;
        }

        if (alignment <= grain)
        {
            return false;
        }

        // Then those that fit in some positions, of which not every one can be looked at.
        if (TryFindTight(lowest, highest, length, alignment, offset, TightBudget, out start))
        {
            return true;
        }

        // Then any hole, with less and less alignment, as far as the largest hole has room for it: each step is again O(log n),
        // and there are few. The last takes whatever hole is large enough.
        ulong lowestAlignment = Math.Max(grain, least);
        ulong largest = LargestHole(lowest, highest);
        while (alignment > lowestAlignment)
        {
            alignment >>= 1;
            if (largest >= length && largest - length >= alignment - grain && TryFindSure(lowest, highest, length, alignment, offset & (alignment - 1), grain, out start))
            {
                return true;
            }
        }

        // Only where ranges are smaller than the alignment that must be kept, there may be another.
        return alignment > grain
            && TryFindTight(lowest, highest, length, alignment, offset & (alignment - 1), int.MaxValue, out start);
    }

    // Holes that the limits cut count whole: it is a bound.
    private ulong LargestHole(ulong lowest, ulong highest)
    {
        if (_root.Count == 0)
        {
            return ulong.MaxValue;
        }

        ulong first = _root.Starts[0];
        ulong last = _root.Lasts[_root.Count - 1];
        ulong below = first > lowest ? first - lowest : 0;
        ulong above = highest > last ? highest - last : 0;
        return Math.Max(_root.LargestHole(), Math.Max(below, above));
    }

    private bool TryFindTight(
        ulong lowest, ulong highest, ulong length, ulong alignment, ulong offset, int budget, out ulong start)
    {
        Search search = new(lowest, highest, length, alignment, offset) { Budget = budget };
        bool found = Find(ref search);
        LastVisits += search.Visits;
        start = search.Found;
        return found;
    }

    private bool TryFindSure(
        ulong lowest, ulong highest, ulong length, ulong alignment, ulong offset, ulong grain, out ulong start)
    {
        ulong slack = alignment - grain;
        start = 0;
        if (length > ulong.MaxValue - slack)
        {
            return false;
        }

        Search search = new(lowest, highest, length, alignment, offset) { Minimum = length + slack, Budget = int.MaxValue };
        bool found = Find(ref search);
        LastVisits += search.Visits;
        start = search.Found;
        return found;
    }

    private bool Find(ref Search search)
    {
        if (search.Highest < search.Lowest || search.Highest - search.Lowest < search.Length - 1)
        {
            return false;
        }

        if (_root.Count == 0)
        {
            return search.Fits(search.Lowest, search.Highest);
        }

        ulong first = _root.Starts[0];
        if (first > search.Lowest && search.Fits(search.Lowest, Math.Min(search.Highest, first - 1)))
        {
            return true;
        }

        if (Find(_root, ref search))
        {
            return true;
        }

        ulong last = _root.Lasts[_root.Count - 1];
        return last < search.Highest && search.Fits(Math.Max(search.Lowest, last + 1), search.Highest);
    }

    // Looks at the holes inside a node, from the first that ends at or above the lowest address.
    private static bool Find(Node node, ref Search search)
    {
        search.Visits++;
        for (int i = node.FirstWithLastAtLeast(search.Lowest); i < node.Count; i++)
        {
            if (i > 0)
            {
                ulong holeStart = node.Lasts[i - 1] + 1;
                if (holeStart > search.Highest)
                {
                    return false;
                }

                ulong holeBytes = node.Starts[i] - holeStart;
                if (holeBytes >= search.Minimum
                    && search.Fits(Math.Max(search.Lowest, holeStart), Math.Min(search.Highest, node.Starts[i] - 1)))
                {
                    return true;
                }
            }

            if (node.Children is not null && node.Holes![i] >= search.Minimum && Find(node.Children[i], ref search))
            {
                return true;
            }

            if (search.Visits > search.Budget)
            {
                return false;
            }
        }

        return false;
    }

    private struct Search(ulong lowest, ulong highest, ulong length, ulong alignment, ulong offset)
    {
        public readonly ulong Lowest = lowest;
        public readonly ulong Highest = highest;
        public readonly ulong Length = length;
        public ulong Minimum = length;
        public int Budget;
        public int Visits;
        public ulong Found;

        public bool Fits(ulong holeStart, ulong holeLast)
        {
            ulong start = holeStart + ((offset - holeStart) & (alignment - 1));
            if (start < holeStart || start > holeLast || holeLast - start < Length - 1)
            {
                return false;
            }

            Found = start;
            return true;
        }
    }
}
