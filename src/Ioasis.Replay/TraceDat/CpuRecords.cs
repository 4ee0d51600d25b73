namespace Ioasis.Replay.TraceDat;

/// <summary>
/// The records of one CPU, in order, out of the pages of the kernel's ring buffer: a page has a time, a count of its bytes, and
/// records with the time since the one before (Linux, include/linux/ring_buffer.h). One page or chunk is in memory at a time.
/// </summary>
internal sealed class CpuRecords
{
    private const int PaddingType = 29;
    private const int TimeExtendType = 30;
    private const int TimeStampType = 31;
    private const ulong StampMask = (1ul << 59) - 1;

    private readonly DatFile _file;
    private readonly CpuData _data;
    private byte[] _chunk = [];
    private int _chunkLength;
    private int _page;
    private long _next;
    private long _end;
    private uint _chunks;
    private int _at;
    private int _last;
    private int _start;
    private int _length;

    /// <summary>Reads from the first record on.</summary>
    public CpuRecords(DatFile file, CpuData data)
    {
        _file = file;
        _data = data;
        _next = data.Offset;
        _end = data.Offset + data.Size;
        if (data is { IsCompressed: true, Size: > 0 })
        {
            file.Reader.Position = _next;
            _chunks = file.Reader.U32();
            _next += 4;
        }

        _page = -file.PageSize;
    }

    /// <summary>The CPU.</summary>
    public int Cpu => _data.Cpu;

    /// <summary>The time of the record that was read last.</summary>
    public ulong Time { get; private set; }

    /// <summary>Events that were lost before the record that was read last, which begins a page; -1 for a number that is not known.</summary>
    public long Lost { get; private set; }

    /// <summary>The record that was read last.</summary>
    public ReadOnlySpan<byte> Record => _chunk.AsSpan(_start, _length);

    /// <summary>Reads the next record.</summary>
    public bool TryNext()
    {
        Lost = 0;
        while (true)
        {
            while (_at + 4 <= _last)
            {
                if (TryRecord())
                {
                    return true;
                }
            }

            if (!TryPage())
            {
                return false;
            }
        }
    }

    private bool TryRecord()
    {
        bool big = _file.Reader.BigEndian;
        uint head = Word(_at);
        int type = (int)(big ? head >> 27 : head & 31);
        ulong delta = big ? head & 0x7ff_ffff : head >> 5;
        int at = _at + 4;
        if (type == PaddingType)
        {
            Time += delta;
            _at = at + (at + 4 <= _last && delta != 0 ? (int)Math.Min(Word(at), int.MaxValue / 2) : _last);
            return false;
        }

        if (type is TimeExtendType or TimeStampType)
        {
            if (at + 4 > _last)
            {
                _at = _last;
                return false;
            }

            delta |= (ulong)Word(at) << 27;
            Time = type == TimeExtendType ? Time + delta : Stamp(delta);
            _at = at + 4;
            return false;
        }

        Time += delta;
        long length = type * 4;
        if (type == 0)
        {
            // The length counts itself.
            length = at + 4 <= _last ? ((long)Word(at) - 4 + 3) & ~3L : -1;
            at += 4;
        }

        if (length <= 0 || at + length > _last)
        {
            throw _file.Reader.Damaged("has a record that is longer than its page");
        }

        _start = at;
        _length = (int)length;
        _at = at + _length;
        return true;
    }

    // An absolute time has 59 bits; the rest stays.
    private ulong Stamp(ulong stamp)
    {
        ulong time = (Time & ~StampMask) | (stamp & StampMask);
        return time < Time ? time + StampMask + 1 : time;
    }

    private bool TryPage()
    {
        _page += _file.PageSize;
        if (_page + _file.PageSize > _chunkLength)
        {
            if (!TryChunk())
            {
                return false;
            }

            _page = 0;
        }

        const uint missed = 1u << 31;
        const uint stored = 1u << 30;
        bool big = _file.Reader.BigEndian;
        int begin = _page + 8 + _file.LongSize;
        Time = DatReader.U64(_chunk.AsSpan(_page), big);
        ulong commit = _file.LongSize == 8 ? DatReader.U64(_chunk.AsSpan(_page + 8), big) : DatReader.U32(_chunk.AsSpan(_page + 8), big);
        int size = (int)(commit & 0x7ff_ffff);
        if (size > _file.PageSize - 8 - _file.LongSize)
        {
            throw _file.Reader.Damaged("has a page with more bytes than it holds");
        }

        _at = begin;
        _last = begin + size;
        if ((commit & missed) != 0)
        {
            int place = (_last + _file.LongSize - 1) / _file.LongSize * _file.LongSize;
            Lost = (commit & stored) == 0 || place + _file.LongSize > _page + _file.PageSize ? -1
                : (long)(_file.LongSize == 8 ? DatReader.U64(_chunk.AsSpan(place), big) : DatReader.U32(_chunk.AsSpan(place), big));
        }

        return true;
    }

    private bool TryChunk()
    {
        DatReader reader = _file.Reader;
        if (!_data.IsCompressed)
        {
            // As many pages at once as make reading cheap.
            long pages = Math.Min(64, (_end - _next) / _file.PageSize);
            if (pages <= 0)
            {
                return false;
            }

            reader.Position = _next;
            _chunkLength = reader.Block((ulong)(pages * _file.PageSize), ref _chunk).Length;
            _next += _chunkLength;
            return true;
        }

        while (_chunks > 0)
        {
            _chunks--;
            reader.Position = _next;
            _chunkLength = _file.Compression.Decompress(reader, ref _chunk);
            _next = reader.Position;
            if (_chunkLength >= _file.PageSize)
            {
                return true;
            }
        }

        return false;
    }

    private uint Word(int at) => DatReader.U32(_chunk.AsSpan(at), _file.Reader.BigEndian);
}
