using System.Buffers.Binary;
using Ioasis.Devices.Virtio;

namespace Ioasis.Devices.Tests.Virtio;

/// <summary>A piece of a buffer as a driver describes it.</summary>
internal readonly record struct Piece(ulong Address, uint Length, bool IsWritable = false);

/// <summary>What a device gave back: the descriptor or buffer ID, and the bytes written.</summary>
internal readonly record struct UsedBuffer(uint Id, uint Length);

/// <summary>The driver's side of a queue, in both layouts. What it writes where is open to tests that write something else.</summary>
internal sealed class DriverRing
{
    private readonly VirtioHost _host;
    private readonly bool _isPacked;
    private readonly Queue<ushort> _free = new();
    private readonly Dictionary<uint, int> _slots = [];
    private ushort _available;
    private ushort _used;
    private int _next;
    private int _usedNext;
    private bool _wrap = true;
    private bool _usedWrap = true;

    public DriverRing(VirtioHost host, int index, int size, bool packed)
    {
        _host = host;
        _isPacked = packed;
        Index = index;
        Size = size;
        Descriptors = host.Memory.Allocate(16 * size);
        Driver = host.Memory.Allocate(6 + (2 * size));
        Device = host.Memory.Allocate(6 + (8 * size));
        host.Memory[Descriptors, 16 * size].Clear();
        host.Memory[Driver, 6 + (2 * size)].Clear();
        host.Memory[Device, 6 + (8 * size)].Clear();
        for (int i = 0; i < size; i++)
        {
            _free.Enqueue((ushort)i);
        }
    }

    public int Index { get; }

    public int Size { get; }

    public ulong Descriptors { get; }

    public ulong Driver { get; }

    public ulong Device { get; }

