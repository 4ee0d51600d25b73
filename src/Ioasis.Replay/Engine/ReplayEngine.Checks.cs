using System.Globalization;
using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Planning;

namespace Ioasis.Replay.Engine;

// The checks: what a DMA reaches after a map, that it faults after an unmap, and that the fault is reported.
internal sealed partial class ReplayEngine
{
    private void CheckMapped(in PlanCall call, DeviceState device, ulong physical)
    {
        ulong last = call.Length - 1;
        if (_options.Check == CheckLevel.All)
        {
            for (ulong offset = 0; offset <= last; offset += 4096)
            {
                CheckReaches(call, device, offset, physical + offset, write: (offset & 4096) != 0);
            }
        }
        else
        {
            CheckReaches(call, device, 0, physical, write: false);
        }

        CheckReaches(call, device, last, physical + last, write: true);
        ulong middle = Next() % call.Length & ~7ul;
        CheckData(call, device, middle, physical + middle);
    }

    private void CheckReaches(in PlanCall call, DeviceState device, ulong offset, ulong expected, bool write)
    {
        Translate(device, call.Start + offset, write, out DmaTranslation translation);
        _checks.Count(CheckKind.MapTranslation);
        if (translation.Status != DmaStatus.Success || translation.Address.Value != expected)
        {
            Fail(CheckKind.MapTranslation, call, call.Start + offset, CheckLog.Physical(expected), CheckLog.Outcome(translation));
            DrainFaults();
        }
    }

    private void CheckData(in PlanCall call, DeviceState device, ulong offset, ulong expected)
    {
        ulong value = Next();
        ulong seen = 0;
        _checks.Count(CheckKind.MapData);
        device.Translations++;
        Translations++;
        DmaRequest request = new(device.Id, new(call.Start + offset), DmaFlags.Write);
        DmaStatus status = _port.Write(request, MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in value)));
        if (status != DmaStatus.Success
            || _stack.Platform.PhysicalMemory.Read64(new(expected), out seen) != MemoryStatus.Success
            || seen != value)
        {
            Fail(
                CheckKind.MapData, call, call.Start + offset,
                CheckLog.Physical(expected),
                status == DmaStatus.Success ? "the data is elsewhere" : "a fault");
            DrainFaults();
        }

        // Nothing but checks writes here: a page that one has written is of no more use.
        _discarding?.Discard(new(expected & ~4095ul), 4096);
    }

    private void CheckUnmapped(in PlanCall call, ReadOnlySpan<AddressRange> ended)
    {
        bool write = (Next() & 1) != 0;
        if (_options.Check == CheckLevel.All)
        {
            foreach (AddressRange area in ended)
            {
                ulong first = Math.Max(area.Start, call.CheckStart);
                ulong last = Math.Min(area.Last, call.CheckStart + (call.CheckLength - 1));
                for (ulong at = first; at <= last && at >= first; at += 4096)
                {
                    CheckFaults(CheckKind.UnmapFault, call.Device, at, write, call.Line);
                    write = !write;
                }
            }

            return;
        }

        ulong offset = Next() % call.CheckLength;
        CheckFaults(CheckKind.UnmapFault, call.Device, call.CheckStart + offset, write, call.Line);
        if (call.CheckLength > 4096)
        {
            CheckFaults(CheckKind.UnmapFault, call.Device, call.CheckStart, !write, call.Line);
            CheckFaults(CheckKind.UnmapFault, call.Device, call.CheckStart + (call.CheckLength - 1), write, call.Line);
        }
    }

    private void CheckFaults(CheckKind kind, int device, ulong iova, bool write, int line)
    {
        Translate(_devices[device], iova, write, out DmaTranslation translation);
        _checks.Count(kind);
        if (translation.Status != DmaStatus.UnsupportedRequest)
        {
            if (_checks.Lists)
            {
                _checks.Fail(
                    kind, line, _devices[device].Name, iova, CheckLog.Fault(write), CheckLog.Outcome(translation));
            }
            else
            {
                _checks.Fail(kind, line, "", iova, "", "");
            }

            DrainFaults();
            return;
        }

        _checks.Count(CheckKind.FaultRecord);
        bool reported = TryTakeFault(out IommuFault fault);
        if (reported && IsFaultOf(fault, device, iova, write))
        {
            CollectionsMarshal.GetValueRefOrAddDefault(_expectedFaults, fault.Cause, out _)++;
        }
        else
        {
            string got = reported
                ? string.Create(CultureInfo.InvariantCulture, $"fault {fault.Cause} of {fault.DeviceId} at {fault.Iova}")
                : "no record";
            _checks.Fail(
                CheckKind.FaultRecord, line, _devices[device].Name, iova, CheckLog.Fault(write) + " in a record", got);
            DrainFaults();
        }
    }

    private bool IsFaultOf(in IommuFault fault, int device, ulong iova, bool write) =>
        _iommu.IsPageFault(fault.Cause, write) && fault.Access == (write ? Access.Write : Access.Read)
        && fault.DeviceId == _devices[device].Id && fault.Iova.Value == (iova & _iommu.FaultAddressMask);

    private void CheckLogged(in ScheduledDma scheduled, in DmaAccess access, bool write)
    {
        int device = scheduled.Device;
        Translate(_devices[device], access.Iova, write, out DmaTranslation translation);
        _checks.Count(CheckKind.LoggedDma);
        ulong mask = ~((1ul << scheduled.SizeLog2) - 1);
        if (translation.Status != DmaStatus.Success || ((translation.Address.Value ^ access.Physical) & mask) != 0)
        {
            _checks.Fail(
                CheckKind.LoggedDma,
                access.Line,
                _devices[device].Name,
                access.Iova,
                CheckLog.Physical(access.Physical & mask),
                CheckLog.Outcome(translation));
            DrainFaults();
        }
    }

    private void Fail(CheckKind kind, in PlanCall call, ulong iova, string expected, string got) =>
        _checks.Fail(kind, call.Line, _devices[call.Device].Name, iova, expected, got);
}
