using System.Numerics;

namespace Ioasis.Conformance;

/// <summary>Translates the recorded ATS invalidation tags (0 to 31) to those that the implementation chose.</summary>
internal sealed class TagMap
{
    private readonly Dictionary<uint, uint> _actual = [];

    /// <summary>Forgets everything.</summary>
    public void Clear() => _actual.Clear();

    /// <summary>An invalidation request that was recorded with one tag came with another.</summary>
    public void Learn(uint recorded, uint actual)
    {
        // A tag that comes again was free again: whatever it stood for is over.
        foreach ((uint other, uint tag) in _actual)
        {
            if (tag == actual && other != recorded)
            {
                _ = _actual.Remove(other);
                break;
            }
        }

        _actual[recorded] = actual;
    }

    /// <summary>Translates a tag vector. A tag that no request had becomes one that the implementation has not used either.</summary>
    public uint ToActual(uint vector)
    {
        uint result = 0;
        for (uint rest = vector; rest != 0; rest &= rest - 1)
        {
            uint recorded = (uint)BitOperations.TrailingZeroCount(rest);
            result |= 1u << (int)(_actual.TryGetValue(recorded, out uint actual) ? actual : Unused(recorded));
        }

        return result;
    }

    private uint Unused(uint recorded)
    {
        if (!_actual.ContainsValue(recorded))
        {
            return recorded;
        }

        uint tag = 31;
        while (tag > 0 && _actual.ContainsValue(tag))
        {
            tag--;
        }

        return tag;
    }
}
