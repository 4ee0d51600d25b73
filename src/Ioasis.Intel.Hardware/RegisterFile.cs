using Ioasis.Intel.Architecture;
using Ioasis.Platform;

namespace Ioasis.Intel.Hardware;

/// <summary>
/// The memory-mapped registers (chapter 11), as doublewords: an access of 8 bytes is two of 4, the lower first (section 11.2). Commands are
/// done when the write returns.
/// </summary>
internal sealed class RegisterFile(
    VtdIommuOptions options,
    IoLock gate,
    TranslationCaches caches,
    FaultRecorder faults,
    PageRequests pageRequests,
    InterruptRemapper interrupts,
    InvalidationProcessor invalidations,
    Action waitForAccesses)
{
    private readonly uint _window = options.RegisterBytes;
    private readonly uint _records = options.Capabilities.FaultRecordOffset;
    private readonly uint _recordsEnd = options.Capabilities.FaultRecordOffset + ((uint)options.Capabilities.FaultRecordCount * FaultRecord.Size);
    private readonly uint _invalidateAddress = options.ExtendedCapabilities.IotlbOffset + RegisterOffset.InvalidateAddressFromIro;
    private readonly uint _iotlb = options.ExtendedCapabilities.IotlbOffset + RegisterOffset.IotlbInvalidateFromIro;
    private readonly ExtendedCapability _ecap = options.ExtendedCapabilities;

    private Configuration _configuration = Configuration.Reset;
    private uint _status;
    private ulong _rootTable;
    private ulong _contextCommand;
    private ulong _iotlbCommand;
    private ulong _invalidationAddress;
    private ulong _interruptTable;

    /// <summary>What translations look at.</summary>
    public Configuration Configuration => Volatile.Read(ref _configuration);

    private bool HasQueue => _ecap.Has(ExtendedCapability.QueuedInvalidationBit);

    private bool HasInterrupts => _ecap.Has(ExtendedCapability.InterruptRemappingBit);

    /// <summary>Reads 4 bytes.</summary>
    public uint Read32(uint offset)
    {
        if ((offset & 3) != 0 || offset >= _window)
        {
            return 0;
        }

        using (gate.Acquire())
        {
            return Read(offset);
        }
    }

    /// <summary>Reads 8 bytes.</summary>
    public ulong Read64(uint offset)
    {
        if ((offset & 7) != 0 || offset >= _window)
        {
            return 0;
        }

        using (gate.Acquire())
        {
            return Read(offset) | ((ulong)Read(offset + 4) << 32);
        }
    }

    /// <summary>Writes 4 bytes.</summary>
    public void Write32(uint offset, uint value)
    {
        if ((offset & 3) != 0 || offset >= _window)
        {
            return;
        }

        using (gate.Acquire())
        {
            Write(offset, value);
        }
    }

    /// <summary>Writes 8 bytes.</summary>
    public void Write64(uint offset, ulong value)
    {
        if ((offset & 7) != 0 || offset >= _window)
        {
            return;
        }

        using (gate.Acquire())
        {
            Write(offset, (uint)value);
            Write(offset + 4, (uint)(value >> 32));
        }
    }

    private uint Read(uint offset)
    {
        if (offset >= _records && offset < _recordsEnd)
        {
            return faults.ReadRecord(offset - _records);
        }

        uint quadword = offset & ~7u;
        if (quadword == _invalidateAddress)
        {
            return Half(_invalidationAddress, offset);
        }

        return quadword == _iotlb ? Half(_iotlbCommand, offset) : quadword switch
        {
            RegisterOffset.Version => offset == RegisterOffset.Version ? options.Version : 0u,
            RegisterOffset.Capability => Half(options.Capabilities.Value, offset),
            RegisterOffset.ExtendedCapability => Half(_ecap.Value, offset),
            RegisterOffset.RootTableAddress => Half(_rootTable, offset),
            RegisterOffset.ContextCommand => Half(_contextCommand, offset),
            RegisterOffset.InvalidationQueueHead => Half(invalidations.Head, offset),
            RegisterOffset.InvalidationQueueTail => Half(invalidations.Tail, offset),
            RegisterOffset.InvalidationQueueAddress => Half(invalidations.Address, offset),
            RegisterOffset.InvalidationQueueErrorRecord => Half(invalidations.ErrorRecord, offset),
            RegisterOffset.InterruptTableAddress => Half(_interruptTable, offset),
            RegisterOffset.PageRequestQueueHead => Half(pageRequests.Head, offset),
            RegisterOffset.PageRequestQueueTail => Half(pageRequests.Tail, offset),
            RegisterOffset.PageRequestQueueAddress => Half(pageRequests.Address, offset),
            _ => ReadNarrow(offset),
        };
    }

    private uint ReadNarrow(uint offset) => offset switch
    {
        RegisterOffset.GlobalStatus => _status,
        RegisterOffset.FaultStatus => faults.Status,
        >= RegisterOffset.FaultEventControl and <= RegisterOffset.FaultEventUpperAddress =>
            faults.Event.Read(offset - RegisterOffset.FaultEventControl),
        RegisterOffset.InvalidationCompletionStatus => invalidations.WaitCompleted ? 1u : 0u,
        >= RegisterOffset.InvalidationEventControl and <= RegisterOffset.InvalidationEventUpperAddress when HasQueue =>
            invalidations.Event.Read(offset - RegisterOffset.InvalidationEventControl),
        RegisterOffset.PageRequestStatus => pageRequests.Status,
        >= RegisterOffset.PageRequestEventControl and <= RegisterOffset.PageRequestEventUpperAddress when pageRequests.IsSupported =>
            pageRequests.Event.Read(offset - RegisterOffset.PageRequestEventControl),
        _ => 0,
    };

    private static uint Half(ulong value, uint offset) => (uint)(value >> (int)((offset & 4) * 8));

    // The other half keeps its value.
    private static ulong Merge(ulong register, uint offset, uint value)
    {
        int shift = (int)((offset & 4) * 8);
        return (register & ~(0xffff_fffful << shift)) | ((ulong)value << shift);
    }

    private void Write(uint offset, uint value)
    {
        if (offset >= _records && offset < _recordsEnd)
        {
            faults.WriteRecord(offset - _records, value);
            return;
        }

        uint quadword = offset & ~7u;
        if (quadword == _invalidateAddress)
        {
            _invalidationAddress = Merge(_invalidationAddress, offset, value);
            return;
        }

        if (quadword == _iotlb)
        {
            _iotlbCommand = Merge(_iotlbCommand, offset, value);
            RunIotlbCommand();
            return;
        }

        switch (quadword)
        {
            case RegisterOffset.RootTableAddress:
                _rootTable = Merge(_rootTable, offset, value) & RootTable.WritableMask;
                break;
            case RegisterOffset.ContextCommand:
                _contextCommand = Merge(_contextCommand, offset, value);
                RunContextCommand();
                break;
            case RegisterOffset.InvalidationQueueTail when HasQueue && (offset & 4) == 0:
                invalidations.WriteTail(value);
                break;
            case RegisterOffset.InvalidationQueueAddress when HasQueue:
                invalidations.Address = Merge(invalidations.Address, offset, value) & InvalidationQueue.AddressWritableMask;
                break;
            case RegisterOffset.InterruptTableAddress when HasInterrupts:
                ulong extended = _ecap.Has(ExtendedCapability.ExtendedInterruptModeBit) ? InterruptTable.ExtendedModeBit : 0;
                _interruptTable = Merge(_interruptTable, offset, value) & (~0xffful | InterruptTable.SizeMask | extended);
                break;
            case RegisterOffset.PageRequestQueueHead when pageRequests.IsSupported:
                pageRequests.Head = Merge(pageRequests.Head, offset, value) & PageRequestQueue.OffsetMask;
                break;
            case RegisterOffset.PageRequestQueueTail when pageRequests.IsSupported:
                pageRequests.Tail = Merge(pageRequests.Tail, offset, value) & PageRequestQueue.OffsetMask;
                break;
            case RegisterOffset.PageRequestQueueAddress when pageRequests.IsSupported:
                pageRequests.Address = Merge(pageRequests.Address, offset, value) & (~0xffful | PageRequestQueue.SizeMask);
                break;
            default:
                WriteNarrow(offset, value);
                break;
        }
    }

    private void WriteNarrow(uint offset, uint value)
    {
        switch (offset)
        {
            case RegisterOffset.GlobalCommand:
                RunGlobalCommand(value);
                break;
            case RegisterOffset.FaultStatus:
                faults.WriteStatus(value);
                invalidations.Run();
                break;
            case >= RegisterOffset.FaultEventControl and <= RegisterOffset.FaultEventUpperAddress:
                faults.Event.Write(offset - RegisterOffset.FaultEventControl, value);
                break;
            case RegisterOffset.InvalidationCompletionStatus:
                invalidations.WriteCompletionStatus(value);
                break;
            case >= RegisterOffset.InvalidationEventControl and <= RegisterOffset.InvalidationEventUpperAddress when HasQueue:
                invalidations.Event.Write(offset - RegisterOffset.InvalidationEventControl, value);
                break;
            case RegisterOffset.PageRequestStatus:
                pageRequests.WriteStatus(value);
                break;
            case >= RegisterOffset.PageRequestEventControl and <= RegisterOffset.PageRequestEventUpperAddress when pageRequests.IsSupported:
                pageRequests.Event.Write(offset - RegisterOffset.PageRequestEventControl, value);
                break;
        }
    }

    // Section 11.4.4.1. Software changes one thing at a time; if not, pointers come first.
    private void RunGlobalCommand(uint command)
    {
        Configuration next = _configuration;
        if ((command & GlobalControl.SetRootTableBit) != 0)
        {
            TranslationTableMode mode = RootTable.Mode(_rootTable);
            next = next with { RootTable = RootTable.Address(_rootTable), Mode = mode, ModeFault = FaultOf(mode) };
            _status |= GlobalControl.SetRootTableBit;
        }

        if (HasInterrupts && (command & GlobalControl.SetInterruptTableBit) != 0)
        {
            next = next with { InterruptTable = _interruptTable };
            _status |= GlobalControl.SetInterruptTableBit;
        }

        bool hadTranslation = next.TranslationEnabled;
        bool hadInterrupts = next.InterruptRemappingEnabled;
        next = next with
        {
            TranslationEnabled = (command & GlobalControl.TranslationEnableBit) != 0,
            InterruptRemappingEnabled = HasInterrupts && (command & GlobalControl.InterruptRemappingEnableBit) != 0,
            CompatibilityInterrupts = HasInterrupts && (command & GlobalControl.CompatibilityInterruptBit) != 0,
        };
        Adopt(next);

        // What invalidates implicitly (sections 6.6, 6.7, 11.4.4.1).
        bool setsRoot = (command & GlobalControl.SetRootTableBit) != 0 && options.Capabilities.SetRootTableInvalidates;
        bool disables = hadTranslation && !next.TranslationEnabled && _ecap.Has(ExtendedCapability.ScalableModeBit);
        if (setsRoot || disables)
        {
            caches.InvalidateAll();
        }

        bool setsTable = (command & GlobalControl.SetInterruptTableBit) != 0 || (hadInterrupts && !next.InterruptRemappingEnabled);
        if (HasInterrupts && setsTable && options.Capabilities.SetInterruptTableInvalidates)
        {
            interrupts.Invalidate(null, 0);
        }

        if (!next.TranslationEnabled && !next.InterruptRemappingEnabled)
        {
            faults.ResetIndex();
        }

        // In-flight requests are drained before software sees the new state.
        waitForAccesses();
        bool queue = HasQueue && (command & GlobalControl.QueuedInvalidationEnableBit) != 0;
        if (queue != invalidations.IsEnabled)
        {
            invalidations.Enable(queue);
        }

        UpdateStatus();
    }

    private void Adopt(Configuration next)
    {
        Volatile.Write(ref _configuration, next);
        invalidations.Adopt(next);
        caches.Activate(next.TranslationEnabled && next.ModeFault == FaultReason.None);
    }

    private void UpdateStatus()
    {
        uint levels = (_configuration.TranslationEnabled ? GlobalControl.TranslationEnableBit : 0)
            | (_configuration.InterruptRemappingEnabled ? GlobalControl.InterruptRemappingEnableBit : 0)
            | (_configuration.CompatibilityInterrupts ? GlobalControl.CompatibilityInterruptBit : 0)
            | (invalidations.IsEnabled ? GlobalControl.QueuedInvalidationEnableBit : 0);
        _status = (_status & (GlobalControl.SetRootTableBit | GlobalControl.SetInterruptTableBit)) | levels;
    }

    // RTA.1 and RTA.4 of Table 30.
    private FaultReason FaultOf(TranslationTableMode mode) => mode switch
    {
        TranslationTableMode.Legacy => FaultReason.None,
        TranslationTableMode.Scalable when _ecap.Has(ExtendedCapability.ScalableModeBit) => FaultReason.None,
        TranslationTableMode.AbortDma when _ecap.Has(ExtendedCapability.AbortDmaBit) => FaultReason.AbortDma,
        _ => FaultReason.RootTableModeInvalid,
    };

    // Register-based invalidation: legacy mode, without the queue, up to major version 5 (section 6.5.1).
    private bool HasRegisterInvalidation =>
        _configuration.Mode == TranslationTableMode.Legacy && !invalidations.IsEnabled && options.Version >> 4 <= 5;

    private void RunContextCommand()
    {
        if ((_contextCommand & ContextCommand.InvalidateBit) == 0)
        {
            return;
        }

        var granularity = (InvalidationGranularity)((_contextCommand >> ContextCommand.GranularityShift) & 3);
        bool done = HasRegisterInvalidation && granularity != InvalidationGranularity.Reserved;
        if (done)
        {
            invalidations.InvalidateContexts(new ContextInvalidation(
                granularity,
                (ushort)_contextCommand,
                (ushort)(_contextCommand >> ContextCommand.SourceIdShift),
                (int)(_contextCommand >> ContextCommand.FunctionMaskShift) & 3));
            waitForAccesses();
        }

        _contextCommand = (_contextCommand & ~(ContextCommand.InvalidateBit | (3ul << ContextCommand.ActualGranularityShift)))
            | ((ulong)(done ? granularity : 0) << ContextCommand.ActualGranularityShift);
    }

    private void RunIotlbCommand()
    {
        if ((_iotlbCommand & IotlbInvalidate.InvalidateBit) == 0)
        {
            return;
        }

        var granularity = (InvalidationGranularity)((_iotlbCommand >> IotlbInvalidate.GranularityShift) & 3);
        bool done = HasRegisterInvalidation && invalidations.TryInvalidateTranslations(
            granularity,
            (ushort)((_iotlbCommand >> IotlbInvalidate.DomainIdShift) & ((1ul << options.Capabilities.DomainIdBits) - 1)),
            _invalidationAddress,
            out _);
        if (done)
        {
            waitForAccesses();
        }

        _iotlbCommand = (_iotlbCommand & ~(IotlbInvalidate.InvalidateBit | (3ul << IotlbInvalidate.ActualGranularityShift)))
            | ((ulong)(done ? granularity : 0) << IotlbInvalidate.ActualGranularityShift);
    }
}