    public void WriteDescriptor(ulong place, Piece piece, ushort word12, ushort word14)
    {
        Span<byte> entry = _host.Memory[place, 16];
        BinaryPrimitives.WriteUInt64LittleEndian(entry, piece.Address);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[8..], piece.Length);
        BinaryPrimitives.WriteUInt16LittleEndian(entry[12..], word12);
        BinaryPrimitives.WriteUInt16LittleEndian(entry[14..], word14);
    }

    /// <summary>Makes a buffer available, without telling.</summary>
    public uint Put(bool indirect, params Piece[] pieces) => _isPacked ? PutPacked(indirect, pieces) : PutSplit(indirect, pieces);

    public void Kick() => _host.Notify(Index);

    public uint Submit(params Piece[] pieces)
    {
        uint id = Put(false, pieces);
        Kick();
        return id;
    }

    /// <summary>What the device has given back since the last call.</summary>
    public List<UsedBuffer> Take()
    {
        List<UsedBuffer> all = [];
        while (_isPacked ? TakePacked() is { } packed && Keep(packed) : TakeSplit() is { } split && Keep(split))
        {
        }

        return all;

        bool Keep(UsedBuffer used)
        {
            all.Add(used);
            return true;
        }
    }

    /// <summary>How many buffers a look would find given back, without taking them; of a packed ring, whether there is one.</summary>
    public int Peek() => _isPacked ? PeekPacked(out _) ? 1 : 0 : (ushort)(Read16(Device + 2) - _used);

    /// <summary>Says from which use on the driver wants an interrupt: null for none.</summary>
    public void WantInterrupt(ushort? from)
    {
        if (_isPacked)
        {
            ushort place = (ushort)((_usedNext + (from ?? 0)) % Size);
            bool wrap = _usedWrap ^ (_usedNext + (from ?? 0) >= Size);
            Write16(Driver, (ushort)(place | (wrap ? 0x8000 : 0)));
            Write16(Driver + 2, (ushort)(from is null ? 1 : 2));
        }
        else
        {
            Write16(Driver + 4 + (2 * (uint)Size), (ushort)(_used + (from ?? 0x8000)));
        }
    }

    /// <summary>The event index that the device asked for: from which buffer on it wants to be told.</summary>
    public ushort DeviceEvent => Read16(_isPacked ? Device : Device + 4 + (8 * (uint)Size));

    public void SetAvailableIndex(ushort index) => Write16(Driver + 2, index);

    private uint PutSplit(bool indirect, Piece[] pieces)
    {
        ushort[] places = indirect ? [_free.Dequeue()] : [.. pieces.Select(_ => _free.Dequeue())];
        if (indirect)
        {
            WriteDescriptor(Descriptors + (16 * (uint)places[0]), new(Table(pieces, chained: true), 16 * (uint)pieces.Length), 4, 0);
        }
        else
        {
            for (int i = 0; i < pieces.Length; i++)
            {
                bool isLast = i == pieces.Length - 1;
                ushort flags = (ushort)((isLast ? 0 : 1) | (pieces[i].IsWritable ? 2 : 0));
                WriteDescriptor(Descriptors + (16 * (uint)places[i]), pieces[i], flags, isLast ? (ushort)0 : places[i + 1]);
            }
        }

        _slots[places[0]] = places.Length;
        foreach (ushort place in places)
        {
            _free.Enqueue(place);
        }

        Write16(Driver + 4 + (2 * (uint)(_available % Size)), places[0]);
        _available++;
        SetAvailableIndex(_available);
        return places[0];
    }

    private uint PutPacked(bool indirect, Piece[] pieces)
    {
        ushort id = _free.Dequeue();
        _free.Enqueue(id);
        Piece[] direct = indirect ? [new(Table(pieces, chained: false), 16 * (uint)pieces.Length)] : pieces;
        List<(int Place, ushort Flags)> flags = [];
        for (int i = 0; i < direct.Length; i++)
        {
            ushort own = (ushort)((i < direct.Length - 1 ? 1 : 0) | (direct[i].IsWritable ? 2 : 0) | (indirect ? 4 : 0) | (_wrap ? 0x80 : 0x8000));
            WriteDescriptor(Descriptors + (16 * (uint)_next), direct[i], id, Read16(Descriptors + (16 * (uint)_next) + 14));
            flags.Add((_next, own));
            if (++_next == Size)
            {
                _next = 0;
                _wrap = !_wrap;
            }
        }

        // The first one's last.
        for (int i = flags.Count - 1; i >= 0; i--)
        {
            Write16(Descriptors + (16 * (uint)flags[i].Place) + 14, flags[i].Flags);
        }

        _slots[id] = direct.Length;
        return id;
    }

    private ulong Table(Piece[] pieces, bool chained)
    {
        ulong table = _host.Memory.Allocate(16 * pieces.Length);
        for (int i = 0; i < pieces.Length; i++)
        {
            ushort flags = (ushort)((chained && i < pieces.Length - 1 ? 1 : 0) | (pieces[i].IsWritable ? 2 : 0));
            WriteDescriptor(table + (16 * (uint)i), pieces[i], chained ? flags : (ushort)0, chained ? (ushort)(i + 1) : flags);
        }

        return table;
    }

    private UsedBuffer? TakeSplit()
    {
        if (Read16(Device + 2) == _used)
        {
            return null;
        }

        ReadOnlySpan<byte> element = _host.Memory[Device + 4 + (8 * (uint)(_used % Size)), 8];
        _used++;
        return new(BinaryPrimitives.ReadUInt32LittleEndian(element), BinaryPrimitives.ReadUInt32LittleEndian(element[4..]));
    }

    private UsedBuffer? TakePacked()
    {
        if (!PeekPacked(out ReadOnlySpan<byte> entry))
        {
            return null;
        }

        uint id = BinaryPrimitives.ReadUInt16LittleEndian(entry[12..]);
        _usedNext += _slots[id];
        if (_usedNext >= Size)
        {
            _usedNext -= Size;
            _usedWrap = !_usedWrap;
        }

        return new(id, BinaryPrimitives.ReadUInt32LittleEndian(entry[8..]));
    }

    private bool PeekPacked(out ReadOnlySpan<byte> entry)
    {
        entry = _host.Memory[Descriptors + (16 * (uint)_usedNext), 16];
        ushort flags = BinaryPrimitives.ReadUInt16LittleEndian(entry[14..]);
        bool used = (flags & 0x8000) != 0;
        return (flags & 0x80) != 0 == used && used == _usedWrap;
    }

    private ushort Read16(ulong address) => BinaryPrimitives.ReadUInt16LittleEndian(_host.Memory[address, 2]);

    private void Write16(ulong address, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(_host.Memory[address, 2], value);
}
