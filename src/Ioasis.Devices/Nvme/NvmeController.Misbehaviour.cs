namespace Ioasis.Devices.Nvme;

/// <content>Misbehaviour on request (<see cref="NvmeMisbehaviour"/>). Everything is under the lock.</content>
public sealed partial class NvmeController : IMisbehavingDevice
{
    private const int MisdeedLimit = 4096;
    private const int StaleLimit = 16;
    private const int StrayBytes = 512;

    private readonly Misbehaver? _misbehaviour;
    private bool _isHung;

    /// <summary>What it did wrong on request, by I/O commands: the first 4096 of it.</summary>
    public IReadOnlyList<DeviceMisdeed> Misdeeds
    {
        get
        {
            using (_lock.Acquire())
            {
                return _misbehaviour is { } wrong ? [.. wrong.Misdeeds] : [];
            }
        }
    }

    // Returns whether the command is done as if nothing were.
    private bool Misbehave(SubmissionQueue submission, in NvmeCommand command)
    {
        Misbehaver wrong = _misbehaviour!;
        NvmeMisbehaviour options = wrong.Options;
        if (submission.Id == 0)
        {
            return true;
        }

        wrong.Commands++;
        if (wrong.Commands == options.GoneAt)
        {
            wrong.Note("gone from the bus");
            Volatile.Write(ref _isGone, true);
            return false;
        }

        if (wrong.Commands == options.HungAt)
        {
            wrong.Note("hung");
            _isHung = true;
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
            Stray(command);
        }

        int times = wrong.Happens(wrong.Options.Twice) ? 2 : 1;
        if (times == 2)
        {
            wrong.Note($"command {command.Id} completed twice");
        }

        for (int i = 0; i < times; i++)
        {
            if (wrong.Options.Reorders)
            {
                wrong.Held.Add(new(submission, command.Id, result));
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
        if (_misbehaviour is not { Held: { Count: > 0 } held } wrong)
        {
            return false;
        }

        CompletionEntry[] entries = [.. held];
        held.Clear();
        for (int i = entries.Length - 1; i > 0; i--)
        {
            int other = (int)(wrong.Next() % (ulong)(i + 1));
            (entries[i], entries[other]) = (entries[other], entries[i]);
        }

        if (entries.Length > 1)
        {
            wrong.Note($"{entries.Length} commands completed in the order {string.Join(' ', entries.Select(static entry => entry.Id))}");
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

    private void Stray(in NvmeCommand command)
    {
        Misbehaver wrong = _misbehaviour!;
        if (wrong.Happens(wrong.Options.StaleDma) && wrong.Stale.Count > 0)
        {
            StrayTo(wrong.Stale[(int)(wrong.Next() % (ulong)wrong.Stale.Count)], "stale");
        }

        if (wrong.Happens(wrong.Options.WildDma))
        {
            StrayTo(wrong.Next() & 0xffff_ffff_f000, "wild");
        }

        if (command.DataKind == 0)
        {
            wrong.LastRead = command.Data1;
            if (wrong.Stale.Count == StaleLimit)
            {
                wrong.Stale.RemoveAt(0);
            }

            wrong.Stale.Add(command.Data1);
        }
    }

    private void StrayTo(ulong address, string kind)
    {
        Span<byte> bytes = stackalloc byte[StrayBytes];
        bytes.Fill(0xdb);
        bool isWritten = ((INvmeBus)this).Write(address, bytes);
        _misbehaviour!.Note($"{kind} write to 0x{address:x} {(isWritten ? "reached memory" : "was refused")}");
    }

    private void StrayAfterReset()
    {
        if (_misbehaviour is { Options.DmaAfterReset: true, LastRead: { } address } wrong)
        {
            wrong.LastRead = null;
            StrayTo(address, "late");
        }
    }

    private bool LosesInterrupt(int vector)
    {
        Misbehaver wrong = _misbehaviour!;
        if (wrong.Happens(wrong.Options.LostInterrupts))
        {
            wrong.Note($"interrupt {vector} lost");
            return true;
        }

        if (wrong.Options.LateInterrupts > TimeSpan.Zero)
        {
            wrong.Note($"interrupt {vector} late by {wrong.Options.LateInterrupts.TotalMilliseconds} ms");
            wrong.Late.Add((After(wrong.Options.LateInterrupts), vector));
            SetDelayTimer();
            return true;
        }

        return false;
    }

    // Interrupts whose time has come.
    private int TakeLate(Span<int> vectors)
    {
        int count = 0;
        long now = Now();
        List<(long DueAt, int Vector)> late = _misbehaviour!.Late;
        for (int i = 0; i < late.Count && count < vectors.Length;)
        {
            if (late[i].DueAt <= now)
            {
                vectors[count++] = late[i].Vector;
                late.RemoveAt(i);
            }
            else
            {
                i++;
            }
        }

        return count;
    }

    private sealed class Misbehaver(NvmeMisbehaviour options)
    {
        private ulong _random = options.Seed;

        public NvmeMisbehaviour Options => options;

        public List<DeviceMisdeed> Misdeeds { get; } = [];

        public List<CompletionEntry> Held { get; } = [];

        public List<ulong> Stale { get; } = [];

        public List<(long DueAt, int Vector)> Late { get; } = [];

        public ulong? LastRead { get; set; }

        public long Commands { get; set; }

        public void Note(string what)
        {
            if (Misdeeds.Count < MisdeedLimit)
            {
                Misdeeds.Add(new(Commands, what));
            }
        }

        public bool Happens(int percent) => percent > 0 && Next() % 100 < (ulong)percent;

        // SplitMix64.
        public ulong Next()
        {
            ulong value = _random += 0x9e37_79b9_7f4a_7c15;
            value = (value ^ (value >> 30)) * 0xbf58_476d_1ce4_e5b9;
            value = (value ^ (value >> 27)) * 0x94d0_49bb_1331_11eb;
            return value ^ (value >> 31);
        }
    }
}
