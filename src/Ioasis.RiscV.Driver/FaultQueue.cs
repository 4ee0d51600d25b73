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
internal sealed class FaultQueue : RecordQueue
{
    private readonly Func<uint, IommuDevice?> _findDevice;
    private readonly GuestEventQueue _guests = new();
    private readonly LogLimiter _log;

    private FaultQueue(
        HardwareAccess hardware,
        IPhysicalMemory memory,
        IPageAllocator pages,
        RiscVDriverOptions options,
        Func<uint, IommuDevice?> findDevice)
        : base(
            hardware, memory, pages, options,
            new(
                RegisterOffset.FaultQueueBase, RegisterOffset.FaultQueueHead, RegisterOffset.FaultQueueTail,
                RegisterOffset.FaultQueueCsr, QueueBase.FaultRecordSize))
    {
        _findDevice = findDevice;
        _log = new(hardware.Time, options.Logger, options.Name, options.FaultLogsPerSecond);
    }

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
        FaultQueue made = new(hardware, memory, pages, options, findDevice);
        Errno error = made.TurnOn(options.FaultQueueSizeLog2);
        queue = error == Errno.Success ? made : null;
        return error;
    }

    /// <inheritdoc/>
    protected override void OnRecord(PhysicalAddress record)
    {
        bool read = TryRead(record, 0, out ulong header);
        read &= TryRead(record, 16, out ulong iotval);
        read &= TryRead(record, 24, out ulong iotval2);
        if (read)
        {
            Report(new(header, 0, iotval, iotval2));
        }
    }

    /// <inheritdoc/>
    protected override void OnStopped(uint csr)
    {
        if (_log.MayLog())
        {
            Options.Logger.LogError(
                "{Name}: fault records were lost ({Why})", Options.Name,
                (csr & QueueCsr.MemoryFaultBit) != 0 ? "FQMF: the queue's memory faulted" : "FQOF: the queue was full");
        }

        Options.FaultSink?.OnFaultsLost();
    }

    /// <inheritdoc/>
    protected override void OnDrained() => _guests.Deliver();

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
        if (_log.MayLog())
        {
            Options.Logger.LogWarning(
                "{Name}: fault {Cause} ({Code}) of device {Device:x6}, PASID {Pasid}, IOVA {Iova}, {Access}, {Type}, iotval2 {Iotval2:x}",
                Options.Name, record.Cause, (int)record.Cause, record.DeviceId, fault.Pasid, fault.Iova, fault.Access,
                record.Type, record.Iotval2);
        }

        Options.FaultSink?.OnFault(fault);
        if (fault.Device?.DriverData is DeviceState { IsNested: true, Virtual: { } guest } && GuestEventQueue.IsGuests(record.Cause)
            && !_guests.TryAdd(guest, fault.Device, record) && (_guests.Dropped == 1 || _log.MayLog()))
        {
            Options.Logger.LogWarning(
                "{Name}: a guest does not take its events; {Count} were dropped so far", Options.Name, _guests.Dropped);
        }
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
