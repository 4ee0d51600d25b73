using System.Buffers.Binary;
using Ioasis.Primitives;

namespace Ioasis.Devices.Nvme;

/// <content>
/// Queues: fetching commands and completing them (base specification 2.0, section 3.3). Queues with work take turns, so many
/// commands each (round robin, section 3.4.4). Everything is under the lock.
/// </content>
public sealed partial class NvmeController
{
    private const int FetchedEntries = 32;

    // Completions that are written while others of the same batch are still to come: the driver can begin with them meanwhile.
    private const int EarlyEntries = 8;

    // Commands fetched in one run after which the tails in memory are not asked any more, only doorbells: rings in memory that the
    // controller's own writes change must not keep it busy for ever.
    private const long ShadowBudget = 1 << 20;

    private readonly SubmissionQueue?[] _submission;
    private readonly CompletionQueue?[] _completion;
    private readonly byte[] _fetched = new byte[FetchedEntries * NvmeCommand.Size];
    private readonly Queue<SubmissionQueue> _ready = new();
    private readonly Queue<CompletionQueue> _headChecks = new();
    private ulong _shadowDoorbells;
    private ulong _eventIndexes;
    private long _shadowBudget;
    private long _completed;

    /// <summary>Commands completed since it was made.</summary>
    public long Completed => Volatile.Read(ref _completed);

    // A reset that waits for its turn ends the work between two commands.
    private bool CanWork =>
        (_status & (NvmeRegisters.Ready | NvmeRegisters.Fatal | NvmeRegisters.ShutdownMask)) == NvmeRegisters.Ready
        && Volatile.Read(ref _resetsWanted) == 0
        && !_isGone
        && !_isHung;

    // Doorbell 2y is the tail of submission queue y, 2y+1 the head of completion queue y.
    private void RingDoorbell(uint index, uint value)
    {
        if (!IsReady)
        {
            return;
        }

        uint queue = index / 2;
        if ((index & 1) == 0)
        {
            if (queue >= _submission.Length || _submission[queue] is not { } submission)
            {
                RaiseEvent(NvmeEventType.Error, NvmeErrorEvent.InvalidDoorbellRegister);
            }
            else if (value >= submission.Entries)
            {
                RaiseEvent(NvmeEventType.Error, NvmeErrorEvent.InvalidDoorbellValue);
            }
            else
            {
                submission.Tail = value;
                FollowRegister(queue, submission.Shadow, value);
                MakeReady(submission);
            }
        }
        else if (queue >= _completion.Length || _completion[queue] is not { } completion)
        {
            RaiseEvent(NvmeEventType.Error, NvmeErrorEvent.InvalidDoorbellRegister);
        }
        else if (TryMoveHead(completion, value))
        {
            FollowRegister(queue, completion.Shadow, value);
        }
        else if (completion.Shadow == 0)
        {
            RaiseEvent(NvmeEventType.Error, NvmeErrorEvent.InvalidDoorbellValue);
        }
        else
        {
            // Memory may have told of a newer head than this register.
            _ = ReadShadow(completion);
        }
    }

    // Memory and register are to agree, but drivers exist (Linux') that keep only those of I/O queues in memory: the admin queue's
    // follows its register.
    private void FollowRegister(uint queue, ulong shadow, uint value)
    {
        if (queue == 0 && shadow != 0)
        {
            _ = TryWriteWord(shadow, value);
        }
    }

    // The driver can take what is there, and no more. There is room again: what waited for it goes on.
    private bool TryMoveHead(CompletionQueue completion, uint value)
    {
        if (value >= completion.Entries)
        {
            return false;
        }

        uint taken = value >= completion.Head ? value - completion.Head : value + completion.Entries - completion.Head;
        if (taken > completion.Count)
        {
            return false;
        }

        completion.Head = value;
        PostWaiting(completion);
        UpdateLine();
        foreach (SubmissionQueue submission in completion.Stalled)
        {
            MakeReady(submission);
        }

        completion.Stalled.Clear();
        return true;
    }

    private void MakeReady(SubmissionQueue submission)
    {
        if (!submission.IsReady)
        {
            submission.IsReady = true;
            _ready.Enqueue(submission);
        }
    }

