using System.IO.Compression;

namespace Ioasis.Replay.Input;

/// <summary>How a file is compressed.</summary>
internal enum InputCompression
{
    /// <summary>Not.</summary>
    None,

    /// <summary>gzip (RFC 1952).</summary>
    Gzip,

    /// <summary>xz.</summary>
    Xz,
}

/// <summary>
/// The text of a recording, wherever it lies and however it is compressed. This folder reads bytes, finds lines and
/// tells formats apart; it never interprets an event. The compression is told by content, not by name.
/// </summary>
internal sealed class InputSource : IDisposable
{
    private static ReadOnlySpan<byte> XzMagic => [0xfd, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0];

    private readonly Stream _raw;
    private FileStream? _copy;

    private InputSource(string path, Stream raw, Stream text, InputCompression compression)
    {
        Path = path;
        _raw = raw;
        Text = text;
        Compression = compression;
    }

    /// <summary>As the caller named it; <c>-</c> is standard input.</summary>
    public string Path { get; }

    /// <summary>The decompressed bytes.</summary>
    public Stream Text { get; }

    /// <summary>How the file was compressed.</summary>
    public InputCompression Compression { get; }

    /// <summary>How much of the file was read, 0 to 1; 0 where its length is not known.</summary>
    public double Fraction => _raw.CanSeek && _raw.Length > 0 ? _raw.Position / (double)_raw.Length : 0;

    /// <summary>Opens a file, or standard input for <c>-</c>.</summary>
    /// <exception cref="TraceInputException">It cannot be opened or decompressed.</exception>
    public static InputSource Open(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (path is "-")
        {
            return Wrap(path, Console.OpenStandardInput());
        }

        try
        {
            if (Directory.Exists(path))
            {
                throw new TraceInputException(TraceInputError.CannotOpen, path, null, "is a directory, not a recording");
            }

            return Wrap(path, new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16, FileOptions.SequentialScan));
        }
        catch (FileNotFoundException e)
        {
            throw new TraceInputException(TraceInputError.CannotOpen, path, null, "no such file", e);
        }
        catch (DirectoryNotFoundException e)
        {
            throw new TraceInputException(TraceInputError.CannotOpen, path, null, "no such file", e);
        }
        catch (UnauthorizedAccessException e)
        {
            throw new TraceInputException(TraceInputError.CannotOpen, path, null, "may not be read (permission denied)", e);
        }
        catch (IOException e)
        {
            throw new TraceInputException(TraceInputError.CannotOpen, path, null, e.Message, e);
        }
    }

    /// <summary>Wraps a stream, which the result owns.</summary>
    /// <param name="path">Name for messages.</param>
    /// <param name="raw">The bytes, compressed or not.</param>
    /// <exception cref="TraceInputException">It cannot be decompressed here.</exception>
    public static InputSource Wrap(string path, Stream raw)
    {
        ArgumentNullException.ThrowIfNull(raw);
        PrefixedStream peeked = PrefixedStream.Peek(raw, 8);
        ReadOnlySpan<byte> head = peeked.Prefix;
        if (head.StartsWith(XzMagic))
        {
            return new(path, raw, XzDecoder.Open(path, peeked), InputCompression.Xz);
        }

        return head.Length >= 3 && head[0] == 0x1f && head[1] == 0x8b && head[2] == 8
            ? new(path, raw, new GZipStream(peeked, CompressionMode.Decompress), InputCompression.Gzip)
            : new(path, raw, peeked, InputCompression.None);
    }

    /// <summary>The file itself where it can be read here and there: it is a file and not compressed. Otherwise null.</summary>
    internal Stream? Seekable => Compression == InputCompression.None && _raw.CanSeek ? _raw : null;

    /// <summary>The file itself, or a temporary copy of all that <paramref name="lines"/>, which reads it, has not given out; it is the source's.</summary>
    /// <exception cref="TraceInputException">It cannot be read, or the copy has no place.</exception>
    internal Stream OpenSeekable(LineReader lines, CancellationToken cancellationToken) =>
        Seekable ?? (_copy ??= TemporaryCopy.Of(lines, Path, cancellationToken));

    /// <summary>Closes it.</summary>
    public void Dispose()
    {
        _copy?.Dispose();
        Text.Dispose();
        _raw.Dispose();
    }
}
