using System.Buffers.Binary;

namespace Ioasis.Devices.Dsa;

/// <content>
/// What is done with data (DSA specification 1.x, section 8.3): a piece at a time, so that it can wait for a page anywhere and go on from there. No operand
/// leaves its page within a piece where pages can be missing.
/// </content>
public sealed partial class DsaDevice
{
    private const int PageSize = 4096;
    private const int LongestPiece = 1 << 16;

    private readonly byte[] _buffer = new byte[LongestPiece];
    private readonly byte[] _other = new byte[LongestPiece];

    // Moves, fills, copies to two places, and CRCs.
    private Progress Transfer(WorkItem item, in DsaDescriptor d)
    {
        bool isFill = d.Operation == DsaOperation.Fill;
        bool isCrc = d.Operation is DsaOperation.Crc or DsaOperation.CopyCrc;
        bool isDual = d.Operation == DsaOperation.Dualcast;
        if (isCrc && d.Has(DsaFlags.ReadSeed) && item.Done == 0 && !TryReadSeed(item, d, out Progress fault))
        {
            return fault;
        }

        uint left = d.Length - item.Done;
        if (left == 0)
        {
            uint crc = isCrc ? DsaCrc.End(item.Value, d.Has(DsaFlags.PlainCrc)) : 0;
            return End(item, new(DsaStatus.Success, 0, item.Done, 0, crc));
        }

        ulong first = isFill ? d.Destination : d.Source;
        int length = PieceLength(item, left, first, d.Operation == DsaOperation.Crc ? first : d.Destination, isDual ? d.Extra : first);
        ulong at = item.IsBackward ? left - (uint)length : item.Done;
        Span<byte> piece = _buffer.AsSpan(0, length);
        if (isFill)
        {
            FillPattern(piece, d.Source, item.Done);
        }
        else if (!TryRead(item, d.Source + at, piece, out fault))
        {
            return fault;
        }

        if ((d.Operation != DsaOperation.Crc && !TryWrite(item, d.Destination + at, piece, out fault))
            || (isDual && !TryWrite(item, d.Extra + at, piece, out fault)))
        {
            return fault;
        }

        if (isCrc)
        {
            item.Value = DsaCrc.Add(item.Value, piece, d.Has(DsaFlags.PlainData));
        }

        return Advance(item, length);
    }

    private bool TryReadSeed(WorkItem item, in DsaDescriptor d, out Progress fault)
    {
        Span<byte> seed = stackalloc byte[sizeof(uint)];
        bool isRead = TryRead(item, d.Extra2, seed, out fault);
        item.Value = DsaCrc.Begin(BinaryPrimitives.ReadUInt32LittleEndian(seed), d.Has(DsaFlags.PlainCrc));
        return isRead;
    }

    private Progress Compare(WorkItem item, in DsaDescriptor d)
    {
        uint left = d.Length - item.Done;
        if (left == 0)
        {
            return EndCompared(item, d, 0, item.Done);
        }

        bool isPattern = d.Operation == DsaOperation.ComparePattern;
        int length = PieceLength(item, left, d.Source, isPattern ? d.Source : d.Destination, d.Source);
        Span<byte> piece = _buffer.AsSpan(0, length);
        Span<byte> other = _other.AsSpan(0, length);
        if (!TryRead(item, d.Source + item.Done, piece, out Progress fault))
        {
            return fault;
        }

        if (isPattern)
        {
            FillPattern(other, d.Destination, item.Done);
        }
        else if (!TryRead(item, d.Destination + item.Done, other, out fault))
        {
            return fault;
        }

        int same = piece.CommonPrefixLength(other);
        return same < length ? EndCompared(item, d, 1, item.Done + (uint)same) : Advance(item, length);
    }

    private Progress EndCompared(WorkItem item, in DsaDescriptor d, byte result, uint completed)
    {
        bool isUnexpected = d.Has(DsaFlags.CheckResult) && result != (byte)d.Extra;
        return End(item, new(isUnexpected ? DsaStatus.SuccessUnexpected : DsaStatus.Success, result, completed));
    }

