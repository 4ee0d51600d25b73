using System.Runtime.InteropServices;

namespace Ioasis.Replay.Study;

/// <summary>
/// Stack distances of accesses to a cache with least-recently-used replacement, after R. L. Mattson and others, "Evaluation techniques
/// for storage hierarchies" (IBM Systems Journal 9, 1970): an access at distance <c>d</c> hits in every fully associative cache of <c>d</c>
/// entries or more and misses in every smaller one, so that one pass gives the hits of all sizes. O(log n) for an access.
/// </summary>
/// <remarks>
/// An invalidation leaves a hole at the entry's place: the larger caches had it and now have a free entry there, the smaller ones had
/// lost it before. What comes next on top fills the nearest hole and evicts nothing in the caches that reach it; so the distances stay
/// exact with invalidations. Entries have slots in the order of their last accesses, holes among them; when the slots are used up they
/// are numbered anew.
/// </remarks>
internal sealed class StackDistances
{
    private const int Hole = -1;
    private const int Empty = -2;
    private const int FirstSlots = 1 << 10;

    private readonly Dictionary<ulong, int> _numbers;
    private readonly List<Entry> _entries;
    private readonly Stack<int> _free;
    private int[] _slots;
    private CountedSlots _occupied;
    private HighestSlot _holes;
    private int _bottom;
    private int _next;
    private int _count;

