using System.Diagnostics;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// Disjoint ranges of IOVAs with a value each, in order: a B+ tree whose inner entries know what the holes below them can
/// hold (<see cref="HoleRoom"/>), so that an aligned hole of a given size is found in O(log n) however many ranges there are
/// and however they lie. Nodes come from a pool: in the steady state nothing is allocated. Not thread-safe.
/// </summary>
/// <remarks>
/// For each child an inner node keeps the first byte, the last byte and the largest rooms inside it; a hole between two
/// children is seen in their parent. Holes before the first and after the last range belong to the caller's limits.
/// </remarks>
internal sealed partial class AreaTree<T>
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
}
