using System.Diagnostics;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// Disjoint ranges of IOVAs with a value each, in order: a B+ tree whose inner entries know the largest hole below them, so
/// that a hole of a given size is found in O(log n) however many ranges there are. Nodes come from a pool: in the steady
/// state nothing is allocated. Not thread-safe.
/// </summary>
/// <remarks>
/// For each child an inner node keeps the first byte, the last byte and the largest hole inside it; a hole between two
/// children is seen in their parent. Holes before the first and after the last range belong to the caller's limits.
/// </remarks>
internal sealed class AreaTree<T>
    where T : class
{
    internal const int Fanout = 32;

    private readonly Stack<Node> _freeLeaves = [];
    private readonly Stack<Node> _freeInner = [];
    private Node _root = new(isLeaf: true);

    /// <summary>How many ranges there are.</summary>
    public int Count { get; private set; }

    /// <summary>Finds the first range that shares a byte with <paramref name="start"/> to <paramref name="last"/>.</summary>
    public T? FindOverlap(ulong start, ulong last, out ulong foundStart, out ulong foundLast)
    {
        Node? node = _root;
        while (node is not null)
        {
            int index = node.FirstWithLastAtLeast(start);
            if (index == node.Count)
            {
                break;
            }

            if (node.Children is null)
            {
                foundStart = node.Starts[index];
                foundLast = node.Lasts[index];
                return foundStart <= last ? node.Values![index] : null;
            }

            node = node.Children[index];
        }

        foundStart = foundLast = 0;
        return null;
    }

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
    /// <param name="start">The place.</param>
    public bool TryFindHole(
        ulong lowest, ulong highest, ulong length, ulong alignment, ulong offset, ulong grain, out ulong start)
    {
        Search search = new(lowest, highest, length, alignment, offset);

        // A hole that fits in any position is found without looking into others; only if there is none are those examined
        // that fit in some positions.
        ulong slack = alignment - grain;
        if (slack > 0 && length <= ulong.MaxValue - slack)
        {
            search.Minimum = length + slack;
            if (Find(ref search))
            {
                start = search.Found;
                return true;
            }
        }

        search = new(lowest, highest, length, alignment, offset) { Minimum = length };
        bool found = Find(ref search);
        start = search.Found;
        return found;
    }

    /// <summary>Adds a range that overlaps none.</summary>
    public void Add(ulong start, ulong last, T value)
    {
        Node? sibling = Add(_root, start, last, value);
        if (sibling is not null)
        {
            Node root = Rent(isLeaf: false);
            root.Insert(0, _root);
            root.Insert(1, sibling);
            _root = root;
        }

        Count++;
    }

    /// <summary>Removes the range that starts at <paramref name="start"/>, if there is one.</summary>
    public bool Remove(ulong start)
    {
        if (!Remove(_root, start))
        {
            return false;
        }

        while (_root.Children is not null && _root.Count == 1)
        {
            Node child = _root.Children[0];
            Return(_root);
            _root = child;
        }

        if (_root.Children is not null && _root.Count == 0)
        {
            Return(_root);
            _root = Rent(isLeaf: true);
        }

        Count--;
        return true;
    }

    /// <summary>Calls <paramref name="visit"/> for each range in order until it returns false.</summary>
    public void Visit(Func<AddressRange, T, bool> visit) => _ = Visit(_root, visit);

    /// <summary>For tests: checks every rule of the structure.</summary>
    internal void Validate() => Debug.Assert(Validate(_root, isRoot: true) == Count, "count");

    /// <summary>For tests: the levels of the tree, 1 for a single leaf.</summary>
    internal int Depth
    {
        get
        {
            int depth = 1;
            for (Node node = _root; node.Children is not null; node = node.Children[0])
            {
                depth++;
            }

            return depth;
        }
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
        }

        return false;
    }

    private Node? Add(Node node, ulong start, ulong last, T value)
    {
        int index = node.FirstWithLastAtLeast(start);
        if (node.Children is null)
        {
            Debug.Assert(index == node.Count || node.Starts[index] > last, "overlap");
            if (node.Count == Fanout)
            {
                Node right = Split(node);
                if (index > node.Count)
                {
                    right.Insert(index - node.Count, start, last, value);
                }
                else
                {
                    node.Insert(index, start, last, value);
                }

                return right;
            }

            node.Insert(index, start, last, value);
            return null;
        }

        index = Math.Min(index, node.Count - 1);
        Node? sibling = Add(node.Children[index], start, last, value);
        node.Refresh(index);
        if (sibling is null)
        {
            return null;
        }

        if (node.Count < Fanout)
        {
            node.Insert(index + 1, sibling);
            return null;
        }

        Node split = Split(node);
        if (index + 1 > node.Count)
        {
            split.Insert(index + 1 - node.Count, sibling);
        }
        else
        {
            node.Insert(index + 1, sibling);
        }

        return split;
    }

    private bool Remove(Node node, ulong start)
    {
        int index = node.FirstWithLastAtLeast(start);
        if (index == node.Count)
        {
            return false;
        }

        if (node.Children is null)
        {
            if (node.Starts[index] != start)
            {
                return false;
            }

            node.RemoveAt(index);
            return true;
        }

        Node child = node.Children[index];
        if (!Remove(child, start))
        {
            return false;
        }

        if (child.Count == 0)
        {
            node.RemoveAt(index);
            Return(child);
            return true;
        }

        node.Refresh(index);
        if (child.Count <= Fanout / 4)
        {
            // Two neighbours that fit one node with room to spare become one, so that the tree shrinks as it empties.
            if (index + 1 < node.Count && child.Count + node.Children[index + 1].Count <= Fanout * 3 / 4)
            {
                Merge(node, index);
            }
            else if (index > 0 && child.Count + node.Children[index - 1].Count <= Fanout * 3 / 4)
            {
                Merge(node, index - 1);
            }
        }

        return true;
    }

    private void Merge(Node parent, int index)
    {
        Node left = parent.Children![index];
        Node right = parent.Children[index + 1];
        left.Append(right, 0);
        parent.RemoveAt(index + 1);
        parent.Refresh(index);
        right.Truncate(0);
        Return(right);
    }

    private Node Split(Node node)
    {
        Node right = Rent(node.Children is null);
        int keep = node.Count / 2;
        right.Append(node, keep);
        node.Truncate(keep);
        return right;
    }

    private Node Rent(bool isLeaf) =>
        (isLeaf ? _freeLeaves : _freeInner).TryPop(out Node? node) ? node : new(isLeaf);

    private void Return(Node node)
    {
        node.Truncate(0);
        (node.Children is null ? _freeLeaves : _freeInner).Push(node);
    }

    private static bool Visit(Node node, Func<AddressRange, T, bool> visit)
    {
        for (int i = 0; i < node.Count; i++)
        {
            if (node.Children is not null
                ? !Visit(node.Children[i], visit)
                : !visit(new(node.Starts[i], node.Lasts[i]), node.Values![i]!))
            {
                return false;
            }
        }

        return true;
    }

    private static int Validate(Node node, bool isRoot)
    {
        int total = 0;
        if (!isRoot && node.Count == 0)
        {
            throw new InvalidOperationException("A node below the root is empty.");
        }

        for (int i = 0; i < node.Count; i++)
        {
            if (node.Starts[i] > node.Lasts[i] || (i > 0 && node.Starts[i] <= node.Lasts[i - 1]))
            {
                throw new InvalidOperationException("Ranges are out of order.");
            }

            if (node.Children is null)
            {
                total++;
                continue;
            }

            Node child = node.Children[i];
            total += Validate(child, isRoot: false);
            if (child.Starts[0] != node.Starts[i]
                || child.Lasts[child.Count - 1] != node.Lasts[i]
                || child.LargestHole() != node.Holes![i])
            {
                throw new InvalidOperationException("An inner entry does not agree with its child.");
            }
        }

        return total;
    }

    private struct Search(ulong lowest, ulong highest, ulong length, ulong alignment, ulong offset)
    {
        public readonly ulong Lowest = lowest;
        public readonly ulong Highest = highest;
        public readonly ulong Length = length;
        public ulong Minimum = length;
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

    private sealed class Node(bool isLeaf)
    {
        public readonly ulong[] Starts = new ulong[Fanout];
        public readonly ulong[] Lasts = new ulong[Fanout];

        // Of inner nodes.
        public readonly ulong[]? Holes = isLeaf ? null : new ulong[Fanout];
        public readonly Node[]? Children = isLeaf ? null : new Node[Fanout];

        // Of leaves.
        public readonly T?[]? Values = isLeaf ? new T?[Fanout] : null;

        public int Count;

        public int FirstWithLastAtLeast(ulong address)
        {
            int low = 0;
            int high = Count;
            while (low < high)
            {
                int middle = (low + high) >>> 1;
                if (Lasts[middle] < address)
                {
                    low = middle + 1;
                }
                else
                {
                    high = middle;
                }
            }

            return low;
        }

        public void Insert(int index, ulong start, ulong last, T value)
        {
            Shift(index);
            Array.Copy(Values!, index, Values!, index + 1, Count - index);
            Starts[index] = start;
            Lasts[index] = last;
            Values![index] = value;
            Count++;
        }

        public void Insert(int index, Node child)
        {
            Shift(index);
            Array.Copy(Holes!, index, Holes!, index + 1, Count - index);
            Array.Copy(Children!, index, Children!, index + 1, Count - index);
            Children![index] = child;
            Count++;
            Refresh(index);
        }

        public void RemoveAt(int index)
        {
            Count--;
            Array.Copy(Starts, index + 1, Starts, index, Count - index);
            Array.Copy(Lasts, index + 1, Lasts, index, Count - index);
            if (Children is null)
            {
                Array.Copy(Values!, index + 1, Values!, index, Count - index);
                Values![Count] = null;
            }
            else
            {
                Array.Copy(Holes!, index + 1, Holes!, index, Count - index);
                Array.Copy(Children, index + 1, Children, index, Count - index);
                Children[Count] = null!;
            }
        }

        public void Append(Node source, int from)
        {
            int count = source.Count - from;
            Array.Copy(source.Starts, from, Starts, Count, count);
            Array.Copy(source.Lasts, from, Lasts, Count, count);
            if (Children is null)
            {
                Array.Copy(source.Values!, from, Values!, Count, count);
            }
            else
            {
                Array.Copy(source.Holes!, from, Holes!, Count, count);
                Array.Copy(source.Children!, from, Children, Count, count);
            }

            Count += count;
        }

        public void Truncate(int count)
        {
            if (Children is null)
            {
                Array.Clear(Values!, count, Count - count);
            }
            else
            {
                Array.Clear(Children, count, Count - count);
            }

            Count = count;
        }

        public void Refresh(int index)
        {
            Node child = Children![index];
            Starts[index] = child.Starts[0];
            Lasts[index] = child.Lasts[child.Count - 1];
            Holes![index] = child.LargestHole();
        }

        public ulong LargestHole()
        {
            ulong largest = 0;
            for (int i = 1; i < Count; i++)
            {
                largest = Math.Max(largest, Starts[i] - Lasts[i - 1] - 1);
            }

            if (Children is not null)
            {
                for (int i = 0; i < Count; i++)
                {
                    largest = Math.Max(largest, Holes![i]);
                }
            }

            return largest;
        }

        private void Shift(int index)
        {
            Array.Copy(Starts, index, Starts, index + 1, Count - index);
            Array.Copy(Lasts, index, Lasts, index + 1, Count - index);
        }
    }
}
