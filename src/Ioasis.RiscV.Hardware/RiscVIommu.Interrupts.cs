using System.Numerics;
using Ioasis.Platform;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <content>Interrupts: <c>ipsr</c>, <c>icvec</c>, <c>msi_cfg_tbl</c> (sections 5.18, 5.28, 5.29), and what leaves the IOMMU.</content>
public sealed partial class RiscVIommu
{
    private readonly ulong[] _msiAddress = new ulong[MsiConfiguration.EntryCount];
    private readonly uint[] _msiData = new uint[MsiConfiguration.EntryCount];
    private readonly bool[] _msiMasked = new bool[MsiConfiguration.EntryCount];
    private readonly bool[] _msiPending = new bool[MsiConfiguration.EntryCount];

    // What is to be called outside, in order; whoever finds no one delivering delivers all.
    private readonly Queue<Departure> _departures = new();
    private int _departureCount;
    private int _delivering;
    private uint _lineLevels;

    private enum DepartureKind
    {
        Msi,
        Notice,
        Line,
        InvalidationRequest,
        PageResponse,
    }

    private readonly record struct Departure(
        DepartureKind Kind, ulong Address = 0, uint Data = 0, bool BigEndian = false, PcieMessage Message = default);

    private void Depart(in Departure departure)
    {
        _departures.Enqueue(departure);
        Volatile.Write(ref _departureCount, _departures.Count);
    }

    // Called with no lock held: interrupts and messages go out here, so that the receiver may come back with register accesses.
    private void Deliver()
    {
        while (Volatile.Read(ref _departureCount) != 0)
        {
            Departure next;
            using (_lock.Acquire())
            {
                if (!TryBeginDelivery(out next))
                {
                    return;
                }
            }

            DeliverOne(next);
        }
    }

    // Called with the register lock held: who gets one delivers it with no lock held, and then what else there may be.
    private bool TryBeginDelivery(out Departure next)
    {
        if (Volatile.Read(ref _delivering) != 0 || !_departures.TryDequeue(out next))
        {
            next = default;
            return false;
        }

        _delivering = 1;
        Volatile.Write(ref _departureCount, _departures.Count);
        return true;
    }

    private void DeliverOne(in Departure departure)
    {
        try
        {
            if (Send(departure) == MemoryStatus.AccessFault && departure.Kind == DepartureKind.Msi)
            {
                using (_lock.Acquire())
                {
                    ReportFault(new() { Cause = FaultCause.MsiWriteAccessFault, Iova = departure.Address });
                }
            }
        }
        finally
        {
            // Before the count is looked at again: what another thread left meanwhile, because somebody was delivering, is seen then.
            _ = Interlocked.Exchange(ref _delivering, 0);
        }
    }

    private MemoryStatus Send(in Departure departure)
    {
        switch (departure.Kind)
        {
            case DepartureKind.Msi or DepartureKind.Notice when (departure.Address & ~_physicalMask) != 0:
                return MemoryStatus.AccessFault;
            case DepartureKind.Msi or DepartureKind.Notice when _msiSink is { } sink:
                return sink.Send(new(departure.Address), departure.Data);
            case DepartureKind.Msi or DepartureKind.Notice:
                return WriteWord(departure.Address, departure.BigEndian, departure.Data);
            case DepartureKind.Line:
                _lines?.SetLevel((int)departure.Address, departure.Data != 0);
                break;
            case DepartureKind.InvalidationRequest:
                _link?.SendInvalidationRequest(departure.Message);
                break;
            case DepartureKind.PageResponse:
                _link?.SendPageRequestGroupResponse(departure.Message);
                break;
        }

        return MemoryStatus.Success;
    }

    // Sets a pending bit whose source has interrupts enabled; a message goes out on the bit's edge from 0 to 1 only.
    private void Raise(InterruptPending source)
    {
        if ((_ipsr & (uint)source) != 0)
        {
            return;
        }

        _ipsr |= (uint)source;
        if (_configuration.WiredInterrupts)
        {
            UpdateLines();
            return;
        }

        int vector = VectorOf(source);
        if (_msiMasked[vector])
        {
            _msiPending[vector] = true;
        }
        else
        {
            SendMsi(vector);
        }
    }

    // A pending bit is set while interrupts are enabled and an error is there, in whichever order the two came (section 5.18).
    private void RaisePersistent(in QueueRegisters queue, uint errors, InterruptPending source)
    {
        if (queue.HasInterrupts && (queue.Csr & errors) != 0
            && (Options.Deviations & ReferenceDeviations.InterruptEnableRaisesNothing) == 0)
        {
            Raise(source);
        }
    }

