using Ioasis.Platform;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <content>The command queue (section 3.1).</content>
public sealed partial class RiscVIommu
{
    private enum CommandResult
    {
        /// <summary>Executed: cqh moves on.</summary>
        Done,

        /// <summary>Illegal or unsupported.</summary>
        Illegal,

        /// <summary>Stopped with cqh on the command: an error bit is set, or a fence waits.</summary>
        Stopped,
    }

    // A fence that waits for ATS invalidations keeps its operands; cqh stays on it.
    private bool _fenceWaits;
    private bool _invalidatedSinceFence;
    private Command _fence;

    // An ATS.INVAL that found no free tag; cqh is past it.
    private bool _invalidationWaits;
    private Command _waitingInvalidation;

    /// <summary>
    /// Whether commands wait for <see cref="StepCommand"/> instead of running with the write of <c>cqt</c>: for embedders who model the time that
    /// commands take, and for test benches.
    /// </summary>
    public bool ManualCommands { get; set; }

    /// <summary>Executes the next command, if there is one and the queue is not stopped (section 3.1).</summary>
    public void StepCommand()
    {
        using (_lock.Acquire())
        {
            ProcessCommands(1);
        }

        Deliver();
    }

    // Called with the register lock held; runs until the queue is empty or stops.
    private void ProcessCommands()
    {
        if (!ManualCommands)
        {
            ProcessCommands(long.MaxValue);
        }
    }

    private void ProcessCommands(long limit)
    {
        const uint Errors = QueueCsr.MemoryFaultBit | QueueCsr.CommandTimeoutBit | QueueCsr.CommandIllegalBit;
        Span<ulong> words = stackalloc ulong[2];
        while (_commandQueue.IsOn && (_commandQueue.Csr & Errors) == 0 && !_fenceWaits && !_invalidationWaits
            && _commandQueue.Head != _commandQueue.Tail && limit-- > 0)
        {
            ulong address = PpnField.ToAddress(_commandQueue.Base) | ((ulong)_commandQueue.Head * QueueBase.CommandSize);
            if (ReadDoublewords(address, _configuration.BigEndian, words) != MemoryStatus.Success)
            {
                StopCommands(QueueCsr.MemoryFaultBit);
                return;
            }

            uint failure = Options.Tap?.OnCommand(words[0], words[1]) ?? 0;
            if (failure != 0)
            {
                if ((failure & Errors) != 0)
                {
                    StopCommands(failure & Errors);
                }

                return;
            }

            Command command = new(words[0], words[1]);
            CommandResult result = command.Opcode switch
            {
                CommandOpcode.Iotinval => ExecuteIotinval(command),
                CommandOpcode.Iofence => ExecuteIofence(command),
                CommandOpcode.Iodir => ExecuteIodir(command),
                CommandOpcode.Ats => ExecuteAts(command),
                _ => CommandResult.Illegal,
            };
            if (result == CommandResult.Illegal)
            {
                StopCommands(QueueCsr.CommandIllegalBit);
                return;
            }

            if (result == CommandResult.Stopped)
            {
                return;
            }

            AdvanceCommandHead();
        }
    }

    private void AdvanceCommandHead() =>
        Volatile.Write(ref _commandQueue.Head, (_commandQueue.Head + 1) & _commandQueue.IndexMask);

    // Sets a bit of cqcsr that is a cause of cip (section 5.18).
    private void StopCommands(uint bit)
    {
        _commandQueue.Csr |= bit;
        if (_commandQueue.HasInterrupts)
        {
            Raise(InterruptPending.CommandQueue);
        }
    }

    private CommandResult ExecuteIotinval(Command command)
    {
        if ((command.Low & CommandBits.IotinvalReservedMask) != 0
            || (command.High & CommandBits.HighIotinvalReservedMask) != 0
            || (!_capabilities.NonLeafInvalidation && (command.Low & CommandBits.NonLeafBit) != 0)
            || (!_capabilities.RangeInvalidation && (command.High & CommandBits.HighRangeBit) != 0)
            || command.Function > CommandFunction.IotinvalGvma
            || (command.Function == CommandFunction.IotinvalGvma && (command.Low & CommandBits.PscidValidBit) != 0))
        {
            return CommandResult.Illegal;
        }

        TranslationInvalidation invalidation = new()
        {
            SecondStage = command.Function == CommandFunction.IotinvalGvma,
            HasGscid = (command.Low & CommandBits.GscidValidBit) != 0,
            Gscid = (uint)(command.Low >> CommandBits.GscidShift) & (uint)CommandBits.Mask16,
            HasPscid = (command.Low & CommandBits.PscidValidBit) != 0,
            Pscid = (uint)(command.Low >> CommandBits.PscidShift) & (uint)CommandBits.Mask20,
            HasAddress = (command.Low & CommandBits.AddressValidBit) != 0,
            NonLeaf = (command.Low & CommandBits.NonLeafBit) != 0,
        };
        if (invalidation.HasAddress)
        {
            ulong page = (command.High >> CommandBits.HighAddressShift) & ((1ul << 52) - 1);
            invalidation.SizeLog2 = 12;
            if ((command.High & CommandBits.HighRangeBit) != 0)
            {
                // NAPOT: the lowest 0 of the page number, at X, makes 2^(X+1) pages (section 8.3).
                int x = System.Numerics.BitOperations.TrailingZeroCount(~page);
                invalidation.SizeLog2 = Math.Min(64, 13 + x);
            }

            invalidation.Address = invalidation.SizeLog2 == 64 ? 0 : (page << 12) & ~((1ul << invalidation.SizeLog2) - 1);
        }

        _invalidatedSinceFence = true;
        InvalidateTranslations(invalidation);
        return CommandResult.Done;
    }