    // Under the lock: all that can be done now. Register writes that come meanwhile take their turn between two commands.
    private void Work()
    {
        _shadowBudget = ShadowBudget;
        while (true)
        {
            ApplyPosted();
            if (!CanWork)
            {
                return;
            }

            ResumePending();
            PostEvents();
            if (_headChecks.TryDequeue(out CompletionQueue? completion))
            {
                completion.IsChecked = false;
                _ = ReadShadow(completion);
            }
            else if (_ready.TryDequeue(out SubmissionQueue? submission))
            {
                submission.IsReady = false;
                if (ReferenceEquals(_submission[submission.Id], submission) && FetchSome(submission))
                {
                    MakeReady(submission);
                }
            }
            else if (!ReleaseHeld() && !HasPosted)
            {
                return;
            }
        }
    }

    // Returns whether there may be more to fetch.
    private bool FetchSome(SubmissionQueue submission)
    {
        _ = ReadShadow(submission);
        if (submission.Count == 0)
        {
            return AnnounceTail(submission);
        }

        CompletionQueue completion = submission.Completion;
        uint room = completion.IsBlocked || completion.Waiting.Count > 0 ? 0 : completion.Room;
        if (room == 0)
        {
            return Stall(submission, completion);
        }

        // Admin commands one by one: one may change what the next means.
        uint count = Math.Min(Math.Min(submission.Count, room), submission.Id == 0 ? 1u : FetchedEntries);
        count = Math.Min(count, submission.Entries - submission.Head);
        Span<byte> entries = _fetched.AsSpan(0, (int)count * NvmeCommand.Size);
        if (!((INvmeBus)this).Read(submission.Address + ((ulong)submission.Head * NvmeCommand.Size), entries))
        {
            if (!WaitForPages(submission, null))
            {
                SetFatal();
            }

            return false;
        }

        submission.Attempts = 0;
        for (int i = 0; i < (int)count && CanWork && ReferenceEquals(_submission[submission.Id], submission); i++)
        {
            NvmeCommand command = new(entries[(i * NvmeCommand.Size)..]);
            submission.Advance();
            _shadowBudget--;
            Execute(submission, command);
            if (completion.StagedCount >= EarlyEntries)
            {
                Flush(completion);
            }

            if (HasPosted)
            {
                // A doorbell, or the end.
                ApplyPosted();
            }
        }

        Flush(completion);
        return true;
    }

    // The driver has to take entries first, and to say so.
    private bool Stall(SubmissionQueue submission, CompletionQueue completion)
    {
        if (completion.Shadow != 0)
        {
            AnnounceHead(completion);
            if (ReadShadow(completion))
            {
                return true;
            }
        }

        if (!completion.Stalled.Contains(submission))
        {
            completion.Stalled.Add(submission);
        }

        return false;
    }

    private void Execute(SubmissionQueue submission, in NvmeCommand command)
    {
        if (IsPending(submission, command.Id))
        {
            Complete(submission, command.Id, NvmeResult.Refuse(NvmeStatus.CommandIdConflict));
            return;
        }

        if (_misbehaviour is null || Misbehave(submission, command))
        {
            Run(submission, command, null);
        }
    }

    // Commands change nothing before their data has moved, and can begin anew: one that lacks a page does so when it is there.
    private void Run(SubmissionQueue submission, in NvmeCommand command, PendingCommand? pending)
    {
        _missing.Clear();
        NvmeResult result = submission.Id == 0 ? ExecuteAdmin(command) : ExecuteIo(command);
        if (result.IsPending)
        {
            return;
        }

        if (_missing.Count > 0)
        {
            pending ??= new(submission, command);
            if (WaitForPages(submission, pending))
            {
                return;
            }

            result = NvmeStatus.DataTransferError;
        }

        if (_misbehaviour is null)
        {
            Complete(submission, command.Id, result);
        }
        else
        {
            Misreport(submission, command, result);
        }
    }

    private void Complete(SubmissionQueue submission, ushort id, in NvmeResult result)
    {
        NoteError(submission, id, result);
        CompletionEntry entry = new(submission, id, result);
        CompletionQueue completion = submission.Completion;
        if (completion.Waiting.Count > 0 || !TryStage(completion, entry))
        {
            completion.Waiting.Enqueue(entry);
        }
    }

