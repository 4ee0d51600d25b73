using System.Diagnostics;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// Disjoint ranges of IOVAs with a value each, in order: a B+ tree whose inner entries know what the holes below them can
/// hold (<see cref="HoleRoom"/>), so that an aligned hole of a given size is found in O(log n) however many ranges there are
/// and however they lie. Who never looks for a hole does not pay for that: they know it from the first search on, for a group of
/// alignments when one of them is first asked for. Nodes come from a pool: in the steady state nothing is allocated. Not
/// thread-safe.
/// </summary>
/// <remarks>
/// For each child an inner node keeps the first byte, the last byte and the largest rooms inside it; a hole between two
/// children is seen in their parent. Holes before the first and after the last range belong to the caller's limits.
/// </remarks>
internal sealed partial class AreaTree<T>
    where T : class
{
    internal const int Fanout = 32;

    // Deeper no tree is: each level has room for eight times as many, and more.
    private const int MaxDepth = 24;

    // The way to where the last search ended, from the root to a leaf: what was found is mostly removed next, and where nothing was,
    // a range is added. It holds until the tree changes.
    private readonly Step[] _path = new Step[MaxDepth];
    private int _pathLength;
    private ulong _pathAddress;

    private readonly Stack<Node> _freeLeaves = [];
    private readonly Stack<Node> _freeInner = [];
    private Node _root = new(isLeaf: true);

    /// <summary>How many ranges there are.</summary>
    public int Count { get; private set; }

    /// <summary>Finds the first range that shares a byte with <paramref name="start"/> to <paramref name="last"/>.</summary>
    public T? FindOverlap(ulong start, ulong last, out ulong foundStart, out ulong foundLast)
    {
        Descend(start);
        ref readonly Step end = ref _path[_pathLength - 1];
        if (end.Index == end.Node.Count)
        {
            foundStart = foundLast = 0;
            return null;
        }

        foundStart = end.Node.Starts[end.Index];
        foundLast = end.Node.Lasts[end.Index];
        return foundStart <= last ? end.Node.Values![end.Index] : null;
    }

    /// <summary>Adds a range that overlaps none.</summary>
    public void Add(ulong start, ulong last, T value)
    {
        if (_pathLength == 0 || _pathAddress != start)
        {
            Descend(start);
        }

        int depth = _pathLength - 1;
        _pathLength = 0;
        Node? sibling = AddToLeaf(_path[depth], start, last, value);
        while (--depth >= 0)
        {
            (Node node, int index) = _path[depth];
            node.Refresh(index);
            sibling = sibling is null ? null : AddChild(node, index + 1, sibling);
        }

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
        if (_pathLength == 0 || !IsAt(_path[_pathLength - 1], start))
        {
            Descend(start);
            if (!IsAt(_path[_pathLength - 1], start))
            {
                return false;
            }
        }

        int depth = _pathLength - 1;
        _pathLength = 0;
        _path[depth].Node.RemoveAt(_path[depth].Index);
        while (--depth >= 0)
        {
            RefreshSmaller(_path[depth].Node, _path[depth].Index);
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

    // To the first range that ends at or above an address; behind the last one, if there is none.
    private void Descend(ulong address)
    {
        _pathAddress = address;
        Node node = _root;
        int depth = 0;
        while (node.Children is { } children)
        {
            int index = Math.Min(node.FirstWithLastAtLeast(address), node.Count - 1);
            _path[depth++] = new(node, index);
            node = children[index];
        }

        _path[depth] = new(node, node.FirstWithLastAtLeast(address));
        _pathLength = depth + 1;
    }

    private static bool IsAt(in Step step, ulong start) => step.Index < step.Node.Count && step.Node.Starts[step.Index] == start;

    // Returns the upper half, if the leaf had to be split.
    private Node? AddToLeaf(in Step step, ulong start, ulong last, T value)
    {
        (Node node, int index) = step;
        Debug.Assert(index == node.Count || node.Starts[index] > last, "overlap");
        if (node.Count < Fanout)
        {
            node.Insert(index, start, last, value);
            return null;
        }

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

    // Returns the upper half, if the node had to be split.
    private Node? AddChild(Node node, int index, Node child)
    {
        if (node.Count < Fanout)
        {
            node.Insert(index, child);
            return null;
        }

        Node right = Split(node);
        if (index > node.Count)
        {
            right.Insert(index - node.Count, child);
        }
        else
        {
            node.Insert(index, child);
        }

        return right;
    }

    // Something below a child was removed.
    private void RefreshSmaller(Node node, int index)
    {
        Node child = node.Children![index];
        if (child.Count == 0)
        {
            node.RemoveAt(index);
            Return(child);
            return;
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

    private Node Rent(bool isLeaf)
    {
        Node node = (isLeaf ? _freeLeaves : _freeInner).TryPop(out Node? free) ? free : new(isLeaf);
        node.Groups = _root.Groups;
        Array.Clear(node.Room);
        return node;
    }

    private void Return(Node node)
    {
        node.Truncate(0);
        (node.Children is null ? _freeLeaves : _freeInner).Push(node);
    }

    // A node on the way, and which of its entries the way takes.
    private readonly record struct Step(Node Node, int Index);

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
}
