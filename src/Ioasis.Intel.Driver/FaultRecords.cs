using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;
using Microsoft.Extensions.Logging;

namespace Ioasis.Intel.Driver;

/// <summary>
/// Primary fault logging (section 7.2.1): the fault recording registers. Records are read in order and handed to the sink; after an
/// overflow the sink is told that records are missing. A flood is logged up to a rate.
/// </summary>
internal sealed class FaultRecords
{
    // A flood can fill the registers while they are read: after so many rounds the rest waits for the next event.
    private const int RoundsPerInterrupt = 64;

    private readonly UnitAccess _hardware;
    private readonly VtdDriverOptions _options;
    private readonly Func<ushort, IommuDevice?> _findDevice;
    private readonly LogLimiter _log;
    private readonly IoLock _lock = new();
    private readonly uint _start;
    private readonly int _count;
    private long _records;
    private long _overflows;

    public FaultRecords(UnitAccess hardware, Capability capability, VtdDriverOptions options, Func<ushort, IommuDevice?> findDevice)
    {
        _hardware = hardware;
        _options = options;
        _findDevice = findDevice;
        _log = new(hardware.Time, options.Logger, options.Name, options.FaultLogsPerSecond);
        _start = capability.FaultRecordOffset;
        _count = capability.FaultRecordCount;
    }

    /// <summary>Records read.</summary>
    public long Records => Volatile.Read(ref _records);

    /// <summary>Times that records were lost.</summary>
    public long Overflows => Volatile.Read(ref _overflows);

    /// <summary>Forgets what an earlier owner did not read.</summary>
    public void Discard() => ReadAll(report: false);

    /// <summary>
    /// Reads what is there; never waits. A call out of a call (an event that a register write of this very method raised) leaves the work
    /// to the outer one, which looks again after each round.
    /// </summary>
    public void Drain() => ReadAll(report: true);

    private void ReadAll(bool report)
    {
        if (_lock.IsHeld)
        {
            return;
        }

        using (_lock.Acquire())
        {
            for (int round = 0; round < RoundsPerInterrupt; round++)
            {
                uint status = _hardware.Registers.Read32(RegisterOffset.FaultStatus);
                if ((status & (FaultStatus.PendingBit | FaultStatus.OverflowBit)) == 0)
                {
                    return;
                }

                ReadFrom((int)((status >> FaultStatus.RecordIndexShift) & 0xff) % _count, report);
                if ((status & FaultStatus.OverflowBit) != 0)
                {
                    OnLost(report);
                }
            }
        }
    }

    // From the first that is pending on, in the order in which they were recorded.
    private void ReadFrom(int first, bool report)
    {
        bool any = false;
        for (int i = 0; i < _count; i++)
        {
            uint at = _start + ((uint)((first + i) % _count) * FaultRecord.Size);
            ulong high = _hardware.Registers.Read64(at + 8);
            if ((high & FaultRecord.HighFaultBit) == 0)
            {
                if (any)
                {
                    return;
                }

                continue;
            }

            any = true;
            ulong low = _hardware.Registers.Read64(at);
            _hardware.Registers.Write32(at + 12, (uint)(FaultRecord.HighFaultBit >> 32));
            if (report)
            {
                _ = Interlocked.Increment(ref _records);
                Report(low, high);
            }
        }
    }

    // The registers are empty now, so that what comes next has room.
    private void OnLost(bool report)
    {
        _hardware.Registers.Write32(RegisterOffset.FaultStatus, FaultStatus.OverflowBit);
        if (!report)
        {
            return;
        }

        _ = Interlocked.Increment(ref _overflows);
        if (_log.MayLog())
        {
            _options.Logger.LogError("{Name}: fault records were lost (PFO: all recording registers were full)", _options.Name);
        }

        _options.FaultSink?.OnFaultsLost();
    }

