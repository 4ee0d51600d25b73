using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;
using Microsoft.Extensions.Logging;
using PageResponseCode = Ioasis.Core.PageResponseCode;

namespace Ioasis.Intel.Driver;

/// <summary>
/// The page request queue (section 7.4): its descriptors go to the core's router, the router's answers go back as group responses. What no
/// known device asked for gets "invalid request" here; a device never waits for ever.
/// </summary>
internal sealed class PageRequestQueue
{
    private const int DescriptorLog2 = 5;
    private const int PageLog2 = 12;

    // A flood can refill the queue while it is drained: after so many rounds the rest waits for the next event.
    private const int RoundsPerInterrupt = 64;

    private readonly UnitAccess _hardware;
    private readonly IPhysicalMemory _memory;
    private readonly IPageAllocator _pages;
    private readonly VtdDriverOptions _options;
    private readonly InvalidationQueue _answers;
    private readonly Func<ushort, IommuDevice?> _findDevice;
    private readonly PageRequestRouter _router;
    private readonly IoLock _lock = new();
    private readonly PhysicalAddress _base;
    private readonly int _bytesLog2;
    private ulong _head;
    private long _records;
    private bool _closed;

    private PageRequestQueue(
        UnitAccess hardware, IPhysicalMemory memory, IPageAllocator pages, VtdDriverOptions options, InvalidationQueue answers,
        Func<ushort, IommuDevice?> findDevice, PageRequestRouter router, PhysicalAddress start, int bytesLog2)
    {
        _hardware = hardware;
        _memory = memory;
        _pages = pages;
        _options = options;
        _answers = answers;
        _findDevice = findDevice;
        _router = router;
        _base = start;
        _bytesLog2 = bytesLog2;
        IRegisterWindow registers = hardware.Registers;
        registers.Write64(RegisterOffset.PageRequestQueueHead, 0);
        registers.Write64(RegisterOffset.PageRequestQueueTail, 0);
        registers.Write64(RegisterOffset.PageRequestQueueAddress, start.Value | (uint)(bytesLog2 - PageLog2));
        registers.Write32(RegisterOffset.PageRequestStatus, PageRequestStatus.PendingBit | PageRequestStatus.OverflowBit);
    }

    /// <summary>Page requests read.</summary>
    public long Records => Volatile.Read(ref _records);

    private ulong Mask => (1ul << _bytesLog2) - 1;

    /// <summary>Sets the queue up, while no device may request pages.</summary>
    public static Errno TryCreate(
        UnitAccess hardware, IPhysicalMemory memory, IPageAllocator pages, VtdDriverOptions options, InvalidationQueue answers,
        Func<ushort, IommuDevice?> findDevice, PageRequestRouter router, out PageRequestQueue? queue)
    {
        int bytesLog2 = options.PageRequestQueueSizeLog2 + DescriptorLog2;
        bool allocated = pages.TryAllocate(bytesLog2, IPageAllocator.AnyNode, out PhysicalAddress start);
        queue = allocated
            ? new(hardware, memory, pages, options, answers, findDevice, router, start, bytesLog2)
            : null;
        return allocated ? Errno.Success : Errno.OutOfMemory;
    }

    /// <summary>
    /// Reads what is there; never waits. A call out of a call (an event that a register write of this very method raised) leaves the work to
    /// the outer one, which looks again after each round. The handlers run with no lock held.
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
                uint status = _hardware.Registers.Read32(RegisterOffset.PageRequestStatus);

