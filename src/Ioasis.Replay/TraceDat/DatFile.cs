using System.Globalization;
using System.Text;
using Ioasis.Replay.Input;

namespace Ioasis.Replay.TraceDat;

/// <summary>Where the pages of one CPU stand in the file.</summary>
/// <param name="Cpu">The CPU.</param>
/// <param name="Offset">Where.</param>
/// <param name="Size">How many bytes.</param>
/// <param name="IsCompressed">Whether they are chunks.</param>
internal sealed record CpuData(int Cpu, long Offset, long Size, bool IsCompressed);

/// <summary>The head of a trace.dat: the layouts of events, and where the records are.</summary>
internal sealed class DatFile
{
    private readonly Dictionary<int, EventFormat> _formats = [];
    private readonly List<CpuData> _cpus = [];
    private readonly List<long> _instances = [];

    private DatFile(DatReader reader, DatCompression compression)
    {
        Reader = reader;
        Compression = compression;
    }

    /// <summary>The file.</summary>
    public DatReader Reader { get; }

    /// <summary>What it is compressed with.</summary>
    public DatCompression Compression { get; }

    /// <summary>The size of a page of the ring buffer.</summary>
    public int PageSize { get; private set; } = 4096;

    /// <summary>The size of the kernel's long, in the head of a page.</summary>
    public int LongSize { get; private set; } = 8;

    /// <summary>Layouts by the number that a record begins with.</summary>
    public IReadOnlyDictionary<int, EventFormat> Formats => _formats;

    /// <summary>Where the records of each CPU are, in each of the buffers.</summary>
    public IReadOnlyList<CpuData> Cpus => _cpus;

    /// <summary>How ticks become nanoseconds: multiplier, shift, offset; null if the file does not say.</summary>
    public (uint Multiplier, int Shift, ulong Offset)? TscToNs { get; private set; }

    /// <summary>The clock, empty if the file does not say.</summary>
    public string Clock { get; private set; } = "";

    /// <summary>The architecture of the recorded machine, empty if the file does not say.</summary>
    public string Architecture { get; private set; } = "";

    /// <summary>Reads the head.</summary>
    public static DatFile Open(string path, Stream stream)
    {
        DatReader reader = new(path, stream) { Position = 10 };
        string version = reader.Text();
        reader.BigEndian = reader.U8() == 1;
        int longSize = reader.U8();
        int pageSize = (int)Math.Min(reader.U32(), 1 << 24);
        if (longSize is not (4 or 8) || pageSize < 64)
        {
            throw reader.Damaged("has a strange head");
        }

        DatFile file = new(reader, new(path, version is "7" ? reader.Text() : "none")) { LongSize = longSize, PageSize = pageSize };
        if (version is "7")
        {
            reader.Text();
            file.Sections((long)reader.U64());
        }
        else if (version is "6")
        {
            file.Sequence();
        }
        else
        {
            throw reader.Damaged($"has version \"{version}\", and 6 and 7 are known");
        }

        return file;
    }

    // Version 6: one thing after the other.
    private void Sequence()
    {
        HeaderInfo(Reader);
        FtraceEvents(Reader);
        EventFormats(Reader);
        Reader.Skip(Reader.U32());
        Reader.Skip(Reader.U32());
        Reader.Skip(Reader.U64());
        int cpus = CpuNumber(Reader.U32());
        string kind = Encoding.ASCII.GetString(Reader.Block(10));
        if (kind is "options  \0")
        {
            for (ushort id = Reader.U16(); id != 0; id = Reader.U16())
            {
                DatReader option = Memory(Reader.Block(Reader.U32()));
                if (id == 3)
                {
                    _instances.Add((long)option.U64());
                }
                else
                {
                    Option(id, option);
                }
            }

            kind = Encoding.ASCII.GetString(Reader.Block(10));
        }

        if (kind is not "flyrecord\0")
        {
            throw Reader.Damaged("holds a tracer's text and no records");
        }

        FlyRecord(cpus);
        foreach (long offset in _instances)
        {
            Reader.Position = offset;
            FlyRecord(cpus);
        }
    }

    private void FlyRecord(int cpus)
    {
        for (int cpu = 0; cpu < cpus; cpu++)
        {
            _cpus.Add(new(cpu, (long)Reader.U64(), (long)Reader.U64(), IsCompressed: false));
        }
    }

