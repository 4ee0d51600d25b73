using System.Buffers.Binary;

namespace Ioasis.Devices.Nvme;

/// <content>The NVM command set (NVM Command Set Specification 1.0, chapter 3). Everything is under the lock.</content>
public sealed partial class NvmeController
{
    private const int ChunkSize = 256 << 10;
    private const int RangeSize = 16;
    private const uint ForceUnitAccess = 1u << 30;

    private readonly NvmeNamespace[] _namespaces;
    private readonly NvmeTransfer _metadataTransfer;
    private readonly byte[] _chunk = GC.AllocateUninitializedArray<byte>(ChunkSize, pinned: true);
    private readonly byte[] _other = GC.AllocateUninitializedArray<byte>(ChunkSize, pinned: true);

    private NvmeResult ExecuteIo(in NvmeCommand command)
    {
        // No fused operations; 3 is no kind of data pointer.
        if (command.Fuse != 0 || command.DataKind == 3)
        {
            return NvmeResult.Refuse(NvmeStatus.InvalidField);
        }

        NvmeIoOpcode opcode = (NvmeIoOpcode)command.Opcode;
        if (opcode == NvmeIoOpcode.Flush)
        {
            return ExecuteFlush(command);
        }

        if (opcode is not (NvmeIoOpcode.Read or NvmeIoOpcode.Write or NvmeIoOpcode.Compare or NvmeIoOpcode.WriteZeroes
            or NvmeIoOpcode.WriteUncorrectable or NvmeIoOpcode.DatasetManagement or NvmeIoOpcode.Verify))
        {
            return NvmeResult.Refuse(NvmeStatus.InvalidOpcode);
        }

        if (!TryFind(command.NamespaceId, out NvmeNamespace? space))
        {
            return NvmeResult.Refuse(NvmeStatus.InvalidNamespace);
        }

        bool writes = opcode is NvmeIoOpcode.Write or NvmeIoOpcode.WriteZeroes or NvmeIoOpcode.WriteUncorrectable or NvmeIoOpcode.DatasetManagement;
        if (writes && space!.IsReadOnly)
        {
            return NvmeResult.Refuse(NvmeStatus.NamespaceWriteProtected);
        }

        if (opcode == NvmeIoOpcode.DatasetManagement)
        {
            return ExecuteDatasetManagement(command, space!);
        }

        ulong first = command.FirstBlock;
        uint count = (command.Word12 & 0xffff) + 1;
        if (first >= space!.Blocks || count > space.Blocks - first)
        {
            return NvmeResult.Refuse(NvmeStatus.LbaOutOfRange);
        }

        return opcode switch
        {
            NvmeIoOpcode.Read => ExecuteRead(command, space, first, count),
            NvmeIoOpcode.Write => ExecuteWrite(command, space, first, count),
            NvmeIoOpcode.Compare => ExecuteCompare(command, space, first, count),
            NvmeIoOpcode.WriteZeroes => ExecuteWriteZeroes(command, space, first, count),
            NvmeIoOpcode.WriteUncorrectable => space.BadBlocks.Add(first, first + count) ? NvmeStatus.Success : NvmeStatus.InternalError,
            _ => ExecuteVerify(space, first, count),
        };
    }

    private NvmeResult ExecuteFlush(in NvmeCommand command)
    {
        if (command.NamespaceId == uint.MaxValue)
        {
            return FlushAll();
        }

        return TryFind(command.NamespaceId, out NvmeNamespace? space)
            ? space!.Flush() ? NvmeStatus.Success : NvmeStatus.WriteFault
            : NvmeResult.Refuse(NvmeStatus.InvalidNamespace);
    }

    private NvmeResult FlushAll()
    {
        bool isDone = true;
        foreach (NvmeNamespace space in _namespaces)
        {
            isDone &= space.Flush();
        }

        return isDone ? NvmeStatus.Success : NvmeStatus.WriteFault;
    }

