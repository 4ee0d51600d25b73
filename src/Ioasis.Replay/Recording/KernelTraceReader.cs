using System.Text;
using Ioasis.Replay.Input;

namespace Ioasis.Replay.Recording;

/// <summary>
/// Reads a kernel trace in any of its textual forms. This folder turns lines into maps and unmaps with devices; it never
/// replays anything.
/// </summary>
internal sealed partial class KernelTraceReader
{
    private readonly InputLog _input;
    private readonly KernelTrace _trace;
    private readonly Attribution _attribution;
    private readonly EventNames _names = new();
    private readonly Dictionary<int, TraceMark> _marks = [];
    private readonly List<long> _invalidations = [];
    private readonly HashSet<int> _attached = [];
    private readonly HashSet<int> _grouped = [];
    private readonly List<(ulong Address, ulong Size)> _ranges = [];
    private readonly List<ulong> _addresses = [];
    private long[] _deviceEvents = new long[16];
    private long[] _cpuEvents = new long[8];

    private KernelTraceReader(InputLog input, AttributionRule rule)
    {
        _input = input;
        _trace = new(input);
        _attribution = new(_trace, rule);
    }

    /// <summary>Reads all of it.</summary>
    /// <exception cref="TraceInputException">The file cannot be read, is cut off, or holds no event.</exception>
    public static KernelTrace Read(
        LineReader lines, InputLog input, AttributionRule rule, CancellationToken cancellationToken = default)
    {
        KernelTraceReader reader = new(input, rule);
        while (lines.TryRead(out ReadOnlySpan<byte> line))
        {
            reader.Line(line, lines.LineNumber, lines.LastLineEnded);
            if ((lines.LineNumber & 0xfff) == 0)
            {
                cancellationToken.ThrowIfCancellationRequested();
            }
        }

        return reader.Finish(lines);
    }

    private KernelTrace Finish(LineReader lines)
    {
        _input.Lines = lines.LineNumber;
        _input.TextBytes = lines.TextBytes;
        if (_input.Events == 0)
        {
            throw new TraceInputException(
                TraceInputError.NoEvents,
                _input.Path,
                _input.UnparsedLines > 0 ? _input.FirstUnparsedLines[0].Line : null,
                _input.UnparsedLines > 0
                    ? $"no line is an event of {_input.Format.Name()}; the first that is not begins here"
                    : "holds no event");
        }

        foreach ((string name, long count) in _names.All())
        {
            _input.SetEvents(name, count);
        }

        int cpus = Array.FindLastIndex(_cpuEvents, static n => n != 0) + 1;
        _input.EventsByCpu = _cpuEvents[..cpus];
        _trace.Mappings = [.. _attribution.Mappings];
        _trace.Marks = _marks;
        _trace.Invalidations = _invalidations;
        _trace.AttachedDevices = _attached;
        _trace.DevicesInGroupEvents = _grouped.Count;
        Dictionary<int, long> events = [];
        for (int device = 0; device < _trace.Devices.Count; device++)
        {
            if (device < _deviceEvents.Length && _deviceEvents[device] > 0)
            {
                events.Add(device, _deviceEvents[device]);
            }
        }

        _trace.DmaEventsByDevice = events;
        return _trace;
    }

    private void Line(ReadOnlySpan<byte> line, int number, bool ended)
    {
        KernelEvent e = default;
        switch (KernelLine.Parse(line, ref e))
        {
            case KernelLineKind.Event:
                if (!Event(e, number))
                {
                    Unparsed(line, number, ended);
                }

                break;

            case KernelLineKind.Comment:
                if (KernelLine.TryOverwritten(line, out ulong overwritten) && overwritten > 0)
                {
                    _input.Lost(number, line, overwritten);
                }

                break;

            case KernelLineKind.Lost:
                _input.Lost(number, line, KernelLine.LostCount(line));
                break;

            default:
                Unparsed(line, number, ended);
                break;
        }
    }

    private void Unparsed(ReadOnlySpan<byte> line, int number, bool ended)
    {
        if (!ended)
        {
            throw _input.Truncated(number, line);
        }

        _input.Unparsed(number, line);
    }

