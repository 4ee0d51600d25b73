using System.Runtime.CompilerServices;
using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;
using Microsoft.Extensions.Logging;

namespace Ioasis.Intel.Driver;

/// <summary>What a batch of descriptors is counted as.</summary>
[Flags]
internal enum BatchKind
{
    None = 0,

    /// <summary>A synchronisation of a domain.</summary>
    Synchronisation = 1,

    /// <summary>It invalidates a whole domain or PASID.</summary>
    Flush = 2,

    /// <summary>It does so in place of too many descriptors.</summary>
    Collapse = 4,
}

/// <summary>
/// The invalidation queue (section 6.5.2). Descriptors go in by batches, each closed by a wait descriptor that stores a number of its
/// own; a batch is complete when that number has come to memory, and in no other case (S4.15).
/// </summary>
/// <remarks>
/// Positions are counted from the start of time in 64 bits; the slot in the ring is <c>(position - origin) mod size</c>. What was queued
/// since the last batch that completed stays in the ring and in a copy, for resubmission; then waits get new numbers, so that an old one
/// that comes late says nothing. A ticket is the position after a wait.
/// </remarks>
internal sealed partial class InvalidationQueue
{
    private const int PageLog2 = 12;
    private const uint ErrorBits = FaultStatus.QueueErrorBit | FaultStatus.TimeoutErrorBit;

    private readonly UnitAccess _hardware;
    private readonly IRegisterWindow _registers;
    private readonly IPhysicalMemory _memory;
    private readonly IPageAllocator _pages;
    private readonly ILogger _logger;
    private readonly string _name;
    private readonly bool _isWide;
    private readonly bool _isScalable;
    private readonly ulong _drains;
    private readonly IoLock _lock = new();
    private readonly PhysicalAddress _base;
    private readonly PhysicalAddress _status;
    private readonly int _bytesLog2;
    private readonly uint _size;
    private readonly uint _mask;
    private readonly QueueDescriptor[] _copy;
    private readonly long[] _counts = new long[16];
    private (ulong From, ulong To, Errno Result)[] _lost = [];

    // Position of what is in slot 0; after the last descriptor; after the last wait that is known to be done; after the last for a device.
    private ulong _origin;
    private ulong _tail;
    private ulong _completed;
    private ulong _afterDevices;
    private uint _stamp;
    private long _synchronisations;
    private long _flushes;
    private long _collapses;
    private long _completionErrors;
    private bool _failed;
    private bool _closed;

    private InvalidationQueue(
        UnitAccess hardware, IPhysicalMemory memory, IPageAllocator pages, PhysicalAddress start, PhysicalAddress status,
        int bytesLog2, VtdDriverOptions options, bool isScalable, ulong drains)
    {
        _hardware = hardware;
        _registers = hardware.Registers;
        _memory = memory;
        _pages = pages;
        _logger = options.Logger;
        _name = options.Name;
        _isWide = isScalable;
        _isScalable = isScalable;
        _drains = drains;
        _base = start;
        _status = status;
        _bytesLog2 = bytesLog2;
        _size = 1u << (bytesLog2 - (isScalable ? 5 : 4));
        _mask = _size - 1;
        _copy = new QueueDescriptor[_size];
    }

    /// <summary>Most descriptors of a batch.</summary>
    public int BatchLimit => (int)(_size / 2);

    /// <summary>Descriptors on their way: queued, and not known to be completed.</summary>
    public int Queued => (int)(uint)(Volatile.Read(ref _tail) - Volatile.Read(ref _completed));

    /// <summary>Batches so far that synchronised a domain.</summary>
    public long Synchronisations => Volatile.Read(ref _synchronisations);

    /// <summary>Batches so far that invalidated a whole domain or PASID.</summary>
    public long Flushes => Volatile.Read(ref _flushes);

    /// <summary>Of those, the ones in place of too many descriptors.</summary>
    public long Collapses => Volatile.Read(ref _collapses);

    /// <summary>Unexpected answers of devices.</summary>
    public long CompletionErrors => Volatile.Read(ref _completionErrors);