    private NvmeResult ExecuteRead(in NvmeCommand command, NvmeNamespace space, ulong first, uint count)
    {
        NvmeStatus status = BeginBlocks(command, space, count, NvmeDirection.ToHost);
        status = status == NvmeStatus.Success ? CheckReadable(space, first, count) : status;
        if (status != NvmeStatus.Success)
        {
            return status;
        }

        for (uint done = 0; done < count;)
        {
            uint blocks = PieceOf(space, count - done);
            if (!TryGetBlocks(space, first + done, (int)blocks, _chunk, out ReadOnlySpan<byte> data))
            {
                return NvmeStatus.UnrecoveredReadError;
            }

            status = _transfer.ToHost(data);
            if (status == NvmeStatus.Success && HasSeparateMetadata(command, space))
            {
                Span<byte> metadata = _other.AsSpan(0, (int)blocks * space.MetadataSize);
                status = space.Metadata!.Read((long)(first + done) * space.MetadataSize, metadata)
                    ? _metadataTransfer.ToHost(metadata)
                    : NvmeStatus.UnrecoveredReadError;
            }

            if (status != NvmeStatus.Success)
            {
                return status;
            }

            done += blocks;
        }

        space.Reads++;
        space.ReadBytes += (ulong)count * (uint)space.BlockSize;
        return NvmeStatus.Success;
    }

    private NvmeResult ExecuteWrite(in NvmeCommand command, NvmeNamespace space, ulong first, uint count)
    {
        NvmeStatus status = BeginBlocks(command, space, count, NvmeDirection.FromHost);
        if (status != NvmeStatus.Success)
        {
            return status;
        }

        for (uint done = 0; done < count;)
        {
            uint blocks = PieceOf(space, count - done);
            status = TakeBlocks(command, space, first + done, (int)blocks);
            if (status != NvmeStatus.Success)
            {
                return status;
            }

            done += blocks;
        }

        space.BadBlocks.Remove(first, first + count);
        space.Writes++;
        space.WrittenBytes += (ulong)count * (uint)space.BlockSize;
        return EndWrite(command, space);
    }

    private NvmeResult ExecuteCompare(in NvmeCommand command, NvmeNamespace space, ulong first, uint count)
    {
        NvmeStatus status = BeginBlocks(command, space, count, NvmeDirection.FromHost);
        status = status == NvmeStatus.Success ? CheckReadable(space, first, count) : status;
        if (status != NvmeStatus.Success)
        {
            return status;
        }

        for (uint done = 0; done < count;)
        {
            uint blocks = PieceOf(space, count - done);
            if (!TryGetBlocks(space, first + done, (int)blocks, _chunk, out ReadOnlySpan<byte> data))
            {
                return NvmeStatus.UnrecoveredReadError;
            }

            Span<byte> given = _other.AsSpan(0, data.Length);
            status = _transfer.FromHost(given);
            if (status == NvmeStatus.Success && !given.SequenceEqual(data))
            {
                status = NvmeStatus.CompareFailure | NvmeStatus.DoNotRetry;
            }

            if (status == NvmeStatus.Success && HasSeparateMetadata(command, space))
            {
                // The data has been compared: its buffers are free.
                Span<byte> kept = _chunk.AsSpan(0, (int)blocks * space.MetadataSize);
                given = _other.AsSpan(0, kept.Length);
                status = !space.Metadata!.Read((long)(first + done) * space.MetadataSize, kept)
                    ? NvmeStatus.UnrecoveredReadError
                    : _metadataTransfer.FromHost(given);
                status = status == NvmeStatus.Success && !given.SequenceEqual(kept)
                    ? NvmeStatus.CompareFailure | NvmeStatus.DoNotRetry
                    : status;
            }

            if (status != NvmeStatus.Success)
            {
                return status;
            }

            done += blocks;
        }

        return NvmeStatus.Success;
    }

    private NvmeResult ExecuteWriteZeroes(in NvmeCommand command, NvmeNamespace space, ulong first, uint count)
    {
        if (!Zero(space, first, count))
        {
            return NvmeStatus.WriteFault;
        }

        space.BadBlocks.Remove(first, first + count);
        return EndWrite(command, space);
    }

    private NvmeResult ExecuteVerify(NvmeNamespace space, ulong first, uint count)
    {
        NvmeStatus status = CheckReadable(space, first, count);
        if (status != NvmeStatus.Success)
        {
            return status;
        }

        for (uint done = 0; done < count;)
        {
            uint blocks = PieceOf(space, count - done);
            if (!space.Data.Read((long)(first + done) * space.BlockSize, _chunk.AsSpan(0, (int)blocks * space.BlockSize)))
            {
                return NvmeStatus.UnrecoveredReadError;
            }

            done += blocks;
        }

        return NvmeStatus.Success;
    }

