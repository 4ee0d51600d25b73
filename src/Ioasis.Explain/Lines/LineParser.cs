using System.Globalization;
using System.Text.RegularExpressions;

namespace Ioasis.Explain.Lines;

/// <summary>Reads the lines of one kernel driver. A fault may have several lines: it is told when its last one is there.</summary>
internal abstract partial class LineParser
{
    /// <summary>Looks at a line.</summary>
    /// <param name="line">The line.</param>
    /// <param name="faults">Where complete faults go.</param>
    /// <returns>Whether the line is one of this driver's that is understood.</returns>
    public abstract bool TryRead(in LogLine line, List<Fault> faults);

    /// <summary>Tells what is not complete yet: the input has ended, or another line came between.</summary>
    public virtual void Flush(List<Fault> faults)
    {
    }

    /// <summary>A number in hexadecimal digits, with or without <c>0x</c>.</summary>
    public static ulong Hex(ReadOnlySpan<char> text)
    {
        text = text.StartsWith("0x", StringComparison.OrdinalIgnoreCase) ? text[2..] : text;
        return ulong.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong value) ? value : 0;
    }

    /// <summary>A group of hexadecimal digits, or null where the line has none.</summary>
    public static ulong? Hex(Group group) => group.Success ? Hex(group.ValueSpan) : null;

    /// <summary>A PCI address in its full form: <c>01:00.0</c>, <c>0000:01:00.0</c>, <c>0x01:0x00.0</c> are <c>0000:01:00.0</c>.</summary>
    public static string? PciAddress(string text)
    {
        Match match = PciName().Match(text);
        return match.Success
            ? string.Create(
                CultureInfo.InvariantCulture,
                $"{Hex(match.Groups["segment"]) ?? 0:x4}:{Hex(match.Groups["bus"]):x2}:{Hex(match.Groups["device"]):x2}.{Hex(match.Groups["function"]):x}")
            : null;
    }

    /// <summary>The PCI address that a requester ID of 16 bits, and a segment above them, names.</summary>
    public static string PciAddress(uint requester) => string.Create(
        CultureInfo.InvariantCulture,
        $"{requester >> 16:x4}:{(requester >> 8) & 0xff:x2}:{(requester >> 3) & 0x1f:x2}.{requester & 7:x}");

    /// <summary>A number in the form of the field.</summary>
    public static FaultField HexField(string name, ulong value) => new(name, string.Create(CultureInfo.InvariantCulture, $"0x{value:x}"));

    [GeneratedRegex(
        @"(?:(?<segment>[0-9a-f]{4,8}):)?(?:0x)?(?<bus>[0-9a-f]{1,2}):(?:0x)?(?<device>[0-9a-f]{1,2})\.(?<function>[0-7])",
        RegexOptions.CultureInvariant | RegexOptions.IgnoreCase)]
    private static partial Regex PciName();
}
