using System.IO.Compression;
using System.Text;

namespace Ioasis.Recorder;

/// <summary>
/// The file of a recording: text in gzip members of whole lines. A member is written as one piece, so that a recorder that is
/// killed leaves at most its last member cut off; a full disk leaves none, for the file is cut back to the member before.
/// </summary>
internal sealed class RecordingFile : IDisposable
{
    private const int MemberText = 1 << 20;

    private readonly Stream _output;
    private readonly MemoryStream _text = new();
    private readonly MemoryStream _member = new();

    /// <summary>Makes a file on a stream, which it owns.</summary>
    public RecordingFile(Stream output) => _output = output;

    /// <summary>Bytes that are in the file.</summary>
    public long Length { get; private set; }

    /// <summary>Adds a line of the recorder's own.</summary>
    public void Add(string line)
    {
        _text.Write(Encoding.UTF8.GetBytes(line));
        _text.WriteByte((byte)'\n');
    }

    /// <summary>Adds whole lines; writes members of about 1 MiB of text.</summary>
    /// <exception cref="IOException">There is no more room; the file ends with the member before.</exception>
    public void Add(ReadOnlySpan<byte> lines)
    {
        while (!lines.IsEmpty)
        {
            int room = Math.Max(MemberText - (int)_text.Length, 1);
            int length = lines.Length;
            if (length > room)
            {
                // As many whole lines as there is room for, and at least one.
                int end = lines[..room].LastIndexOf((byte)'\n');
                end = end < 0 ? lines.IndexOf((byte)'\n') : end;
                length = end < 0 ? length : end + 1;
            }

            _text.Write(lines[..length]);
            lines = lines[length..];
            if (_text.Length >= MemberText || !lines.IsEmpty)
            {
                Write();
            }
        }
    }

    /// <summary>Writes what was added as a member.</summary>
    /// <exception cref="IOException">There is no more room; the file ends with the member before, and what was added is forgotten.</exception>
    public void Write()
    {
        if (_text.Length == 0)
        {
            return;
        }

        _member.SetLength(0);
        using (GZipStream gzip = new(_member, CompressionLevel.Fastest, leaveOpen: true))
        {
            gzip.Write(_text.GetBuffer(), 0, (int)_text.Length);
        }

        _text.SetLength(0);
        try
        {
            _output.Write(_member.GetBuffer(), 0, (int)_member.Length);
            _output.Flush();
            Length += _member.Length;
        }
        catch (IOException)
        {
            CutBack();
            throw;
        }
    }

    /// <summary>Closes the file.</summary>
    public void Dispose() => _output.Dispose();

    private void CutBack()
    {
        if (!_output.CanSeek)
        {
            return;
        }

        try
        {
            _output.SetLength(Length);
            _output.Position = Length;
        }
        catch (IOException)
        {
            // Then the last member stays cut off, and a reader drops it.
        }
    }
}
