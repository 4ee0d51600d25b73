using System.Runtime.CompilerServices;
using Ioasis.Platform;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <content>The memory-mapped registers (chapter 5).</content>
public sealed partial class RiscVIommu
{
    // What a translation needs of fctl and ddtp; replaced as a whole, so that a translation sees one state.
    private sealed record Configuration(IommuMode Mode, ulong DirectoryRoot, bool BigEndian, bool WiredInterrupts, bool Gxl);

    private Configuration _configuration = new(IommuMode.Off, 0, BigEndian: false, WiredInterrupts: false, Gxl: false);
    private QueueRegisters _commandQueue;
    private QueueRegisters _faultQueue;
    private QueueRegisters _pageQueue;
    private ulong _ddtp;
    private uint _fctl;
    private uint _ipsr;
    private ulong _icvec;
    private uint _qosId;
    private ulong _trReqIova;
    private ulong _trReqCtl;
    private ulong _trResponse;

    /// <summary>A queue's registers. The IOMMU owns the head of the command queue and the tails of the others.</summary>
    private struct QueueRegisters
    {
        public ulong Base;
        public uint Head;
        public uint Tail;
        public uint Csr;

        public readonly uint IndexMask => (uint)((2ul << (int)(Base & QueueBase.Log2SizeMinus1Mask)) - 1);

        public readonly bool IsOn => (Csr & (QueueCsr.OnBit | QueueCsr.EnableBit)) == (QueueCsr.OnBit | QueueCsr.EnableBit);

        public readonly bool HasInterrupts => (Csr & QueueCsr.InterruptEnableBit) != 0;
    }

    /// <inheritdoc/>
    public uint Read32(uint offset)
    {
        if ((offset & 3) != 0 || offset >= RegisterOffset.PageSize)
        {
            return 0;
        }

        if (!TryReadPolled(offset, out uint value))
        {
            using IoLock.Scope held = _lock.Acquire();
            uint aligned = offset & ~7u;
            value = Is64Bit(aligned)
                ? (uint)(ReadRegister(aligned) >> (int)((offset & 4) * 8))
                : (uint)ReadRegister(offset);
        }

        EndRegisterAccess();
        return value;
    }

    /// <inheritdoc/>
    public ulong Read64(uint offset)
    {
        if ((offset & 7) != 0 || offset >= RegisterOffset.PageSize)
        {
            return 0;
        }

        ulong value;
        using (_lock.Acquire())
        {
            value = Is64Bit(offset)
                ? ReadRegister(offset)
                : (ReadRegister(offset + 4) << 32) | (uint)ReadRegister(offset);
        }

        EndRegisterAccess();
        return value;
    }

    /// <inheritdoc/>
    public void Write32(uint offset, uint value)
    {
        if ((offset & 3) != 0 || offset >= RegisterOffset.PageSize)
        {
            return;
        }

        bool delivers;
        Departure departure;
        using (_lock.Acquire())
        {
            uint aligned = offset & ~7u;
            if (Is64Bit(aligned))
            {
                // Half of a register: the other half keeps its value (section 5).
                int shift = (int)((offset & 4) * 8);
                ulong whole = (ReadRegister(aligned) & ~(0xffff_fffful << shift)) | ((ulong)value << shift);
                WriteRegister(aligned, whole);
            }
            else
            {
                WriteRegister(offset, value);
            }

            delivers = TryBeginDelivery(out departure);
        }

        if (delivers)
        {
            DeliverOne(departure);
        }

        EndRegisterAccess();
    }

    /// <inheritdoc/>
    public void Write64(uint offset, ulong value)
    {
        if ((offset & 7) != 0 || offset >= RegisterOffset.PageSize)
        {
            return;
        }

        using (_lock.Acquire())
        {
            if (Is64Bit(offset))
            {
                WriteRegister(offset, value);
            }
            else
            {
                // Two registers: as two accesses, the high half first (section 5).
                WriteRegister(offset + 4, value >> 32);
                WriteRegister(offset, (uint)value);
            }
        }

        EndRegisterAccess();
    }

