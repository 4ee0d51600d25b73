using System.Numerics;

namespace Ioasis.Core;

/// <summary>
/// Which numbers belong to a set: a bitmap in pages, so that a small set costs little and a large one is walked fast. It touches
/// no object: coming and going costs no more than a bit. Not thread-safe.
/// </summary>
internal sealed class PasidMembers
{
    /// <summary>No number.</summary>
    public const uint None = uint.MaxValue;

    private const int PageLog2 = 12;
    private const int WordLog2 = 6;
    private const uint PageMask = (1 << PageLog2) - 1;

    private ulong[]?[] _pages = [];

    /// <summary>How many there are.</summary>
    public int Count { get; private set; }

    /// <summary>Adds a number that is not in.</summary>
    public void Add(uint number)
    {
        uint page = number >> PageLog2;
        if (page >= (uint)_pages.Length)
        {
            Array.Resize(ref _pages, (int)BitOperations.RoundUpToPowerOf2(page + 1));
        }

        (_pages[page] ??= new ulong[1 << (PageLog2 - WordLog2)])[(number & PageMask) >> WordLog2] |= 1ul << (int)(number & 63);
        Count++;
    }

    /// <summary>Takes a number out that is in.</summary>
    public void Remove(uint number)
    {
        _pages[number >> PageLog2]![(number & PageMask) >> WordLog2] &= ~(1ul << (int)(number & 63));
        Count--;
    }

    /// <summary>The first from <paramref name="number"/> on that is in, or <see cref="None"/>.</summary>
    public uint Next(uint number)
    {
        for (uint page = number >> PageLog2; page < (uint)_pages.Length; page++, number = page << PageLog2)
        {
            if (_pages[page] is not { } words)
            {
                continue;
            }

            ulong mask = ulong.MaxValue << (int)(number & 63);
            for (uint word = (number & PageMask) >> WordLog2; word < (uint)words.Length; word++, mask = ulong.MaxValue)
            {
                ulong left = words[word] & mask;
                if (left != 0)
                {
                    return (page << PageLog2) | (word << WordLog2) | (uint)BitOperations.TrailingZeroCount(left);
                }
            }
        }

        return None;
    }
}
