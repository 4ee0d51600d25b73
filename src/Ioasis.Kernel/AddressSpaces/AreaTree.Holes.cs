using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Ioasis.Kernel;

/// <content>The search for a hole.</content>
internal sealed partial class AreaTree<T>
{
    /// <summary>For tests: nodes that the last search looked at.</summary>
    internal int LastVisits { get; private set; }

    /// <summary>
    /// Finds the lowest free place for <paramref name="length"/> bytes from <paramref name="lowest"/> to
    /// <paramref name="highest"/> inclusive, aligned for the largest leaves that <paramref name="alignment"/> allows; only if
    /// there is none, for the next smaller ones, down to <paramref name="least"/>.
    /// </summary>
    /// <param name="lowest">First byte that may be used.</param>
    /// <param name="highest">Last byte that may be used.</param>
    /// <param name="length">Bytes, not 0.</param>
    /// <param name="alignment">What is wished for: a power of two, at least a page.</param>
    /// <param name="least">
    /// What the place must be a multiple of: a power of two, a page to <paramref name="alignment"/>; more than a page at most 2 MiB and
    /// less than twice <paramref name="length"/>.
    /// </param>
    /// <param name="offset">Of the place in its page; not 0 only if <paramref name="alignment"/> is a page.</param>
    /// <param name="start">The place.</param>
    /// <remarks>
    /// O(log n) for each alignment that is tried, however the holes lie, for every node knows what its holes can hold. Only with an
    /// offset that is not 0, and only if no hole begins early enough in a page, all holes are looked at.
    /// </remarks>
    public bool TryFindHole(
        ulong lowest, ulong highest, ulong length, ulong alignment, ulong least, ulong offset, out ulong start)
    {
        LastVisits = 0;
        start = 0;
        if (highest < lowest || highest - lowest < length - 1)
        {
            return false;
        }

        for (int leaf = HoleRoom.LeafOf(alignment); leaf >= 0 && HoleRoom.MaskOf(leaf) >= least; leaf--)
        {
            if (TryFind(new(lowest, highest, length, leaf, HoleRoom.MaskOf(leaf), offset: 0, length), out start))
            {
                return true;
            }
        }

        int size = HoleRoom.ClassOf(least);
        ulong mask = least - 1;
        return (length <= ulong.MaxValue - offset
                && TryFind(new(lowest, highest, length, size, mask, offset, offset + length), out start))
            || (offset != 0 && TryFind(new(lowest, highest, length, size, mask, offset, room: 0), out start));
    }

    private bool TryFind(Search search, out ulong start)
    {
        if (_root.Groups <= search.Group)
        {
            _root.LearnRoom(search.Group + 1);
        }

        bool found = Find(ref search);
        LastVisits += search.Visits;
        start = search.Found;
        return found;
    }

    private bool Find(ref Search search)
    {
        if (_root.Count == 0)
        {
            return search.Fits(search.Lowest, search.Highest);
        }

        ulong first = _root.Starts[0];
        if (first > search.Lowest && search.Fits(search.Lowest, Math.Min(search.Highest, first - 1)))
        {
            return true;
        }

        if (_root.Room[search.Group].GetElement(search.Lane) >= search.Room && Find(_root, ref search))
        {
            return true;
        }

        ulong last = _root.Lasts[_root.Count - 1];
        return last < search.Highest && search.Fits(Math.Max(search.Lowest, last + 1), search.Highest);
    }

    // Looks at the holes inside a node, from the first that ends at or above the lowest address. A child that has the room is
    // left without success only if the limits cut its hole: at most one at either limit.
    private static bool Find(Node node, ref Search search)
    {
        search.Visits++;
        int index = node.FirstWithLastAtLeast(search.Lowest);

        // One number of each, not the vector.
        ReadOnlySpan<ulong> rooms = MemoryMarshal.Cast<Vector256<ulong>, ulong>(node.Rooms.AsSpan());
        for (int i = index; i < node.Count; i++)
        {
            if (i > 0)
            {
                ulong holeStart = node.Lasts[i - 1] + 1;
                if (holeStart > search.Highest)
                {
                    return false;
                }

                if (node.Starts[i] - holeStart >= search.Length
                    && search.Fits(Math.Max(search.Lowest, holeStart), Math.Min(search.Highest, node.Starts[i] - 1)))
                {
                    return true;
                }
            }

            if (node.Children is not null && rooms[search.At(i)] >= search.Room && Find(node.Children[i], ref search))
            {
                return true;
            }
        }

        return false;
    }

    private struct Search(ulong lowest, ulong highest, ulong length, int size, ulong mask, ulong offset, ulong room)
    {
        public readonly ulong Lowest = lowest;
        public readonly ulong Highest = highest;
        public readonly ulong Length = length;

        // What a node must have room for, in which class of alignment: its group, and which of the group.
        public readonly ulong Room = room;
        public readonly int Group = size / HoleRoom.GroupSize;
        public readonly int Lane = size % HoleRoom.GroupSize;
        public int Visits;
        public ulong Found;

        // Where the number of a child is among those of its node.
        public readonly int At(int child) => (((Group * Fanout) + child) * HoleRoom.GroupSize) + Lane;

        public bool Fits(ulong holeStart, ulong holeLast)
        {
            ulong start = holeStart + ((offset - holeStart) & mask);
            if (start < holeStart || start > holeLast || holeLast - start < Length - 1)
            {
                return false;
            }

            Found = start;
            return true;
        }
    }
}
