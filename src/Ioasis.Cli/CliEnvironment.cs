namespace Ioasis.Cli;

/// <summary>What a command may touch of the world around it; tests bring their own.</summary>
internal sealed class CliEnvironment
{
    /// <summary>Where results go.</summary>
    public required TextWriter Out { get; init; }

    /// <summary>Where progress and complaints go.</summary>
    public required TextWriter Error { get; init; }

    /// <summary>Opens the stream behind <see cref="Out"/> for documents that are bytes.</summary>
    public required Func<Stream> OpenOut { get; init; }

    /// <summary>Whether results may be coloured: a terminal, and the user has not asked otherwise.</summary>
    public required bool ColourOut { get; init; }

    /// <summary>Whether a progress bar has somebody to look at it.</summary>
    public required bool ErrorIsTerminal { get; init; }

    /// <summary>How many columns a line of help may take.</summary>
    public int Width { get; init; } = 100;

    /// <summary>The process's own streams (https://no-color.org for <c>NO_COLOR</c>).</summary>
    public static CliEnvironment OfThisProcess()
    {
        bool plain = !string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"))
            || string.Equals(Environment.GetEnvironmentVariable("TERM"), "dumb", StringComparison.Ordinal);
        return new()
        {
            Out = Console.Out,
            Error = Console.Error,
            OpenOut = Console.OpenStandardOutput,
            ColourOut = !plain && !Console.IsOutputRedirected,
            Width = Console.IsOutputRedirected ? 100 : Math.Clamp(Console.WindowWidth, 60, 120),
            ErrorIsTerminal = !Console.IsErrorRedirected
                && !string.Equals(Environment.GetEnvironmentVariable("TERM"), "dumb", StringComparison.Ordinal),
        };
    }
}

/// <summary>What the program's exit status says.</summary>
internal static class ExitStatus
{
    /// <summary>All went well.</summary>
    public const int Ok = 0;

    /// <summary>The run was made, and a check did not hold.</summary>
    public const int CheckFailed = 1;

    /// <summary>The run was not made: bad usage, or input that cannot be used.</summary>
    public const int BadInput = 2;
}
