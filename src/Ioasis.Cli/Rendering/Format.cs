using System.Globalization;
using System.Text;
using Ioasis.Primitives;
using Ioasis.Replay.Report;

namespace Ioasis.Cli.Rendering;

/// <summary>Numbers and foreign text in the form that people read; the same in the summary and on the page.</summary>
internal static class Format
{
    private static readonly string[] ByteUnits = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

    /// <summary><c>12,345</c>.</summary>
    public static string Count(long value) => value.ToString("N0", CultureInfo.InvariantCulture);

    /// <summary>Three significant digits in binary units: <c>19.6 MiB</c>; exact below 1 KiB and for whole units.</summary>
    public static string Bytes(double value)
    {
        int unit = 0;
        while (Math.Abs(value) >= 1024 && unit < ByteUnits.Length - 1)
        {
            value /= 1024;
            unit++;
        }

        // 1023.7 would round to 1,024 of a unit that has a larger one above it.
        if (Math.Abs(value) >= 1023.5 && unit < ByteUnits.Length - 1)
        {
            value /= 1024;
            unit++;
        }

        string number = value == Math.Floor(value) ? value.ToString("0", CultureInfo.InvariantCulture) : Significant(value);
        return $"{number} {ByteUnits[unit]}";
    }

    /// <summary><c>98.76 %</c>; never rounds up to a full 100 or down to 0.</summary>
    public static string Percent(double fraction)
    {
        double percent = fraction * 100;
        return percent switch
        {
            > 99.99 and < 100 => ">99.99 %",
            > 0 and < 0.01 => "<0.01 %",
            _ => percent.ToString("0.00", CultureInfo.InvariantCulture) + " %",
        };
    }

    /// <summary>Three significant digits: <c>61.7 s</c>, <c>9.20 ms</c>, <c>140 µs</c>.</summary>
    public static string Seconds(double value) => Math.Abs(value) switch
    {
        0 => "0 s",
        < 0.9995e-3 => Significant(value * 1e6) + " µs",
        < 0.9995 => Significant(value * 1e3) + " ms",
        _ => Significant(value) + " s",
    };

    /// <summary>A place on the recording's clock: <c>12.345678 s</c>.</summary>
    public static string Timestamp(double value) => value.ToString("0.000000", CultureInfo.InvariantCulture) + " s";

    /// <summary>The first jumps of two clocks: <c>42.3 s at 12.345678 s</c>.</summary>
    public static string Jumps(IReadOnlyList<ClockJumpReport> jumps)
    {
        const int most = 5;
        return string.Join(", ", jumps.Take(most).Select(static j => $"{Seconds(j.Seconds)} at {Timestamp(j.AtSeconds)}"))
            + (jumps.Count > most ? $" and {Count(jumps.Count - most)} more" : "");
    }

    /// <summary><c>1.23 M/s</c>.</summary>
    public static string Rate(double perSecond) => perSecond switch
    {
        >= 999.5e6 => Significant(perSecond / 1e9) + " G/s",
        >= 999.5e3 => Significant(perSecond / 1e6) + " M/s",
        >= 999.5 => Significant(perSecond / 1e3) + " k/s",
        _ => Significant(perSecond) + " /s",
    };

    /// <summary>Two digits after the point.</summary>
    public static string Ratio(double value) => value.ToString("0.00", CultureInfo.InvariantCulture);

    /// <summary>Hexadecimal with <c>0x</c>.</summary>
    public static string Address(Iova address) => address.ToString(null, CultureInfo.InvariantCulture);

    /// <summary>Hexadecimal with <c>0x</c>.</summary>
    public static string Address(PhysicalAddress address) => address.ToString(null, CultureInfo.InvariantCulture);

    /// <summary>The count of that name, or null.</summary>
    public static long? CountOf(IReadOnlyList<NamedCount> counts, string name) => counts.FirstOrDefault(c => Same(c.Name, name))?.Count;

    /// <summary>Whether two names are the same, character by character.</summary>
    public static bool Same(string left, string right) => string.Equals(left, right, StringComparison.Ordinal);

    /// <summary><c>1 range</c>, <c>2 ranges</c>.</summary>
    public static string Plural(long count, string one, string? many = null) =>
        $"{Count(count)} {(count == 1 ? one : many ?? one + "s")}";

    /// <summary>Foreign text without what moves a terminal's cursor, changes its colours or turns the direction of writing.</summary>
    public static string Printable(string text)
    {
        StringBuilder? clean = null;
        for (int i = 0; i < text.Length; i++)
        {
            bool bad = char.GetUnicodeCategory(text[i]) is UnicodeCategory.Control or UnicodeCategory.Format
                or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator or UnicodeCategory.OtherNotAssigned;
            if (char.IsSurrogate(text[i]))
            {
                bool pair = i + 1 < text.Length && char.IsSurrogatePair(text[i], text[i + 1]);
                if (pair)
                {
                    clean?.Append(text[i]).Append(text[i + 1]);
                    i++;
                    continue;
                }

                bad = true;
            }

            if (bad)
            {
                clean ??= new StringBuilder(text.Length).Append(text, 0, i);
                clean.Append('\uFFFD');
            }
            else
            {
                clean?.Append(text[i]);
            }
        }

        return clean?.ToString() ?? text;
    }

    private static string Significant(double value) => Math.Abs(value) switch
    {
        >= 99.95 => value.ToString("N0", CultureInfo.InvariantCulture),
        >= 9.995 => value.ToString("0.0", CultureInfo.InvariantCulture),
        _ => value.ToString("0.00", CultureInfo.InvariantCulture),
    };
}
