using System.Buffers.Binary;

namespace Ioasis.Devices.Nvme;

/// <content>Log pages (base specification 2.0, section 5.16).</content>
public sealed partial class NvmeController
{
    private const int ErrorEntries = 64;
    private const int ErrorEntrySize = 64;
    private const ushort CurrentTemperature = 313;
    private const string FirmwareRevision = "1.0";

    private readonly (ulong Count, ushort Queue, ushort Id, ushort Status)[] _errors = new (ulong, ushort, ushort, ushort)[ErrorEntries];
    private readonly byte[] _log = new byte[4096];
    private ulong _errorCount;

    private NvmeResult ExecuteGetLogPage(in NvmeCommand command)
    {
        int id = (int)(command.Word10 & 0xff);
        bool keepsEvent = (command.Word10 & (1 << 15)) != 0;
        ulong length = ((((ulong)command.Word11 & 0xffff) << 16 | (command.Word10 >> 16)) + 1) * 4;
        ulong offset = command.Word12 | ((ulong)command.Word13 << 32);
        if ((offset & 3) != 0 || (command.Word14 & (1 << 23)) != 0)
        {
            return NvmeResult.Refuse(NvmeStatus.InvalidField);
        }

        Span<byte> log = _log;
        log.Clear();
        int size = FillLog(id, command.NamespaceId, log, out NvmeStatus status);
        if (status != NvmeStatus.Success)
        {
            return NvmeResult.Refuse(status);
        }

        if (offset > (ulong)size || IsTooLong(length))
        {
            return NvmeResult.Refuse(NvmeStatus.InvalidField);
        }

        // What lies beyond the page is not transferred: its content is not defined.
        status = Answer(command, log[(int)offset..size][..(int)Math.Min(length, (ulong)size - offset)]).Status;
        if (status == NvmeStatus.Success && !keepsEvent)
        {
            AcknowledgeEvents(id);
        }

        return status;
    }

    private int FillLog(int id, uint space, Span<byte> log, out NvmeStatus status)
    {
        status = NvmeStatus.Success;
        switch (id)
        {
            case 0x00:
                foreach (int known in (ReadOnlySpan<int>)[0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x12, 0x13])
                {
                    log[4 * known] = 1;
                }

                return 1024;
            case LogError:
                FillErrors(log);
                return ErrorEntries * ErrorEntrySize;
            case LogHealth:
                if (space is not (0 or uint.MaxValue) && !TryFind(space, out _))
                {
                    status = NvmeStatus.InvalidNamespace;
                    return 0;
                }

                FillHealth(space, log);
                return 512;
            case 0x03:
                // Slot 1 is active, and there is no other.
                log[0] = 1;
                PutText(log.Slice(8, 8), FirmwareRevision);
                return 512;
            case LogChangedNamespaces:
                uint[] changed = [.. _changedNamespaces];
                for (int i = 0; i < changed.Length; i++)
                {
                    Put32(log, 4 * i, changed[i]);
                }

                return 4096;
            case 0x05:
                FillEffects(log);
                return 4096;
            case 0x12:
                foreach (int known in (ReadOnlySpan<int>)[0x01, 0x02, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0e, 0x16, 0x19])
                {
                    log[4 * known] = 1;
                }

                return 1024;
            case 0x13:
                // No command of the management interface.
                return 4096;
            default:
                status = NvmeStatus.InvalidLogPage;
                return 0;
        }
    }

    private static void FillEffects(Span<byte> log)
    {
        // Bit 0: supported; 1: changes blocks; 2 and 3: changes namespaces' capabilities.
        foreach (int opcode in (ReadOnlySpan<int>)[0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x08, 0x09, 0x0a, 0x0c, 0x7c])
        {
            log[4 * opcode] = 1;
        }

        log[4 * 0x80] = 0b111;
        foreach (int opcode in (ReadOnlySpan<int>)[0x00, 0x02, 0x05, 0x0c])
        {
            log[1024 + (4 * opcode)] = 1;
        }

        foreach (int opcode in (ReadOnlySpan<int>)[0x01, 0x04, 0x08, 0x09])
        {
            log[1024 + (4 * opcode)] = 0b11;
        }
    }

    // The newest first.
    private void FillErrors(Span<byte> log)
    {
        int count = (int)Math.Min(_errorCount, ErrorEntries);
        for (int i = 0; i < count; i++)
        {
            (ulong number, ushort queue, ushort id, ushort status) = _errors[(int)((_errorCount - 1 - (ulong)i) % ErrorEntries)];
            Span<byte> entry = log.Slice(i * ErrorEntrySize, ErrorEntrySize);
            BinaryPrimitives.WriteUInt64LittleEndian(entry, number);
            Put16(entry, 8, queue);
            Put16(entry, 10, id);
            Put16(entry, 12, (ushort)(status << 1));
            Put16(entry, 14, 0xffff);
        }
    }

    private void FillHealth(uint space, Span<byte> log)
    {
        ulong reads = 0;
        ulong writes = 0;
        ulong readBytes = 0;
        ulong writtenBytes = 0;
        foreach (NvmeNamespace each in _namespaces)
        {
            if (space is 0 or uint.MaxValue || each.Id == space)
            {
                reads += each.Reads;
                writes += each.Writes;
                readBytes += each.ReadBytes;
                writtenBytes += each.WrittenBytes;
            }
        }

        log[0] = (byte)(_features.IsTemperatureWrong ? 1 << 1 : 0);
        Put16(log, 1, CurrentTemperature);
        log[3] = 100;
        log[4] = 10;

        // Thousands of 512 bytes, rounded up.
        BinaryPrimitives.WriteUInt64LittleEndian(log[32..], (readBytes + 511_999) / 512_000);
        BinaryPrimitives.WriteUInt64LittleEndian(log[48..], (writtenBytes + 511_999) / 512_000);
        BinaryPrimitives.WriteUInt64LittleEndian(log[64..], reads);
        BinaryPrimitives.WriteUInt64LittleEndian(log[80..], writes);
        BinaryPrimitives.WriteUInt64LittleEndian(log[112..], 1);
        BinaryPrimitives.WriteUInt64LittleEndian(log[176..], _errorCount);
    }

    private void NoteError(SubmissionQueue submission, ushort id, in NvmeResult result)
    {
        if (result.Status != NvmeStatus.Success)
        {
            _errors[(int)(_errorCount % ErrorEntries)] = (_errorCount + 1, submission.Id, id, (ushort)result.Status);
            _errorCount++;
        }
    }

    private bool IsTooLong(ulong length) =>
        _options.MaxTransferLog2 > 0 && length > (ulong)PageSize << _options.MaxTransferLog2;
}
