using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Ioasis.Replay;
using Ioasis.Replay.Input;

namespace Ioasis.Cli.Commands;

/// <summary>The options of commands that read recordings: what is read, and how.</summary>
internal sealed class ReadingOptions
{
    /// <summary>How far a logged access may lie from its mapping if nobody says, in seconds.</summary>
    public const double DefaultTolerance = 0.001;

    /// <summary>What a recording may be.</summary>
    public const string Recordings =
        "of ioasis record, trace-cmd's trace.dat, ftrace, trace-cmd report or perf script text, or a device-side DMA log; plain, .gz or .xz. '-' is standard input.";

    /// <summary><c>--dma</c>.</summary>
    public Option<string?> Dma { get; } = new("--dma") { HelpName = "LOG", Description = "Device-side DMA log of the same run: replay each DMA of it at its place in time." };

    /// <summary><c>--format</c>.</summary>
    public Option<string?> Format { get; } = Choice("--format", "Format of FILE.", null, [.. TraceFormats.Names]);

    /// <summary><c>--rest</c>.</summary>
    public Option<string?> Rest { get; } = new("--rest") { HelpName = "DEVICE", Description = "Device for maps that no event ties to one, as 0000:00:02.0." };

    /// <summary><c>--tolerance</c>.</summary>
    public Option<double?> Tolerance { get; } = new("--tolerance")
    {
        HelpName = "TIME",
        Description = "With --dma: how far a DMA may be recorded from its map or unmap (us, ms, s). [default: 1ms]",
        CustomParser = ParseDuration,
    };

    /// <summary><c>--strict-input</c>.</summary>
    public Option<bool> StrictInput { get; } = new("--strict-input") { Description = "A line that does not parse ends the run." };

    /// <summary>What was given, for a command that does not replay.</summary>
    public ReplayOptions Of(ParseResult parsed) => new()
    {
        Format = TraceFormats.TryParse(parsed.GetValue(Format), out TraceFormat format) ? format : TraceFormat.Unknown,
        RestDevice = parsed.GetValue(Rest),
        ToleranceSeconds = parsed.GetValue(Tolerance) ?? DefaultTolerance,
        StrictInput = parsed.GetValue(StrictInput),
        RecordSeries = false,
    };

    /// <summary>An option that takes one of some words.</summary>
    public static Option<string?> Choice(string name, string description, string? @default, params string[] values)
    {
        Option<string?> option = new(name)
        {
            HelpName = name.TrimStart('-').ToUpperInvariant(),
            Description = $"{description} One of {string.Join(", ", values)}. [default: {@default ?? "recognised"}]",
        };
        option.AcceptOnlyFromAmong(values);
        return option;
    }

    private static double? ParseDuration(ArgumentResult result)
    {
        string text = result.Tokens[^1].Value;
        (string Unit, double Seconds)[] units = [("us", 1e-6), ("ms", 1e-3), ("s", 1)];
        foreach ((string unit, double seconds) in units)
        {
            if (text.EndsWith(unit, StringComparison.Ordinal)
                && double.TryParse(text[..^unit.Length], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double value)
                && value * seconds <= 3600)
            {
                return value * seconds;
            }
        }

        result.AddError($"--tolerance '{text}': expected a time with its unit, as 500us, 1ms or 0.01s, at most an hour.");
        return null;
    }
}
