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
internal sealed class PageRequestQueue
{
    private const uint ErrorBits = QueueCsr.MemoryFaultBit | QueueCsr.OverflowBit;
    private const int RoundsPerInterrupt = 64;

    private readonly HardwareAccess _hardware;
    private readonly IPhysicalMemory _memory;
    private readonly IPageAllocator _pages;
    private readonly RiscVDriverOptions _options;
    private readonly CommandQueue _commands;
    private readonly Func<uint, IommuDevice?> _findDevice;
    private readonly PageRequestRouter _router;
    private readonly IoLock _lock = new();
    private readonly PhysicalAddress _base;
    private readonly int _bytesLog2;
    private readonly uint _mask;
    private uint _head;
    private bool _closed;
    private long _requests;
    private long _overflows;

    private PageRequestQueue(
        HardwareAccess hardware,
        IPhysicalMemory memory,
        IPageAllocator pages,
        PhysicalAddress start,
        int bytesLog2,
        int sizeLog2,
        RiscVDriverOptions options,
        CommandQueue commands,
        Func<uint, IommuDevice?> findDevice,
        PageRequestRouter router)
    {
        _hardware = hardware;
        _memory = memory;
        _pages = pages;
        _base = start;
        _bytesLog2 = bytesLog2;
        _options = options;
        _commands = commands;
        _findDevice = findDevice;
        _router = router;
        _mask = (1u << sizeLog2) - 1;
    }

    /// <summary>Records read.</summary>
    public long Requests => Volatile.Read(ref _requests);

    /// <summary>Times that records were lost.</summary>
    public long Overflows => Volatile.Read(ref _overflows);

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
        queue = null;
        int sizeLog2 = options.PageRequestQueueSizeLog2;
        Errno error = hardware.TryAllocateQueue(
            pages, RegisterOffset.PageRequestQueueBase, QueueBase.PageRequestSize, 1,
            ref sizeLog2, out PhysicalAddress start, out int bytesLog2);
        if (error != Errno.Success)
        {
            return error;
        }

        IRegisterWindow registers = hardware.Registers;
        registers.Write32(RegisterOffset.PageRequestQueueHead, 0);
        registers.Write32(
            RegisterOffset.PageRequestQueueCsr, QueueCsr.EnableBit | QueueCsr.InterruptEnableBit | ErrorBits);
        PageRequestQueue made = new(
            hardware, memory, pages, start, bytesLog2, sizeLog2, options, commands, findDevice, router);
        if (!hardware.WaitFor32(RegisterOffset.PageRequestQueueCsr, QueueCsr.OnBit | QueueCsr.BusyBit, QueueCsr.OnBit, out _))
        {
            made.Close();
            return Errno.IoError;
        }

        queue = made;
        return Errno.Success;
    }

    /// <summary>
    /// Hands on what is there and, if the queue had stopped, starts it again; then has the handlers run, with no lock held.
    /// </summary>
    public void Drain()
    {
        if (_lock.IsHeld)
        {
            return;
        }

        using (_lock.Acquire())
        {
            for (int round = 0; round < RoundsPerInterrupt && !_closed; round++)
            {
                bool any = ReadRecords();
                uint csr = _hardware.Registers.Read32(RegisterOffset.PageRequestQueueCsr);
                if ((csr & ErrorBits) != 0)
                {
                    Restart(csr);
                }
                else if (!any)
                {
                    break;
                }
            }
        }

        _router.Dispatch();
    }

    /// <summary>Answers a group (section 3.1.4, ATS.PRGR).</summary>
    public Errno Respond(PageRequestGroup group, PageResponseCode code) =>
        Respond(group.Device.Id.Value, group.HasPasid && group.Device.PageResponsesNeedPasid ? group.Pasid.Value : null, group.Index, code);

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
            _hardware.Registers.Write32(RegisterOffset.PageRequestQueueCsr, 0);
            if (_hardware.WaitFor32(RegisterOffset.PageRequestQueueCsr, QueueCsr.OnBit | QueueCsr.BusyBit, 0, out _))
            {
                _pages.Free(_base, _bytesLog2);
            }
        }
    }

    private bool ReadRecords()
    {
        uint tail = _hardware.Registers.Read32(RegisterOffset.PageRequestQueueTail) & _mask;
        if (tail == _head)
        {
            return false;
        }

        while (_head != tail)
        {
            PhysicalAddress at = _base + ((ulong)_head * QueueBase.PageRequestSize);
            bool read = _memory.Read64(at, out ulong header) == MemoryStatus.Success;
            read &= _memory.Read64(at + 8, out ulong payload) == MemoryStatus.Success;
            if (read)
            {
                Route(new(header, payload));
            }
            else
            {
                // Whatever it was, a group may miss its last request now.
                _router.RecordsLost();
            }

            _requests++;
            _head = (_head + 1) & _mask;
        }

        _hardware.Registers.Write32(RegisterOffset.PageRequestQueueHead, _head);
        return true;
    }

    // Records were dropped: while the queue was full, the hardware answered the last requests among them with success, after a
    // memory fault with response failure (section 3.3). What came before is complete.
    private void Restart(uint csr)
    {
        _ = Interlocked.Increment(ref _overflows);
        _options.Logger.LogError("{Name}: page requests were lost (pqcsr {Csr:x8})", _options.Name, csr);
        _router.RecordsLost();
        _hardware.Registers.Write32(
            RegisterOffset.PageRequestQueueCsr, QueueCsr.EnableBit | QueueCsr.InterruptEnableBit | (csr & ErrorBits));
    }

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
        Errno error = _commands.Submit([command], BatchKind.None, out _);
        if (error != Errno.Success)
        {
            _options.Logger.LogError("{Name}: no response to a page request of {Device:x6}: {Error}", _options.Name, deviceId, error);
        }

        return error;
    }
}
