using System.Buffers.Text;
using System.Text;

namespace Ioasis.TraceGenerator;

/// <summary>What a generated trace looks like.</summary>
public sealed record TraceShape
{
    /// <summary>PCI devices.</summary>
    public int Devices { get; init; } = 8;

    /// <summary>Mappings that live at one time.</summary>
    public int Live { get; init; } = 4096;

    /// <summary>Distinct physical pages, all of which a long trace uses.</summary>
    public long Pages { get; init; } = 1 << 21;

    /// <summary>Accesses in the log for each mapping.</summary>
    public int Accesses { get; init; } = 4;

    /// <summary>Seed.</summary>
    public ulong Seed { get; init; } = 1;
}

/// <summary>
/// Writes a trace as <c>cat /sys/kernel/tracing/trace</c> shows it: each mapping is a <c>map</c> with the <c>dma_map_phys</c> behind it, and
/// later, mostly in an interrupt, an <c>unmap</c> with its <c>dma_unmap_phys</c>. Deterministic.
/// </summary>
public sealed class TraceWriter
{
    private const ulong FirstPhysical = 0x1_0000_0000;
    private const int Tasks = 6;
    private const int PairLines = 2;

    private static readonly byte[][] s_tasks =
        [.. Enumerable.Range(0, Tasks).Select(static i => Encoding.ASCII.GetBytes($"{"worker/" + i,16}-{1000 + (i * 37),-6} "))];

    // A mark stands in the trace and in the log each so many microseconds.
    private const long MarkEvery = 100_000;

    private readonly Stream _output;
    private readonly LogWriter? _log;
    private readonly TraceShape _shape;
    private readonly IovaSpace[] _spaces;
    private readonly byte[][] _names;
    private readonly List<Mapping> _live;
    private readonly byte[] _buffer = new byte[1 << 16];
    private int _length;
    private long _time = 13_248_201;
    private ulong _random;
    private long _nextPage;
    private long _nextMark = 13_248_201;
    private int _marks;

    /// <summary>Makes a writer of one trace.</summary>
    /// <param name="output">Where to.</param>
    /// <param name="shape">What it looks like.</param>
    /// <param name="log">Gets the accesses; null for nobody.</param>
    public TraceWriter(Stream output, TraceShape shape, LogWriter? log = null)
    {
        _log = log;
        ArgumentNullException.ThrowIfNull(output);
        ArgumentNullException.ThrowIfNull(shape);
        _output = output;
        _shape = shape;
        _random = (shape.Seed * 0x9e3779b97f4a7c15) | 1;
        _spaces = [.. Enumerable.Range(0, shape.Devices).Select(static _ => new IovaSpace())];
        _names = [.. Enumerable.Range(0, shape.Devices).Select(static i => Encoding.ASCII.GetBytes($"0000:00:{i + 1:x2}.0"))];
        _live = new(shape.Live);
    }

    private readonly record struct Mapping(int Device, ulong Iova, ulong Physical, int SizeLog2);

    /// <summary>Writes as many events, rounded down to whole pairs of lines.</summary>
    public void Write(long events)
    {
        Put("# tracer: nop\n#\n# entries-in-buffer/entries-written: "u8);
        PutDecimal(events, 0);
        Put("/"u8);
        PutDecimal(events, 0);
        Put("   #P:4\n#\n#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION\n#              | |         |   |||||     |         |\n"u8);
        for (long pair = 0; pair < events / PairLines; pair++)
        {
            if (_log is not null && _time >= _nextMark)
            {
                Mark();
            }

            // Grows to the live set, then takes one away for each that comes.
            if (_live.Count < _shape.Live && (_live.Count < _shape.Live / 2 || (Next() & 1) == 0))
            {
                Map();
            }
            else
            {
                Unmap();
            }
        }

        if (_log is not null)
        {
            Mark();
        }

        Flush();
    }

    // A note of the kernel's trace that is written to a test device at the same moment (examples/traces/README.md).
    private void Mark()
    {
        Begin(0, 0, interrupt: false);
        Put("tracing_mark_write: mark "u8);
        PutDecimal(++_marks, 0);
        Put(": tick\n"u8);
        _log!.Mark(_time, _marks);
        _nextMark = _time + MarkEvery;
    }

