using System.Buffers.Binary;

namespace Ioasis.Devices.Nvme;

/// <content>Admin commands (base specification 2.0, chapter 5): the dispatch, and those on queues.</content>
public sealed partial class NvmeController
{
    private readonly NvmeTransfer _transfer;

    private NvmeResult ExecuteAdmin(in NvmeCommand command)
    {
        // On PCIe, admin commands name their data by PRPs (base specification 2.0, section 4.1.2), and none is fused.
        if (command.Fuse != 0 || command.DataKind != 0)
        {
            return NvmeResult.Refuse(NvmeStatus.InvalidField);
        }

        if (_eventRequests.Contains(command.Id))
        {
            return NvmeResult.Refuse(NvmeStatus.CommandIdConflict);
        }

        return (NvmeAdminOpcode)command.Opcode switch
        {
            NvmeAdminOpcode.DeleteSubmissionQueue => DeleteSubmissionQueue(command),
            NvmeAdminOpcode.CreateSubmissionQueue => CreateSubmissionQueue(command),
            NvmeAdminOpcode.GetLogPage => ExecuteGetLogPage(command),
            NvmeAdminOpcode.DeleteCompletionQueue => DeleteCompletionQueue(command),
            NvmeAdminOpcode.CreateCompletionQueue => CreateCompletionQueue(command),
            NvmeAdminOpcode.Identify => ExecuteIdentify(command),
            NvmeAdminOpcode.Abort => ExecuteAbort(command),
            NvmeAdminOpcode.SetFeatures => _features.Set(command),
            NvmeAdminOpcode.GetFeatures => _features.Get(command),
            NvmeAdminOpcode.AsyncEventRequest => ExecuteAsyncEventRequest(command),
            NvmeAdminOpcode.DoorbellBufferConfig when _options.ShadowDoorbells => ConfigureDoorbellBuffers(command),
            NvmeAdminOpcode.FormatNvm => ExecuteFormat(command),
            _ => NvmeResult.Refuse(NvmeStatus.InvalidOpcode),
        };
    }

    private NvmeResult CreateCompletionQueue(in NvmeCommand command)
    {
        const uint Contiguous = 1;
        uint id = command.Word10 & 0xffff;
        uint entries = (command.Word10 >> 16) + 1;
        int vector = (int)(command.Word11 >> 16);
        if (id == 0 || id > _features.CompletionQueues || _completion[id] is not null)
        {
            return NvmeResult.Refuse(NvmeStatus.InvalidQueueId);
        }

        if (((_configuration >> 20) & 0xf) != 4 || entries < 2 || entries > (uint)_options.QueueEntries)
        {
            return NvmeResult.Refuse(NvmeStatus.InvalidQueueSize);
        }

        if ((command.Word11 & Contiguous) == 0)
        {
            return NvmeResult.Refuse(NvmeStatus.InvalidField);
        }

        if ((command.Data1 & (HostPageSize - 1)) != 0)
        {
            return NvmeResult.Refuse(NvmeStatus.PrpOffsetInvalid);
        }

        if (vector >= VectorCount)
        {
            return NvmeResult.Refuse(NvmeStatus.InvalidInterruptVector);
        }

        CompletionQueue queue = new((ushort)id, entries, command.Data1, (command.Word11 & 2) != 0, vector);
        _completion[id] = queue;
        ForgetMappedDoorbell((2 * id) + 1);
        if (_shadowDoorbells != 0)
        {
            queue.Shadow = _shadowDoorbells + (((2 * id) + 1) * 4);
            queue.EventIndex = _eventIndexes + (((2 * id) + 1) * 4);
            ClearShadow(queue.Shadow, queue.EventIndex);
        }

        return NvmeStatus.Success;
    }