    private CommandResult ExecuteIodir(Command command)
    {
        bool hasDevice = (command.Low & CommandBits.DeviceValidBit) != 0;
        uint device = (uint)(command.Low >> CommandBits.DeviceShift);
        uint process = (uint)(command.Low >> CommandBits.PidShift) & (uint)CommandBits.Mask20;
        if ((command.Low & CommandBits.IodirReservedMask) != 0 || command.High != 0
            || (hasDevice && (device & ~Options.DeviceIdMask) != 0))
        {
            return CommandResult.Illegal;
        }

        _invalidatedSinceFence = true;
        switch (command.Function)
        {
            case CommandFunction.IodirInvalDdt when process == 0:
                InvalidateDevices(hasDevice ? device : null);
                return CommandResult.Done;
            case CommandFunction.IodirInvalPdt when hasDevice && process < ProcessIdLimit:
                InvalidateProcess(device, process);
                return CommandResult.Done;
            default:
                return CommandResult.Illegal;
        }
    }

    // The widest process_id that the capabilities have (section 3.1.3).
    private uint ProcessIdLimit => _capabilities.Pd20 ? 1u << 20 : _capabilities.Pd17 ? 1u << 17 : 1u << 8;

    private CommandResult ExecuteIofence(Command command)
    {
        if ((command.Low & CommandBits.FenceReservedMask) != 0
            || (command.High & CommandBits.HighFenceReservedMask) != 0
            || (!_configuration.WiredInterrupts && (command.Low & CommandBits.FenceWiredInterruptBit) != 0)
            || command.Function != CommandFunction.IofenceC)
        {
            return CommandResult.Illegal;
        }

        return CompleteFence(command);
    }

    private CommandResult CompleteFence(Command command)
    {
        if (HasPendingInvalidations)
        {
            _fenceWaits = true;
            _fence = command;
            return CommandResult.Stopped;
        }

        _fenceWaits = false;
        if (_invalidationTimedOut)
        {
            _invalidationTimedOut = false;
            StopCommands(QueueCsr.CommandTimeoutBit);
            return CommandResult.Stopped;
        }

        // What began with entries that are invalid now has to finish first, and for PR and PW what was translated already. A fence
        // behind other commands alone, such as responses to page requests, orders nothing that devices do.
        bool reads = (command.Low & CommandBits.FenceReadsBit) != 0;
        bool writes = (command.Low & CommandBits.FenceWritesBit) != 0;
        if (_invalidatedSinceFence || reads || writes)
        {
            WaitForAccesses();
            _invalidatedSinceFence = false;
        }

        CountCommand(CommandKind.Fence);
        if (reads || writes)
        {
            GlobalObservability?.Invoke(reads, writes);
        }

        if ((command.Low & CommandBits.AddressValidBit) != 0)
        {
            ulong address = (command.High & CommandBits.HighFenceAddressMask) << 2;
            if ((Options.Deviations & ReferenceDeviations.FenceAddress62Bits) != 0)
            {
                address &= (1ul << 62) - 1;
            }

            if (WriteWord(address, _configuration.BigEndian, (uint)(command.Low >> CommandBits.FenceDataShift)) != MemoryStatus.Success)
            {
                StopCommands(QueueCsr.MemoryFaultBit);
                return CommandResult.Stopped;
            }
        }

        if ((command.Low & CommandBits.FenceWiredInterruptBit) != 0 && (_commandQueue.Csr & QueueCsr.FenceWiredInterruptBit) == 0)
        {
            StopCommands(QueueCsr.FenceWiredInterruptBit);
        }

        return CommandResult.Done;
    }

    // The last ATS invalidation that a fence waits for ended, one way or the other.
    private void ResumeCommands()
    {
        if (_fenceWaits && !HasPendingInvalidations)
        {
            if (CompleteFence(_fence) == CommandResult.Done)
            {
                AdvanceCommandHead();
            }

            if ((_commandQueue.Csr & QueueCsr.EnableBit) == 0)
            {
                _commandQueue.Csr &= ~(QueueCsr.OnBit | QueueCsr.BusyBit);
            }
        }

        if (!_fenceWaits && _invalidationWaits && TrySendInvalidation(_waitingInvalidation))
        {
            _invalidationWaits = false;
        }

        ProcessCommands();
    }
}
