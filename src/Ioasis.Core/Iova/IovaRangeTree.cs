using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// The free IOVAs as a search tree of maximal ranges: the slow, exact half of <see cref="IovaAllocator"/>. It finds the highest
/// aligned place below a limit, and joins what is given back with its neighbours. Numbers are granules, not bytes.
/// Not thread-safe; its nodes are an array that only ever grows, so that a steady state allocates nothing.
/// </summary>
/// <remarks>
/// A treap: sorted by first granule, heap-ordered by a pseudo-random priority that keeps it shallow. Every node knows the longest
/// range below it, so that a search turns away from parts that hold nothing long enough.
/// </remarks>
internal sealed partial class IovaRangeTree
{
    private const int None = 0;

    // Node 0 means "no node": its longest range is 0, and nothing is ever stored there.
    private Node[] _nodes = new Node[16];
    private int _used = 1;
    private int _freeHead;
    private int _root;
    private uint _seed = 0x9e37_79b9;

    /// <summary>How many maximal ranges there are.</summary>
    public int Count { get; private set; }

    /// <summary>Granules in all ranges.</summary>
    public ulong FreeGranules { get; private set; }

    /// <summary>
    /// Takes the highest <paramref name="count"/> granules in a row whose first is a multiple of
    /// <paramref name="alignment"/> and whose last is not above <paramref name="last"/>.
    /// </summary>
    /// <param name="count">1 or more.</param>
    /// <param name="alignment">A power of two.</param>
    /// <param name="last">Last granule that may be used, inclusive.</param>
    /// <param name="start">First granule.</param>
    /// <returns>Whether there is such a place.</returns>
    public bool TryTakeHighest(ulong count, ulong alignment, ulong last, out ulong start)
    {
        int node = FindHighest(_root, count, alignment, last, out start);
        if (node == None)
        {
            return false;
        }

        Cut(node, start, start + (count - 1));
        return true;
    }

    /// <summary>Takes exactly these granules.</summary>
    /// <returns>Whether all of them were free; else nothing has changed.</returns>
    public bool TryTake(ulong start, ulong last)
    {
        int node = FindAtOrBelow(start);
        if (node == None || _nodes[node].Last < last)
        {
            return false;
        }

        Cut(node, start, last);
        return true;
    }

    /// <summary>Takes whatever is free of these granules.</summary>
    public void TakeAll(ulong start, ulong last)
    {
        while (true)
        {
            int node = FindAtOrBelow(last);
            if (node == None || _nodes[node].Last < start)
            {
                return;
            }

            Cut(node, Math.Max(start, _nodes[node].Start), Math.Min(last, _nodes[node].Last));
        }
    }

    /// <summary>Gives granules back.</summary>
    /// <returns>Whether none of them was free; else nothing has changed.</returns>
    public bool TryGive(ulong start, ulong last)
    {
        int below = FindAtOrBelow(last);
        if (below != None && _nodes[below].Last >= start)
        {
            return false;
        }

        int above = last == ulong.MaxValue ? None : FindExact(last + 1);
        bool joinsBelow = below != None && _nodes[below].Last + 1 == start;
        FreeGranules += last - start + 1;
        if (joinsBelow)
        {
            if (above != None)
            {
                last = _nodes[above].Last;
                Remove(above);
            }

            _nodes[below].Last = last;
            UpdateUpwards(below);
        }
        else if (above != None)
        {
            // No range starts between the two, so that the order stays.
            _nodes[above].Start = start;
            UpdateUpwards(above);
        }
        else
        {
            Insert(start, last);
        }

        return true;
    }

    /// <summary>The ranges in ascending order. For audits and diagnostics.</summary>
    public List<(ulong Start, ulong Last)> ToList()
    {
        List<(ulong, ulong)> list = new(Count);
        for (int node = First(_root); node != None; node = Next(node))
        {
            list.Add((_nodes[node].Start, _nodes[node].Last));
        }

        return list;
    }

    /// <summary>An audit: throws if the tree is not what it must be.</summary>
    internal void Check()
    {
        int counted = CheckBelow(_root, None);
        if (counted != Count)
        {
            throw new InvalidOperationException("the count is wrong");
        }
    }

    // The right part first: the highest place wins. A part is looked into only if it has a range that is long enough and
    // starts below the limit; alignment alone can then still disappoint.
    private int FindHighest(int node, ulong count, ulong alignment, ulong last, out ulong start)
    {
        while (node != None)
        {
            ref Node at = ref _nodes[node];
            if (at.Longest < count)
            {
                break;
            }

            if (at.Start <= last)
            {
                if (_nodes[at.Right].Longest >= count)
                {
                    int found = FindHighest(at.Right, count, alignment, last, out start);
                    if (found != None)
                    {
                        return found;
                    }
                }

                ulong end = Math.Min(at.Last, last);
                if (end - at.Start >= count - 1)
                {
                    start = (end - (count - 1)) & ~(alignment - 1);
                    if (start >= at.Start)
                    {
                        return node;
                    }
                }
            }

            node = at.Left;
        }

        start = 0;
        return None;
    }

    // Takes a part of one range: what is left are none, one or two ranges.
    private void Cut(int node, ulong start, ulong last)
    {
        ulong nodeStart = _nodes[node].Start;
        ulong nodeLast = _nodes[node].Last;
        FreeGranules -= last - start + 1;
        if (start > nodeStart)
        {
            _nodes[node].Last = start - 1;
            UpdateUpwards(node);
            if (last < nodeLast)
            {
                Insert(last + 1, nodeLast);
            }
        }
        else if (last < nodeLast)
        {
            _nodes[node].Start = last + 1;
            UpdateUpwards(node);
        }
        else
        {
            Remove(node);
        }
    }

    private int FindAtOrBelow(ulong granule)
    {
        int best = None;
        int node = _root;
        while (node != None)
        {
            if (_nodes[node].Start <= granule)
            {
                best = node;
                node = _nodes[node].Right;
            }
            else
            {
                node = _nodes[node].Left;
            }
        }

        return best;
    }

    private int FindExact(ulong start)
    {
        int node = _root;
        while (node != None && _nodes[node].Start != start)
        {
            node = _nodes[node].Start < start ? _nodes[node].Right : _nodes[node].Left;
        }

        return node;
    }

    private int First(int node)
    {
        while (node != None && _nodes[node].Left != None)
        {
            node = _nodes[node].Left;
        }

        return node;
    }

    private int Next(int node)
    {
        if (_nodes[node].Right != None)
        {
            return First(_nodes[node].Right);
        }

        int parent = _nodes[node].Parent;
        while (parent != None && _nodes[parent].Right == node)
        {
            (node, parent) = (parent, _nodes[parent].Parent);
        }

        return parent;
    }

    private int CheckBelow(int node, int parent)
    {
        if (node == None)
        {
            return 0;
        }

        ref Node at = ref _nodes[node];
        int next = Next(node);
        if (at.Parent != parent || at.Longest != LongestOf(node) || at.Last < at.Start
            || (parent != None && at.Priority > _nodes[parent].Priority)
            || (next != None && (_nodes[next].Start <= at.Last || _nodes[next].Start == at.Last + 1)))
        {
            throw new InvalidOperationException("a node is wrong");
        }

        return 1 + CheckBelow(at.Left, node) + CheckBelow(at.Right, node);
    }

    private struct Node
    {
        public ulong Start;
        public ulong Last;
        public ulong Longest;
        public int Left;
        public int Right;
        public int Parent;
        public uint Priority;
    }
}