    private NvmeResult ExecuteDatasetManagement(in NvmeCommand command, NvmeNamespace space)
    {
        const uint Deallocate = 4;
        int count = (int)(command.Word10 & 0xff) + 1;
        Span<byte> ranges = _other.AsSpan(0, count * RangeSize);
        NvmeStatus status = _transfer.Begin(command, (ulong)ranges.Length, HostPageSize, NvmeDirection.FromHost);
        status = status == NvmeStatus.Success ? _transfer.FromHost(ranges) : status;
        if (status != NvmeStatus.Success)
        {
            return status;
        }

        // All of them are looked at before one is touched. Without "deallocate" they are advice.
        for (int i = 0; i < count; i++)
        {
            (ulong first, uint blocks) = ReadRange(ranges[(i * RangeSize)..]);
            if (first > space.Blocks || blocks > space.Blocks - first)
            {
                return NvmeResult.Refuse(NvmeStatus.LbaOutOfRange);
            }
        }

        for (int i = 0; i < count && (command.Word11 & Deallocate) != 0; i++)
        {
            (ulong first, uint blocks) = ReadRange(ranges[(i * RangeSize)..]);
            if (blocks > 0 && !Zero(space, first, blocks))
            {
                return NvmeStatus.WriteFault;
            }

            space.BadBlocks.Remove(first, first + blocks);
        }

        return NvmeStatus.Success;
    }

    private static (ulong First, uint Blocks) ReadRange(ReadOnlySpan<byte> range) =>
        (BinaryPrimitives.ReadUInt64LittleEndian(range[8..]), BinaryPrimitives.ReadUInt32LittleEndian(range[4..]));

    // Format NVM (base specification 2.0, section 5.14).
    private NvmeResult ExecuteFormat(in NvmeCommand command)
    {
        int format = (int)(command.Word10 & 0xf);
        bool isExtended = (command.Word10 & (1 << 4)) != 0;
        uint protection = (command.Word10 >> 5) & 7;
        uint erase = (command.Word10 >> 9) & 7;
        if (format >= NvmeNamespace.Formats.Count || (command.Word10 & 0x3000) != 0)
        {
            return NvmeResult.Refuse(NvmeStatus.InvalidFormat);
        }

        // No protection information; an erase of user data is what the format is; no cryptography.
        if (protection != 0 || erase > 1)
        {
            return NvmeResult.Refuse(protection != 0 ? NvmeStatus.InvalidFormat : NvmeStatus.InvalidField);
        }

        if (command.NamespaceId != uint.MaxValue && !TryFind(command.NamespaceId, out _))
        {
            return NvmeResult.Refuse(NvmeStatus.InvalidNamespace);
        }

        // Refused before the first is touched.
        foreach (NvmeNamespace space in _namespaces)
        {
            if (space.IsReadOnly && (command.NamespaceId == uint.MaxValue || command.NamespaceId == space.Id))
            {
                return NvmeResult.Refuse(NvmeStatus.NamespaceWriteProtected);
            }
        }

        foreach (NvmeNamespace space in _namespaces)
        {
            if (command.NamespaceId != uint.MaxValue && command.NamespaceId != space.Id)
            {
                continue;
            }

            if (!space.Reformat(format, isExtended))
            {
                return NvmeStatus.WriteFault;
            }

            TellNamespaceChange(space.Id);
        }

        return NvmeStatus.Success;
    }

    // How many blocks go through the buffers at once.
    private static uint PieceOf(NvmeNamespace space, uint left) =>
        Math.Min(left, (uint)(ChunkSize / (space.BlockSize + space.MetadataSize)));

    private static NvmeStatus CheckReadable(NvmeNamespace space, ulong first, uint count) =>
        space.BadBlocks.Touches(first, first + count) ? NvmeStatus.UnrecoveredReadError | NvmeStatus.DoNotRetry : NvmeStatus.Success;

    private static bool HasSeparateMetadata(in NvmeCommand command, NvmeNamespace space) =>
        space.MetadataSize > 0 && !space.IsExtended && (command.MetadataPointer != 0 || command.DataKind != 0);

