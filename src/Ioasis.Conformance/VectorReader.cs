using System.IO.Compression;

namespace Ioasis.Conformance;

/// <summary>
/// Reads the cases of a vector file one by one: JSON lines, plain or gzip-compressed (told apart by the first two bytes, not by
/// the name). Memory use is that of the longest line.
/// </summary>
internal static class VectorReader
{
    private const int FirstBuffer = 1 << 16;
    private const int MaxLine = 1 << 28;

    /// <summary>The cases of a file, in order.</summary>
    /// <exception cref="VectorFormatException">The file cannot be read, at the case where that shows.</exception>
    public static IEnumerable<VectorCase> ReadFile(string path)
    {
        using Stream stream = Open(path);
        foreach (VectorCase vectorCase in Read(stream, path))
        {
            yield return vectorCase;
        }
    }

    /// <summary>The cases of an uncompressed stream.</summary>
    public static IEnumerable<VectorCase> Read(Stream stream, string name)
    {
        byte[] buffer = new byte[FirstBuffer];
        int start = 0, end = 0, line = 0;
        while (true)
        {
            int newLine = buffer.AsSpan(start, end - start).IndexOf((byte)'\n');
            if (newLine >= 0)
            {
                line++;
                if (TryParse(buffer.AsSpan(start, newLine), name, line) is { } vectorCase)
                {
                    yield return vectorCase;
                }

                start += newLine + 1;
                continue;
            }

            // No whole line is left: move what there is to the front, and read more.
            buffer.AsSpan(start, end - start).CopyTo(buffer);
            end -= start;
            start = 0;
            if (end == buffer.Length)
            {
                if (buffer.Length >= MaxLine)
                {
                    throw new VectorFormatException(name, line + 1, "the line is longer than 256 MiB");
                }

                Array.Resize(ref buffer, buffer.Length * 2);
            }

            int read = Fill(stream, buffer.AsSpan(end), name, line + 1);
            if (read == 0)
            {
                break;
            }

            end += read;
        }

        if (TryParse(buffer.AsSpan(0, end), name, line + 1) is { } last)
        {
            yield return last;
        }
    }

    private static Stream Open(string path)
    {
        FileStream? file = null;
        try
        {
            file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, FirstBuffer, FileOptions.SequentialScan);
            bool compressed = file.ReadByte() == 0x1f && file.ReadByte() == 0x8b;
            file.Position = 0;
            Stream result = compressed ? new GZipStream(file, CompressionMode.Decompress) : file;
            file = null;
            return result;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or NotSupportedException or ArgumentException)
        {
            string problem = exception switch
            {
                FileNotFoundException or DirectoryNotFoundException => "no such file",
                _ when Directory.Exists(path) => "is a directory",
                _ => exception.Message,
            };
            throw new VectorFormatException(path, 0, problem, exception);
        }
        finally
        {
            file?.Dispose();
        }
    }

    private static int Fill(Stream stream, Span<byte> buffer, string name, int line)
    {
        try
        {
            return stream.Read(buffer);
        }
        catch (Exception exception) when (exception is InvalidDataException or IOException)
        {
            throw new VectorFormatException(name, line, $"cannot be decompressed or read: {exception.Message}", exception);
        }
    }

    private static VectorCase? TryParse(ReadOnlySpan<byte> text, string name, int line)
    {
        text = text.Trim(" \t\r"u8);
        return text.IsEmpty ? null : new VectorParser(name, line).Parse(text);
    }
}
