using Ioasis.Replay.Input;

namespace Ioasis.Replay.Recording;

/// <summary>What a line of a kernel trace is.</summary>
internal enum KernelLineKind
{
    /// <summary>Nothing of the kind.</summary>
    Unparsed,

    /// <summary>An event, perhaps: <see cref="LineCutter"/> tells.</summary>
    Event,

    /// <summary>A comment, a header, a stack's frame, or an empty line.</summary>
    Comment,

    /// <summary>A marker that events are missing.</summary>
    Lost,

    /// <summary>A marker that an event was there whose text did not fit.</summary>
    Cut,
}

/// <summary>Tells events from what else stands in the text of a kernel trace.</summary>
internal static class KernelLine
{
    /// <summary>Tells the kind of a line; <paramref name="line"/> loses its leading spaces.</summary>
    public static KernelLineKind KindOf(ref ReadOnlySpan<byte> line)
    {
        int first = line.IndexOfAnyExcept((byte)' ', (byte)'\t');
        if (first < 0)
        {
            return KernelLineKind.Comment;
        }

        line = line[first..];
        return line[0] switch
        {
            (byte)'#' => KernelLineKind.Comment,
            (byte)'=' => line.StartsWith("=> "u8) ? KernelLineKind.Comment : KernelLineKind.Event,
            (byte)'C' => line.StartsWith("CPU:"u8) ? Marker(line) : KernelLineKind.Event,
            _ => KernelLineKind.Event,
        };
    }

    /// <summary>Tells what a line is that is no event.</summary>
    public static KernelLineKind KindOfOther(ReadOnlySpan<byte> line)
    {
        // A dump into the kernel's log has the same lines behind the log's own prefix.
        int marker = line.IndexOf("CPU:"u8);
        if (marker >= 0 && Marker(line[marker..]) is var kind && kind != KernelLineKind.Event)
        {
            return kind;
        }

        if (line.IndexOf("PERF_RECORD_LOST"u8) >= 0)
        {
            return KernelLineKind.Lost;
        }

        if (line.IndexOf("[LINE TOO BIG]"u8) >= 0)
        {
            return KernelLineKind.Cut;
        }

        // trace-cmd's header: "cpus=2", "version = 7", "CPU 0 is empty". A dump's: "Dumping ftrace buffer:", a rule.
        return line.StartsWith("cpus="u8) || line.StartsWith("version = "u8)
            || (line.StartsWith("CPU "u8) && line.EndsWith(" is empty"u8))
            || line.EndsWith("Dumping ftrace buffer:"u8) || line.EndsWith("-----------------"u8)
            || IsFrame(line)
            ? KernelLineKind.Comment
            : KernelLineKind.Unparsed;
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

    // CPU:1 [LOST 12 EVENTS], CPU:0 [12 EVENTS DROPPED], CPU:0 [SUBBUFFER START]
    private static KernelLineKind Marker(ReadOnlySpan<byte> line)
    {
        return line.IndexOf("LOST"u8) >= 0 || line.IndexOf("DROPPED"u8) >= 0 ? KernelLineKind.Lost
            : line.IndexOf("[SUBBUFFER START]"u8) >= 0 ? KernelLineKind.Comment
            : KernelLineKind.Event;
    }

    // A frame of a call chain: ffffffff81234567 iommu_map+0x12 ([kernel.kallsyms])
    private static bool IsFrame(ReadOnlySpan<byte> line)
    {
        TextCursor cursor = new(line);
        return line[^1] is (byte)')' or (byte)']' && cursor.TryHex(out _) && line.Length - cursor.Rest.Length >= 6 && cursor.Skip(" "u8);
    }
}
