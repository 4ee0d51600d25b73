namespace Ioasis.Replay.Planning;

/// <summary>A set of IOVA pages of devices: one bit a page, in words where any is.</summary>
internal sealed class SeenPages
{
    private const ulong Multiplier = 0x9e3779b97f4a7c15;

    // Open addressing; a word of 0 is a free place, for no word without a bit is ever stored.
    private ulong[] _keys = new ulong[1 << 10];
    private ulong[] _words = new ulong[1 << 10];
    private int _count;
    private int _shift = 64 - 10;

    /// <summary>Adds a page.</summary>
    /// <returns>Whether it was new.</returns>
    public bool Add(int device, ulong iova)
    {
        ulong page = ((ulong)device << 52) ^ (iova >> 12);
        ref ulong word = ref Find(page >> 6);
        ulong bit = 1ul << (int)(page & 63);
        if ((word & bit) != 0)
        {
            return false;
        }

        word |= bit;
        return true;
    }

    /// <summary>Finds the pages of a range.</summary>
    /// <param name="device">Whose.</param>
    /// <param name="first">The first page's number.</param>
    /// <param name="last">The last page's number.</param>
    /// <param name="found">Emptied, and filled with the numbers of the pages.</param>
    public void Collect(int device, ulong first, ulong last, List<ulong> found)
    {
        found.Clear();
        ulong owner = (ulong)device << 52;
        if ((last >> 6) - (first >> 6) <= (ulong)_count)
        {
            for (ulong word = first >> 6; word <= last >> 6; word++)
            {
                Take(word, Look((owner ^ (word << 6)) >> 6));
            }

            return;
        }

        // Fewer words than the range has: all of them.
        for (int i = 0; i < _keys.Length; i++)
        {
            ulong word = _keys[i] ^ (owner >> 6);
            if (_words[i] != 0 && word >= first >> 6 && word <= last >> 6)
            {
                Take(word, _words[i]);
            }
        }

        void Take(ulong word, ulong bits)
        {
            for (; bits != 0; bits &= bits - 1)
            {
                ulong page = (word << 6) + (ulong)System.Numerics.BitOperations.TrailingZeroCount(bits);
                if (page >= first && page <= last)
                {
                    found.Add(page);
                }
            }
        }
    }

    private ulong Look(ulong key)
    {
        int mask = _keys.Length - 1;
        int at = (int)((key * Multiplier) >> _shift);
        while (_words[at] != 0 && _keys[at] != key)
        {
            at = (at + 1) & mask;
        }

        return _words[at];
    }

    private ref ulong Find(ulong key)
    {
        int mask = _keys.Length - 1;
        int at = (int)((key * Multiplier) >> _shift);
        while (_words[at] != 0)
        {
            if (_keys[at] == key)
            {
                return ref _words[at];
            }

            at = (at + 1) & mask;
        }

        if (_count * 2 > mask)
        {
            Grow();
            return ref Find(key);
        }

        _count++;
        _keys[at] = key;
        return ref _words[at];
    }

    private void Grow()
    {
        (ulong[] keys, ulong[] words) = (_keys, _words);
        _keys = new ulong[keys.Length * 2];
        _words = new ulong[keys.Length * 2];
        _shift--;
        int mask = _keys.Length - 1;
        for (int i = 0; i < keys.Length; i++)
        {
            if (words[i] == 0)
            {
                continue;
            }

            int at = (int)((keys[i] * Multiplier) >> _shift);
            while (_words[at] != 0)
            {
                at = (at + 1) & mask;
            }

            (_keys[at], _words[at]) = (keys[i], words[i]);
        }
    }
}
