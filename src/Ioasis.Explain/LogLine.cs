using System.Globalization;
using System.Text.RegularExpressions;

namespace Ioasis.Explain;

/// <summary>A line of a log: what stands in front of the kernel's own text, and that text.</summary>
/// <param name="Number">Line of the input, from 1.</param>
/// <param name="Text">The whole line, without quoting of mails and without an end.</param>
/// <param name="Time">Seconds since the kernel started, if the prefix has them.</param>
internal readonly partial record struct LogLine(int Number, string Text, double? Time)
{
    private const int LongestLine = 4096;

    /// <summary>Reads a line's prefix: dmesg with and without level and caller, dmesg -T, syslog, journald.</summary>
    public static LogLine Parse(int number, string line)
    {
        // Longer than any line of a kernel: patterns below take at most quadratic time.
        line = line.Length > LongestLine ? line[..LongestLine] : line;
        string text = Quoting().Replace(line.TrimEnd('\r', '\n', ' ', '\t').TrimStart('\ufeff'), "");
        Match time = Seconds().Match(text);
        return new(
            number, text,
            time.Success && double.TryParse(time.ValueSpan[1..^1].Trim(), CultureInfo.InvariantCulture, out double seconds) ? seconds : null);
    }

    [GeneratedRegex(@"^(?:\s*[>|])+\s?", RegexOptions.CultureInvariant)]
    private static partial Regex Quoting();

    [GeneratedRegex(@"\[ *\d+\.\d{3,9}\]", RegexOptions.CultureInvariant)]
    private static partial Regex Seconds();
}
