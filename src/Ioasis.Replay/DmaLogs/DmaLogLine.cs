using Ioasis.Replay.Input;

namespace Ioasis.Replay.DmaLogs;

/// <summary>Cuts the lines of a QEMU log with time stamps: <c>2026-11-21T03:17:32.059568Z event fields</c>.</summary>
internal static class DmaLogLine
{
    private const long NsPerSecond = 1_000_000_000;

    /// <summary>Cuts one line.</summary>
    /// <param name="line">The line.</param>
    /// <param name="timeNs">Nanoseconds since the Unix epoch.</param>
    /// <param name="rest">The event's name and its fields.</param>
    public static bool TryTime(ReadOnlySpan<byte> line, out long timeNs, out ReadOnlySpan<byte> rest)
    {
        timeNs = 0;
        rest = default;
        if (line.Length < 22 || line[4] != (byte)'-' || line[7] != (byte)'-' || line[10] != (byte)'T' || line[13] != (byte)':'
            || line[16] != (byte)':')
        {
            return false;
        }

        int year = (Two(line, 0) * 100) + Two(line, 2);
        int month = Two(line, 5);
        int day = Two(line, 8);
        int hour = Two(line, 11);
        int minute = Two(line, 14);
        int second = Two(line, 17);
        if (year is < 1970 or > 2200 || month is < 1 or > 12 || day < 1 || day > DateTime.DaysInMonth(year, month)
            || (uint)hour > 23 || (uint)minute > 59 || (uint)second > 60)
        {
            return false;
        }

        TextCursor cursor = new(line[19..]);
        long fraction = 0;

        // A time stamp on a whole second has no fraction.
        if (cursor.Skip("."u8) && !cursor.TryFraction(out fraction))
        {
            return false;
        }

        if (!cursor.Skip("Z "u8))
        {
            return false;
        }

        long days = (new DateTime(year, month, day, 0, 0, 0, DateTimeKind.Utc) - DateTime.UnixEpoch).Days;
        timeNs = (((((days * 24) + hour) * 3600) + (minute * 60) + second) * NsPerSecond) + fraction;
        rest = cursor.Rest;
        return true;
    }

    private static int Two(ReadOnlySpan<byte> line, int at)
    {
        int high = line[at] - '0';
        int low = line[at + 1] - '0';
        return (uint)high <= 9 && (uint)low <= 9 ? (high * 10) + low : -1000;
    }
}
