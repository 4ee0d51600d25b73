using System.Runtime.InteropServices;
using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.TraceDat;

/// <summary>Gives the events of a trace.dat in the order of their times, over all CPUs and buffers.</summary>
internal sealed class DatEventSource : KernelEventSource
{
    private const ulong PageMask = 4095;

    private readonly DatFile _file;
    private readonly PriorityQueue<CpuRecords, (ulong Time, int Cpu)> _queue = new();
    private readonly Dictionary<int, Decoder> _decoders = [];
    private readonly List<(ulong Address, ulong Length)> _ranges = [];
    private readonly ClockUnit _unit;
    private CpuRecords? _current;
    private int _records;

    /// <summary>Opens the file.</summary>
    /// <exception cref="TraceInputException">It is damaged, or of a version or compression that is not known.</exception>
    public DatEventSource(Stream stream, InputLog input)
        : base(input)
    {
        _file = DatFile.Open(input.Path, stream);
        _unit = _file.TscToNs is null && (_file.Clock is "x86-tsc" or "counter" or "ppc-tb") ? ClockUnit.Ticks : ClockUnit.Seconds;

        input.Clock = _unit;
        input.Architecture = _file.Architecture;
        input.TextBytes = stream.Length;
        foreach (EventFormat format in _file.Formats.Values)
        {
            _decoders[format.Id] = new(format);
        }

        foreach (CpuData cpu in _file.Cpus)
        {
            Enqueue(new(_file, cpu));
        }
    }

    /// <inheritdoc/>
    public override bool TryRead(ref KernelEvent e)
    {
        while (true)
        {
            if (_current is { } before)
            {
                _current = null;
                Enqueue(before);
            }

            if (!_queue.TryDequeue(out CpuRecords? records, out _))
            {
                return false;
            }

            _current = records;
            _records++;
            if (TryDecode(records, ref e))
            {
                return true;
            }
        }
    }

    /// <inheritdoc/>
    public override void Finish() => Input.Lines = _records;

    private void Enqueue(CpuRecords records)
    {
        if (records.TryNext())
        {
            if (records.Lost != 0)
            {
                Input.Lost(_records + 1, "events were lost before this record"u8, (ulong)Math.Max(records.Lost, 0));
            }

            _queue.Enqueue(records, (records.Time, records.Cpu));
        }
    }

    private bool TryDecode(CpuRecords records, ref KernelEvent e)
    {
        ReadOnlySpan<byte> record = records.Record;
        bool big = _file.Reader.BigEndian;
        if (record.Length < 8 || !_decoders.TryGetValue(DatReader.U16(record, big), out Decoder? decoder))
        {
            Input.Unparsed(_records, "a record of an event whose format is not in the file"u8);
            return false;
        }

        // common_type, common_flags, common_preempt_count, common_pid: bits 8 and 16 of the flags are hardware and software interrupt.
        byte flags = record[2];
        e = default;
        e.DomainType = -1;
        e.TimeNs = (long)ToNs(records.Time);
        e.Unit = _unit;
        e.Cpu = records.Cpu;
        e.Pid = (int)DatReader.U32(record[4..], big);
        e.Context = (flags & 8) != 0 || (flags & 64) != 0 ? ExecutionContextKind.HardInterrupt
            : (flags & 16) != 0 ? ExecutionContextKind.SoftInterrupt : ExecutionContextKind.Task;
        e.Line = _records;
        e.Name = decoder.Name;
        e.Kind = Kind(decoder);
        if (!decoder.TryFields(record, big, ref e, _ranges))
        {
            Input.Unparsed(_records, "a record without the fields that its event has elsewhere"u8);
            return false;
        }

        e.Ranges = CollectionsMarshal.AsSpan(_ranges);
        return true;
    }

    private KernelEventKind Kind(Decoder decoder)
    {
        KernelEventKind kind = Names.Kind(decoder.Name);
        if (kind is KernelEventKind.Map or KernelEventKind.Unmap && decoder.System is not ("iommu" or "intel_iommu"))
        {
            return KernelEventKind.Other;
        }

        return kind == KernelEventKind.Other && !Names.IsJudged ? Names.Judge(decoder.CarriesMapping) : kind;
    }

    private ulong ToNs(ulong time) => _file.TscToNs is { } c
        ? (ulong)(((UInt128)time * c.Multiplier) >> c.Shift) + c.Offset
        : time;

    /// <summary>Reads the fields of one event's records.</summary>
    private sealed class Decoder
    {
        private readonly EventField? _device;
        private readonly EventField? _address;
        private readonly EventField? _length;
        private readonly EventField? _value;
        private readonly EventField? _addresses;
        private readonly EventField? _lengths;
        private readonly EventField? _entries;
        private readonly EventField? _domain;
        private readonly EventField? _type;
        private readonly EventField? _text;
        private readonly bool _inPage;

        public Decoder(EventFormat format)
        {
            System = format.System;
            bool note = format.System is "ftrace" && format.Name.AsSpan().SequenceEqual("print"u8);
            Name = note ? "tracing_mark_write"u8.ToArray() : format.Name;
            _text = note ? format.Find("buf") : null;
            _device = format.Find("device", "dev", "dev_name");
            _inPage = format.Find("dev_addr") is not null;
            _address = format.Find("iova", "dma_addr", "dev_addr", "addr");
            _length = format.Find("size");
            _value = format.Find("paddr", "unmapped_size", "offset", "gid") ?? (_inPage ? format.Find("phys_addr") : null);
            _addresses = format.Find("dma_addrs");
            _lengths = format.Find("lengths");
            _entries = format.Find("full_ents") ?? format.Find("addrs", "phys_addrs");
            _domain = format.Find("domain");
            _type = format.Find("type");
            IsGroup = format.Find("gid") is not null;
            CarriesMapping = _device is not null && (_addresses ?? _address) is not null;
        }

