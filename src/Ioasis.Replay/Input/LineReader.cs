namespace Ioasis.Replay.Input;

/// <summary>Cuts a stream into lines without copying them. A line is valid until the next one is asked for.</summary>
internal sealed class LineReader
{
    /// <summary>The longest line of a text file; what has longer ones is not text.</summary>
    public const int MaxLineLength = 1 << 20;

    private const int InitialSize = 1 << 18;

    private readonly Stream _stream;
    private readonly string _path;
    private byte[] _buffer = new byte[InitialSize];
    private int _start;
    private int _end;
    private bool _streamEnded;

    /// <summary>Reads <paramref name="source"/> from where it stands.</summary>
    public LineReader(InputSource source)
    {
        _stream = source.Text;
        _path = source.Path;
    }

    /// <summary>The number of the line that was read last, from 1; before the first, 0.</summary>
    public int LineNumber { get; private set; }

    /// <summary>Bytes of text read.</summary>
    public long TextBytes { get; private set; }

    /// <summary>Whether the line that was read last ended with a line feed: only the last line of a file may not.</summary>
    public bool LastLineEnded { get; private set; } = true;

    /// <summary>What lies ahead, at most <paramref name="count"/> bytes; fewer only at the end of the stream.</summary>
    public ReadOnlySpan<byte> Peek(int count)
    {
        while (_end - _start < count && !_streamEnded)
        {
            Fill();
        }

        return _buffer.AsSpan(_start, Math.Min(count, _end - _start));
    }

    /// <summary>The next line without its end.</summary>
    /// <returns>Whether there was one.</returns>
    /// <exception cref="TraceInputException">The stream cannot be read, or a line is too long for text.</exception>
    public bool TryRead(out ReadOnlySpan<byte> line)
    {
        int searched = 0;
        while (true)
        {
            ReadOnlySpan<byte> ahead = _buffer.AsSpan(_start, _end - _start);
            int length = ahead[searched..].IndexOf((byte)'\n');
            if (length >= 0)
            {
                length += searched;
                line = ahead[..length];
                _start += length + 1;
                break;
            }

            searched = ahead.Length;
            if (_streamEnded)
            {
                line = ahead;
                _start = _end;
                if (line.IsEmpty)
                {
                    return false;
                }

                LastLineEnded = false;
                break;
            }

            if (searched > MaxLineLength)
            {
                throw new TraceInputException(
                    TraceInputError.Binary, _path, LineNumber + 1L, "the line is longer than 1 MiB: this is not a text recording");
            }

            Fill();
        }

        LineNumber++;
        if (!line.IsEmpty && line[^1] == (byte)'\r')
        {
            line = line[..^1];
        }

        return true;
    }

    /// <summary>Copies all that is left, piece by piece.</summary>
    /// <exception cref="TraceInputException">The stream cannot be read.</exception>
    public void CopyTo(Stream target, CancellationToken cancellationToken)
    {
        do
        {
            cancellationToken.ThrowIfCancellationRequested();
            target.Write(_buffer.AsSpan(_start, _end - _start));
            _start = _end = 0;
            Fill();
        }
        while (!_streamEnded);
    }

    private void Fill()
    {
        if (_start > 0)
        {
            _buffer.AsSpan(_start, _end - _start).CopyTo(_buffer);
            _end -= _start;
            _start = 0;
        }

        if (_end == _buffer.Length)
        {
            Array.Resize(ref _buffer, _buffer.Length * 2);
        }

        int count;
        try
        {
            count = _stream.Read(_buffer.AsSpan(_end));
        }
        catch (InvalidDataException e)
        {
            throw new TraceInputException(
                TraceInputError.DamagedCompression, _path, null, "is damaged: the gzip data cannot be decompressed", e);
        }
        catch (IOException e)
        {
            throw new TraceInputException(TraceInputError.CannotOpen, _path, null, e.Message, e);
        }

        _streamEnded = count == 0;
        _end += count;
        TextBytes += count;
    }
}