    private bool TryStage(CompletionQueue completion, in CompletionEntry entry)
    {
        if (completion.MustFlush)
        {
            Flush(completion);
        }

        if (completion.IsBlocked || completion.Room == 0)
        {
            return false;
        }

        Span<byte> bytes = stackalloc byte[CompletionQueue.EntrySize];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, entry.Result.Value);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[8..], (ushort)entry.Queue.Head);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[10..], entry.Queue.Id);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[12..], entry.Id);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[14..], (ushort)((ushort)entry.Result.Status << 1));
        completion.Stage(bytes);
        _completed++;
        return true;
    }

    // What found no room before.
    private void PostWaiting(CompletionQueue completion)
    {
        while (completion.Waiting.TryPeek(out CompletionEntry entry) && TryStage(completion, entry))
        {
            _ = completion.Waiting.Dequeue();
        }

        Flush(completion);
    }

    private void Flush(CompletionQueue completion)
    {
        if (completion.StagedCount == 0 || completion.IsBlocked)
        {
            return;
        }

        if (!CanWork)
        {
            completion.Unstage();
            return;
        }

        _missing.Clear();
        ulong address = completion.Address + ((ulong)completion.StagedAt * CompletionQueue.EntrySize);
        if (!((INvmeBus)this).Write(address, completion.Staged))
        {
            if (_missing.Count == 0 || !WaitForPages(completion))
            {
                completion.Unstage();
                SetFatal();
            }

            return;
        }

        int count = completion.StagedCount;
        completion.Attempts = 0;
        completion.Unstage();
        if (completion.Shadow != 0 && !UsesMessages)
        {
            // The pin follows the head.
            AnnounceHead(completion);
            if (!completion.IsChecked)
            {
                completion.IsChecked = true;
                _headChecks.Enqueue(completion);
            }
        }

        if (completion.HasInterrupts)
        {
            RaiseInterrupt(completion, count);
        }
    }

    // Shadow doorbells (base specification 2.0, section 5.8): the driver keeps its doorbells in memory, and writes the register
    // only when it passes the index that the controller asks for.
    private bool ReadShadow(SubmissionQueue submission)
    {
        if (submission.Shadow == 0
            || _shadowBudget <= 0
            || !TryReadWord(submission.Shadow, out uint value)
            || value >= submission.Entries
            || value == submission.Tail)
        {
            return false;
        }

        submission.Tail = value;
        return true;
    }

    private bool ReadShadow(CompletionQueue completion) =>
        completion.Shadow != 0
        && _shadowBudget-- > 0
        && TryReadWord(completion.Shadow, out uint value)
        && value != completion.Head
        && TryMoveHead(completion, value);

    // Asks for the register at the next entry.
    // Returns whether the driver put in more before it could see that.
    private bool AnnounceTail(SubmissionQueue submission)
    {
        if (submission.Shadow == 0 || !CanWork || !TryWriteWord(submission.EventIndex, submission.Tail))
        {
            return false;
        }

        Interlocked.MemoryBarrier();
        return ReadShadow(submission);
    }

    private void AnnounceHead(CompletionQueue completion)
    {
        _ = TryWriteWord(completion.EventIndex, completion.Head);
        Interlocked.MemoryBarrier();
    }

    private bool TryReadWord(ulong address, out uint value)
    {
        Span<byte> word = stackalloc byte[4];
        bool isRead = ((INvmeBus)this).Read(address, word);
        value = BinaryPrimitives.ReadUInt32LittleEndian(word);
        return isRead;
    }

    private bool TryWriteWord(ulong address, uint value)
    {
        Span<byte> word = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(word, value);
        return ((INvmeBus)this).Write(address, word);
    }
}

/// <summary>How a command ended.</summary>
/// <param name="Status">The status.</param>
/// <param name="Value">Dwords 0 and 1 of the completion.</param>
/// <param name="IsPending">Whether it has not ended.</param>
internal readonly record struct NvmeResult(NvmeStatus Status, ulong Value = 0, bool IsPending = false)
{
    /// <summary>A command that completes later.</summary>
    public static NvmeResult Pending { get; } = new(NvmeStatus.Success, 0, true);

    /// <summary>A status without more.</summary>
    public static implicit operator NvmeResult(NvmeStatus status) => new(status);

    /// <summary>A status that says not to try again, without more.</summary>
    public static NvmeResult Refuse(NvmeStatus status) => new(status | NvmeStatus.DoNotRetry);
}

/// <summary>A completion on its way into its queue.</summary>
/// <param name="Queue">The command's queue.</param>
/// <param name="Id">The command.</param>
/// <param name="Result">How it ended.</param>
internal readonly record struct CompletionEntry(SubmissionQueue Queue, ushort Id, NvmeResult Result);