    // What a command transfers, and from where.
    private NvmeStatus BeginBlocks(in NvmeCommand command, NvmeNamespace space, uint count, NvmeDirection direction)
    {
        ulong length = (ulong)count * (uint)space.TransferSize;
        if (IsTooLong(length))
        {
            return NvmeStatus.InvalidField | NvmeStatus.DoNotRetry;
        }

        NvmeStatus status = _transfer.Begin(command, length, HostPageSize, direction);
        if (status != NvmeStatus.Success || !HasSeparateMetadata(command, space))
        {
            return status;
        }

        ulong metadata = (ulong)count * (uint)space.MetadataSize;
        if (command.DataKind == 2)
        {
            return _metadataTransfer.BeginSglAt(command.MetadataPointer, metadata, direction);
        }

        if ((command.MetadataPointer & 3) != 0 && command.DataKind == 0)
        {
            return NvmeStatus.InvalidField | NvmeStatus.DoNotRetry;
        }

        _metadataTransfer.BeginBuffer(command.MetadataPointer, metadata, direction);
        return NvmeStatus.Success;
    }

    // Blocks as a command transfers them: their data, or data and metadata in turn.
    private static bool TryGetBlocks(NvmeNamespace space, ulong first, int count, byte[] buffer, out ReadOnlySpan<byte> blocks)
    {
        int block = space.BlockSize;
        int metadata = space.MetadataSize;
        long offset = (long)first * block;
        if (!space.IsExtended)
        {
            Span<byte> direct = space.Data.TryGetSpan(offset, count * block);
            if (!direct.IsEmpty)
            {
                blocks = direct;
                return true;
            }

            Span<byte> data = buffer.AsSpan(0, count * block);
            blocks = data;
            return space.Data.Read(offset, data);
        }

        Span<byte> all = buffer.AsSpan(0, count * (block + metadata));
        blocks = all;
        bool isRead = true;
        for (int i = 0; i < count; i++)
        {
            Span<byte> place = all.Slice(i * (block + metadata), block + metadata);
            isRead &= space.Data.Read(offset + ((long)i * block), place[..block]);
            isRead &= space.Metadata!.Read(((long)first + i) * metadata, place[block..]);
        }

        return isRead;
    }

    private NvmeStatus TakeBlocks(in NvmeCommand command, NvmeNamespace space, ulong first, int count)
    {
        int block = space.BlockSize;
        int metadata = space.MetadataSize;
        long offset = (long)first * block;
        Span<byte> direct = space.IsExtended ? default : space.Data.TryGetSpan(offset, count * block);
        Span<byte> data = direct.IsEmpty ? _chunk.AsSpan(0, count * space.TransferSize) : direct;
        NvmeStatus status = _transfer.FromHost(data);
        if (status != NvmeStatus.Success)
        {
            return status;
        }

        bool isWritten = true;
        if (space.IsExtended)
        {
            for (int i = 0; i < count; i++)
            {
                ReadOnlySpan<byte> place = data.Slice(i * (block + metadata), block + metadata);
                isWritten &= space.Data.Write(offset + ((long)i * block), place[..block]);
                isWritten &= space.Metadata!.Write(((long)first + i) * metadata, place[block..]);
            }
        }
        else if (direct.IsEmpty)
        {
            isWritten = space.Data.Write(offset, data);
        }

        if (isWritten && HasSeparateMetadata(command, space))
        {
            Span<byte> taken = _other.AsSpan(0, count * metadata);
            status = _metadataTransfer.FromHost(taken);
            isWritten = status != NvmeStatus.Success || space.Metadata!.Write((long)first * metadata, taken);
        }

        return isWritten ? status : NvmeStatus.WriteFault;
    }

    private static bool Zero(NvmeNamespace space, ulong first, uint count) =>
        space.Data.Zero((long)first * space.BlockSize, (long)count * space.BlockSize)
        && (space.Metadata?.Zero((long)first * space.MetadataSize, (long)count * space.MetadataSize) ?? true);

    private NvmeResult EndWrite(in NvmeCommand command, NvmeNamespace space) =>
        (_features.CachesWrites && (command.Word12 & ForceUnitAccess) == 0) || space.Flush() ? NvmeStatus.Success : NvmeStatus.WriteFault;

    private static NvmeNamespace[] OpenNamespaces(IReadOnlyList<NvmeNamespaceOptions> options, string serial)
    {
        List<NvmeNamespace> spaces = [];
        try
        {
            foreach (NvmeNamespaceOptions each in options)
            {
                spaces.Add(new((uint)spaces.Count + 1, each, serial));
            }

            return [.. spaces];
        }
        catch
        {
            spaces.ForEach(static space => space.Dispose());
            throw;
        }
    }
}