    // Version 7: sections, found by options.
    private void Sections(long offset)
    {
        const int most = 1024;
        for (int section = 0; offset != 0 && section < most; section++)
        {
            DatReader options = Section(offset);
            offset = 0;
            while (options.Position < options.Stream.Length)
            {
                ushort id = options.U16();
                DatReader option = Memory(options.Block(options.U32()));
                switch (id)
                {
                    case 0:
                        offset = (long)option.U64();
                        options.Position = options.Stream.Length;
                        break;
                    case 3:
                        Buffer(option);
                        break;
                    case 16:
                        HeaderInfo(Section((long)option.U64()));
                        break;
                    case 17:
                        FtraceEvents(Section((long)option.U64()));
                        break;
                    case 18:
                        EventFormats(Section((long)option.U64()));
                        break;
                    default:
                        Option(id, option);
                        break;
                }
            }
        }
    }

    private DatReader Section(long offset)
    {
        Reader.Position = offset;
        Reader.U16();
        bool compressed = (Reader.U16() & 1) != 0;
        Reader.U32();

        // The manual says 4 bytes; trace-cmd writes 8.
        ulong size = Reader.U64();
        if (!compressed)
        {
            return Memory(Reader.Block(size));
        }

        return Memory(Compression.Decompress(Reader));
    }

    private void Option(ushort id, DatReader option)
    {
        switch (id)
        {
            case 4:
                // local global [mono] …: the one in brackets.
                string clocks = option.Text();
                int open = clocks.IndexOf('[', StringComparison.Ordinal);
                int close = clocks.IndexOf(']', StringComparison.Ordinal);
                Clock = open >= 0 && close > open ? clocks[(open + 1)..close] : clocks.Trim();
                break;
            case 5:
                Architecture = RecordedArchitecture.OfUname(option.Text());
                break;
            case 14:
                TscToNs = (option.U32(), (int)Math.Min(option.U32(), 63), option.U64());
                break;
        }
    }

    private void Buffer(DatReader option)
    {
        long at = (long)option.U64();
        option.Text();
        string clock = option.Text();
        Clock = Clock.Length == 0 ? clock : Clock;

        // Newer ones have the size of a page before the number of CPUs.
        uint number = option.U32();
        if (option.Stream.Length - option.Position != number * 20L)
        {
            PageSize = (int)Math.Clamp(number, 64, 1 << 24);
            number = option.U32();
        }

        Reader.Position = at + 2;
        bool compressed = (Reader.U16() & 1) != 0;
        for (uint i = 0; i < number; i++)
        {
            _cpus.Add(new(CpuNumber(option.U32()), (long)option.U64(), (long)option.U64(), compressed));
        }
    }

    private void HeaderInfo(DatReader reader)
    {
        reader.Expect("header_page\0"u8);
        string page = Encoding.ASCII.GetString(reader.Block(reader.U64()));
        int commit = page.IndexOf("commit;", StringComparison.Ordinal);
        int size = commit < 0 ? -1 : page.IndexOf("size:", commit, StringComparison.Ordinal);
        LongSize = size < 0 ? LongSize : page.AsSpan(size + 5).StartsWith("4", StringComparison.Ordinal) ? 4 : 8;
        reader.Expect("header_event\0"u8);
        reader.Skip(reader.U64());
    }

    private void FtraceEvents(DatReader reader)
    {
        uint count = reader.U32();
        for (uint i = 0; i < count; i++)
        {
            Add("ftrace", reader);
        }
    }

    private void EventFormats(DatReader reader)
    {
        uint systems = reader.U32();
        for (uint i = 0; i < systems; i++)
        {
            string system = reader.Text();
            uint count = reader.U32();
            for (uint k = 0; k < count; k++)
            {
                Add(system, reader);
            }
        }
    }

    private void Add(string system, DatReader reader)
    {
        if (EventFormat.Parse(system, Encoding.ASCII.GetString(reader.Block(reader.U64()))) is { } format)
        {
            _formats[format.Id] = format;
        }
    }

    private DatReader Memory(byte[] bytes) => new(Reader.Path, new MemoryStream(bytes)) { BigEndian = Reader.BigEndian };

    private int CpuNumber(uint number) =>
        number <= 0xffff ? (int)number : throw Reader.Damaged(string.Create(CultureInfo.InvariantCulture, $"tells of CPU {number}"));
}
