using Ioasis.Replay.Input;

namespace Ioasis.Replay.Recording;

/// <summary>What a line of a kernel trace is.</summary>
internal enum KernelLineKind
{
    /// <summary>Nothing of the kind.</summary>
    Unparsed,

    /// <summary>An event.</summary>
    Event,

    /// <summary>A comment, a header, or an empty line.</summary>
    Comment,

    /// <summary>A marker that events are missing.</summary>
    Lost,
}

/// <summary>
/// Cuts the lines of the three textual forms of a kernel trace. They share <c>task [cpu] … time: event: fields</c>:
/// <c>cat trace</c> has flags between CPU and time, <c>trace-cmd report</c> may have them and pads the event's name,
/// <c>perf script</c> has none and writes <c>group:event:</c>.
/// </summary>
internal static class KernelLine
{
    /// <summary>Cuts one line.</summary>
    public static KernelLineKind Parse(ReadOnlySpan<byte> line, ref KernelEvent result)
    {
        int first = line.IndexOfAnyExcept((byte)' ', (byte)'\t');
        if (first < 0 || line[first] == (byte)'#')
        {
            return KernelLineKind.Comment;
        }

        line = line[first..];
        int search = 0;
        while (true)
        {
            int bracket = line[search..].IndexOf((byte)'[');
            if (bracket < 0)
            {
                return ParseOther(line);
            }

            bracket += search;
            if (bracket > 0 && TryParseFrom(line[(bracket + 1)..], ref result))
            {
                result.Task = TaskOf(line[..bracket]);
                return result.Task.IsEmpty ? KernelLineKind.Unparsed : KernelLineKind.Event;
            }

            search = bracket + 1;
        }
    }

    /// <summary>The number in a marker of lost events, 0 when it has none.</summary>
    public static ulong LostCount(ReadOnlySpan<byte> line)
    {
        TextCursor cursor = new(line);
        if (cursor.SkipPast("LOST "u8) || cursor.SkipPast("lost "u8))
        {
            return cursor.TryDecimal(out ulong count) ? count : 0;
        }

        // trace-cmd: CPU:0 [12 EVENTS DROPPED]
        return cursor.SkipPast("["u8) && cursor.TryDecimal(out ulong dropped) ? dropped : 0;
    }

    /// <summary>Whether the events that fit a buffer are fewer than those that were written, by ftrace's header.</summary>
    public static bool TryOverwritten(ReadOnlySpan<byte> line, out ulong overwritten)
    {
        overwritten = 0;
        TextCursor cursor = new(line);
        if (!cursor.SkipPast("entries-in-buffer/entries-written: "u8) || !cursor.TryDecimal(out ulong kept)
            || !cursor.Skip("/"u8) || !cursor.TryDecimal(out ulong written) || written < kept)
        {
            return false;
        }

        overwritten = written - kept;
        return true;
    }

    private static bool TryParseFrom(ReadOnlySpan<byte> text, ref KernelEvent result)
    {
        TextCursor cursor = new(text);
        if (!cursor.TryDecimal(out ulong cpu) || cpu > 0xffff || !cursor.Skip("]"u8))
        {
            return false;
        }

        cursor.SkipSpaces();
        result.Context = ExecutionContextKind.Unknown;
        if (!cursor.TrySeconds(out result.TimeNs))
        {
            ReadOnlySpan<byte> flags = cursor.Word();
            if (flags.Length >= 3)
            {
                result.Context = flags[2] switch
                {
                    (byte)'.' => ExecutionContextKind.Task,
                    (byte)'s' => ExecutionContextKind.SoftInterrupt,
                    (byte)'h' or (byte)'H' or (byte)'z' or (byte)'Z' => ExecutionContextKind.HardInterrupt,
                    _ => ExecutionContextKind.Unknown,
                };
            }

            cursor.SkipSpaces();
            if (!cursor.TrySeconds(out result.TimeNs))
            {
                return false;
            }
        }

        if (!cursor.Skip(":"u8))
        {
            return false;
        }

        cursor.SkipSpaces();
        if (!cursor.TryUntil((byte)':', out ReadOnlySpan<byte> name))
        {
            return false;
        }

        // perf script: group:event:
        result.HasGroup = !cursor.Rest.IsEmpty && IsNameByte(cursor.Rest[0]);
        if (result.HasGroup && !cursor.TryUntil((byte)':', out name))
        {
            return false;
        }

        if (name.IsEmpty || name.Length > 64 || !IsName(name))
        {
            return false;
        }

        result.IsPadded = cursor.Rest.StartsWith("  "u8);
        cursor.SkipSpaces();
        result.Cpu = (int)cpu;
        result.Name = name;
        result.Fields = cursor.Rest;
        return true;
    }

    private static ReadOnlySpan<byte> TaskOf(ReadOnlySpan<byte> text)
    {
        text = text.TrimEnd((byte)' ');

        // With record-tgid there is "( 1234)" or "(-------)" between task and CPU.
        if (!text.IsEmpty && text[^1] == (byte)')')
        {
            int open = text.LastIndexOf((byte)'(');
            if (open > 0)
            {
                text = text[..open].TrimEnd((byte)' ');
            }
        }

        return text.IsEmpty || !char.IsAsciiDigit((char)text[^1]) ? default : text;
    }

    private static KernelLineKind ParseOther(ReadOnlySpan<byte> line)
    {
        if (line.StartsWith("CPU:"u8) && (line.IndexOf("LOST"u8) >= 0 || line.IndexOf("DROPPED"u8) >= 0))
        {
            return KernelLineKind.Lost;
        }

        if (line.IndexOf("PERF_RECORD_LOST"u8) >= 0)
        {
            return KernelLineKind.Lost;
        }

        // trace-cmd's header: "cpus=2", "version = 7", "CPU 0 is empty".
        return line.StartsWith("cpus="u8) || line.StartsWith("version = "u8)
            || (line.StartsWith("CPU "u8) && line.EndsWith(" is empty"u8))
            ? KernelLineKind.Comment
            : KernelLineKind.Unparsed;
    }

    private static bool IsName(ReadOnlySpan<byte> name)
    {
        foreach (byte c in name)
        {
            if (!IsNameByte(c))
            {
                return false;
            }
        }

        return true;
    }

    private static bool IsNameByte(byte c) => char.IsAsciiLetterOrDigit((char)c) || c == (byte)'_';
}