    // What drivers poll needs no lock: it changes under the lock, in one piece and after what it tells of. Explored schedules, which
    // switch threads where locks are taken, have only the head of the command queue without one.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryReadPolled(uint offset, out uint value)
    {
        switch (offset)
        {
            case RegisterOffset.CommandQueueHead:
                value = Volatile.Read(ref _commandQueue.Head);
                return true;
            case RegisterOffset.FaultQueueTail when Injection.Current is null:
                value = Volatile.Read(ref _faultQueue.Tail);
                return true;
            case RegisterOffset.FaultQueueCsr when Injection.Current is null:
                value = Volatile.Read(ref _faultQueue.Csr);
                return true;
            case RegisterOffset.InterruptPendingStatus when Injection.Current is null && Options.CycleSource is null:
                value = Volatile.Read(ref _ipsr);
                return true;
            default:
                value = 0;
                return false;
        }
    }

    // Reading a counter can find that it overflowed.
    private void EndRegisterAccess()
    {
        RaiseOverflow();
        Deliver();
    }

    private static bool Is64Bit(uint offset) => offset switch
    {
        RegisterOffset.Capabilities or RegisterOffset.DeviceDirectoryTablePointer or RegisterOffset.CommandQueueBase
            or RegisterOffset.FaultQueueBase or RegisterOffset.PageRequestQueueBase or RegisterOffset.InterruptCauseToVector => true,
        >= RegisterOffset.CyclesCounter and < RegisterOffset.QosId => true,
        >= RegisterOffset.MsiConfigurationTable and < RegisterOffset.MsiConfigurationTable + 256 => (offset & 8) == 0,
        _ => false,
    };

    private void ResetRegisters()
    {
        _fctl = Options.FeaturesControl
            ?? (_capabilities.Igs == InterruptGeneration.Wsi ? Architecture.FeaturesControl.WiredInterruptsBit : 0);
        _ddtp = (ulong)Options.ResetMode;
        PublishConfiguration();
        ResetMonitor();
    }

    private void PublishConfiguration() => Volatile.Write(ref _configuration, new(
        (IommuMode)(_ddtp & DeviceDirectoryTablePointer.ModeMask),
        PpnField.ToAddress(_ddtp),
        (_fctl & Architecture.FeaturesControl.BigEndianBit) != 0,
        (_fctl & Architecture.FeaturesControl.WiredInterruptsBit) != 0,
        (_fctl & Architecture.FeaturesControl.GxlBit) != 0));

    private ulong ReadRegister(uint offset) => offset switch
    {
        RegisterOffset.Capabilities => _capabilities.Value,
        RegisterOffset.FeaturesControl => _fctl,
        RegisterOffset.DeviceDirectoryTablePointer => _ddtp,
        RegisterOffset.CommandQueueBase => _commandQueue.Base,
        RegisterOffset.CommandQueueHead => _commandQueue.Head,
        RegisterOffset.CommandQueueTail => _commandQueue.Tail,
        RegisterOffset.FaultQueueBase => _faultQueue.Base,
        RegisterOffset.FaultQueueHead => _faultQueue.Head,
        RegisterOffset.FaultQueueTail => _faultQueue.Tail,
        RegisterOffset.PageRequestQueueBase => _pageQueue.Base,
        RegisterOffset.PageRequestQueueHead => _pageQueue.Head,
        RegisterOffset.PageRequestQueueTail => _pageQueue.Tail,
        RegisterOffset.CommandQueueCsr => _commandQueue.Csr,
        RegisterOffset.FaultQueueCsr => _faultQueue.Csr,
        RegisterOffset.PageRequestQueueCsr => _pageQueue.Csr,
        RegisterOffset.InterruptPendingStatus => ReadPending(),
        RegisterOffset.TranslationRequestIova => _trReqIova,
        RegisterOffset.TranslationRequestControl => _trReqCtl,
        RegisterOffset.TranslationResponse => _trResponse,
        RegisterOffset.QosId => _qosId,
        RegisterOffset.InterruptCauseToVector => _icvec,
        >= RegisterOffset.MsiConfigurationTable and < RegisterOffset.MsiConfigurationTable + 256 => ReadMsiTable(offset),
        >= RegisterOffset.CounterOverflow and < RegisterOffset.TranslationRequestIova => ReadMonitor(offset),
        _ => 0,
    };

