namespace Ioasis.Replay.Tests;

/// <summary>A fully associative cache of one size with least-recently-used replacement, as simple as it gets: what studies are held to.</summary>
internal sealed class SimulatedLru(int size)
{
    private readonly LinkedList<Entry> _order = new();
    private readonly Dictionary<ulong, LinkedListNode<Entry>> _found = [];

    /// <summary>Looks up; whether it was there.</summary>
    public bool Access(ulong key)
    {
        if (_found.TryGetValue(key, out LinkedListNode<Entry>? node))
        {
            _order.Remove(node);
            _order.AddFirst(node);
            return true;
        }

        if (_order.Count == size)
        {
            Entry last = _order.Last!.Value;
            _order.RemoveLast();
            if (last.IsFound)
            {
                _found.Remove(last.Key);
            }
        }

        _found[key] = _order.AddFirst(new Entry(key, true));
        return false;
    }

    /// <summary>Lets an entry stay, and be found no more.</summary>
    public void Detach(ulong key)
    {
        if (_found.Remove(key, out LinkedListNode<Entry>? node))
        {
            node.Value = node.Value with { IsFound = false };
        }
    }

    /// <summary>Invalidates one entry.</summary>
    public void Remove(ulong key)
    {
        if (_found.Remove(key, out LinkedListNode<Entry>? node))
        {
            _order.Remove(node);
        }
    }

    /// <summary>Invalidates entries.</summary>
    public void RemoveAll(Predicate<ulong> named)
    {
        for (LinkedListNode<Entry>? node = _order.First; node is not null;)
        {
            LinkedListNode<Entry>? next = node.Next;
            if (named(node.Value.Key))
            {
                _order.Remove(node);
                if (node.Value.IsFound)
                {
                    _found.Remove(node.Value.Key);
                }
            }

            node = next;
        }
    }

    private readonly record struct Entry(ulong Key, bool IsFound);
}
