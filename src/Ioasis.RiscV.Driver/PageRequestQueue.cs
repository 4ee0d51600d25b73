using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Microsoft.Extensions.Logging;

namespace Ioasis.RiscV.Driver;

/// <summary>
/// The page-request queue (section 3.3). Nobody in the core resolves page requests yet, so that each group that asks for a
/// response gets "invalid request" (the PCIe code that tells the device not to retry); a device never waits for ever.
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
    private readonly IoLock _lock = new();
    private readonly PhysicalAddress _base;
    private readonly int _bytesLog2;
    private readonly uint _mask;
    private uint _head;
    private bool _closed;
    private long _requests;

    private PageRequestQueue(
        HardwareAccess hardware,
        IPhysicalMemory memory,
        IPageAllocator pages,
        PhysicalAddress start,
        int bytesLog2,
        int sizeLog2,
        RiscVDriverOptions options,
        CommandQueue commands,
        Func<uint, IommuDevice?> findDevice)
    {
        _hardware = hardware;
        _memory = memory;
        _pages = pages;
        _base = start;
        _bytesLog2 = bytesLog2;
        _options = options;
        _commands = commands;
        _findDevice = findDevice;
        _mask = (1u << sizeLog2) - 1;
    }

    /// <summary>Records read.</summary>
    public long Requests => Volatile.Read(ref _requests);

    /// <summary>Sets the queue up; it must be off.</summary>
    public static Errno TryCreate(
        HardwareAccess hardware,
        IPhysicalMemory memory,
        IPageAllocator pages,
        RiscVDriverOptions options,
        CommandQueue commands,
        Func<uint, IommuDevice?> findDevice,
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
        PageRequestQueue made = new(hardware, memory, pages, start, bytesLog2, sizeLog2, options, commands, findDevice);
        if (!hardware.WaitFor32(RegisterOffset.PageRequestQueueCsr, QueueCsr.OnBit | QueueCsr.BusyBit, QueueCsr.OnBit, out _))
        {
            made.Close();
            return Errno.IoError;
        }

        queue = made;
        return Errno.Success;
    }

    /// <summary>Answers what is there and, if the queue had stopped, starts it again.</summary>
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
                    _options.Logger.LogError("{Name}: page requests were lost (pqcsr {Csr:x8})", _options.Name, csr);
                    _hardware.Registers.Write32(
                        RegisterOffset.PageRequestQueueCsr,
                        QueueCsr.EnableBit | QueueCsr.InterruptEnableBit | (csr & ErrorBits));
                }
                else if (!any)
                {
                    return;
                }
            }
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
                Answer(new(header, payload));
            }

            _requests++;
            _head = (_head + 1) & _mask;
        }

        _hardware.Registers.Write32(RegisterOffset.PageRequestQueueHead, _head);
        return true;
    }

    // Only the last request of a group asks for a response, and a stop marker (last, but neither read nor write) does not.
    private void Answer(in PageRequestRecord record)
    {
        ulong payload = record.Payload;
        if ((payload & PageRequestPayload.LastBit) == 0
            || (payload & (PageRequestPayload.ReadBit | PageRequestPayload.WriteBit)) == 0)
        {
            return;
        }

        ulong group = (payload >> PageRequestPayload.GroupShift) & PageRequestPayload.GroupMask;
        ulong response = (group << PageRequestPayload.ResponseGroupShift)
            | ((ulong)PageResponseCode.InvalidRequest << PageRequestPayload.ResponseCodeShift);
        bool withPasid = record.HasProcess && _findDevice(record.DeviceId) is { PageResponsesNeedPasid: true };
        Command command = Command.AtsPageResponse(
            record.DeviceId & 0xffff, record.DeviceId >> 16, withPasid ? record.ProcessId : null, response);
        if (_commands.Submit([command], out _) != Errno.Success)
        {
            _options.Logger.LogError("{Name}: no response to a page request of {Device:x6}", _options.Name, record.DeviceId);
        }
    }
}