    private void WriteRegister(uint offset, ulong value)
    {
        switch (offset)
        {
            case RegisterOffset.FeaturesControl:
                WriteFeaturesControl((uint)value);
                break;
            case RegisterOffset.DeviceDirectoryTablePointer:
                WriteDirectoryPointer(value);
                break;
            case RegisterOffset.CommandQueueBase:
                if (WriteQueueBase(ref _commandQueue, value))
                {
                    _commandQueue.Tail = 0;
                }

                break;
            case RegisterOffset.CommandQueueTail:
                _commandQueue.Tail = (uint)value & _commandQueue.IndexMask;
                ProcessCommands();
                break;
            case RegisterOffset.FaultQueueBase:
                if (WriteQueueBase(ref _faultQueue, value))
                {
                    _faultQueue.Head = 0;
                }

                break;
            case RegisterOffset.FaultQueueHead:
                _faultQueue.Head = (uint)value & _faultQueue.IndexMask;
                break;
            case RegisterOffset.PageRequestQueueBase:
                if (_capabilities.Ats && WriteQueueBase(ref _pageQueue, value))
                {
                    _pageQueue.Head = 0;
                }

                break;
            case RegisterOffset.PageRequestQueueHead:
                if (_capabilities.Ats)
                {
                    _pageQueue.Head = (uint)value & _pageQueue.IndexMask;
                }

                break;
            case RegisterOffset.CommandQueueCsr:
                WriteCommandQueueCsr((uint)value);
                break;
            case RegisterOffset.FaultQueueCsr:
                WriteRecordQueueCsr(ref _faultQueue, (uint)value);
                RaisePersistent(_faultQueue, RecordQueueErrors, InterruptPending.FaultQueue);
                break;
            case RegisterOffset.PageRequestQueueCsr:
                if (_capabilities.Ats)
                {
                    WriteRecordQueueCsr(ref _pageQueue, (uint)value);
                    RaisePersistent(_pageQueue, RecordQueueErrors, InterruptPending.PageRequestQueue);
                }

                break;
            case RegisterOffset.InterruptPendingStatus:
                ClearPending((InterruptPending)(uint)value);
                break;
            case RegisterOffset.TranslationRequestIova:
                if (_capabilities.Dbg)
                {
                    _trReqIova = value & ~0xffful;
                }

                break;
            case RegisterOffset.TranslationRequestControl:
                if (_capabilities.Dbg)
                {
                    WriteTranslationRequest(value);
                }

                break;
            case RegisterOffset.QosId:
                _qosId = _capabilities.QosId ? (uint)value & Options.QosIdMask : 0;
                break;
            case RegisterOffset.InterruptCauseToVector:
                WriteVectors(value);
                break;
            case >= RegisterOffset.MsiConfigurationTable and < RegisterOffset.MsiConfigurationTable + 256:
                WriteMsiTable(offset, value);
                break;
            case >= RegisterOffset.CounterOverflow and < RegisterOffset.TranslationRequestIova:
                WriteMonitor(offset, value);
                break;
        }
    }

    // Writes that change a feature while something is on are UNSPECIFIED (section 5.4): they are dropped.
    private void WriteFeaturesControl(uint value)
    {
        const uint Active = QueueCsr.EnableBit | QueueCsr.OnBit;
        if (_configuration.Mode != IommuMode.Off || ((_commandQueue.Csr | _faultQueue.Csr | _pageQueue.Csr) & Active) != 0)
        {
            return;
        }

        uint writable = (_capabilities.End ? Architecture.FeaturesControl.BigEndianBit : 0)
            | (_capabilities.Igs == InterruptGeneration.Both ? Architecture.FeaturesControl.WiredInterruptsBit : 0)
            | (Options.GxlWritable ? Architecture.FeaturesControl.GxlBit : 0);
        _fctl = (_fctl & ~writable) | (value & writable);
        PublishConfiguration();
        UpdateLines();
        ForgetContexts();
    }