        public string System { get; }

        public byte[] Name { get; }

        public bool CarriesMapping { get; }

        private bool IsGroup { get; }

        public bool TryFields(ReadOnlySpan<byte> record, bool big, ref KernelEvent e, List<(ulong Address, ulong Length)> ranges)
        {
            ranges.Clear();
            switch (e.Kind)
            {
                case KernelEventKind.Other or KernelEventKind.Known or KernelEventKind.Unknown or KernelEventKind.FlushRange:
                    return true;
                case KernelEventKind.Mark:
                    e.Fields = _text is { } text && text.Offset < record.Length ? Until(record[text.Offset..]) : default;
                    return true;
            }

            e.Device = Text(record, _device, big);
            bool address = TryNumber(record, _address, big, out e.Address);
            bool length = TryNumber(record, _length, big, out e.Length);
            bool value = TryNumber(record, _value, big, out e.Value);
            if (TryNumber(record, _type, big, out ulong type) && type < 256)
            {
                e.DomainType = (int)type;
            }

            TryNumber(record, _domain, big, out e.Domain);
            switch (e.Kind)
            {
                case KernelEventKind.Map or KernelEventKind.Unmap:
                    e.Value = value ? e.Value : e.Length;
                    if (_inPage)
                    {
                        ulong last = e.Address + (e.Length - 1);
                        e.Address &= ~PageMask;
                        e.Length = (last | PageMask) - e.Address + 1;
                        e.Value = e.Kind == KernelEventKind.Map ? e.Value & ~PageMask : e.Length;
                    }

                    ulong end = e.Address + e.Length;
                    return address && length && e.Length != 0 && (end > e.Address || end == 0) && (value || e.Kind == KernelEventKind.Unmap);

                case KernelEventKind.AddDeviceToGroup or KernelEventKind.AttachDevice:
                    e.Value = IsGroup ? e.Value + 1 : 0;
                    return !e.Device.IsEmpty;

                case KernelEventKind.DmaMapSg:
                    Lists(record, big, ranges);
                    TryNumber(record, _entries is { Location: 0 } full ? full : null, big, out ulong entries);
                    e.Entries = (int)Math.Clamp(entries, (ulong)ranges.Count, int.MaxValue);
                    return !e.Device.IsEmpty && ranges.Count > 0;

                case KernelEventKind.DmaUnmapSg:
                    e.Entries = Data(record, _entries, big).Length / 8;
                    return !e.Device.IsEmpty;

                case KernelEventKind.ProbeFree or KernelEventKind.ProbeAttach:
                    return e.Domain != 0;

                case KernelEventKind.ProbeMap or KernelEventKind.ProbeMapList or KernelEventKind.ProbeUnmap:
                    return e.Domain != 0 && address;

                case KernelEventKind.ProbeDma or KernelEventKind.ProbeOther:
                    return true;

                case KernelEventKind.IovaLink or KernelEventKind.IovaDestroy:
                    return !e.Device.IsEmpty && address && (value || e.Kind == KernelEventKind.IovaDestroy);

                default:
                    return !e.Device.IsEmpty && address && length;
            }
        }

        private void Lists(ReadOnlySpan<byte> record, bool big, List<(ulong Address, ulong Length)> ranges)
        {
            ReadOnlySpan<byte> addresses = Data(record, _addresses, big);
            ReadOnlySpan<byte> lengths = Data(record, _lengths, big);
            for (int i = 0; (i + 1) * 8 <= addresses.Length && (i + 1) * 4 <= lengths.Length; i++)
            {
                ranges.Add((DatReader.U64(addresses[(i * 8)..], big), DatReader.U32(lengths[(i * 4)..], big)));
            }
        }

        private static bool TryNumber(ReadOnlySpan<byte> record, EventField? field, bool big, out ulong value)
        {
            value = 0;
            if (field is not { Location: 0 } || field.Offset + field.Size > record.Length)
            {
                return false;
            }

            ReadOnlySpan<byte> bytes = record[field.Offset..];
            value = field.Size switch
            {
                8 => DatReader.U64(bytes, big),
                4 => DatReader.U32(bytes, big),
                2 => DatReader.U16(bytes, big),
                1 => bytes[0],
                _ => 0,
            };
            return field.Size is 1 or 2 or 4 or 8;
        }

        private static ReadOnlySpan<byte> Text(ReadOnlySpan<byte> record, EventField? field, bool big)
        {
            ReadOnlySpan<byte> text = Until(Data(record, field, big));
            return text.SequenceEqual("(fault)"u8) ? default : text;
        }

        /// <summary>The bytes of a field: its own, or those that it points to.</summary>
        private static ReadOnlySpan<byte> Data(ReadOnlySpan<byte> record, EventField? field, bool big)
        {
            if (field is null || field.Offset + field.Size > record.Length)
            {
                return default;
            }

            if (field.Location == 0)
            {
                return record.Slice(field.Offset, field.Size);
            }

            // Length in the upper half, place in the lower; a relative place counts from behind the field.
            uint place = DatReader.U32(record[field.Offset..], big);
            int start = (int)(place & 0xffff) + (field.Location == 2 ? field.Offset + field.Size : 0);
            int length = (int)(place >> 16);
            return start + length <= record.Length ? record.Slice(start, length) : default;
        }

        private static ReadOnlySpan<byte> Until(ReadOnlySpan<byte> text)
        {
            int end = text.IndexOf((byte)0);
            return (end < 0 ? text : text[..end]).TrimEnd((byte)'\n');
        }
    }
}
