using Ioasis.Intel.Architecture;
using Ioasis.Platform;

namespace Ioasis.Intel.Hardware;

/// <summary>
/// Primary fault logging (section 7.2.1): the fault recording registers, <c>FSTS_REG</c> and the fault event (section 7.3). Under the register lock.
/// </summary>
internal sealed class FaultRecorder
{
    private const uint Clearable = FaultStatus.OverflowBit | FaultStatus.QueueErrorBit | FaultStatus.CompletionErrorBit | FaultStatus.TimeoutErrorBit;

    private readonly (ulong Low, ulong High)[] _records;
    private readonly long[] _counts = new long[256];
    private readonly bool _collapses;
    private readonly bool _hasDeviceTlb;
    private readonly bool _hasPasid;
    private readonly ulong _addressMask;
    private uint _status;
    private int _next;
    private int _first;

    public FaultRecorder(VtdIommuOptions options, UnitOutbox outbox)
    {
        _records = new (ulong, ulong)[options.Capabilities.FaultRecordCount];
        _collapses = options.CollapsesFaults;
        _hasDeviceTlb = options.ExtendedCapabilities.Has(ExtendedCapability.DeviceTlbBit);
        _hasPasid = options.ExtendedCapabilities.Has(ExtendedCapability.PasidBit);

        // "Hardware treats bits 63:N as reserved (0), where N corresponds to the largest AGAW" (section 11.4.7.6).
        int width = options.Capabilities.LargestAddressWidth;
        _addressMask = FaultRecord.AddressMask & (width == 0 ? ulong.MaxValue : (1ul << width) - 1);
        Event = new(outbox);
    }

    /// <summary>The fault event.</summary>
    public EventMessage Event { get; }

    /// <summary>Whether the invalidation queue has to stand still (section 6.5.2).</summary>
    public bool StopsQueue => (_status & (FaultStatus.QueueErrorBit | FaultStatus.TimeoutErrorBit)) != 0;

    /// <summary>Whether <c>ICE</c> is set.</summary>
    public bool HasCompletionError => (_status & FaultStatus.CompletionErrorBit) != 0;

    /// <summary>Whether <c>ITE</c> is set.</summary>
    public bool HasTimeoutError => (_status & FaultStatus.TimeoutErrorBit) != 0;

    /// <summary><c>FSTS_REG</c>.</summary>
    public uint Status => _status | (HasPending ? FaultStatus.PendingBit | ((uint)_first << FaultStatus.RecordIndexShift) : 0);

    private bool HasPending
    {
        get
        {
            foreach ((ulong _, ulong high) in _records)
            {
                if ((high & FaultRecord.HighFaultBit) != 0)
                {
                    return true;
                }
            }

            return false;
        }
    }

    /// <summary>Both address and interrupt translation are off: the index starts over (section 7.2.1).</summary>
    public void ResetIndex() => _next = 0;

    /// <summary>Records a fault of address translation.</summary>
    public void Record(in Request request)
    {
        ulong high = request.SourceId | ((ulong)request.Fault << FaultRecord.HighReasonShift);
        if (request.IsPageRequest)
        {
            high |= FaultRecord.HighType2Bit;
        }
        else
        {
            // A translation request is a read on the link, whatever it is after.
            bool isRead = request.Kind == DmaKind.TranslationRequest || !request.Writes;
            high |= (isRead ? FaultRecord.HighType1Bit : 0)
                | (_hasDeviceTlb ? (ulong)request.Kind << FaultRecord.HighAddressTypeShift : 0);
        }

        if (request.HasPasid && _hasPasid)
        {
            high |= FaultRecord.HighPasidPresentBit | ((ulong)request.Pasid << FaultRecord.HighPasidShift)
                | (request.Supervisor ? FaultRecord.HighPrivilegedBit : 0)
                | (request.Execute && !request.Writes ? FaultRecord.HighExecuteBit : 0);
        }

        Record(request.Address & _addressMask, high, request.Fault);
    }

    /// <summary>Records a fault of interrupt remapping.</summary>
    public void RecordInterrupt(ushort sourceId, FaultReason reason, uint index)
    {
        bool hasIndex = reason is not (FaultReason.InterruptRequestReserved or FaultReason.CompatibilityInterruptBlocked
            or (>= FaultReason.InterruptRequestInvalid and <= FaultReason.InterruptRemappingRequired));
        Record(
            hasIndex ? (ulong)(index & 0xffff) << FaultRecord.InterruptIndexShift : 0,
            sourceId | ((ulong)reason << FaultRecord.HighReasonShift),
            reason);
    }

    private void Record(ulong low, ulong high, FaultReason reason)
    {
        _counts[(int)reason]++;
        if ((_status & FaultStatus.OverflowBit) != 0 || (_collapses && HoldsRequester(high & FaultRecord.HighSourceIdMask)))
        {
            return;
        }

        if ((_records[_next].High & FaultRecord.HighFaultBit) != 0)
        {
            _status |= FaultStatus.OverflowBit;
            return;
        }

        bool quiet = Status == 0;
        if (!HasPending)
        {
            _first = _next;
        }

        _records[_next] = (low, high | FaultRecord.HighFaultBit);
        _next = _next + 1 < _records.Length ? _next + 1 : 0;
        if (quiet)
        {
            Event.Raise();
        }
    }

    private bool HoldsRequester(ulong sourceId)
    {
        foreach ((ulong _, ulong high) in _records)
        {
            if ((high & (FaultRecord.HighFaultBit | FaultRecord.HighSourceIdMask)) == (FaultRecord.HighFaultBit | sourceId))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Sets IQE, ICE or ITE.</summary>
    public void SetError(uint bit)
    {
        bool quiet = Status == 0;
        _status |= bit;
        if (quiet)
        {
            Event.Raise();
        }
    }

    /// <summary>Writes <c>FSTS_REG</c>.</summary>
    public void WriteStatus(uint value)
    {
        _status &= ~(value & Clearable);
        WithdrawIfServed();
    }

    /// <summary>Reads 4 bytes of the recording registers.</summary>
    public uint ReadRecord(uint offset)
    {
        (ulong low, ulong high) = _records[offset / FaultRecord.Size];
        return (uint)(((offset & 8) == 0 ? low : high) >> (int)((offset & 4) * 8));
    }

    /// <summary>Writes 4 bytes of the recording registers: F is cleared by a 1, all else is read only.</summary>
    public void WriteRecord(uint offset, uint value)
    {
        if ((offset & 0xc) == 0xc && (value >> 31) != 0)
        {
            ref (ulong Low, ulong High) record = ref _records[offset / FaultRecord.Size];
            record.High &= ~FaultRecord.HighFaultBit;
            WithdrawIfServed();
        }
    }

    /// <summary>Faults by reason.</summary>
    public Dictionary<FaultReason, long> Snapshot()
    {
        Dictionary<FaultReason, long> counts = [];
        for (int reason = 0; reason < _counts.Length; reason++)
        {
            if (_counts[reason] != 0)
            {
                counts.Add((FaultReason)reason, _counts[reason]);
            }
        }

        return counts;
    }

    private void WithdrawIfServed()
    {
        if (Status == 0)
        {
            Event.Withdraw();
        }
    }
}
