using System.Diagnostics;

namespace Ioasis.Kernel;

/// <content>For tests: the rules of the structure.</content>
internal sealed partial class AreaTree<T>
{
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
                || child.Groups != node.Groups
                || Enumerable.Range(0, node.Groups).Any(group => child.ComputeRoom(group) != node.RoomOf(group, i)))
            {
                throw new InvalidOperationException("An inner entry does not agree with its child.");
            }
        }

        return Enumerable.Range(0, node.Groups).All(group => node.Room[group] == node.ComputeRoom(group))
            ? total
            : throw new InvalidOperationException("A node does not know its holes.");
    }
}
