using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.DmaLogs;

/// <summary>
/// Cuts the lines of a QEMU log. With <c>-msg timestamp=on</c> a line begins with <c>PID@seconds.microseconds:</c> (to QEMU
/// 10.0) or with <c>2026-11-21T03:17:32.059568Z</c> (since); without it there is nothing before the event's name.
/// </summary>
internal static class DmaLogLine
{
    private const long NsPerSecond = 1_000_000_000;

    /// <summary>Cuts one line.</summary>
    /// <param name="line">The line.</param>
    /// <param name="timeNs">Nanoseconds since the Unix epoch.</param>
    /// <param name="unit">What the time is; <see cref="ClockUnit.None"/> without one.</param>
    /// <param name="name">The event's name.</param>
    /// <param name="rest">Its fields.</param>
    /// <returns>Whether it has the form of an event: QEMU's own messages, which may stand between, have not.</returns>
    public static bool TryCut(
        ReadOnlySpan<byte> line, out long timeNs, out ClockUnit unit, out ReadOnlySpan<byte> name, out ReadOnlySpan<byte> rest)
    {
        unit = ClockUnit.Seconds;
        if (!TryDate(line, out timeNs, out rest) && !TryProcess(line, out timeNs, out rest))
        {
            unit = ClockUnit.None;
            rest = line;
        }

        int length = 0;
        bool joined = false;
        while (length < rest.Length && (char.IsAsciiLetterOrDigit((char)rest[length]) || rest[length] == (byte)'_'))
        {
            joined |= rest[length] == (byte)'_';
            length++;
        }

        name = rest[..length];
        rest = rest[length..];

        // Events have names of several words; a message begins with a program's name and a colon, or with any word.
        if (!joined || (!rest.IsEmpty && rest[0] != (byte)' ') || (unit == ClockUnit.None && !IsOfIommu(name)))
        {
            return false;
        }

        rest = rest.TrimStart((byte)' ');
        return true;
    }

    /// <summary>Whether a line is surely one of a QEMU log, for telling formats apart.</summary>
    public static bool IsLikely(ReadOnlySpan<byte> line) => TryCut(line, out _, out _, out _, out _);

    /// <summary>Cuts a time stamp in front of what need not be an event.</summary>
    public static bool TryTime(ReadOnlySpan<byte> line, out long timeNs, out ReadOnlySpan<byte> rest) =>
        TryDate(line, out timeNs, out rest) || TryProcess(line, out timeNs, out rest);

    private static bool IsOfIommu(ReadOnlySpan<byte> name) =>
        name.StartsWith("vtd_"u8) || name.StartsWith("riscv_iommu_"u8) || name.StartsWith("amdvi_"u8) || name.StartsWith("smmuv3_"u8)
        || name.StartsWith("smmu_"u8) || name.StartsWith("virtio_iommu_"u8) || name.SequenceEqual("pci_cfg_write"u8);

    // 2026-11-21T03:17:32.059568Z
    private static bool TryDate(ReadOnlySpan<byte> line, out long timeNs, out ReadOnlySpan<byte> rest)
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

    // 4711@1700000000.000010:
    private static bool TryProcess(ReadOnlySpan<byte> line, out long timeNs, out ReadOnlySpan<byte> rest)
    {
        TextCursor cursor = new(line);
        timeNs = 0;
        rest = default;
        if (line.IsEmpty || !char.IsAsciiDigit((char)line[0]) || !cursor.TryDecimal(out _) || !cursor.Skip("@"u8)
            || !cursor.TrySeconds(out timeNs) || !cursor.Skip(":"u8))
        {
            return false;
        }

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