    private void Report(ulong low, ulong high)
    {
        IommuFault fault = Decode(low, high, _options.Segment, _findDevice);
        if (_log.MayLog())
        {
            _options.Logger.LogWarning(
                "{Name}: fault '{Reason}' (0x{Code:x2}) of device {Device}, PASID {Pasid}, IOVA {Iova}, {Access}, address type {Type}",
                _options.Name, FaultReasons.NameOf((FaultReason)fault.Cause), fault.Cause, fault.DeviceId, fault.Pasid, fault.Iova, fault.Access, fault.Detail);
        }

        _options.FaultSink?.OnFault(fault);
    }

    /// <summary>What a recording register says (section 11.4.7.6). The detail is the address type of the request: 0 untranslated, 1 a translation request, 2 translated.</summary>
    public static IommuFault Decode(ulong low, ulong high, int segment, Func<ushort, IommuDevice?> findDevice)
    {
        ushort sourceId = (ushort)(high & FaultRecord.HighSourceIdMask);
        var reason = (FaultReason)((high >> FaultRecord.HighReasonShift) & 0xff);
        bool hasPasid = (high & FaultRecord.HighPasidPresentBit) != 0;
        bool isInterrupt = reason is >= FaultReason.InterruptRequestReserved and <= FaultReason.InterruptRemappingRequired;
        return new(
            new(((ulong)segment << 16) | sourceId),
            findDevice(sourceId),
            hasPasid ? new((uint)(high >> FaultRecord.HighPasidShift) & Pasid.MaxValue) : Pasid.None,
            new(isInterrupt ? low : low & FaultRecord.AddressMask),
            isInterrupt ? Access.None : AccessOf(high),
            ReasonOf(reason),
            (int)reason,
            (high >> FaultRecord.HighAddressTypeShift) & 3,
            hasPasid && (high & FaultRecord.HighPrivilegedBit) != 0);
    }

    // T1 and T2: 0 a write, 1 a page request, 2 a read, 3 an atomic operation.
    private static Access AccessOf(ulong high)
    {
        bool isSecond = (high & FaultRecord.HighType2Bit) != 0;
        Access access = (high & FaultRecord.HighType1Bit) != 0 ? isSecond ? Access.ReadWrite : Access.Read
            : isSecond ? Access.None
            : Access.Write;
        return access | ((high & FaultRecord.HighExecuteBit) != 0 && access == Access.Read ? Access.Execute : Access.None);
    }

    private static IommuFaultReason ReasonOf(FaultReason reason) => reason switch
    {
        FaultReason.AddressBeyondWidth or FaultReason.WriteDenied or FaultReason.ReadDenied
            or FaultReason.FirstStageNotPresent or (>= FaultReason.FirstStageAddressBeyondWidth and <= FaultReason.FirstStageUpdateDenied)
            or FaultReason.SecondStageNotPresent or (>= FaultReason.NotCanonical and <= FaultReason.ScalableReadDenied) =>
            IommuFaultReason.NotMapped,
        FaultReason.RootNotPresent or FaultReason.ContextNotPresent or FaultReason.ScalableRootNotPresent
            or FaultReason.ScalableContextNotPresent or FaultReason.PasidDirectoryNotPresent or FaultReason.PasidEntryNotPresent
            or FaultReason.AbortDma => IommuFaultReason.Blocked,
        FaultReason.ContextBlocksDeviceTlb or FaultReason.OutputInInterruptRange
            or (>= FaultReason.PasidInLegacyMode and <= FaultReason.PageRequestInLegacyMode) or FaultReason.ExecuteRequested
            or (>= FaultReason.DeviceTlbDisabled and <= FaultReason.TranslatedPasidDisabled)
            or FaultReason.ExecuteUnsupported or FaultReason.SupervisorDisabled or FaultReason.ScalableOutputInInterruptRange
            or FaultReason.PasidBeyondSize => IommuFaultReason.NotAllowed,
        >= FaultReason.InterruptRequestReserved and <= FaultReason.InterruptRemappingRequired => IommuFaultReason.Other,
        _ => Enum.IsDefined(reason) ? IommuFaultReason.BadTable : IommuFaultReason.Other,
    };
}
