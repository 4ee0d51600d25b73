using System.Globalization;

namespace Ioasis.Replay.Input;

/// <summary>What is wrong with an input.</summary>
public enum TraceInputError
{
    /// <summary>The file is not there or cannot be opened.</summary>
    CannotOpen,

    /// <summary>The file is compressed and ends too early, or is damaged.</summary>
    DamagedCompression,

    /// <summary>It is compressed with xz and this machine has neither liblzma nor an xz program.</summary>
    NoXzDecoder,

    /// <summary>It is compressed in a way that this machine has no decoder for.</summary>
    NoDecoder,

    /// <summary>A binary file is damaged.</summary>
    DamagedFile,

    /// <summary>It is not text.</summary>
    Binary,

    /// <summary>It is text of no known format.</summary>
    UnknownFormat,

    /// <summary>The last line is cut off.</summary>
    Truncated,

    /// <summary>It holds no event.</summary>
    NoEvents,

    /// <summary>It holds events, and none that can be replayed.</summary>
    NothingToReplay,

    /// <summary>A line does not parse, and the caller wanted every line to.</summary>
    UnparsedLine,

    /// <summary>Two files do not belong together: they share fewer than two marks.</summary>
    NoCommonMarks,

    /// <summary>Both files are of the same kind, or a file is not of the kind that its place calls for.</summary>
    WrongKind,
}

/// <summary>An input that cannot be replayed. The message names the file, the line where there is one, and what to do.</summary>
public sealed class TraceInputException : Exception
{
    /// <summary>Makes the exception.</summary>
    /// <param name="error">What is wrong.</param>
    /// <param name="path">The file as the caller named it.</param>
    /// <param name="line">The line, from 1, or null.</param>
    /// <param name="detail">What is wrong in words, without file and line.</param>
    /// <param name="inner">What told of it.</param>
    public TraceInputException(TraceInputError error, string path, long? line, string detail, Exception? inner = null)
        : base(Compose(path, line, detail), inner)
    {
        Error = error;
        Path = path;
        Line = line;
    }

    /// <summary>What is wrong.</summary>
    public TraceInputError Error { get; }

    /// <summary>The file as the caller named it; <c>-</c> is standard input.</summary>
    public string Path { get; }

    /// <summary>The line, from 1, or null when no line is to blame.</summary>
    public long? Line { get; }

    private static string Compose(string path, long? line, string detail)
    {
        string place = path is "-" ? "standard input" : path;
        return line is { } number
            ? string.Create(CultureInfo.InvariantCulture, $"{place}:{number}: {detail}")
            : $"{place}: {detail}";
    }
}
