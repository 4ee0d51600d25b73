using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace Ioasis.Devices.Virtio;

/// <summary>
/// A virtio block device (virtio 1.3, section 5.2). Requests are done in the thread that notifies, one after the other; their framing in
/// descriptors is free, as the specification wants it.
/// </summary>
public sealed class VirtioBlock : VirtioDevice
{
    private const int Sector = 512;
    private const int HeaderSize = 16;
    private const int IdSize = 20;
    private const int RangeSize = 16;
    private const int RangeLimit = 64;
    private const uint RangeSectors = 1 << 22;
    private const int PieceSize = 64 << 10;
    private const int RequestsAtATime = 32;
    private const uint WritebackAt = 32;
    private const int ConfigurationSize = 60;

    private readonly VirtioBlockOptions _options;
    private readonly BlockStore _store;
    private VirtioChain _chain;
    private readonly int _segments;

    /// <summary>Makes a disk that is in no machine yet.</summary>
    /// <param name="options">How it is built.</param>
    /// <exception cref="DeviceSettingException">An option is not possible.</exception>
    /// <exception cref="IOException">Its file cannot be used.</exception>
    public VirtioBlock(VirtioBlockOptions? options = null)
        : this(options ??= new(), OpenStore(options))
    {
    }

    private VirtioBlock(VirtioBlockOptions options, BlockStore store)
        : base(options, 2, 0x010000, options.Queues, (ulong)OfferedBy(options), Describe(options, store.Size))
    {
        _options = options;
        _store = store;
        _chain = new(this);
        _segments = SegmentsOf(options);
    }

    [Flags]
    private enum Feature : ulong
    {
        SizeMax = 1 << 1,
        SegmentMax = 1 << 2,
        ReadOnly = 1 << 5,
        BlockSize = 1 << 6,
        Flush = 1 << 9,
        Topology = 1 << 10,
        WriteCache = 1 << 11,
        MultiQueue = 1 << 12,
        Discard = 1 << 13,
        WriteZeroes = 1 << 14,
    }

    private enum Request : uint
    {
        In = 0,
        Out = 1,
        Flush = 4,
        GetId = 8,
        Discard = 11,
        WriteZeroes = 13,
    }

    private enum Answer : byte
    {
        Ok = 0,
        IoError = 1,
        Unsupported = 2,
    }

    /// <summary>How it is built.</summary>
    public VirtioBlockOptions Options => _options;

    /// <summary>Sectors of 512 bytes.</summary>
    public ulong Capacity => (ulong)_store.Size / Sector;

    /// <inheritdoc/>
    private protected override void WriteConfiguration(uint offset, int size, ulong value)
    {
        // Section 5.2.5: "writeback" is all that a driver can write there.
        if (offset == WritebackAt && size == 1 && Has(Feature.WriteCache))
        {
            Configuration[(int)WritebackAt] = (byte)(value & 1);
        }
    }

    /// <inheritdoc/>
    private protected override void ResetKind() => Configuration[(int)WritebackAt] = (byte)(_options.WriteCache ? 1 : 0);

    /// <inheritdoc/>
    private protected override void End() => _store.Dispose();

    /// <inheritdoc/>
    private protected override bool Serve(VirtioQueue queue)
    {
        for (int i = 0; i < RequestsAtATime; i++)
        {
            if (!TryTake(queue, _chain))
            {
                return false;
            }

            if (!Begin() || !TryReadHeader(_chain, out Request type, out ulong sector))
            {
                return false;
            }

            if (IsPutOff(queue, _chain, OperationOf(type)))
            {
                _chain = new(this);
            }
            else if (!TryExecute(queue, _chain, type, sector))
            {
                return false;
            }
        }

        return true;
    }

    /// <inheritdoc/>
    private protected override void ServeLate(VirtioQueue queue, VirtioChain chain)
    {
        if (TryReadHeader(chain, out Request type, out ulong sector))
        {
            _ = TryExecute(queue, chain, type, sector);
        }
    }

    // Returns false if the request has no form that could be answered: the device needs a reset then, or is in one.
    private bool TryReadHeader(VirtioChain chain, out Request type, out ulong sector)
    {
        (type, sector) = (0, 0);
        if (chain.ReadableBytes < HeaderSize || chain.WritableBytes < 1)
        {
            NeedReset($"a request with {chain.ReadableBytes} bytes to read and {chain.WritableBytes} to write: 16 and 1 are the least");
            return false;
        }

        Span<byte> header = stackalloc byte[HeaderSize];
        if (!chain.Read(0, header))
        {
            NeedReset("the header of a request cannot be read");
            return false;
        }

        type = (Request)BinaryPrimitives.ReadUInt32LittleEndian(header);
        sector = BinaryPrimitives.ReadUInt64LittleEndian(header[8..]);
        return true;
    }

