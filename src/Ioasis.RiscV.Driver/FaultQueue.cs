using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Microsoft.Extensions.Logging;

namespace Ioasis.RiscV.Driver;

/// <summary>
/// The fault queue (section 3.2). Records are read in order and handed to the sink. After an overflow the queue is drained
/// before reporting is switched on again, and the sink is told that records are missing. A flood is logged up to a rate.
/// </summary>
internal sealed class FaultQueue
{
    private const uint ErrorBits = QueueCsr.MemoryFaultBit | QueueCsr.OverflowBit;

    // A flood can refill the queue while it is drained: after so many rounds the rest waits for the interrupt that it raised.
    private const int RoundsPerInterrupt = 64;

    private readonly HardwareAccess _hardware;
    private readonly IPhysicalMemory _memory;
    private readonly IPageAllocator _pages;
    private readonly RiscVDriverOptions _options;
    private readonly Func<uint, IommuDevice?> _findDevice;
    private readonly IoLock _lock = new();
    private readonly GuestEventQueue _guests = new();
    private readonly PhysicalAddress _base;
    private readonly int _bytesLog2;
    private readonly uint _mask;
    private uint _head;
    private bool _closed;
    private long _faults;
    private long _overflows;
    private long _windowStart;
    private int _loggedInWindow;
    private long _suppressed;

    private FaultQueue(
        HardwareAccess hardware,
        IPhysicalMemory memory,
        IPageAllocator pages,
        PhysicalAddress start,
        int bytesLog2,
        int sizeLog2,
        RiscVDriverOptions options,
        Func<uint, IommuDevice?> findDevice)
    {
        _hardware = hardware;
        _memory = memory;
        _pages = pages;
        _base = start;
        _bytesLog2 = bytesLog2;
        _options = options;
        _findDevice = findDevice;
        _mask = (1u << sizeLog2) - 1;
        _windowStart = hardware.Time.GetTimestamp();
    }

    /// <summary>Records read.</summary>
    public long Faults => Volatile.Read(ref _faults);

    /// <summary>Times that the queue ran over.</summary>
    public long Overflows => Volatile.Read(ref _overflows);

    /// <summary>Events of guests that were dropped.</summary>
    public long DroppedGuestEvents => _guests.Dropped;

    /// <summary>Sets the queue up; it must be off.</summary>
    public static Errno TryCreate(
        HardwareAccess hardware,
        IPhysicalMemory memory,
        IPageAllocator pages,
        RiscVDriverOptions options,
        Func<uint, IommuDevice?> findDevice,
        out FaultQueue? queue)
    {
        queue = null;
        int sizeLog2 = options.FaultQueueSizeLog2;
        Errno error = hardware.TryAllocateQueue(
            pages, RegisterOffset.FaultQueueBase, QueueBase.FaultRecordSize, 1,
            ref sizeLog2, out PhysicalAddress start, out int bytesLog2);
        if (error != Errno.Success)
        {
            return error;
        }

        IRegisterWindow registers = hardware.Registers;
        registers.Write32(RegisterOffset.FaultQueueHead, 0);
        registers.Write32(
            RegisterOffset.FaultQueueCsr, QueueCsr.EnableBit | QueueCsr.InterruptEnableBit | ErrorBits);
        FaultQueue made = new(hardware, memory, pages, start, bytesLog2, sizeLog2, options, findDevice);
        if (!hardware.WaitFor32(RegisterOffset.FaultQueueCsr, QueueCsr.OnBit | QueueCsr.BusyBit, QueueCsr.OnBit, out _))
        {
            made.Close();
            return Errno.IoError;
        }

        queue = made;
        return Errno.Success;
    }

    /// <summary>
    /// Reads what is there and, if reporting had stopped, starts it again. Never waits. A call out of a call (an interrupt that
    /// a register write of this very method raised) leaves the work to the outer one, which looks again after each write.
    /// </summary>
    public void Drain()
    {
        if (_lock.IsHeld)
        {
            return;
        }

        using (_lock.Acquire())
        {
            DrainLocked();
        }

        _guests.Deliver();
    }

    private void DrainLocked()
    {
        for (int round = 0; round < RoundsPerInterrupt && !_closed; round++)
        {
            bool any = ReadRecords();
            uint csr = _hardware.Registers.Read32(RegisterOffset.FaultQueueCsr);
            if ((csr & ErrorBits) == 0)
            {
                if (!any)
                {
                    return;
                }

                continue;
            }

            // The queue is empty now, so that what comes next has room. Only the bits seen are cleared.
            _hardware.Registers.Write32(
                RegisterOffset.FaultQueueCsr,
                QueueCsr.EnableBit | QueueCsr.InterruptEnableBit | (csr & ErrorBits));
            _overflows++;
            if (MayLog())
            {
                _options.Logger.LogError(
                    "{Name}: fault records were lost ({Why})", _options.Name,
                    (csr & QueueCsr.MemoryFaultBit) != 0 ? "FQMF: the queue's memory faulted" : "FQOF: the queue was full");
            }

            _options.FaultSink?.OnFaultsLost();
        }
    }

