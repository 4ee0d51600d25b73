using System.Buffers;
using Ioasis.Replay.Input;

namespace Ioasis.Replay.Recording;

/// <summary>
/// Cuts an event's line into what stands in front (task, CPU, flags, time), the event's name and its fields. The columns
/// differ by recorder, options and version; what they share is an order: the task, then the CPU, then flags, then the time,
/// then the name, and a colon behind the last two. The layout that fitted the last line is tried first.
/// </summary>
internal sealed partial class LineCutter
{
    // A line's time stands behind one of its first colons: a log's own prefix may have some, and a task's name.
    private const int MostColons = 16;

    private static readonly SearchValues<byte> s_nameCharacters =
        SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.$"u8);

    private LineForm _last = LineForm.Bracketed;

    /// <summary>Cuts a line that is not empty and has no spaces in front.</summary>
    public bool TryCut(ReadOnlySpan<byte> line, ref KernelEvent e)
    {
        if (_last == LineForm.Anchored && TryAnchored(line, ref e))
        {
            return true;
        }

        if (TryBracketed(line, ref e) || (_last != LineForm.Anchored && TryAnchored(line, ref e)) || TryBare(line, ref e))
        {
            _last = e.Form;
            return true;
        }

        return false;
    }

    // comm-pid [(tgid)] [cpu] [flags] time: event: fields; perf: comm pid[/tid] [cpu] time: [period] group:event: fields
    private static bool TryBracketed(ReadOnlySpan<byte> line, ref KernelEvent e)
    {
        int from = 0;
        while (true)
        {
            int bracket = line[from..].IndexOf((byte)'[');
            if (bracket < 0)
            {
                return false;
            }

            bracket += from;
            TextCursor cursor = new(line[(bracket + 1)..]);
            if (cursor.TryDecimal(out ulong cpu) && cpu <= 0xffff && cursor.Skip("]"u8))
            {
                e.Context = ExecutionContextKind.Unknown;
                if (TryTail(ref cursor, ref e) && (TryTask(line[..bracket], out e.Pid) || e.HasGroup))
                {
                    e.Cpu = (int)cpu;
                    e.Form = LineForm.Bracketed;
                    return true;
                }
            }

            from = bracket + 1;
        }
    }

    /// <summary>What follows the CPU's bracket: flags or none, then the time or (perf without its time) none, then the event.</summary>
    private static bool TryTail(ref TextCursor cursor, ref KernelEvent e)
    {
        cursor.SkipSpaces();
        TextCursor flagged = cursor;
        if (!cursor.Rest.IsEmpty && char.IsAsciiDigit((char)cursor.Rest[0]) && TryTime(ref cursor, ref e))
        {
            return TryName(cursor.Rest, ref e);
        }

        ReadOnlySpan<byte> flags = flagged.Word();
        if (IsFlags(flags))
        {
            e.Context = ContextOf(flags);
            flagged.SkipSpaces();
            if (TryTime(ref flagged, ref e))
            {
                return TryName(flagged.Rest, ref e);
            }

            return false;
        }

        e.TimeNs = 0;
        e.Unit = ClockUnit.None;
        return TryName(cursor.Rest, ref e) && e.HasGroup;
    }

    // The time with its colon is looked for, and what stands before it is read from its end.
    private static bool TryAnchored(ReadOnlySpan<byte> line, ref KernelEvent e)
    {
        int from = 0;
        for (int colons = 0; colons < MostColons; colons++)
        {
            int colon = line[from..].IndexOf((byte)':');
            if (colon < 0)
            {
                return false;
            }

            colon += from;
            if (TryTimeBefore(line[..colon], ref e, out int start) && TryName(line[(colon + 1)..], ref e) && TryFront(line[..start], ref e))
            {
                e.Form = LineForm.Anchored;
                return true;
            }

            from = colon + 1;
        }

        return false;
    }