    private bool TryExecute(VirtioQueue queue, VirtioChain chain, Request type, ulong sector)
    {
        long written = 0;
        Answer answer = FailureOf(chain, type, sector) ?? Execute(type, sector, chain, out written);
        long last = chain.WritableBytes - 1;

        // Bytes written count from the first on, without a gap; the status is the last.
        written = written == last ? chain.WritableBytes : written;
        if (chain.Write(last, [(byte)answer]))
        {
            return Finish(queue, chain, written);
        }

        NeedReset("the status of a request cannot be written");
        return false;
    }

    private Answer? FailureOf(VirtioChain chain, Request type, ulong sector)
    {
        if (Wrong is not { } wrong)
        {
            return null;
        }

        ulong sectors = (ulong)(type switch
        {
            Request.In => chain.WritableBytes - 1,
            Request.Out => chain.ReadableBytes - HeaderSize,
            _ => 0,
        }) / Sector;
        foreach (VirtioFailure failure in _options.Misbehaviour!.Failures)
        {
            bool touches = failure.Sector is not { } bad || (bad >= sector && bad - sector < sectors);
            if (touches && (failure.Operation == VirtioOperation.Any || failure.Operation == OperationOf(type)))
            {
                wrong.Note($"{OperationOf(type)} at sector {sector} failed with {failure.Value}");
                return (Answer)failure.Value;
            }
        }

        return null;
    }

    private static VirtioOperation OperationOf(Request type) => type switch
    {
        Request.In => VirtioOperation.Read,
        Request.Out => VirtioOperation.Write,
        Request.Flush => VirtioOperation.Flush,
        Request.GetId => VirtioOperation.GetId,
        Request.Discard => VirtioOperation.Discard,
        Request.WriteZeroes => VirtioOperation.WriteZeroes,
        _ => VirtioOperation.Any,
    };

    private Answer Execute(Request type, ulong sector, VirtioChain chain, out long written)
    {
        written = 0;
        long source = chain.ReadableBytes - HeaderSize;
        long room = chain.WritableBytes - 1;
        if (chain.Pieces > _segments + 2 || (_options.MaxSegmentSize > 0 && chain.LongestPiece > Math.Max(_options.MaxSegmentSize, HeaderSize)))
        {
            return Answer.IoError;
        }

        switch (type)
        {
            case Request.In:
                return MoveBlocks(sector, room, chain, isWrite: false, out written);
            case Request.Out when _options.IsReadOnly:
                return Answer.IoError;
            case Request.Out:
                Answer answer = MoveBlocks(sector, source, chain, isWrite: true, out _);
                return answer == Answer.Ok && !IsCached && !_store.Flush() ? Answer.IoError : answer;
            case Request.Flush:
                return _options.IsReadOnly || _store.Flush() ? Answer.Ok : Answer.IoError;
            case Request.GetId:
                Span<byte> id = stackalloc byte[IdSize];
                id.Clear();
                _ = Encoding.ASCII.GetBytes(_options.Serial, id);
                written = Math.Min(room, IdSize);
                return chain.Write(0, id[..(int)written]) ? Answer.Ok : Answer.IoError;
            case Request.Discard when Has(Feature.Discard):
            case Request.WriteZeroes when Has(Feature.WriteZeroes):
                return ZeroRanges(type, source, chain);
            default:
                return Answer.Unsupported;
        }
    }

    // Section 5.2.6.2: without "flush", or with the cache turned off, what was written is on the medium when the request ends.
    private bool IsCached => Has(Feature.Flush) && (!Has(Feature.WriteCache) || Configuration[(int)WritebackAt] != 0);

    private Answer MoveBlocks(ulong sector, long length, VirtioChain chain, bool isWrite, out long moved)
    {
        moved = 0;
        if (length % Sector != 0 || sector > Capacity || (ulong)(length / Sector) > Capacity - sector)
        {
            return Answer.IoError;
        }

        byte[]? rented = null;
        Answer answer = Answer.Ok;
        for (long at = (long)sector * Sector; moved < length; at += PieceSize, moved += PieceSize)
        {
            int count = (int)Math.Min(PieceSize, length - moved);
            Span<byte> bytes = _store.TryGetSpan(at, count);
            bool isMemory = !bytes.IsEmpty;
            bytes = isMemory ? bytes : (rented ??= ArrayPool<byte>.Shared.Rent(PieceSize)).AsSpan(0, count);
            bool isMoved = isWrite
                ? chain.Read(HeaderSize + moved, bytes) && (isMemory || _store.Write(at, bytes))
                : (isMemory || _store.Read(at, bytes)) && chain.Write(moved, bytes);
            if (!isMoved)
            {
                answer = Answer.IoError;
                break;
            }
        }

        moved = Math.Min(moved, length);
        if (rented is not null)
        {
            ArrayPool<byte>.Shared.Return(rented);
        }

        return answer;
    }