    /// <summary>Turns the queue off and frees it, if the hardware lets go of it.</summary>
    public void Close()
    {
        using (_lock.Acquire())
        {
            if (_closed)
            {
                return;
            }

            _closed = true;
            _hardware.Registers.Write32(RegisterOffset.FaultQueueCsr, 0);
            if (_hardware.WaitFor32(RegisterOffset.FaultQueueCsr, QueueCsr.OnBit | QueueCsr.BusyBit, 0, out _))
            {
                _pages.Free(_base, _bytesLog2);
            }
        }
    }

    private bool ReadRecords()
    {
        uint tail = _hardware.Registers.Read32(RegisterOffset.FaultQueueTail) & _mask;
        if (tail == _head)
        {
            return false;
        }

        while (_head != tail)
        {
            PhysicalAddress at = _base + ((ulong)_head * QueueBase.FaultRecordSize);
            bool read = _memory.Read64(at, out ulong header) == MemoryStatus.Success;
            read &= _memory.Read64(at + 16, out ulong iotval) == MemoryStatus.Success;
            read &= _memory.Read64(at + 24, out ulong iotval2) == MemoryStatus.Success;
            if (read)
            {
                Report(new(header, 0, iotval, iotval2));
            }

            _faults++;
            _head = (_head + 1) & _mask;
        }

        _hardware.Registers.Write32(RegisterOffset.FaultQueueHead, _head);
        return true;
    }

    private void Report(in FaultRecord record)
    {
        IommuFault fault = new(
            new(record.DeviceId),
            _findDevice(record.DeviceId),
            record.HasProcess ? new Pasid(record.ProcessId) : Pasid.None,
            new(record.Iotval),
            AccessOf(record),
            ReasonOf(record.Cause),
            (int)record.Cause,
            record.Iotval2,
            record.IsPrivileged);
        if (MayLog())
        {
            _options.Logger.LogWarning(
                "{Name}: fault {Cause} ({Code}) of device {Device:x6}, PASID {Pasid}, IOVA {Iova}, {Access}, {Type}, iotval2 {Iotval2:x}",
                _options.Name, record.Cause, (int)record.Cause, record.DeviceId, fault.Pasid, fault.Iova, fault.Access,
                record.Type, record.Iotval2);
        }

        _options.FaultSink?.OnFault(fault);
        if (fault.Device?.DriverData is DeviceState { IsNested: true, Virtual: { } guest } && GuestEventQueue.IsGuests(record.Cause)
            && !_guests.TryAdd(guest, fault.Device, record) && (_guests.Dropped == 1 || MayLog()))
        {
            _options.Logger.LogWarning(
                "{Name}: a guest does not take its events; {Count} were dropped so far", _options.Name, _guests.Dropped);
        }
    }

    private bool MayLog()
    {
        if (_hardware.Time.GetElapsedTime(_windowStart) >= TimeSpan.FromSeconds(1))
        {
            if (_suppressed != 0)
            {
                _options.Logger.LogWarning("{Name}: {Count} more faults were not logged", _options.Name, _suppressed);
            }

            _windowStart = _hardware.Time.GetTimestamp();
            _loggedInWindow = 0;
            _suppressed = 0;
        }

        if (_loggedInWindow < _options.FaultLogsPerSecond)
        {
            _loggedInWindow++;
            return true;
        }

        _suppressed++;
        return false;
    }

    private static Access AccessOf(in FaultRecord record) => record.Type switch
    {
        TransactionType.UntranslatedExecute or TransactionType.TranslatedExecute => Access.Read | Access.Execute,
        TransactionType.UntranslatedWrite or TransactionType.TranslatedWrite => Access.Write,
        TransactionType.UntranslatedRead or TransactionType.TranslatedRead
            or TransactionType.AtsTranslationRequest => Access.Read,
        _ => Access.None,
    };

    private static IommuFaultReason ReasonOf(FaultCause cause) => cause switch
    {
        FaultCause.InstructionPageFault or FaultCause.ReadPageFault or FaultCause.WritePageFault
            or FaultCause.InstructionGuestPageFault or FaultCause.ReadGuestPageFault or FaultCause.WriteGuestPageFault
            or FaultCause.MsiPteNotValid => IommuFaultReason.NotMapped,
        FaultCause.AllInboundDisallowed or FaultCause.DdtEntryNotValid or FaultCause.PdtEntryNotValid =>
            IommuFaultReason.Blocked,
        FaultCause.TransactionTypeDisallowed => IommuFaultReason.NotAllowed,
        FaultCause.InstructionAccessFault or FaultCause.ReadAccessFault or FaultCause.WriteAccessFault
            or FaultCause.MrifAccessFault => IommuFaultReason.AccessFault,
        FaultCause.DdtEntryLoadAccessFault or FaultCause.DdtEntryMisconfigured or FaultCause.MsiPteLoadAccessFault
            or FaultCause.MsiPteMisconfigured or FaultCause.PdtEntryLoadAccessFault or FaultCause.PdtEntryMisconfigured
            or FaultCause.DdtDataCorruption or FaultCause.PdtDataCorruption or FaultCause.MsiPtDataCorruption
            or FaultCause.MrifDataCorruption or FaultCause.PageTableDataCorruption => IommuFaultReason.BadTable,
        _ => IommuFaultReason.Other,
    };
}