    /// <summary>Sets the queue up; it must be off.</summary>
    /// <param name="hardware">The registers.</param>
    /// <param name="memory">The memory.</param>
    /// <param name="pages">Where the queue comes from.</param>
    /// <param name="options">Its size.</param>
    /// <param name="isScalable">Whether descriptors are wide and the PASID cache is used.</param>
    /// <param name="drains">Which drain bits the hardware has.</param>
    /// <param name="queue">The queue.</param>
    public static Errno TryCreate(
        UnitAccess hardware, IPhysicalMemory memory, IPageAllocator pages, VtdDriverOptions options, bool isScalable, ulong drains,
        out InvalidationQueue? queue)
    {
        queue = null;
        int bytesLog2 = Math.Max(PageLog2, options.QueueSizeLog2 + (isScalable ? 5 : 4));
        if (!pages.TryAllocate(bytesLog2, IPageAllocator.AnyNode, out PhysicalAddress start))
        {
            return Errno.OutOfMemory;
        }

        if (!pages.TryAllocate(PageLog2, IPageAllocator.AnyNode, out PhysicalAddress status))
        {
            pages.Free(start, bytesLog2);
            return Errno.OutOfMemory;
        }

        InvalidationQueue made = new(hardware, memory, pages, start, status, bytesLog2, options, isScalable, drains);
        Errno error = !options.IsWithinHost(start) || !options.IsWithinHost(status) ? Errno.NotSupported
            : made.TurnOn() ? Errno.Success
            : Errno.TimedOut;
        if (error != Errno.Success)
        {
            made.Close();
            return error;
        }

        queue = made;
        return Errno.Success;
    }

    /// <summary>Descriptors queued so far of one type.</summary>
    public long Count(DescriptorType type) => Volatile.Read(ref _counts[(int)type]);

    /// <summary>Queues descriptors and a wait behind them, without waiting.</summary>
    /// <param name="descriptors">At most <see cref="BatchLimit"/>.</param>
    /// <param name="kind">What they are counted as.</param>
    /// <param name="ticket">What to <see cref="Wait"/> for.</param>
    /// <param name="drainsPageRequests">Whether page requests that devices sent before are in their queue when it is done.</param>
    /// <returns>
    /// Success; <see cref="Errno.IoError"/> if the queue is out of order; <see cref="Errno.NoDevice"/> if it was closed.
    /// </returns>
    public Errno Submit(
        ReadOnlySpan<QueueDescriptor> descriptors, BatchKind kind, out ulong ticket, bool drainsPageRequests = false)
    {
        ticket = 0;
        Errno error = Injection.Hit(InjectionKind.QueueSpace);
        if (error != Errno.Success)
        {
            return error;
        }

        using (_lock.Acquire())
        {
            error = Prepare((uint)descriptors.Length + 1);
            return error == Errno.Success ? Ring(descriptors, kind, drainsPageRequests, out ticket) : error;
        }
    }

    /// <summary>Queues descriptors and waits until they are done.</summary>
    /// <returns>As <see cref="Submit"/> and <see cref="Wait"/>.</returns>
    public Errno SubmitAndWait(
        ReadOnlySpan<QueueDescriptor> descriptors, BatchKind kind = BatchKind.None, bool drainsPageRequests = false)
    {
        Errno error = Submit(descriptors, kind, out ulong ticket, drainsPageRequests);
        return error == Errno.Success ? Wait(ticket) : error;
    }

    /// <summary>Waits until the batch of a ticket is done, recovering the queue where it stops.</summary>
    /// <returns>
    /// Success only if it is done; <see cref="Errno.TimedOut"/> if it is, but a device did not answer an invalidation of the batch;
    /// <see cref="Errno.IoError"/> if the queue had to be given up; <see cref="Errno.NoDevice"/> if it was closed.
    /// </returns>
    public Errno Wait(ulong ticket)
    {
        long start = 0;
        for (int spins = 0; ; spins++)
        {
            using (_lock.Acquire())
            {
                // A queue that is closed is off: what it would have invalidated is used by nobody.
                Advance();
                if (TryGetResult(ticket, out Errno result))
                {
                    return result;
                }

                if (_closed)
                {
                    return Errno.NoDevice;
                }

                start = spins == 0 ? _hardware.Time.GetTimestamp() : start;
                if (NeedsRecovery(start, out uint status))
                {
                    Recover(status);
                    start = _hardware.Time.GetTimestamp();
                    if (TryGetResult(ticket, out result))
                    {
                        return result;
                    }
                }
            }

            RegisterAccess.Pause(spins);
        }
    }

    /// <summary>
    /// The event of faults: if the queue stopped, recovers it even when nobody waits. A thread that is just queueing sees the error by
    /// itself.
    /// </summary>
    public void HandleInterrupt()
    {
        if (_lock.IsHeld)
        {
            return;
        }

        using (_lock.Acquire())
        {
            uint status = _closed || _failed ? 0 : ReadStatus();
            if ((status & ErrorBits) != 0)
            {
                Advance();
                Recover(status);
            }
        }
    }

