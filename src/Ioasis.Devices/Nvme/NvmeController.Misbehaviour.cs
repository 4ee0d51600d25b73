namespace Ioasis.Devices.Nvme;

/// <content>Misbehaviour on request (<see cref="NvmeMisbehaviour"/>). Everything is under the lock.</content>
public sealed partial class NvmeController : IMisbehavingDevice
{
    private readonly Misbehaver? _misbehaviour;
    private readonly List<CompletionEntry> _heldCompletions = [];
    private bool _isHung;

    /// <summary>What it did wrong on request, by I/O commands: the first 4096 of it.</summary>
    public IReadOnlyList<DeviceMisdeed> Misdeeds
    {
        get
        {
            using (_lock.Acquire())
            {
                return _misbehaviour?.Misdeeds ?? [];
            }
        }
    }

    // Returns whether the command is done as if nothing were.
    private bool Misbehave(SubmissionQueue submission, in NvmeCommand command)
    {
        Misbehaver wrong = _misbehaviour!;
        NvmeMisbehaviour options = _options.Misbehaviour!;
        if (submission.Id == 0)
        {
            return true;
        }

        if (!wrong.Begin(out bool isGone, out bool isHung))
        {
            _isHung |= isHung;
            if (isGone)
            {
                Volatile.Write(ref _isGone, true);
            }

            return false;
        }

        NvmeIoOpcode opcode = (NvmeIoOpcode)command.Opcode;
        bool hasBlocks = opcode is not (NvmeIoOpcode.Flush or NvmeIoOpcode.DatasetManagement);
        foreach (NvmeFailure failure in options.Failures)
        {
            bool touches = failure.Block is not { } block
                || (hasBlocks && block >= command.FirstBlock && block - command.FirstBlock <= (command.Word12 & 0xffff));
            if (touches && (failure.Opcode is null || failure.Opcode == opcode))
            {
                wrong.Note($"command {command.Id} (0x{command.Opcode:x2}) failed with 0x{(ushort)failure.Status:x}");
                Misreport(submission, command, failure.Status);
                return false;
            }
        }

        foreach (NvmeDelay delay in options.Delays)
        {
            if (delay.Opcode is null || delay.Opcode == opcode)
            {
                wrong.Note($"command {command.Id} (0x{command.Opcode:x2}) late by {delay.Time.TotalMilliseconds} ms");
                _pending.Add(new(submission, command) { DueAt = After(delay.Time) });
                SetDelayTimer();
                return false;
            }
        }

        return true;
    }

    // A command has been done, and is to be told of.
    private void Misreport(SubmissionQueue submission, in NvmeCommand command, in NvmeResult result)
    {
        Misbehaver wrong = _misbehaviour!;
        if (submission.Id == 0)
        {
            Complete(submission, command.Id, result);
            return;
        }

        if (command.Opcode == (byte)NvmeIoOpcode.Read && result.Status == NvmeStatus.Success)
        {
            wrong.Stray(command.DataKind == 0 ? command.Data1 : null, ((INvmeBus)this).Write);
        }

        int times = wrong.Times($"command {command.Id}");
        for (int i = 0; i < times; i++)
        {
            if (_options.Misbehaviour!.Reorders)
            {
                _heldCompletions.Add(new(submission, command.Id, result));
            }
            else
            {
                Complete(submission, command.Id, result);
            }
        }
    }

    // Nothing more is to be fetched for now: what was held back completes, in an order of chance.
    private bool ReleaseHeld()
    {
        if (_heldCompletions.Count == 0)
        {
            return false;
        }

        CompletionEntry[] entries = [.. _heldCompletions];
        _heldCompletions.Clear();
        _misbehaviour!.Shuffle<CompletionEntry>(entries);
        if (entries.Length > 1)
        {
            _misbehaviour.Note($"{entries.Length} commands completed in the order {string.Join(' ', entries.Select(static entry => entry.Id))}");
        }

        foreach (CompletionEntry entry in entries)
        {
            Complete(entry.Queue, entry.Id, entry.Result);
        }

        foreach (CompletionEntry entry in entries)
        {
            Flush(entry.Queue.Completion);
        }

        return true;
    }

    private bool Withholds(int vector)
    {
        bool isHeld = _misbehaviour!.Withholds(vector, After);
        SetDelayTimer();
        return isHeld;
    }
}
