using Ioasis.Platform;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <content>The fault queue (section 3.2).</content>
public sealed partial class RiscVIommu
{
    // Called with the register lock held.
    private void ReportFault(in Request request)
    {
        CountFault(request.Cause);
        if (!_faultQueue.IsOn
            || (_faultQueue.Csr & (QueueCsr.MemoryFaultBit | QueueCsr.OverflowBit)) != 0
            || (request.DisableFaults && !request.Cause.IsReportedWithDtf()))
        {
            return;
        }

        ulong header = (ulong)request.Cause
            | ((ulong)request.Type << FaultRecord.TypeShift)
            | ((ulong)(request.DeviceId & 0xff_ffff) << FaultRecord.DeviceShift);
        if (request.HadProcess)
        {
            header |= FaultRecord.PidValidBit | ((ulong)(request.ProcessId & 0xf_ffff) << FaultRecord.PidShift)
                | (request.PrivilegedRequested ? FaultRecord.PrivilegedBit : 0);
        }

        FaultRecord record = new(header, 0, request.Iova, request.Iotval2);
        uint failure = (Options.Tap?.OnFaultRecord(record) ?? 0) & (QueueCsr.MemoryFaultBit | QueueCsr.OverflowBit);
        uint next = (_faultQueue.Tail + 1) & _faultQueue.IndexMask;
        if (failure != 0)
        {
            _faultQueue.Csr |= failure;
        }
        else if (next == _faultQueue.Head)
        {
            _faultQueue.Csr |= QueueCsr.OverflowBit;
        }
        else
        {
            ulong address = PpnField.ToAddress(_faultQueue.Base) | ((ulong)_faultQueue.Tail * QueueBase.FaultRecordSize);
            if (WriteDoublewords(address, _configuration.BigEndian, [header, 0, request.Iova, request.Iotval2]) != MemoryStatus.Success)
            {
                _faultQueue.Csr |= QueueCsr.MemoryFaultBit;
            }
            else
            {
                Volatile.Write(ref _faultQueue.Tail, next);
            }
        }

        if (_faultQueue.HasInterrupts)
        {
            Raise(InterruptPending.FaultQueue);
        }
    }

    // Called without any lock, and not as a translation that a fence waits for.
    private void ReportTranslationFault(in Request request)
    {
        bool delivers;
        Departure departure;
        using (_lock.Acquire())
        {
            ReportFault(request);
            delivers = TryBeginDelivery(out departure);
        }

        if (delivers)
        {
            DeliverOne(departure);
        }

        Deliver();
    }
}
