using System.Globalization;

namespace Ioasis.Primitives;

/// <summary>
/// A non-empty range of 64-bit addresses, both ends inclusive, so that it can end at 2^64-1 (S3.12).
/// It is used for IOVAs and for physical addresses alike.
/// </summary>
public readonly record struct AddressRange : IComparable<AddressRange>
{
    /// <summary>Makes a range from its first and last byte.</summary>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="last"/> lies below <paramref name="start"/>.</exception>
    public AddressRange(ulong start, ulong last)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(last, start);
        Start = start;
        Last = last;
    }

    /// <summary>First byte.</summary>
    public ulong Start { get; }

    /// <summary>Last byte, inclusive.</summary>
    public ulong Last { get; }

    /// <summary>Bytes in the range; 0 stands for 2^64.</summary>
    public ulong Length => Last - Start + 1;

    /// <summary>The whole 64-bit space.</summary>
    public static AddressRange All => new(0, ulong.MaxValue);

    /// <summary>Makes a range from its first byte and its length, or says that there is none: length 0, or past 2^64.</summary>
    public static bool TryFromLength(ulong start, ulong length, out AddressRange range)
    {
        if (length == 0 || start > ulong.MaxValue - (length - 1))
        {
            range = default;
            return false;
        }

        range = new(start, start + (length - 1));
        return true;
    }

    /// <summary>Whether <paramref name="address"/> lies in the range.</summary>
    public bool Contains(ulong address) => address >= Start && address <= Last;

    /// <summary>Whether the whole of <paramref name="other"/> lies in the range.</summary>
    public bool Contains(AddressRange other) => other.Start >= Start && other.Last <= Last;

    /// <summary>Whether the two share a byte.</summary>
    public bool Overlaps(AddressRange other) => other.Start <= Last && Start <= other.Last;

    /// <summary>What the two share.</summary>
    public bool TryIntersect(AddressRange other, out AddressRange common)
    {
        if (!Overlaps(other))
        {
            common = default;
            return false;
        }

        common = new(Math.Max(Start, other.Start), Math.Min(Last, other.Last));
        return true;
    }

    /// <inheritdoc/>
    public int CompareTo(AddressRange other) =>
        Start != other.Start ? Start.CompareTo(other.Start) : Last.CompareTo(other.Last);

    /// <summary>Whether <paramref name="left"/> sorts before <paramref name="right"/>: by start, then by last.</summary>
    public static bool operator <(AddressRange left, AddressRange right) => left.CompareTo(right) < 0;

    /// <summary>Whether <paramref name="left"/> sorts after <paramref name="right"/>.</summary>
    public static bool operator >(AddressRange left, AddressRange right) => left.CompareTo(right) > 0;

    /// <summary>Whether <paramref name="left"/> does not sort after <paramref name="right"/>.</summary>
    public static bool operator <=(AddressRange left, AddressRange right) => left.CompareTo(right) <= 0;

    /// <summary>Whether <paramref name="left"/> does not sort before <paramref name="right"/>.</summary>
    public static bool operator >=(AddressRange left, AddressRange right) => left.CompareTo(right) >= 0;

    /// <summary><c>[0x1000, 0x1fff]</c>.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"[0x{Start:x}, 0x{Last:x}]");
}
