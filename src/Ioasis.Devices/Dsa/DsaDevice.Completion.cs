using System.Buffers.Binary;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Devices.Dsa;

/// <content>How descriptors end: completion records, interrupts, and what is told in SWERR or the event log (sections 5.6 to 5.9).</content>
public sealed partial class DsaDevice
{
    private Progress Fail(WorkItem item, DsaStatus status)
    {
        bool isList = item.Descriptor.Operation == DsaOperation.Batch && status is DsaStatus.PageFault or DsaStatus.PageRefused;
        return End(item, new(isList ? DsaStatus.BatchPageFault : status, item.IsBackward ? (byte)1 : (byte)0, item.Done, item.FaultAddress)
        {
            IsWriteFault = item.IsWriteFault,
        });
    }

    private Progress End(WorkItem item, in DsaCompletion completion)
    {
        item.Result = completion;
        bool isSuccess = completion.Status is DsaStatus.Success or DsaStatus.SuccessUnexpected;
        if (item.Batch is null)
        {
            using (_lock.Acquire())
            {
                _statistics = _statistics with
                {
                    Completed = _statistics.Completed + 1,
                    Failed = _statistics.Failed + (isSuccess ? 0 : 1),
                };
            }
        }

        DsaDescriptor descriptor = item.Descriptor;
        bool isValid = descriptor.Has(DsaFlags.CompletionAddressValid);
        if (isValid && (!isSuccess || completion.Status == DsaStatus.SuccessUnexpected || descriptor.Has(DsaFlags.RequestCompletion)))
        {
            if (descriptor.Completion % DsaCompletion.Size != 0)
            {
                item.FaultAddress = descriptor.Completion;
                Report(item, DsaStatus.CompletionAlignment);
                return Progress.Done;
            }

            item.Record = new byte[DsaCompletion.Size];
            completion.WriteTo(item.Record);
            item.Attempts = 0;
            return Complete(item);
        }

        if (!isSuccess)
        {
            Report(item, completion.Status);
        }

        Interrupt(item);
        return Progress.Done;
    }

    // The status is written last: software that polls it sees the rest.
    private Progress Complete(WorkItem item)
    {
        ulong at = item.Descriptor.Completion;
        AtsStatus status = WriteAs(item, at + 8, item.Record.AsSpan(8), out _);
        if (status == AtsStatus.Success)
        {
            status = WriteAs(item, at, item.Record.AsSpan(0, 8), out _);
        }

        item.FaultAddress = at;
        item.IsWriteFault = true;
        if (status == AtsStatus.PageMissing && TryAsk(item, at, Access.Write, out Progress progress))
        {
            return progress;
        }

        if (status != AtsStatus.Success)
        {
            return LoseCompletion(item);
        }

        Interrupt(item);
        return Progress.Done;
    }

    private Progress LoseCompletion(WorkItem item)
    {
        using (_lock.Acquire())
        {
            _statistics = _statistics with { LostCompletions = _statistics.LostCompletions + 1 };
        }

        Report(item, DsaStatus.CompletionFault);
        return Progress.Done;
    }

    private void Interrupt(WorkItem item)
    {
        if (!item.Descriptor.Has(DsaFlags.RequestInterrupt) || item.Result.Status == DsaStatus.BadHandle)
        {
            return;
        }

        using (_lock.Acquire())
        {
            int vector = item.IsAborted || item.Batch is { IsAborted: true } ? -1 : FindVector(item.Descriptor.Handle, item.Pasid);
            if (vector >= 0)
            {
                _messages.Enqueue(vector);
            }
        }
    }

    // What no completion record tells: in the event log if software has one, else in SWERR.
    private void Report(WorkItem item, DsaStatus error)
    {
        Span<byte> entry = stackalloc byte[DsaRegisters.EventSize];
        entry.Clear();
        Describe(item, error, entry);
        ulong place = 0;
        Pasid pasid;
        using (_lock.Acquire())
        {
            if (item.IsAborted || item.Batch is { IsAborted: true })
            {
                return;
            }

            if (!FindEventPlace(out place, out pasid))
            {
                ReportInRegister(entry);
                return;
            }
        }

        // The log has a PASID of its own, and its memory is there.
        bool isWritten = WriteMemory(new(place), entry, pasid) == DmaStatus.Success;
        using (_lock.Acquire())
        {
            if (isWritten)
            {
                PassEvent();
            }
            else
            {
                ReportInRegister(entry);
            }
        }
    }