    /// <summary>Turns the queue off and frees it; whoever still waits or submits gets <see cref="Errno.NoDevice"/>.</summary>
    public void Close()
    {
        using (_lock.Acquire())
        {
            if (_closed)
            {
                return;
            }

            Advance();
            _closed = true;
            if (TurnOff())
            {
                _pages.Free(_base, _bytesLog2);
                _pages.Free(_status, PageLog2);
            }
        }
    }

    // A number that no wait of the ring has is no progress.
    private void Advance()
    {
        if (_completed == _tail || _memory.Read32(_status, out uint stamp) != MemoryStatus.Success || (int)(stamp - _stamp) > 0)
        {
            return;
        }

        for (ulong position = _completed; position != _tail; position++)
        {
            ref readonly QueueDescriptor descriptor = ref _copy[(uint)position & _mask];
            if (!descriptor.IsReporting)
            {
                continue;
            }

            if ((int)(stamp - descriptor.Stamp) < 0)
            {
                return;
            }

            Volatile.Write(ref _completed, position + 1);
        }
    }

    private bool TryGetResult(ulong ticket, out Errno result)
    {
        result = Errno.Success;
        if (_completed < ticket)
        {
            return false;
        }

        foreach ((ulong from, ulong to, Errno error) in _lost)
        {
            if (ticket > from && ticket <= to)
            {
                result = error;
            }
        }

        return true;
    }

    // Makes sure that the queue works and has room. Under the lock.
    private Errno Prepare(uint needed)
    {
        if (_closed)
        {
            return Errno.NoDevice;
        }

        return _failed && !TryRevive() ? Errno.IoError : WaitForSpace(needed);
    }

    private Errno WaitForSpace(uint needed)
    {
        if (needed > (uint)BatchLimit + 1)
        {
            return Errno.InvalidArgument;
        }

        long start = 0;
        for (int spins = 0; ; spins++)
        {
            if (_tail - _completed + needed < _size)
            {
                return Errno.Success;
            }

            Advance();
            if (_tail - _completed + needed < _size)
            {
                return Errno.Success;
            }

            start = spins == 0 ? _hardware.Time.GetTimestamp() : start;
            if (NeedsRecovery(start, out uint status))
            {
                Recover(status);
                start = _hardware.Time.GetTimestamp();
                if (_failed)
                {
                    return Errno.IoError;
                }
            }

            RegisterAccess.Pause(spins);
        }
    }

    // Descriptors and the wait. Under the lock, with room for them.
    private Errno Ring(ReadOnlySpan<QueueDescriptor> descriptors, BatchKind kind, bool drainsPageRequests, out ulong ticket)
    {
        ticket = 0;
        ulong position = _tail;
        foreach (ref readonly QueueDescriptor descriptor in descriptors)
        {
            if (!Put(position++, descriptor))
            {
                return Errno.IoError;
            }
        }

        if (!Put(position++, QueueDescriptor.Report(_stamp + 1, _status, drainsPageRequests)))
        {
            return Errno.IoError;
        }

        foreach (ref readonly QueueDescriptor descriptor in descriptors)
        {
            _counts[(int)descriptor.Type]++;
            _afterDevices = descriptor.IsForDevice ? position : _afterDevices;
        }

        _counts[(int)DescriptorType.Wait]++;
        _synchronisations += (kind & BatchKind.Synchronisation) != 0 ? 1 : 0;
        _flushes += (kind & BatchKind.Flush) != 0 ? 1 : 0;
        _collapses += (kind & BatchKind.Collapse) != 0 ? 1 : 0;
        _stamp++;
        _tail = position;
        ticket = position;
        WriteTail();
        return Errno.Success;
    }

    private void WriteTail() => _registers.Write64(RegisterOffset.InvalidationQueueTail, (ulong)Slot(_tail) << (_isWide ? 5 : 4));

    private uint Slot(ulong position) => (uint)(position - _origin) & _mask;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool Put(ulong position, in QueueDescriptor descriptor)
    {
        _copy[(uint)position & _mask] = descriptor;
        return Store(Slot(position), descriptor);
    }

    // The upper half of a wide descriptor is 0 from the beginning and stays so.
    private bool Store(uint slot, in QueueDescriptor descriptor)
    {
        PhysicalAddress address = _base + ((ulong)slot << (_isWide ? 5 : 4));
        return _memory.Write64(address, descriptor.Low) == MemoryStatus.Success
            && _memory.Write64(address + 8, descriptor.High) == MemoryStatus.Success;
    }
}
