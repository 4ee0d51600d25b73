using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Input;

/// <summary>Recognises a recording's format by its first lines.</summary>
internal static class FormatDetector
{
    /// <summary>How much of a file is looked at.</summary>
    private const int Window = 1 << 17;

    /// <summary>How much is looked at when the beginning tells nothing: a kernel's log may come before what was dumped into it.</summary>
    private const int WideWindow = 1 << 22;

    /// <summary>How many lines that tell are enough.</summary>
    private const int Enough = 50;

    /// <summary>Recognises the format, or says why it cannot.</summary>
    /// <exception cref="TraceInputException">It is binary, empty, or of no known format.</exception>
    public static TraceFormat Detect(LineReader lines, string path) => Detect(lines, path, Window);

    private static TraceFormat Detect(LineReader lines, string path, int window)
    {
        ReadOnlySpan<byte> head = lines.Peek(window);
        bool more = head.Length == window && window < WideWindow;
        if (head.IsEmpty)
        {
            throw new TraceInputException(TraceInputError.NoEvents, path, null, "is empty: it holds no event");
        }

        if (IsTraceDat(head))
        {
            return TraceFormat.TraceDat;
        }

        RejectBinary(head, path);
        int ftrace = 0;
        int traceCmd = 0;
        int perf = 0;
        int dma = 0;
        bool header = false;
        int number = 0;
        int firstUnknown = 0;
        LineCutter cutter = new();
        EventNames names = new();
        LineShapes shapes = new();
        KernelEvent e = default;
        while (!head.IsEmpty && ftrace + traceCmd + perf + dma < Enough)
        {
            int end = head.IndexOf((byte)'\n');
            ReadOnlySpan<byte> line = end < 0 ? head : head[..end];
            head = end < 0 ? default : head[(end + 1)..];
            number++;
            line = line.TrimEnd((byte)'\r');
            if (DmaLogLine.IsLikely(line))
            {
                dma++;
                continue;
            }

            switch (KindOf(cutter, names, line, ref e))
            {
                case KernelLineKind.Event when e.HasGroup:
                    perf++;
                    break;

                case KernelLineKind.Event when e.Form == LineForm.Bracketed && (e.Context == ExecutionContextKind.Unknown || e.IsPadded):
                    traceCmd++;
                    break;

                case KernelLineKind.Event:
                    ftrace++;
                    break;

                case KernelLineKind.Comment:
                    header |= line.StartsWith("# tracer:"u8) || line.StartsWith("cpus="u8);
                    break;

                case KernelLineKind.Unparsed:
                    firstUnknown = firstUnknown == 0 ? number : firstUnknown;
                    shapes.Add(line);
                    break;
            }
        }

        int kernel = ftrace + traceCmd + perf;
        if (dma > kernel)
        {
            return TraceFormat.DmaLog;
        }

        if (kernel > 0)
        {
            return perf > kernel / 2 ? TraceFormat.PerfScript : traceCmd > kernel / 2 ? TraceFormat.TraceCmd : TraceFormat.Ftrace;
        }

        if (header)
        {
            return TraceFormat.Ftrace;
        }

        if (more)
        {
            return Detect(lines, path, WideWindow);
        }

        throw new TraceInputException(
            TraceInputError.UnknownFormat,
            path,
            Math.Max(firstUnknown, 1),
            $"the format is not recognised: {shapes.Describe()}. Wanted are a kernel trace (cat trace, trace-cmd report, perf "
            + "script), trace-cmd's trace.dat, or a device-side DMA log; --format names it if the file begins with something else");
    }

    /// <summary>Whether a file begins as trace-cmd's binary ones do.</summary>
    public static bool IsTraceDat(ReadOnlySpan<byte> head) => head.StartsWith("\x17\x08\x44tracing"u8);

    private static KernelLineKind KindOf(LineCutter cutter, EventNames names, ReadOnlySpan<byte> line, ref KernelEvent e)
    {
        KernelLineKind kind = KernelLine.KindOf(ref line);
        if (kind != KernelLineKind.Event)
        {
            return kind;
        }

        e = default;
        return cutter.TryCut(line, ref e) && (e.Form != LineForm.Bare || names.Kind(e.Name) != KernelEventKind.Other)
            ? KernelLineKind.Event
            : KernelLine.KindOfOther(line);
    }

    /// <summary>The program that decompresses a file that begins so; null for what is none of its files.</summary>
    private static string? CompressorOf(ReadOnlySpan<byte> head) =>
        head.StartsWith<byte>([0x28, 0xb5, 0x2f, 0xfd]) ? "zstd"
        : head.Length > 4 && head.StartsWith("BZh"u8) && head[3] is >= (byte)'1' and <= (byte)'9' && head[4..].StartsWith<byte>([0x31, 0x41, 0x59]) ? "bzip2"
        : head.StartsWith<byte>([0x04, 0x22, 0x4d, 0x18]) ? "lz4"
        : head.StartsWith<byte>([0x89, (byte)'L', (byte)'Z', (byte)'O', 0]) ? "lzop"
        : null;

    /// <summary>Refuses what is not text, with a hint for the binary files that the recorders write.</summary>
    /// <exception cref="TraceInputException">It is binary.</exception>
    public static void RejectBinary(ReadOnlySpan<byte> head, string path)
    {
        if (head.StartsWith("PERFILE2"u8) || head.StartsWith("2ELIFREP"u8))
        {
            throw new TraceInputException(
                TraceInputError.Binary, path, null, "is perf's binary file; give the text that `perf script` prints");
        }

        if (CompressorOf(head) is { } compressor)
        {
            throw new TraceInputException(
                TraceInputError.NoDecoder, path, null,
                $"is compressed with {compressor}, and gzip and xz are known here: `{compressor} -dc FILE | ioasis run -` reads it");
        }

        int at = head.IndexOf((byte)0);
        if (at >= 0)
        {
            throw new TraceInputException(
                TraceInputError.Binary,
                path,
                1 + head[..at].Count((byte)'\n'),
                "there is a zero byte: this is not a text recording");
        }
    }
}