    // SWERR and an entry of the log begin alike (sections 9.2.13 and 5.9).
    private static void Describe(WorkItem item, DsaStatus error, Span<byte> entry)
    {
        const ulong HasDescriptor = 1 << 2;
        const ulong HasQueue = 1 << 3;
        const ulong IsOfBatch = 1 << 4;
        const ulong IsWrite = 1 << 5;
        const ulong IsPrivileged = 1 << 6;
        const ulong HasErrorInformation = 1 << 7;
        DsaCompletion result = item.Result;
        bool isFlags = error == DsaStatus.BadFlags;
        bool isFault = item.FaultAddress != 0;
        BinaryPrimitives.WriteUInt64LittleEndian(
            entry,
            HasDescriptor | HasQueue
                | (item.Batch is not null ? IsOfBatch : 0)
                | (isFault && item.IsWriteFault ? IsWrite : 0)
                | (item.Descriptor.IsPrivileged ? IsPrivileged : 0)
                | (isFlags || isFault ? HasErrorInformation : 0)
                | ((ulong)error << 8)
                | ((ulong)item.Queue.Index << 16)
                | ((ulong)item.Descriptor.Operation << 32)
                | ((ulong)item.Pasid.Value << 40));
        BinaryPrimitives.WriteUInt16LittleEndian(entry[8..], (ushort)(item.Batch?.Done ?? 0));
        BinaryPrimitives.WriteUInt32LittleEndian(entry[12..], isFlags ? result.Value : 0);
        BinaryPrimitives.WriteUInt64LittleEndian(entry[16..], item.FaultAddress);
        result.WriteTo(entry[32..]);
    }

    private void ReportInRegister(ReadOnlySpan<byte> entry)
    {
        const byte Valid = 1;
        const byte Overflow = 2;
        const byte HasErrorInformation = 0x80;
        Span<byte> register = _file.AsSpan((int)DsaRegisters.SoftwareError, 32);
        if ((register[0] & Valid) != 0)
        {
            register[0] |= Overflow;
            return;
        }

        entry[..24].CopyTo(register);
        register[0] = (byte)((register[0] & ~HasErrorInformation) | Valid);
        Raise(DsaCause.SoftwareError, Wants(DsaControl.SoftwareError));
    }

    private void ClearError(byte written)
    {
        Span<byte> register = _file.AsSpan((int)DsaRegisters.SoftwareError, 32);
        register[0] &= (byte)~(written & 3);
        if ((register[0] & 1) == 0)
        {
            register.Clear();
        }
    }

    private bool Wants(DsaControl what) => (Get32(DsaRegisters.GeneralControl) & (uint)what) != 0;

    private bool FindEventPlace(out ulong place, out Pasid pasid)
    {
        ulong configuration = Get64(DsaRegisters.EventLogConfiguration);
        ulong size = Get64(DsaRegisters.EventLogConfiguration + 8);
        (uint head, uint tail, uint entries) = (LogIndex(0), LogIndex(4), (ushort)size);
        place = (configuration & ~0xffful) + (tail * (ulong)DsaRegisters.EventSize);
        pasid = (configuration & 1) != 0 ? new((uint)(size >> 16) & Pasid.MaxValue) : default;
        return (Get32(DsaRegisters.GeneralConfiguration) & DsaRegisters.EventLogEnable) != 0 && tail < entries && (tail + 1) % entries != head;
    }

    private uint LogIndex(uint offset) => (ushort)Get32(DsaRegisters.EventLogStatus + offset);

    private void PassEvent()
    {
        uint entries = (ushort)Get64(DsaRegisters.EventLogConfiguration + 8);
        uint tail = (LogIndex(4) + 1) % entries;
        Set64(DsaRegisters.EventLogStatus, LogIndex(0) | ((ulong)tail << 32) | DsaRegisters.EventLogInterruptPending);
        Raise(DsaCause.EventLog, Wants(DsaControl.EventLog));
    }
}