    // A mode that is reserved or too deep, or a change from one directory depth to another, leaves everything as it is (section 5.5).
    private void WriteDirectoryPointer(ulong value)
    {
        if ((_ddtp & DeviceDirectoryTablePointer.BusyBit) != 0)
        {
            return;
        }

        IommuMode mode = (IommuMode)(value & DeviceDirectoryTablePointer.ModeMask);
        bool shallow = mode is IommuMode.Off or IommuMode.Bare || _configuration.Mode is IommuMode.Off or IommuMode.Bare;
        if (mode > Options.MaxMode || mode > IommuMode.ThreeLevel || !shallow)
        {
            return;
        }

        _ddtp = (ulong)mode | (value & WritablePpn);
        PublishConfiguration();
        ForgetContexts();

        // Transactions in flight finish with the old configuration before software sees the new one.
        if (mode == IommuMode.Off)
        {
            WaitForAccesses();
        }
    }

    private ulong WritablePpn => PpnField.FromAddress(_physicalMask);

    private bool WriteQueueBase(ref QueueRegisters queue, ulong value)
    {
        if ((queue.Csr & (QueueCsr.OnBit | QueueCsr.BusyBit)) != 0)
        {
            return false;
        }

        queue.Base = value & (QueueBase.Log2SizeMinus1Mask | WritablePpn);
        return true;
    }

    private void WriteCommandQueueCsr(uint value)
    {
        const uint Errors = QueueCsr.MemoryFaultBit | QueueCsr.CommandTimeoutBit | QueueCsr.CommandIllegalBit
            | QueueCsr.FenceWiredInterruptBit;
        uint csr = _commandQueue.Csr;
        if ((csr & QueueCsr.BusyBit) != 0)
        {
            return;
        }

        bool enable = (value & QueueCsr.EnableBit) != 0;
        if (enable && (csr & QueueCsr.EnableBit) == 0)
        {
            _commandQueue.Head = 0;
            csr = (csr & ~Errors) | QueueCsr.EnableBit | QueueCsr.OnBit;
        }
        else if (!enable && (csr & QueueCsr.EnableBit) != 0)
        {
            // A fence that waits keeps the queue on; it turns off with the fence's end (section 5.15).
            csr &= ~QueueCsr.EnableBit;
            csr = _fenceWaits ? csr | QueueCsr.BusyBit : csr & ~QueueCsr.OnBit;
        }

        csr = (csr & ~QueueCsr.InterruptEnableBit) | (value & QueueCsr.InterruptEnableBit);
        _commandQueue.Csr = csr & ~(value & Errors);
        RaisePersistent(_commandQueue, Errors, InterruptPending.CommandQueue);
        ProcessCommands();
    }

    private const uint RecordQueueErrors = QueueCsr.MemoryFaultBit | QueueCsr.OverflowBit;

    // fqcsr and pqcsr (sections 5.16, 5.17).
    private static void WriteRecordQueueCsr(ref QueueRegisters queue, uint value)
    {
        const uint Errors = RecordQueueErrors;
        uint csr = queue.Csr;
        if ((csr & QueueCsr.BusyBit) != 0)
        {
            return;
        }

        bool enable = (value & QueueCsr.EnableBit) != 0;
        if (enable && (csr & QueueCsr.EnableBit) == 0)
        {
            queue.Tail = 0;
            csr = (csr & ~Errors) | QueueCsr.EnableBit | QueueCsr.OnBit;
        }
        else if (!enable)
        {
            csr &= ~(QueueCsr.EnableBit | QueueCsr.OnBit);
        }

        csr = (csr & ~QueueCsr.InterruptEnableBit) | (value & QueueCsr.InterruptEnableBit);
        queue.Csr = csr & ~(value & Errors);
    }
}