    /// <summary>Makes an empty stack.</summary>
    /// <param name="capacity">The largest size of a cache that is asked for: entries below are forgotten.</param>
    public StackDistances(int capacity)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(capacity);
        Capacity = capacity;
        _numbers = [];
        _entries = [];
        _free = new();
        _slots = NewSlots(FirstSlots);
        _occupied = new(FirstSlots);
        _holes = new(FirstSlots);
    }

    private StackDistances(StackDistances other)
    {
        Capacity = other.Capacity;
        _numbers = new(other._numbers);
        _entries = [.. other._entries];
        _free = new(other._free.Reverse());
        _slots = (int[])other._slots.Clone();
        _occupied = other._occupied.Clone();
        _holes = other._holes.Clone();
        (_bottom, _next, _count) = (other._bottom, other._next, other._count);
    }

    /// <summary>The largest size that is asked for.</summary>
    public int Capacity { get; }

    /// <summary>Entries that a cache of <see cref="Capacity"/> has, those not that are detached.</summary>
    public int Count => _numbers.Count;

    /// <summary>A stack in the same state.</summary>
    public StackDistances Clone() => new(this);

    /// <summary>Looks a key up, and puts it on top.</summary>
    /// <returns>The size of the smallest cache that hits, from 1; 0 if none up to <see cref="Capacity"/> does.</returns>
    public int Access(ulong key)
    {
        if (_next == _slots.Length)
        {
            NumberAnew();
        }

        ref int known = ref CollectionsMarshal.GetValueRefOrAddDefault(_numbers, key, out bool exists);
        int hole;
        if (!exists)
        {
            hole = _holes.Value;
            if (hole >= 0)
            {
                Fill(hole);
            }
            else if (_count == Capacity)
            {
                DropBottom();

                // Removing another key may have moved this one's place in the table.
                known = ref CollectionsMarshal.GetValueRefOrNullRef(_numbers, key);
            }

            known = TakeEntry(key);
            Push(known);
            return 0;
        }

        int number = known;
        int slot = CollectionsMarshal.AsSpan(_entries)[number].Slot;
        if (slot == _next - 1)
        {
            return 1;
        }

        int distance = _count - _occupied.CountBelow(slot);
        hole = _holes.Value;
        if (hole > slot)
        {
            Fill(hole);
            MakeHole(slot);
        }
        else
        {
            _slots[slot] = Empty;
            _occupied.Clear(slot);
            _count--;
        }

        Push(number);
        return distance;
    }

    /// <summary>Invalidates a key.</summary>
    /// <returns>Whether it was there.</returns>
    public bool Remove(ulong key)
    {
        if (!_numbers.Remove(key, out int number))
        {
            return false;
        }

        MakeHole(CollectionsMarshal.AsSpan(_entries)[number].Slot);
        Free(number);
        return true;
    }

    /// <summary>Lets a key's entry stay where it is, and be found by nobody: the address means something else from now on.</summary>
    public void Detach(ulong key)
    {
        if (_numbers.Remove(key, out int number))
        {
            CollectionsMarshal.AsSpan(_entries)[number].IsDetached = true;
        }
    }

    /// <summary>Detaches every entry whose key a rule names.</summary>
    public void DetachWhere<TRule>(in TRule rule)
        where TRule : struct, IKeyRule
    {
        foreach (ref Entry entry in CollectionsMarshal.AsSpan(_entries))
        {
            if (entry.Slot >= 0 && !entry.IsDetached && rule.Names(entry.Key))
            {
                _numbers.Remove(entry.Key);
                entry.IsDetached = true;
            }
        }
    }

    /// <summary>Invalidates every entry, detached ones too, whose key a rule names.</summary>
    /// <returns>How many there were.</returns>
    public int RemoveWhere<TRule>(in TRule rule)
        where TRule : struct, IKeyRule
    {
        int removed = 0;
        Span<Entry> entries = CollectionsMarshal.AsSpan(_entries);
        for (int number = 0; number < entries.Length; number++)
        {
            ref Entry entry = ref entries[number];
            if (entry.Slot < 0 || !rule.Names(entry.Key))
            {
                continue;
            }

            if (!entry.IsDetached)
            {
                _numbers.Remove(entry.Key);
            }

            MakeHole(entry.Slot);
            Free(number);
            removed++;
        }

        return removed;
    }

    private static int[] NewSlots(int count)
    {
        int[] slots = new int[count];
        Array.Fill(slots, Empty);
        return slots;
    }

    private void Push(int number)
    {
        int slot = _next++;
        _slots[slot] = number;
        CollectionsMarshal.AsSpan(_entries)[number].Slot = slot;
        _occupied.Set(slot);
        _count++;
    }

    private void MakeHole(int slot)
    {
        _slots[slot] = Hole;
        _holes.Set(slot);
    }

    private void Fill(int hole)
    {
        _holes.Clear(hole);
        _slots[hole] = Empty;
        _occupied.Clear(hole);
        _count--;
    }

    // There is no hole when this is called: one would have been filled.
    private void DropBottom()
    {
        while (_slots[_bottom] == Empty)
        {
            _bottom++;
        }

        int number = _slots[_bottom];
        Entry entry = _entries[number];
        if (!entry.IsDetached)
        {
            _numbers.Remove(entry.Key);
        }

        _slots[_bottom] = Empty;
        _occupied.Clear(_bottom);
        _count--;
        Free(number);
    }

    private int TakeEntry(ulong key)
    {
        if (!_free.TryPop(out int number))
        {
            number = _entries.Count;
            _entries.Add(default);
        }

        CollectionsMarshal.AsSpan(_entries)[number] = new() { Key = key };
        return number;
    }

    private void Free(int number)
    {
        CollectionsMarshal.AsSpan(_entries)[number] = new() { Slot = -1 };
        _free.Push(number);
    }

    // Twice to four times as many slots as are in use: few enough to stay in a processor's cache, and each is moved once for each that is used.
    private void NumberAnew()
    {
        int length = FirstSlots;
        while (length < _count * 4)
        {
            length *= 2;
        }

        int[] old = _slots;
        int end = _next;
        _slots = NewSlots(length);
        _occupied = new(length);
        _holes = new(length);
        _next = 0;
        Span<Entry> entries = CollectionsMarshal.AsSpan(_entries);
        for (int slot = _bottom; slot < end; slot++)
        {
            int number = old[slot];
            if (number == Empty)
            {
                continue;
            }

            if (number == Hole)
            {
                _holes.Set(_next);
            }
            else
            {
                entries[number].Slot = _next;
            }

            _occupied.Set(_next);
            _slots[_next++] = number;
        }

        _bottom = 0;
    }

    private struct Entry
    {
        public ulong Key;
        public int Slot;
        public bool IsDetached;
    }
}

/// <summary>Says which keys are meant.</summary>
internal interface IKeyRule
{
    /// <summary>Whether a key is one of them.</summary>
    bool Names(ulong key);
}