    // Nothing but the event, as without the context-info option, or with the kernel log's time, as with tp_printk.
    private static bool TryBare(ReadOnlySpan<byte> line, ref KernelEvent e)
    {
        e.TimeNs = 0;
        e.Unit = ClockUnit.None;
        TextCursor log = new(line);
        if (log.SkipPast("["u8))
        {
            log.SkipSpaces();
            if (log.TrySeconds(out long seconds) && log.Skip("]"u8))
            {
                // With CONFIG_PRINTK_CALLER the task or CPU that printed stands in a bracket of its own.
                log.SkipSpaces();
                if (log.Skip("["u8))
                {
                    log.TryUntil((byte)']', out _);
                    log.SkipSpaces();
                }

                e.TimeNs = seconds;
                e.Unit = ClockUnit.Seconds;
                line = log.Rest;
            }
        }

        e.Cpu = -1;
        e.Pid = -1;
        e.Context = ExecutionContextKind.Unknown;
        e.Form = LineForm.Bare;
        return TryName(line, ref e);
    }

    /// <summary>Reads what stands before the time, from its end: CPU and flags in one word or in two, or none; then the task.</summary>
    private static bool TryFront(ReadOnlySpan<byte> text, ref KernelEvent e)
    {
        text = Trim(text);
        e.Context = ExecutionContextKind.Unknown;
        e.Cpu = -1;

        // [address] of the verbose latency format, behind: comm pid cpu flags preempt-count number
        if (!text.IsEmpty && text[^1] == (byte)']')
        {
            int open = text.LastIndexOf((byte)'[');
            return open > 0 && TryVerbose(Trim(text[..open]), ref e);
        }

        ReadOnlySpan<byte> last = LastWord(text);
        TextCursor cursor = new(last);
        if (cursor.TryDecimal(out ulong number) && !cursor.Rest.IsEmpty && IsFlags(cursor.Rest) && number <= 0xffff)
        {
            e.Cpu = (int)number;
            e.Context = ContextOf(cursor.Rest);
            return TryTask(text[..^last.Length], out e.Pid);
        }

        // perf script -F without the task: what is left has no PID.
        return TryTask(text, out e.Pid) || e.HasGroup;
    }

    private static bool TryVerbose(ReadOnlySpan<byte> text, ref KernelEvent e)
    {
        // From the end: number, preempt count, flags, CPU, PID.
        Span<ulong> numbers = stackalloc ulong[5];
        for (int i = 0; i < 5; i++)
        {
            ReadOnlySpan<byte> word = LastWord(text);
            TextCursor cursor = new(word);
            if (!(i < 2 ? cursor.TryHex(out numbers[i]) : cursor.TryDecimal(out numbers[i])) || !cursor.Rest.IsEmpty)
            {
                return false;
            }

            text = Trim(text[..^word.Length]);
        }

        if (text.IsEmpty || numbers[3] > 0xffff || numbers[4] > int.MaxValue)
        {
            return false;
        }

        // Bits of the flags: 8 hardware interrupt, 16 software interrupt (the kernel's enum trace_flag_type).
        e.Context = (numbers[2] & 8) != 0 ? ExecutionContextKind.HardInterrupt
            : (numbers[2] & 16) != 0 ? ExecutionContextKind.SoftInterrupt : ExecutionContextKind.Task;
        e.Cpu = (int)numbers[3];
        e.Pid = (int)numbers[4];
        return true;
    }

    /// <summary>Reads the PID at the end of a task: <c>comm-12</c>, <c>comm 12</c>, <c>comm 12/13</c>, with <c>( 12)</c> behind or not.</summary>
    private static bool TryTask(ReadOnlySpan<byte> text, out int pid)
    {
        pid = -1;
        text = Trim(text);

        // With record-tgid there is "( 1234)" or "(-------)" between task and CPU.
        if (!text.IsEmpty && text[^1] == (byte)')')
        {
            int open = text.LastIndexOf((byte)'(');
            if (open > 0)
            {
                text = Trim(text[..open]);
            }
        }

        int start = text.Length;
        while (start > 0 && char.IsAsciiDigit((char)text[start - 1]))
        {
            start--;
        }

        TextCursor cursor = new(text[start..]);
        if (!cursor.TryDecimal(out ulong number) || number > int.MaxValue
            || (start > 0 && text[start - 1] is not ((byte)'-' or (byte)' ' or (byte)'/' or (byte)'\t')))
        {
            return false;
        }

        pid = (int)number;
        return true;
    }

