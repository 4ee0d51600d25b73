namespace Ioasis.Replay.Study;

/// <summary>Which entry of a full set goes.</summary>
internal enum Replacement
{
    /// <summary>The least recently used.</summary>
    Lru,

    /// <summary>The one that came first.</summary>
    Fifo,

    /// <summary>Any.</summary>
    Random,
}

/// <summary>A set-associative cache of one geometry, simulated: what stack distances cannot tell.</summary>
internal sealed class SimulatedCache
{
    private readonly int _ways;
    private readonly uint _setMask;
    private readonly Replacement _policy;

    // The keys of a set one behind the other, the latest first, 0 for free entries at the end.
    private readonly ulong[] _keys;
    private uint _random = 2463534242;

    /// <summary>Makes an empty cache.</summary>
    /// <param name="geometry">How many entries; as many sets as entries over ways, a power of two.</param>
    /// <param name="policy">Which entry goes.</param>
    public SimulatedCache(CacheGeometry geometry, Replacement policy)
    {
        _ways = geometry.Ways;
        _setMask = (uint)(geometry.Entries / geometry.Ways) - 1;
        _policy = policy;
        _keys = new ulong[geometry.Entries];
    }

    /// <summary>Looks a key up; one that is not there is put in.</summary>
    /// <returns>Whether it was there.</returns>
    public bool Access(ulong key)
    {
        Span<ulong> set = SetOf(key);
        int at = set.IndexOf(key);
        if (at >= 0)
        {
            if (_policy == Replacement.Lru && at > 0)
            {
                Place(set, at, key);
            }

            return true;
        }

        int victim = set.IndexOf(0ul);
        Place(set, victim >= 0 ? victim : _policy == Replacement.Random ? (int)(NextRandom() % (uint)_ways) : _ways - 1, key);
        return false;
    }

    /// <summary>Invalidates a key.</summary>
    public void Remove(ulong key)
    {
        Span<ulong> set = SetOf(key);
        int at = set.IndexOf(key);
        if (at >= 0)
        {
            RemoveAt(set, at);
        }
    }

    /// <summary>Invalidates every key that a rule names.</summary>
    public void RemoveWhere<TRule>(in TRule rule)
        where TRule : struct, IKeyRule
    {
        for (int first = 0; first < _keys.Length; first += _ways)
        {
            Span<ulong> set = _keys.AsSpan(first, _ways);
            for (int at = _ways - 1; at >= 0; at--)
            {
                if (set[at] != 0 && rule.Names(set[at]))
                {
                    RemoveAt(set, at);
                }
            }
        }
    }

    // Page number and device choose the set, as in the model of the hardware.
    private Span<ulong> SetOf(ulong key)
    {
        int sizeShift = TranslationKey.SizesLog2[TranslationKey.ClassOf(key)] - 12;
        uint page = (uint)(key >> 19 >> sizeShift);
        return _keys.AsSpan((int)((page ^ ((uint)(ushort)key * 0x9e5)) & _setMask) * _ways, _ways);
    }

    private static void Place(Span<ulong> set, int victim, ulong key)
    {
        set[..victim].CopyTo(set[1..]);
        set[0] = key;
    }

    private static void RemoveAt(Span<ulong> set, int at)
    {
        set[(at + 1)..].CopyTo(set[at..]);
        set[^1] = 0;
    }

    // xorshift32: small, and the same everywhere.
    private uint NextRandom()
    {
        _random ^= _random << 13;
        _random ^= _random >> 17;
        _random ^= _random << 5;
        return _random;
    }
}
