using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Microsoft.Extensions.Logging;
using PageResponseCode = Ioasis.Core.PageResponseCode;

namespace Ioasis.RiscV.Driver;

/// <summary>
/// The page-request queue (section 3.3): its records go to the core's router, the router's answers go back as ATS.PRGR commands.
/// What no known device asked for gets "invalid request" here; a device never waits for ever.
/// </summary>
internal sealed class PageRequestQueue : RecordQueue
{
    private readonly CommandQueue _commands;
    private readonly Func<uint, IommuDevice?> _findDevice;
    private readonly PageRequestRouter _router;

    private PageRequestQueue(
        HardwareAccess hardware,
        IPhysicalMemory memory,
        IPageAllocator pages,
        RiscVDriverOptions options,
        CommandQueue commands,
        Func<uint, IommuDevice?> findDevice,
        PageRequestRouter router)
        : base(
            hardware, memory, pages, options,
            new(
                RegisterOffset.PageRequestQueueBase, RegisterOffset.PageRequestQueueHead, RegisterOffset.PageRequestQueueTail,
                RegisterOffset.PageRequestQueueCsr, QueueBase.PageRequestSize))
    {
        _commands = commands;
        _findDevice = findDevice;
        _router = router;
    }

    /// <summary>Sets the queue up; it must be off.</summary>
    public static Errno TryCreate(
        HardwareAccess hardware,
        IPhysicalMemory memory,
        IPageAllocator pages,
        RiscVDriverOptions options,
        CommandQueue commands,
        Func<uint, IommuDevice?> findDevice,
        PageRequestRouter router,
        out PageRequestQueue? queue)
    {
        PageRequestQueue made = new(hardware, memory, pages, options, commands, findDevice, router);
        Errno error = made.TurnOn(options.PageRequestQueueSizeLog2);
        queue = error == Errno.Success ? made : null;
        return error;
    }

    /// <summary>Answers a group (section 3.1.4, ATS.PRGR).</summary>
    public Errno Respond(PageRequestGroup group, PageResponseCode code) =>
        Respond((uint)group.Device.Id.Value, group.HasPasid && group.Device.PageResponsesNeedPasid ? group.Pasid.Value : null, group.Index, code);

    /// <inheritdoc/>
    protected override void OnRecord(PhysicalAddress record)
    {
        bool read = TryRead(record, 0, out ulong header);
        read &= TryRead(record, 8, out ulong payload);
        if (read)
        {
            Route(new(header, payload));
        }
        else
        {
            // Whatever it was, a group may miss its last request now.
            _router.RecordsLost();
        }
    }

    /// <summary>
    /// While the queue was full, the hardware answered the last requests among those dropped with success, after a memory fault
    /// with response failure (section 3.3). What came before is complete.
    /// </summary>
    protected override void OnStopped(uint csr)
    {
        Options.Logger.LogError("{Name}: page requests were lost (pqcsr {Csr:x8})", Options.Name, csr);
        _router.RecordsLost();
    }

    /// <summary>The handlers run with no lock held.</summary>
    protected override void OnDrained() => _router.Dispatch();

    private void Route(in PageRequestRecord record)
    {
        ulong payload = record.Payload;
        bool isLast = (payload & PageRequestPayload.LastBit) != 0;
        int index = (int)((payload >> PageRequestPayload.GroupShift) & PageRequestPayload.GroupMask);
        Pasid pasid = record.HasProcess ? new(record.ProcessId) : Pasid.None;
        IommuDevice? device = _findDevice(record.DeviceId);
        Access access = ((payload & PageRequestPayload.ReadBit) != 0 ? Access.Read : Access.None)
            | ((payload & PageRequestPayload.WriteBit) != 0 ? Access.Write : Access.None)
            | (record.HasProcess && record.IsExecute ? Access.Execute : Access.None);
        bool isStopMarker = (payload & (PageRequestPayload.ReadBit | PageRequestPayload.WriteBit)) == 0;
        if (device is null)
        {
            if (isLast && !isStopMarker)
            {
                _ = Respond(record.DeviceId, null, index, PageResponseCode.InvalidRequest);
            }
        }
        else if (isStopMarker && isLast)
        {
            _router.StopMarker(device, pasid);
        }
        else
        {
            PageRequest request = new(
                new(payload & PageRequestPayload.AddressMask), access, record.HasProcess && record.IsPrivileged);
            _router.Add(device, pasid, record.HasProcess, index, request, isLast);
        }
    }

    private Errno Respond(uint deviceId, uint? pasid, int index, PageResponseCode code)
    {
        ulong payload = ((ulong)index << PageRequestPayload.ResponseGroupShift)
            | ((ulong)code << PageRequestPayload.ResponseCodeShift);
        Command command = Command.AtsPageResponse(deviceId & 0xffff, deviceId >> 16, pasid, payload);
        Errno error = _commands.Submit([command], BatchKind.None, out _, ordersDma: false);
        if (error != Errno.Success)
        {
            Options.Logger.LogError("{Name}: no response to a page request of {Device:x6}: {Error}", Options.Name, deviceId, error);
        }

        return error;
    }
}