    // All ranges are checked before the first is touched.
    private Answer ZeroRanges(Request type, long source, VirtioChain chain)
    {
        if (_options.IsReadOnly || source == 0 || source % RangeSize != 0 || source / RangeSize > RangeLimit)
        {
            return Answer.IoError;
        }

        Span<byte> ranges = stackalloc byte[RangeLimit * RangeSize];
        ranges = ranges[..(int)source];
        if (!chain.Read(HeaderSize, ranges))
        {
            return Answer.IoError;
        }

        for (int i = 0; i < ranges.Length; i += RangeSize)
        {
            ulong first = BinaryPrimitives.ReadUInt64LittleEndian(ranges[i..]);
            uint count = BinaryPrimitives.ReadUInt32LittleEndian(ranges[(i + 8)..]);
            uint flags = BinaryPrimitives.ReadUInt32LittleEndian(ranges[(i + 12)..]);

            // "Unmap" belongs to write zeroes alone.
            if ((flags & ~(type == Request.WriteZeroes ? 1u : 0)) != 0)
            {
                return Answer.Unsupported;
            }

            if (count > RangeSectors || first > Capacity || count > Capacity - first)
            {
                return Answer.IoError;
            }
        }

        for (int i = 0; i < ranges.Length; i += RangeSize)
        {
            ulong first = BinaryPrimitives.ReadUInt64LittleEndian(ranges[i..]);
            uint count = BinaryPrimitives.ReadUInt32LittleEndian(ranges[(i + 8)..]);
            if (count > 0 && !_store.Zero((long)first * Sector, (long)count * Sector))
            {
                return Answer.IoError;
            }
        }

        return IsCached || _store.Flush() ? Answer.Ok : Answer.IoError;
    }

    private bool Has(Feature feature) => (Features & (ulong)feature) != 0;

    private static BlockStore OpenStore(VirtioBlockOptions options)
    {
        if (options.Queues is < 1 or > 1024)
        {
            throw DeviceSettings.Bad("queues", $"{options.Queues}", "1 to 1024 are possible");
        }

        if (options.BlockSize is not (512 or 4096))
        {
            throw DeviceSettings.Bad("block", $"{options.BlockSize}", "512 or 4096 is expected");
        }

        if (options.Serial.Length > IdSize || !Ascii.IsValid(options.Serial))
        {
            throw DeviceSettings.Bad("serial", options.Serial, "at most 20 characters of ASCII are possible");
        }

        if (options.MaxSegments > options.QueueSize - 2)
        {
            throw DeviceSettings.Bad("segments", $"{options.MaxSegments}", $"{options.QueueSize - 2} fit into a queue of {options.QueueSize} entries");
        }

        if (options.Size % options.BlockSize != 0)
        {
            throw DeviceSettings.Bad("size", $"{options.Size}", $"whole blocks of {options.BlockSize} bytes are expected");
        }

        options.Check();
        return BlockStore.Open(options.File, options.Size, options.IsReadOnly);
    }

    private static int SegmentsOf(VirtioBlockOptions options) => options.MaxSegments > 0 ? options.MaxSegments : options.QueueSize - 2;

    private static Feature OfferedBy(VirtioBlockOptions options) =>
        Feature.SegmentMax
        | Feature.BlockSize
        | Feature.Topology
        | (options.MaxSegmentSize > 0 ? Feature.SizeMax : 0)
        | (options.IsReadOnly ? Feature.ReadOnly : 0)
        | (options.WriteCache ? Feature.Flush | Feature.WriteCache : 0)
        | (options.Queues > 1 ? Feature.MultiQueue : 0)
        | (options.Discard && !options.IsReadOnly ? Feature.Discard | Feature.WriteZeroes : 0);

    // Section 5.2.4.
    private static byte[] Describe(VirtioBlockOptions options, long size)
    {
        byte[] all = new byte[ConfigurationSize];
        BinaryPrimitives.WriteUInt64LittleEndian(all, (ulong)size / Sector);
        BinaryPrimitives.WriteUInt32LittleEndian(all.AsSpan(8), (uint)options.MaxSegmentSize);
        BinaryPrimitives.WriteUInt32LittleEndian(all.AsSpan(12), (uint)SegmentsOf(options));
        BinaryPrimitives.WriteUInt32LittleEndian(all.AsSpan(20), (uint)options.BlockSize);
        BinaryPrimitives.WriteUInt16LittleEndian(all.AsSpan(26), 1);
        all[(int)WritebackAt] = (byte)(options.WriteCache ? 1 : 0);
        BinaryPrimitives.WriteUInt16LittleEndian(all.AsSpan(34), (ushort)options.Queues);
        if (options.Discard && !options.IsReadOnly)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(all.AsSpan(36), RangeSectors);
            BinaryPrimitives.WriteUInt32LittleEndian(all.AsSpan(40), RangeLimit);
            BinaryPrimitives.WriteUInt32LittleEndian(all.AsSpan(44), (uint)options.BlockSize / Sector);
            BinaryPrimitives.WriteUInt32LittleEndian(all.AsSpan(48), RangeSectors);
            BinaryPrimitives.WriteUInt32LittleEndian(all.AsSpan(52), RangeLimit);
            all[56] = 1;
        }

        return all;
    }
}