    // The event's name: [period] [group:]name[.suffix of a compiler]: fields
    private static bool TryName(ReadOnlySpan<byte> text, ref KernelEvent e)
    {
        TextCursor cursor = new(text);
        cursor.SkipSpaces();
        if (!cursor.Rest.IsEmpty && cursor.Rest[0] is (>= (byte)'0' and <= (byte)'9') or (byte)'(')
        {
            if (!cursor.Skip("(+"u8))
            {
                if (!cursor.TryDecimal(out _))
                {
                    return false;
                }
            }
            else if (!cursor.TryUntil((byte)')', out _))
            {
                return false;
            }

            cursor.SkipSpaces();
            cursor.Skip(":"u8);
            cursor.SkipSpaces();
        }

        ReadOnlySpan<byte> rest = cursor.Rest;
        int length = NameLength(rest);
        if (length == 0 || length >= rest.Length || rest[length] != (byte)':')
        {
            return false;
        }

        ReadOnlySpan<byte> name = rest[..length];
        rest = rest[(length + 1)..];
        int second = NameLength(rest);
        e.HasGroup = second > 0 && second < rest.Length && rest[second] == (byte)':';
        if (e.HasGroup)
        {
            name = rest[..second];
            rest = rest[(second + 1)..];
        }
        else if (!rest.IsEmpty && rest[0] is not ((byte)' ' or (byte)'\t'))
        {
            return false;
        }

        int dot = name.IndexOf((byte)'.');
        e.Name = dot > 0 ? name[..dot] : name;
        e.IsPadded = rest.StartsWith("  "u8);
        cursor = new(rest);
        cursor.SkipSpaces();
        e.Fields = cursor.Rest;
        return true;
    }

    private static int NameLength(ReadOnlySpan<byte> text)
    {
        if (text.IsEmpty || !(char.IsAsciiLetter((char)text[0]) || text[0] == (byte)'_'))
        {
            return 0;
        }

        text = text[..Math.Min(text.Length, 96)];
        int length = text.IndexOfAnyExcept(s_nameCharacters);
        return length < 0 ? text.Length : length;
    }

    // Interrupts off, need to schedule, hard or soft interrupt, preemption depth, migration disabled; more on real-time kernels.
    private static bool IsFlags(ReadOnlySpan<byte> text)
    {
        if (text.Length is < 3 or > 9)
        {
            return false;
        }

        bool letter = false;
        foreach (byte c in text)
        {
            if (!char.IsAsciiLetterOrDigit((char)c) && c is not ((byte)'.' or (byte)'#'))
            {
                return false;
            }

            letter |= !char.IsAsciiDigit((char)c);
        }

        return letter;
    }

    private static ExecutionContextKind ContextOf(ReadOnlySpan<byte> flags) => flags[2] switch
    {
        (byte)'.' => ExecutionContextKind.Task,
        (byte)'s' => ExecutionContextKind.SoftInterrupt,
        (byte)'h' or (byte)'H' or (byte)'z' or (byte)'Z' => ExecutionContextKind.HardInterrupt,
        _ => ExecutionContextKind.Unknown,
    };

    private static ReadOnlySpan<byte> Trim(ReadOnlySpan<byte> text)
    {
        int length = text.Length;
        while (length > 0 && text[length - 1] is (byte)' ' or (byte)'\t')
        {
            length--;
        }

        return text[..length];
    }

    private static ReadOnlySpan<byte> LastWord(ReadOnlySpan<byte> text) => text[(text.LastIndexOfAny((byte)' ', (byte)'\t') + 1)..];
}