    private void Map()
    {
        ulong r = Next();
        int log2 = (r & 0xff) switch
        {
            < 160 => 12,
            < 200 => 13,
            < 230 => 14,
            < 248 => 15,
            _ => 16,
        };
        int device = (int)((r >> 8) % (ulong)_shape.Devices);
        long pages = 1L << (log2 - 12);
        if (_nextPage + pages > _shape.Pages)
        {
            _nextPage = 0;
        }

        Mapping m = new(device, _spaces[device].Take(log2), FirstPhysical + ((ulong)_nextPage << 12), log2);
        _nextPage += pages;
        _live.Add(m);
        int task = (int)((r >> 16) % Tasks);
        Begin(task, task & 3, interrupt: false);
        Put("map: IOMMU: iova=0x"u8);
        PutRange(m);
        Put(" paddr=0x"u8);
        PutHex(m.Physical, 16);
        Put(" size="u8);
        PutDecimal(1L << log2, 0);
        Put("\n"u8);
        Begin(task, task & 3, interrupt: false);
        Dma("dma_map_phys: "u8, m);
        Put(" phys_addr="u8);
        PutHex(m.Physical, 1);
        Put(" attrs=\n"u8);
        _log?.Accesses(_time, _names[device], m.Iova, m.Physical, 1ul << log2);
    }

    private void Unmap()
    {
        ulong r = Next();
        int index = (int)(r % (ulong)_live.Count);
        Mapping m = _live[index];
        _live[index] = _live[^1];
        _live.RemoveAt(_live.Count - 1);
        _spaces[m.Device].Free(m.Iova, m.SizeLog2);
        bool interrupt = (r >> 32 & 3) != 0;
        int task = (int)((r >> 40) % Tasks);
        Begin(task, task & 3, interrupt);
        Put("unmap: IOMMU: iova=0x"u8);
        PutRange(m);
        Put(" size="u8);
        PutDecimal(1L << m.SizeLog2, 0);
        Put(" unmapped_size="u8);
        PutDecimal(1L << m.SizeLog2, 0);
        Put("\n"u8);
        Begin(task, task & 3, interrupt);
        Dma("dma_unmap_phys: "u8, m);
        Put(" attrs=\n"u8);
        _log?.Invalidation(_time, m.Device + 1, m.Iova);
    }

    // The columns of ftrace: task, CPU, flags, time.
    private void Begin(int task, int cpu, bool interrupt)
    {
        _time += 1 + (long)(Next() & 3);
        Put(s_tasks[task]);
        Put("[00"u8);
        PutDecimal(cpu, 1);
        Put(interrupt ? "] d.h1. "u8 : "] ..... "u8);
        PutDecimal(_time / 1_000_000, 5);
        Put("."u8);
        PutDigits(_time % 1_000_000, 6);
        Put(": "u8);
    }

    private void Dma(ReadOnlySpan<byte> name, in Mapping m)
    {
        Put(name);
        Put(_names[m.Device]);
        Put(" dir=FROM_DEVICE dma_addr="u8);
        PutHex(m.Iova, 1);
        Put(" size="u8);
        PutDecimal(1L << m.SizeLog2, 0);
    }

    private void PutRange(in Mapping m)
    {
        PutHex(m.Iova, 16);
        Put(" - 0x"u8);
        PutHex(m.Iova + (1ul << m.SizeLog2), 16);
    }

    private void Put(ReadOnlySpan<byte> text)
    {
        if (_length + text.Length > _buffer.Length)
        {
            Flush();
        }

        text.CopyTo(_buffer.AsSpan(_length));
        _length += text.Length;
    }

    // Padded on the left with spaces.
    private void PutDecimal(long value, int width)
    {
        Span<byte> text = stackalloc byte[20];
        Utf8Formatter.TryFormat(value, text, out int length);
        for (int i = length; i < width; i++)
        {
            Put(" "u8);
        }

        Put(text[..length]);
    }

    private void PutDigits(long value, int width)
    {
        Span<byte> text = stackalloc byte[20];
        Utf8Formatter.TryFormat(value, text, out int length, new('D', (byte)width));
        Put(text[..length]);
    }

    private void PutHex(ulong value, int width)
    {
        Span<byte> text = stackalloc byte[16];
        Utf8Formatter.TryFormat(value, text, out int length, new('x', (byte)width));
        Put(text[..length]);
    }

    private void Flush()
    {
        _output.Write(_buffer.AsSpan(0, _length));
        _length = 0;
    }

    // xorshift64*: the same everywhere.
    private ulong Next()
    {
        _random ^= _random >> 12;
        _random ^= _random << 25;
        _random ^= _random >> 27;
        return _random * 0x2545f4914f6cdd1d;
    }

    /// <summary>IOVAs as a kernel gives them out: from 4 GiB downwards, aligned to their size, the last freed first.</summary>
    private sealed class IovaSpace
    {
        private readonly Stack<ulong>[] _free = [.. Enumerable.Range(0, 32).Select(static _ => new Stack<ulong>())];
        private ulong _bottom = 0xffff_f000;

        public ulong Take(int sizeLog2)
        {
            if (_free[sizeLog2].TryPop(out ulong iova))
            {
                return iova;
            }

            _bottom = (_bottom - (1ul << sizeLog2)) & ~((1ul << sizeLog2) - 1);
            return _bottom;
        }

        public void Free(ulong iova, int sizeLog2) => _free[sizeLog2].Push(iova);
    }
}
