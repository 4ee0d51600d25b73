namespace Ioasis.Core;

/// <content>Nodes that come and go, and the shape of the tree.</content>
internal sealed partial class IovaRangeTree
{
    private void Insert(ulong start, ulong last)
    {
        int node = NewNode(start, last);
        Count++;
        if (_root == None)
        {
            _root = node;
            return;
        }

        int parent = _root;
        while (true)
        {
            ref Node at = ref _nodes[parent];
            ref int child = ref start < at.Start ? ref at.Left : ref at.Right;
            if (child == None)
            {
                child = node;
                break;
            }

            parent = child;
        }

        _nodes[node].Parent = parent;
        UpdateUpwards(parent);
        while (_nodes[node].Parent != None && _nodes[_nodes[node].Parent].Priority < _nodes[node].Priority)
        {
            RotateUp(node);
        }
    }

    private void Remove(int node)
    {
        // Down until it has one child at most, then its child takes its place.
        while (_nodes[node].Left != None && _nodes[node].Right != None)
        {
            int left = _nodes[node].Left;
            int right = _nodes[node].Right;
            RotateUp(_nodes[left].Priority > _nodes[right].Priority ? left : right);
        }

        int child = _nodes[node].Left + _nodes[node].Right;
        int parent = _nodes[node].Parent;
        Replace(parent, node, child);
        UpdateUpwards(parent);
        Count--;
        _nodes[node] = new() { Left = _freeHead };
        _freeHead = node;
    }

    private void RotateUp(int node)
    {
        int parent = _nodes[node].Parent;
        int grandparent = _nodes[parent].Parent;
        int moved;
        if (_nodes[parent].Left == node)
        {
            moved = _nodes[node].Right;
            _nodes[parent].Left = moved;
            _nodes[node].Right = parent;
        }
        else
        {
            moved = _nodes[node].Left;
            _nodes[parent].Right = moved;
            _nodes[node].Left = parent;
        }

        if (moved != None)
        {
            _nodes[moved].Parent = parent;
        }

        Replace(grandparent, parent, node);
        _nodes[parent].Parent = node;
        _nodes[parent].Longest = LongestOf(parent);
        _nodes[node].Longest = LongestOf(node);
    }

    private void Replace(int parent, int node, int by)
    {
        if (parent == None)
        {
            _root = by;
        }
        else if (_nodes[parent].Left == node)
        {
            _nodes[parent].Left = by;
        }
        else
        {
            _nodes[parent].Right = by;
        }

        if (by != None)
        {
            _nodes[by].Parent = parent;
        }
    }

    // Stops where nothing changes any more.
    private void UpdateUpwards(int node)
    {
        while (node != None)
        {
            ulong longest = LongestOf(node);
            if (longest == _nodes[node].Longest)
            {
                return;
            }

            _nodes[node].Longest = longest;
            node = _nodes[node].Parent;
        }
    }

    private ulong LongestOf(int node)
    {
        ref Node at = ref _nodes[node];
        return Math.Max(at.Last - at.Start + 1, Math.Max(_nodes[at.Left].Longest, _nodes[at.Right].Longest));
    }

    private int NewNode(ulong start, ulong last)
    {
        int node = _freeHead;
        if (node != None)
        {
            _freeHead = _nodes[node].Left;
        }
        else
        {
            if (_used == _nodes.Length)
            {
                Array.Resize(ref _nodes, _nodes.Length * 2);
            }

            node = _used++;
        }

        // Marsaglia's xorshift.
        _seed ^= _seed << 13;
        _seed ^= _seed >> 17;
        _seed ^= _seed << 5;
        _nodes[node] = new() { Start = start, Last = last, Longest = last - start + 1, Priority = _seed };
        return node;
    }
}