    // An entry for each 8 bytes that differ: the offset in such units, and the second buffer's bytes.
    private Progress CreateDelta(WorkItem item, in DsaDescriptor d)
    {
        uint left = d.Length - item.Done;
        if (left == 0)
        {
            return EndDelta(item, d, item.Value == 0 ? (byte)0 : (byte)1);
        }

        // As many as have room for their entries in the buffer.
        int length = Math.Min(PieceLength(item, left, d.Source, d.Destination, d.Source), PageSize);
        Span<byte> first = _other.AsSpan(0, length);
        Span<byte> second = _other.AsSpan(length, length);
        if (!TryRead(item, d.Source + item.Done, first, out Progress fault) || !TryRead(item, d.Destination + item.Done, second, out fault))
        {
            return fault;
        }

        Span<byte> entries = _buffer;
        int used = 0;
        bool isFull = false;
        int at = 0;
        for (; at < length && !isFull; at += sizeof(ulong))
        {
            if (first.Slice(at, sizeof(ulong)).SequenceEqual(second.Slice(at, sizeof(ulong))))
            {
                continue;
            }

            isFull = item.Value + (uint)used + DsaChecks.DeltaEntry > (uint)d.Extra2;
            if (isFull)
            {
                break;
            }

            BinaryPrimitives.WriteUInt16LittleEndian(entries[used..], (ushort)((item.Done + (uint)at) / sizeof(ulong)));
            second.Slice(at, sizeof(ulong)).CopyTo(entries[(used + 2)..]);
            used += DsaChecks.DeltaEntry;
        }

        if (used > 0 && !TryWrite(item, d.Extra + item.Value, entries[..used], out fault))
        {
            return fault;
        }

        item.Value += (uint)used;
        Progress progress = Advance(item, at);
        return isFull ? EndDelta(item, d, 2) : progress;
    }

    private Progress EndDelta(WorkItem item, in DsaDescriptor d, byte result)
    {
        bool isUnexpected = d.Has(DsaFlags.CheckResult) && (d.ResultMask >> result & 1) == 0;
        return End(item, new(isUnexpected ? DsaStatus.SuccessUnexpected : DsaStatus.Success, result, item.Done, 0, item.Value));
    }

    // An entry is a piece: its data goes anywhere.
    private Progress ApplyDelta(WorkItem item, in DsaDescriptor d)
    {
        const int EntriesAtOnce = 64;
        for (int i = 0; i < EntriesAtOnce && item.Done < (uint)d.Extra; i++)
        {
            Span<byte> entry = _buffer.AsSpan(0, DsaChecks.DeltaEntry);
            if (!TryRead(item, d.Source + item.Done, entry, out Progress fault))
            {
                return fault;
            }

            int offset = BinaryPrimitives.ReadUInt16LittleEndian(entry);
            DsaStatus status = offset <= item.LastOffset ? DsaStatus.DeltaOrder
                : (offset + 1) * sizeof(ulong) > d.Length ? DsaStatus.DeltaOffset
                : DsaStatus.None;
            if (status != DsaStatus.None)
            {
                return End(item, new(status, 0, item.Done));
            }

            if (!TryWrite(item, d.Destination + ((ulong)offset * sizeof(ulong)), entry[2..], out fault))
            {
                return fault;
            }

            item.LastOffset = offset;
            _ = Advance(item, DsaChecks.DeltaEntry);
        }

        return item.Done < (uint)d.Extra ? Progress.More : End(item, new(DsaStatus.Success, 0, item.Done));
    }

    // Bytes that can be done at once, for three operands (perhaps the same).
    private int PieceLength(WorkItem item, uint left, ulong first, ulong second, ulong third)
    {
        uint unit = FindAts(item) is null ? (uint)LongestPiece : PageSize;
        uint length = Math.Min(left, unit);
        foreach (ulong start in (ReadOnlySpan<ulong>)[first, second, third])
        {
            uint room = item.IsBackward
                ? (uint)((start + left - 1) & (unit - 1)) + 1
                : unit - (uint)((start + item.Done) & (unit - 1));
            length = Math.Min(length, room);
        }

        return (int)length;
    }

    private Progress Advance(WorkItem item, int length)
    {
        item.Done += (uint)length;
        using (_lock.Acquire())
        {
            _statistics = _statistics with { Bytes = _statistics.Bytes + length };
        }

        return Progress.More;
    }

    private static void FillPattern(Span<byte> piece, ulong pattern, uint offset)
    {
        pattern = System.Numerics.BitOperations.RotateRight(pattern, (int)(offset % sizeof(ulong)) * 8);
        while (piece.Length >= sizeof(ulong))
        {
            BinaryPrimitives.WriteUInt64LittleEndian(piece, pattern);
            piece = piece[sizeof(ulong)..];
        }

        for (int i = 0; i < piece.Length; i++)
        {
            piece[i] = (byte)(pattern >> (8 * i));
        }
    }
}
