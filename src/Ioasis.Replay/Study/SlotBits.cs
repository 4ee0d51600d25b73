using System.Numerics;

namespace Ioasis.Replay.Study;

/// <summary>A set of slot numbers that knows how many of them lie below one: a bitmap with a Fenwick tree over its words.</summary>
internal sealed class CountedSlots(int slots)
{
    private readonly ulong[] _words = new ulong[(slots + 63) >> 6];
    private readonly int[] _tree = new int[((slots + 63) >> 6) + 1];

    /// <summary>A set with the same slots.</summary>
    public CountedSlots Clone()
    {
        CountedSlots clone = new(_words.Length << 6);
        _words.CopyTo(clone._words, 0);
        _tree.CopyTo(clone._tree, 0);
        return clone;
    }

    /// <summary>Adds a slot that is not in it.</summary>
    public void Set(int slot)
    {
        _words[slot >> 6] |= 1ul << slot;
        Add(slot >> 6, 1);
    }

    /// <summary>Takes out a slot that is in it.</summary>
    public void Clear(int slot)
    {
        _words[slot >> 6] &= ~(1ul << slot);
        Add(slot >> 6, -1);
    }

    /// <summary>How many are below a slot.</summary>
    public int CountBelow(int slot)
    {
        int word = slot >> 6;
        int count = BitOperations.PopCount(_words[word] & ((1ul << slot) - 1));
        for (int node = word; node > 0; node &= node - 1)
        {
            count += _tree[node];
        }

        return count;
    }

    private void Add(int word, int difference)
    {
        int[] tree = _tree;
        for (int node = word + 1; node < tree.Length; node += node & -node)
        {
            tree[node] += difference;
        }
    }
}

/// <summary>A set of slot numbers that knows its highest: a bitmap with bitmaps of its words that are not empty, up to one word.</summary>
internal sealed class HighestSlot
{
    private readonly ulong[][] _levels;

    public HighestSlot(int slots)
    {
        List<ulong[]> levels = [];
        int words = slots;
        do
        {
            words = (words + 63) >> 6;
            levels.Add(new ulong[words]);
        }
        while (words > 1);
        _levels = [.. levels];
    }

    private HighestSlot(ulong[][] levels) => _levels = levels;

    /// <summary>The highest slot, or -1.</summary>
    public int Value
    {
        get
        {
            int at = 0;
            for (int level = _levels.Length - 1; level >= 0; level--)
            {
                ulong word = _levels[level][at];
                if (word == 0)
                {
                    return -1;
                }

                at = (at << 6) + BitOperations.Log2(word);
            }

            return at;
        }
    }

    /// <summary>A set with the same slots.</summary>
    public HighestSlot Clone() => new([.. _levels.Select(static level => (ulong[])level.Clone())]);

    /// <summary>Adds a slot.</summary>
    public void Set(int slot)
    {
        foreach (ulong[] level in _levels)
        {
            level[slot >> 6] |= 1ul << slot;
            slot >>= 6;
        }
    }

    /// <summary>Takes out a slot.</summary>
    public void Clear(int slot)
    {
        foreach (ulong[] level in _levels)
        {
            if ((level[slot >> 6] &= ~(1ul << slot)) != 0)
            {
                return;
            }

            slot >>= 6;
        }
    }
}
