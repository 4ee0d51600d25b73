using System.Buffers.Text;
using System.Runtime.InteropServices;

namespace Ioasis.Recorder;

/// <summary>
/// Puts the kernel's lines in the order of their times. The pipe takes from one CPU's buffer after the other, so a line may
/// come after one that is later by as long as the reader was held up between them. Lines wait here until the trace has moved
/// on by more than that. A line without a time stays behind the one before it, and so does one of the same CPU whose time is
/// earlier: a buffer is in order, but the clock that an event can read anywhere, in a breakpoint too, may go back a little when the kernel sets it.
/// </summary>
internal sealed class TimeOrder
{
    private readonly List<Line> _lines = [];
    private readonly Dictionary<uint, long> _latestOfCpu = [];

    private byte[] _text = new byte[1 << 20];
    private int _length;
    private int _cut;
    private long _last;
    private long _newest;
    private bool _isOrdered = true;

    /// <summary>Bytes that wait here.</summary>
    public int Waiting => _length;

    /// <summary>Lines with a time that were taken so far: events.</summary>
    public long Events { get; private set; }

    /// <summary>Takes text; lines may be cut anywhere.</summary>
    public void Add(ReadOnlySpan<byte> text)
    {
        if (_length + text.Length > _text.Length)
        {
            Array.Resize(ref _text, Math.Max(_text.Length * 2, _length + text.Length));
        }

        text.CopyTo(_text.AsSpan(_length));
        int searched = _length;
        _length += text.Length;
        for (int feed; (feed = _text.AsSpan(searched, _length - searched).IndexOf((byte)'\n')) >= 0; searched = _cut)
        {
            int end = searched + feed + 1;
            AddLine(end);
        }
    }

    /// <summary>Gives out the lines to which nothing earlier can come any more.</summary>
    /// <param name="window">How far back a line may come, in microseconds of the trace.</param>
    /// <param name="write">Takes them, in their order.</param>
    public void Release(long window, Action<ReadOnlySpan<byte>> write)
    {
        if (!_isOrdered)
        {
            // Lines of one time keep their order.
            Line[] sorted = [.. _lines.OrderBy(static line => line.Time)];
            _lines.Clear();
            _lines.AddRange(sorted);
        }

        int count = window == 0 ? _lines.Count : _lines.FindLastIndex(line => line.Time <= _newest - window) + 1;
        if (count == 0)
        {
            return;
        }

        if (_isOrdered)
        {
            int end = _lines[count - 1].End;
            write(_text.AsSpan(0, end));
            Keep(count, end);
        }
        else
        {
            for (int i = 0; i < count; i++)
            {
                write(_text.AsSpan(_lines[i].Start, _lines[i].End - _lines[i].Start));
            }

            Rebuild(count);
        }
    }

    /// <summary>Gives out everything, at the end of the text.</summary>
    public void Finish(Action<ReadOnlySpan<byte>> write)
    {
        if (_cut < _length)
        {
            // The kernel's text ends in the middle of a line only if it was cut off.
            Add("\n"u8);
        }

        Release(0, write);
    }

    private void AddLine(int end)
    {
        ReadOnlySpan<byte> line = _text.AsSpan(_cut, end - _cut);
        if (TryTime(line, out long time, out uint cpu))
        {
            Events++;
            ref long latest = ref CollectionsMarshal.GetValueRefOrAddDefault(_latestOfCpu, cpu, out _);
            latest = time = Math.Max(time, latest);
            _isOrdered &= time >= _newest;
            _last = time;
            _newest = Math.Max(_newest, time);
        }

        _lines.Add(new(_last, _cut, end));
        _cut = end;
    }

    // The lines that stay are at the end of the text, in order.
    private void Keep(int count, int end)
    {
        _text.AsSpan(end, _length - end).CopyTo(_text);
        _lines.RemoveRange(0, count);
        for (int i = 0; i < _lines.Count; i++)
        {
            _lines[i] = new(_lines[i].Time, _lines[i].Start - end, _lines[i].End - end);
        }

        _length -= end;
        _cut -= end;
    }

    // The lines that stay are anywhere in the text.
    private void Rebuild(int count)
    {
        byte[] text = new byte[_text.Length];
        List<Line> lines = [];
        int length = 0;
        for (int i = count; i < _lines.Count; i++)
        {
            Line line = _lines[i];
            _text.AsSpan(line.Start, line.End - line.Start).CopyTo(text.AsSpan(length));
            lines.Add(new(line.Time, length, length + line.End - line.Start));
            length = lines[^1].End;
        }

        _text.AsSpan(_cut, _length - _cut).CopyTo(text.AsSpan(length));
        _length = length + _length - _cut;
        _cut = length;
        _text = text;
        _lines.Clear();
        _lines.AddRange(lines);
        _last = _newest;
        _isOrdered = true;
    }

    //     kworker/u4:1-25      [001] .....    18.737056: map: …       A name may hold anything, also what looks like this.
    internal static bool TryTime(ReadOnlySpan<byte> line, out long microseconds, out uint cpu)
    {
        microseconds = 0;
        cpu = 0;
        for (int start = 0; start < line.Length; start++)
        {
            int bracket = line[start..].IndexOf(" ["u8);
            if (bracket < 0)
            {
                return false;
            }

            start += bracket + 1;
            ReadOnlySpan<byte> rest = line[(start + 1)..];
            if (!Utf8Parser.TryParse(rest, out cpu, out int digits) || digits == 0 || rest.Length < digits + 2 || rest[digits] != (byte)']')
            {
                continue;
            }

            rest = rest[(digits + 1)..].TrimStart((byte)' ');
            int flags = rest.IndexOf((byte)' ');
            rest = flags < 0 ? default : rest[flags..].TrimStart((byte)' ');
            if (Utf8Parser.TryParse(rest, out ulong seconds, out int length) && length > 0 && seconds < 1ul << 40
                && rest.Length > length + 8 && rest[length] == (byte)'.' && rest[length + 7] == (byte)':'
                && Utf8Parser.TryParse(rest[(length + 1)..(length + 7)], out uint fraction, out int places) && places == 6)
            {
                microseconds = ((long)seconds * 1_000_000) + fraction;
                return true;
            }
        }

        return false;
    }

    private readonly record struct Line(long Time, int Start, int End);
}