                // Acknowledged before the queue is read: what comes later raises the event again.
                _hardware.Registers.Write32(RegisterOffset.PageRequestStatus, PageRequestStatus.PendingBit);
                bool any = ReadDescriptors();
                if ((status & PageRequestStatus.OverflowBit) != 0)
                {
                    // The hardware answered the last requests of the groups that it dropped; what came before is complete (section 7.4).
                    _options.Logger.LogError("{Name}: page requests were lost (PRO: the queue was full)", _options.Name);
                    _router.RecordsLost();
                    _hardware.Registers.Write32(RegisterOffset.PageRequestStatus, PageRequestStatus.OverflowBit);
                }
                else if (!any)
                {
                    break;
                }
            }
        }

        _router.Dispatch();
    }

    /// <summary>Answers a group (section 7.6.1).</summary>
    public Errno Respond(PageRequestGroup group, PageResponseCode code) => Respond(
        group.Device.Id.RequesterId,
        group.HasPasid && group.Device.PageResponsesNeedPasid ? group.Pasid : Pasid.None, (uint)group.Index, code);

    /// <summary>Frees the queue; no device may request pages any more.</summary>
    public void Close()
    {
        using (_lock.Acquire())
        {
            if (!_closed)
            {
                _closed = true;
                _hardware.Registers.Write64(RegisterOffset.PageRequestQueueAddress, 0);
                _pages.Free(_base, _bytesLog2);
            }
        }
    }

    private bool ReadDescriptors()
    {
        ulong tail = _hardware.Registers.Read64(RegisterOffset.PageRequestQueueTail) & Architecture.PageRequestQueue.OffsetMask & Mask;
        if (tail == _head)
        {
            return false;
        }

        while (_head != tail)
        {
            PhysicalAddress at = _base + _head;
            if (_memory.Read64(at, out ulong low) == MemoryStatus.Success && _memory.Read64(at + 8, out ulong high) == MemoryStatus.Success)
            {
                Route(low, high);
            }
            else
            {
                // Whatever it was, a group may miss its last request now.
                _router.RecordsLost();
            }

            _ = Interlocked.Increment(ref _records);
            _head = (_head + PageRequestDescriptor.Size) & Mask;
        }

        _hardware.Registers.Write64(RegisterOffset.PageRequestQueueHead, _head);
        return true;
    }

    private void Route(ulong low, ulong high)
    {
        ushort sourceId = (ushort)(low >> PageRequestDescriptor.RequesterShift);
        bool hasPasid = (low & PageRequestDescriptor.PasidPresentBit) != 0;
        Pasid pasid = hasPasid ? new((uint)(low >> PageRequestDescriptor.PasidShift) & Pasid.MaxValue) : Pasid.None;
        bool isLast = (high & PageRequestDescriptor.HighLastBit) != 0;
        uint group = (uint)(high >> PageRequestDescriptor.HighGroupShift) & 0x1ff;
        Access access = ((high & PageRequestDescriptor.HighReadBit) != 0 ? Access.Read : Access.None)
            | ((high & PageRequestDescriptor.HighWriteBit) != 0 ? Access.Write : Access.None);
        bool isStopMarker = access == Access.None;
        access |= hasPasid && (low & PageRequestDescriptor.ExecuteBit) != 0 ? Access.Execute : Access.None;
        IommuDevice? device = _findDevice(sourceId);
        if (device is null)
        {
            if (isLast && !isStopMarker)
            {
                _ = Respond(sourceId, Pasid.None, group, PageResponseCode.InvalidRequest);
            }
        }
        else if (isStopMarker && isLast)
        {
            _router.StopMarker(device, pasid);
        }
        else
        {
            PageRequest request = new(
                new(high & PageRequestDescriptor.HighAddressMask), access, hasPasid && (low & PageRequestDescriptor.PrivilegedBit) != 0);
            _router.Add(device, pasid, hasPasid, (int)group, request, isLast);
        }
    }

    private Errno Respond(ushort sourceId, Pasid pasid, uint group, PageResponseCode code)
    {
        QueueDescriptor response = QueueDescriptor.PageResponse(sourceId, pasid, group, (Architecture.PageResponseCode)code);
        Errno error = _answers.Submit([response], BatchKind.None, out _);
        if (error != Errno.Success)
        {
            _options.Logger.LogError("{Name}: no response to a page request of {Device:x4}: {Error}", _options.Name, sourceId, error);
        }

        return error;
    }
}