    private NvmeResult CreateSubmissionQueue(in NvmeCommand command)
    {
        const uint Contiguous = 1;
        uint id = command.Word10 & 0xffff;
        uint entries = (command.Word10 >> 16) + 1;
        uint completionId = command.Word11 >> 16;
        if (id == 0 || id > _features.SubmissionQueues || _submission[id] is not null)
        {
            return NvmeResult.Refuse(NvmeStatus.InvalidQueueId);
        }

        if (((_configuration >> 16) & 0xf) != 6 || entries < 2 || entries > (uint)_options.QueueEntries)
        {
            return NvmeResult.Refuse(NvmeStatus.InvalidQueueSize);
        }

        // The admin completion queue is no other queue's (section 5.5).
        if (completionId == 0)
        {
            return NvmeResult.Refuse(NvmeStatus.InvalidQueueId);
        }

        if (completionId >= _completion.Length || _completion[completionId] is not { } completion)
        {
            return NvmeResult.Refuse(NvmeStatus.CompletionQueueInvalid);
        }

        if ((command.Word11 & Contiguous) == 0)
        {
            return NvmeResult.Refuse(NvmeStatus.InvalidField);
        }

        if ((command.Data1 & (HostPageSize - 1)) != 0)
        {
            return NvmeResult.Refuse(NvmeStatus.PrpOffsetInvalid);
        }

        SubmissionQueue queue = new((ushort)id, entries, command.Data1, completion);
        completion.Users++;
        _submission[id] = queue;
        ForgetMappedDoorbell(2 * id);
        if (_shadowDoorbells != 0)
        {
            queue.Shadow = _shadowDoorbells + (2 * id * 4);
            queue.EventIndex = _eventIndexes + (2 * id * 4);
            ClearShadow(queue.Shadow, queue.EventIndex);
        }

        return NvmeStatus.Success;
    }

    private NvmeResult DeleteSubmissionQueue(in NvmeCommand command)
    {
        // What was fetched and waits ends now; the rest is not looked at any more.
        uint id = command.Word10 & 0xffff;
        if (id == 0 || id >= _submission.Length || _submission[id] is not { } queue)
        {
            return NvmeResult.Refuse(NvmeStatus.InvalidQueueId);
        }

        _ = EndPending(queue, null, NvmeStatus.AbortedQueueDeleted);
        _ = _pendingFetches.RemoveAll(fetch => ReferenceEquals(fetch.Submission, queue));
        queue.Completion.Users--;
        _submission[id] = null;
        return NvmeStatus.Success;
    }

    private NvmeResult DeleteCompletionQueue(in NvmeCommand command)
    {
        uint id = command.Word10 & 0xffff;
        if (id == 0 || id >= _completion.Length || _completion[id] is not { } queue)
        {
            return NvmeResult.Refuse(NvmeStatus.InvalidQueueId);
        }

        if (queue.Users > 0)
        {
            return NvmeResult.Refuse(NvmeStatus.InvalidQueueDeletion);
        }

        _completion[id] = null;
        _ = _pendingFetches.RemoveAll(fetch => ReferenceEquals(fetch.Completion, queue));
        UpdateLine();
        return NvmeStatus.Success;
    }

    // Section 5.8. Two pages: the doorbells, and which of them must be announced.
    private NvmeResult ConfigureDoorbellBuffers(in NvmeCommand command)
    {
        if (((command.Data1 | command.Data2) & (HostPageSize - 1)) != 0 || command.Data1 == 0 || command.Data2 == 0)
        {
            return NvmeResult.Refuse(NvmeStatus.InvalidField);
        }

        _shadowDoorbells = command.Data1;
        _eventIndexes = command.Data2;

        for (uint i = 0; i < _submission.Length; i++)
        {
            if (_submission[i] is { } submission && (8 * i) + 8 <= HostPageSize)
            {
                submission.Shadow = _shadowDoorbells + (8 * i);
                submission.EventIndex = _eventIndexes + (8 * i);
                SetShadow(submission.Shadow, submission.EventIndex, submission.Tail);
            }

            if (_completion[i] is { } completion && (8 * i) + 8 <= HostPageSize)
            {
                completion.Shadow = _shadowDoorbells + (8 * i) + 4;
                completion.EventIndex = _eventIndexes + (8 * i) + 4;
                SetShadow(completion.Shadow, completion.EventIndex, completion.Head);
            }
        }

        return NvmeStatus.Success;
    }

    private void ClearShadow(ulong shadow, ulong index) => SetShadow(shadow, index, 0);

    private void SetShadow(ulong shadow, ulong index, uint value)
    {
        Span<byte> word = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(word, value);
        _ = ((INvmeBus)this).Write(shadow, word);
        _ = ((INvmeBus)this).Write(index, word);
    }

    // A page or less of answer.
    private NvmeResult Answer(in NvmeCommand command, ReadOnlySpan<byte> data)
    {
        NvmeStatus status = _transfer.Begin(command, (ulong)data.Length, HostPageSize, NvmeDirection.ToHost);
        return status == NvmeStatus.Success ? _transfer.ToHost(data) : status;
    }
}