    private bool Event(in KernelEvent e, int line)
    {
        ReadOnlySpan<byte> name = e.Name;
        ReadOnlySpan<byte> fields = e.Fields;
        if (name.SequenceEqual("print"u8) || name.SequenceEqual("bprint"u8))
        {
            // trace-cmd and perf render a note as print: function: text.
            TextCursor cursor = new(fields);
            if (cursor.SkipPast(": "u8))
            {
                name = "tracing_mark_write"u8;
                fields = cursor.Rest;
            }
        }

        // A line counts as an event once its fields read.
        KernelEventKind kind = _names.Kind(name);
        MappingEvent mapping = new() { TimeNs = e.TimeNs, Line = line, Device = -1, Cpu = (ushort)e.Cpu };
        bool read = kind switch
        {
            KernelEventKind.Map => TryMap(fields, ref mapping),
            KernelEventKind.Unmap => TryUnmap(fields, ref mapping),
            _ => true,
        };
        if (!read)
        {
            return false;
        }

        Attribution.TaskState? task = kind is KernelEventKind.Other or KernelEventKind.Mark ? null : _attribution.TaskOf(e);
        switch (kind)
        {
            case KernelEventKind.Map:
                _attribution.Map(task!, mapping);
                break;

            case KernelEventKind.Unmap:
                mapping.IsUnmap = true;
                _attribution.Unmap(task!, mapping);
                break;

            case KernelEventKind.Mark:
                Mark(fields, e.TimeNs, line);
                break;

            case KernelEventKind.FlushRange:
                _invalidations.Add(e.TimeNs);
                break;

            case KernelEventKind.IovaLink or KernelEventKind.IovaDestroy:
                if (!TryProbe(fields, kind, task!))
                {
                    return false;
                }

                break;

            case KernelEventKind.AddDeviceToGroup or KernelEventKind.AttachDevice:
                if (!TryGroup(fields, kind, task!))
                {
                    return false;
                }

                break;

            case KernelEventKind.Other or KernelEventKind.CacheTagAssign or KernelEventKind.QueuedInvalidation
                or KernelEventKind.IoPageFault:
                break;

            default:
                if (!TryDma(fields, kind, task!, line, e.Cpu))
                {
                    return false;
                }

                break;
        }

        _names.Count();
        _input.At(e.TimeNs);
        CountCpu(e.Cpu);
        return true;
    }

    // IOMMU: iova=0x… - 0x… paddr=0x… size=…
    private static bool TryMap(ReadOnlySpan<byte> fields, ref MappingEvent map)
    {
        TextCursor cursor = new(fields);
        return TryRange(ref cursor, out map.Iova, out ulong end)
            && cursor.SkipPast("paddr="u8) && cursor.TryHex(out map.Value)
            && cursor.SkipPast("size="u8) && cursor.TryDecimal(out map.Length)
            && IsRange(map.Iova, map.Length, end);
    }

    // IOMMU: iova=0x… - 0x… size=… unmapped_size=…
    private static bool TryUnmap(ReadOnlySpan<byte> fields, ref MappingEvent unmap)
    {
        TextCursor cursor = new(fields);
        return TryRange(ref cursor, out unmap.Iova, out ulong end)
            && cursor.SkipPast("size="u8) && cursor.TryDecimal(out unmap.Length)
            && cursor.SkipPast("unmapped_size="u8) && cursor.TryDecimal(out unmap.Value)
            && IsRange(unmap.Iova, unmap.Length, end);
    }

    private static bool TryRange(ref TextCursor cursor, out ulong start, out ulong end)
    {
        end = 0;
        start = 0;
        return cursor.SkipPast("iova="u8) && cursor.TryHex(out start) && cursor.Skip(" - "u8) && cursor.TryHex(out end);
    }

    private static bool IsRange(ulong start, ulong length, ulong end) =>
        length != 0 && start + length == end && (end > start || end == 0);

    // mark 12: text
    private void Mark(ReadOnlySpan<byte> fields, long timeNs, int line)
    {
        TextCursor cursor = new(fields);
        if (cursor.Skip("mark "u8) && cursor.TryDecimal(out ulong number) && number <= int.MaxValue && cursor.Skip(": "u8))
        {
            ReadOnlySpan<byte> text = cursor.Rest;
            text = text[..Math.Min(text.Length, 120)].TrimEnd((byte)' ');
            _marks[(int)number] = new((int)number, timeNs, Encoding.UTF8.GetString(text), line);
        }
    }

    // (symbol+0x4/0x340) dev="0000:00:02.0" iova=0x… phys=0x… offset=0x… size=…
    private int CountDevice(ReadOnlySpan<byte> name)
    {
        int device = _trace.Devices.Intern(name);
        if (device >= _deviceEvents.Length)
        {
            Array.Resize(ref _deviceEvents, device * 2);
        }

        _deviceEvents[device]++;
        return device;
    }

    private void CountCpu(int cpu)
    {
        if (cpu >= _cpuEvents.Length)
        {
            Array.Resize(ref _cpuEvents, cpu + 8);
        }

        _cpuEvents[cpu]++;
    }
}
