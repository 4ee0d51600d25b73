using Ioasis.Replay.Input;

namespace Ioasis.Replay.Recording;

// The time of a line, in all forms that its recorders print.
internal sealed partial class LineCutter
{
    private static bool TryTime(ref TextCursor cursor, ref KernelEvent e)
    {
        if (TryPlainTime(ref cursor, ref e))
        {
            return true;
        }

        TextCursor ahead = cursor;
        if (ahead.TrySeconds(out e.TimeNs))
        {
            e.Unit = ClockUnit.Seconds;
        }
        else if (ahead.TryDecimal(out ulong ticks))
        {
            e.TimeNs = (long)ticks;
            e.Unit = ClockUnit.Ticks;
            if (ahead.Skip("us"u8))
            {
                e.TimeNs = (long)Math.Min(ticks, long.MaxValue / 1000) * 1000;
                e.Unit = ClockUnit.Microseconds;
                SkipDelayMark(ref ahead);
            }
        }
        else
        {
            return false;
        }

        if (!ahead.Skip(":"u8))
        {
            // trace-cmd report --ts-diff: the time, then (+delta), then the colon.
            ahead.SkipSpaces();
            if (!ahead.Skip("(+"u8) || !ahead.TryUntil((byte)')', out _))
            {
                return false;
            }

            ahead.SkipSpaces();
            ahead.Skip(":"u8);
        }

        cursor = ahead;
        return true;
    }

    // Seconds with six digits and a colon behind them: nearly all times.
    private static bool TryPlainTime(ref TextCursor cursor, ref KernelEvent e)
    {
        const int mostDigits = 9;
        const int fractionDigits = 6;
        ReadOnlySpan<byte> text = cursor.Rest;
        long seconds = 0;
        int i = 0;
        while (i < text.Length && i < mostDigits && (uint)(text[i] - '0') is var digit and <= 9)
        {
            seconds = (seconds * 10) + digit;
            i++;
        }

        int end = i + 1 + fractionDigits;
        if (i == 0 || text.Length <= end || text[i] != (byte)'.' || text[end] != (byte)':')
        {
            return false;
        }

        long micros = 0;
        foreach (byte c in text[(i + 1)..end])
        {
            uint digit = (uint)(c - '0');
            if (digit > 9)
            {
                return false;
            }

            micros = (micros * 10) + digit;
        }

        e.TimeNs = ((seconds * 1_000_000) + micros) * 1000;
        e.Unit = ClockUnit.Seconds;
        cursor = new(text[(end + 1)..]);
        return true;
    }

    private static void SkipDelayMark(ref TextCursor cursor)
    {
        if (!cursor.Rest.IsEmpty && " !+#*@$"u8.Contains(cursor.Rest[0]))
        {
            cursor.Skip(cursor.Rest[..1]);
        }
    }

    /// <summary>Reads a time that ends where a text ends: seconds, microseconds with their unit, or ticks.</summary>
    private static bool TryTimeBefore(ReadOnlySpan<byte> text, ref KernelEvent e, out int start)
    {
        int end = text.Length;
        if (end > 3 && " !+#*@$"u8.Contains(text[end - 1]) && text[end - 2] == (byte)'s')
        {
            end--;
        }

        // The verbose latency format: [address] 5000.010ms (+0.010ms):
        if (end > 0 && text[end - 1] == (byte)')')
        {
            int open = text.LastIndexOf(" (+"u8);
            if (open < 0)
            {
                start = 0;
                return false;
            }

            end = open;
        }

        start = end;
        bool micro = end > 2 && text[..end].EndsWith("us"u8);
        bool milli = end > 2 && text[..end].EndsWith("ms"u8);
        start -= micro || milli ? 2 : 0;
        int digits = start;
        while (start > 0 && (char.IsAsciiDigit((char)text[start - 1]) || text[start - 1] == (byte)'.'))
        {
            start--;
        }

        if (start == digits || (start > 0 && text[start - 1] is not ((byte)' ' or (byte)'\t')))
        {
            return false;
        }

        TextCursor cursor = new(text[start..digits]);
        if (cursor.TrySeconds(out e.TimeNs))
        {
            e.Unit = milli ? ClockUnit.Microseconds : ClockUnit.Seconds;
            e.TimeNs = milli ? e.TimeNs / 1000 : e.TimeNs;
        }
        else if (cursor.TryDecimal(out ulong ticks))
        {
            e.Unit = micro ? ClockUnit.Microseconds : ClockUnit.Ticks;
            e.TimeNs = micro ? (long)Math.Min(ticks, long.MaxValue / 1000) * 1000 : (long)ticks;
        }
        else
        {
            return false;
        }

        return cursor.Rest.IsEmpty && (!micro || e.Unit == ClockUnit.Microseconds);
    }
}