    private int VectorOf(InterruptPending source) => (int)((_icvec >> (source switch
    {
        InterruptPending.CommandQueue => InterruptCauseToVector.CommandQueueShift,
        InterruptPending.FaultQueue => InterruptCauseToVector.FaultQueueShift,
        InterruptPending.PerformanceMonitor => InterruptCauseToVector.PerformanceMonitorShift,
        _ => InterruptCauseToVector.PageRequestQueueShift,
    })) & InterruptCauseToVector.VectorMask);

    private void SendMsi(int vector) =>
        Depart(new(DepartureKind.Msi, _msiAddress[vector], _msiData[vector], _configuration.BigEndian));

    // Each wire is asserted while any pending bit selects it.
    private void UpdateLines()
    {
        uint levels = 0;
        if (_configuration.WiredInterrupts)
        {
            for (uint pending = _ipsr; pending != 0; pending &= pending - 1)
            {
                levels |= 1u << VectorOf((InterruptPending)(pending & (0 - pending)));
            }
        }

        for (uint changed = levels ^ _lineLevels; changed != 0; changed &= changed - 1)
        {
            int vector = BitOperations.TrailingZeroCount(changed);
            Depart(new(DepartureKind.Line, (ulong)vector, levels >> vector & 1));
        }

        _lineLevels = levels;
    }

    // A cleared bit whose condition persists is set again, with another message (section 5.18).
    private void ClearPending(InterruptPending clear)
    {
        const uint CommandErrors = QueueCsr.MemoryFaultBit | QueueCsr.CommandTimeoutBit | QueueCsr.CommandIllegalBit
            | QueueCsr.FenceWiredInterruptBit;
        const uint RecordErrors = QueueCsr.MemoryFaultBit | QueueCsr.OverflowBit;
        _ipsr &= ~(uint)clear;
        UpdateLines();
        if ((clear & InterruptPending.CommandQueue) != 0 && (_commandQueue.Csr & CommandErrors) != 0 && _commandQueue.HasInterrupts)
        {
            Raise(InterruptPending.CommandQueue);
        }

        if ((clear & InterruptPending.FaultQueue) != 0 && (_faultQueue.Csr & RecordErrors) != 0 && _faultQueue.HasInterrupts)
        {
            Raise(InterruptPending.FaultQueue);
        }

        if ((clear & InterruptPending.PageRequestQueue) != 0 && (_pageQueue.Csr & RecordErrors) != 0 && _pageQueue.HasInterrupts)
        {
            Raise(InterruptPending.PageRequestQueue);
        }
    }

    private void WriteVectors(ulong value)
    {
        ulong vector = (1ul << Options.VectorBits) - 1;
        ulong mask = (vector << InterruptCauseToVector.CommandQueueShift)
            | (vector << InterruptCauseToVector.FaultQueueShift)
            | (_capabilities.Hpm ? vector << InterruptCauseToVector.PerformanceMonitorShift : 0)
            | (_capabilities.Ats ? vector << InterruptCauseToVector.PageRequestQueueShift : 0);
        _icvec = value & mask;
        UpdateLines();
    }

    private bool HasMsiEntry(int entry) =>
        _capabilities.Igs != InterruptGeneration.Wsi && entry < 1 << Options.VectorBits;

    private ulong ReadMsiTable(uint offset)
    {
        uint inTable = offset - RegisterOffset.MsiConfigurationTable;
        int entry = (int)(inTable / MsiConfiguration.EntrySize);
        return (inTable % MsiConfiguration.EntrySize) switch
        {
            MsiConfiguration.AddressOffset => _msiAddress[entry],
            MsiConfiguration.DataOffset => _msiData[entry],
            MsiConfiguration.VectorControlOffset => _msiMasked[entry] ? MsiConfiguration.MaskedBit : 0,
            _ => 0,
        };
    }

    private void WriteMsiTable(uint offset, ulong value)
    {
        uint inTable = offset - RegisterOffset.MsiConfigurationTable;
        int entry = (int)(inTable / MsiConfiguration.EntrySize);
        if (!HasMsiEntry(entry))
        {
            return;
        }

        switch (inTable % MsiConfiguration.EntrySize)
        {
            case MsiConfiguration.AddressOffset:
                _msiAddress[entry] = value & MsiConfiguration.AddressMask & _physicalMask;
                break;
            case MsiConfiguration.DataOffset:
                _msiData[entry] = (uint)value;
                break;
            case MsiConfiguration.VectorControlOffset:
                bool masked = (value & MsiConfiguration.MaskedBit) != 0;
                bool release = _msiMasked[entry] && !masked && _msiPending[entry];
                _msiMasked[entry] = masked;
                if (release)
                {
                    _msiPending[entry] = false;
                    SendMsi(entry);
                }

                break;
        }
    }
}
