using System.Globalization;

namespace Ioasis.Primitives;

// Ranges in Ioasis. `Start` is the first byte and `Last` the last byte: both inclusive, so that a range can
// reach 2^64-1. `End` is one past the last byte and is used only where it cannot wrap. `Length` is in bytes.

/// <summary>An address as a device sees it: the input of the IOMMU. Unit: bytes.</summary>
/// <param name="Value">The address, any 64-bit number.</param>
public readonly record struct Iova(ulong Value) : IComparable<Iova>, IFormattable
{
    /// <summary>The address <paramref name="offset"/> bytes further; wraps at 2^64.</summary>
    public static Iova operator +(Iova address, ulong offset) => new(address.Value + offset);

    /// <summary>The distance in bytes from <paramref name="right"/> to <paramref name="left"/>; wraps at 2^64.</summary>
    public static ulong operator -(Iova left, Iova right) => left.Value - right.Value;

    /// <summary>Whether <paramref name="left"/> lies below <paramref name="right"/>.</summary>
    public static bool operator <(Iova left, Iova right) => left.Value < right.Value;

    /// <summary>Whether <paramref name="left"/> lies above <paramref name="right"/>.</summary>
    public static bool operator >(Iova left, Iova right) => left.Value > right.Value;

    /// <summary>Whether <paramref name="left"/> lies at or below <paramref name="right"/>.</summary>
    public static bool operator <=(Iova left, Iova right) => left.Value <= right.Value;

    /// <summary>Whether <paramref name="left"/> lies at or above <paramref name="right"/>.</summary>
    public static bool operator >=(Iova left, Iova right) => left.Value >= right.Value;

    /// <inheritdoc/>
    public int CompareTo(Iova other) => Value.CompareTo(other.Value);

    /// <summary>Hexadecimal with <c>0x</c>.</summary>
    public override string ToString() => ToString(null, null);

    /// <inheritdoc/>
    public string ToString(string? format, IFormatProvider? formatProvider) =>
        string.Create(CultureInfo.InvariantCulture, $"0x{Value:x}");
}

/// <summary>An address in system (host) physical memory: the output of the IOMMU. Unit: bytes.</summary>
/// <param name="Value">The address, any 64-bit number; hardware limits it to <c>capabilities.PAS</c> bits.</param>
public readonly record struct PhysicalAddress(ulong Value) : IComparable<PhysicalAddress>, IFormattable
{
    /// <summary>The address <paramref name="offset"/> bytes further; wraps at 2^64.</summary>
    public static PhysicalAddress operator +(PhysicalAddress address, ulong offset) => new(address.Value + offset);

    /// <summary>The distance in bytes from <paramref name="right"/> to <paramref name="left"/>; wraps at 2^64.</summary>
    public static ulong operator -(PhysicalAddress left, PhysicalAddress right) => left.Value - right.Value;

    /// <summary>Whether <paramref name="left"/> lies below <paramref name="right"/>.</summary>
    public static bool operator <(PhysicalAddress left, PhysicalAddress right) => left.Value < right.Value;

    /// <summary>Whether <paramref name="left"/> lies above <paramref name="right"/>.</summary>
    public static bool operator >(PhysicalAddress left, PhysicalAddress right) => left.Value > right.Value;

    /// <summary>Whether <paramref name="left"/> lies at or below <paramref name="right"/>.</summary>
    public static bool operator <=(PhysicalAddress left, PhysicalAddress right) => left.Value <= right.Value;

    /// <summary>Whether <paramref name="left"/> lies at or above <paramref name="right"/>.</summary>
    public static bool operator >=(PhysicalAddress left, PhysicalAddress right) => left.Value >= right.Value;

    /// <inheritdoc/>
    public int CompareTo(PhysicalAddress other) => Value.CompareTo(other.Value);

    /// <summary>Hexadecimal with <c>0x</c>.</summary>
    public override string ToString() => ToString(null, null);

    /// <inheritdoc/>
    public string ToString(string? format, IFormatProvider? formatProvider) =>
        string.Create(CultureInfo.InvariantCulture, $"0x{Value:x}");
}
