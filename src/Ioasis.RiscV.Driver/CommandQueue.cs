using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Microsoft.Extensions.Logging;

namespace Ioasis.RiscV.Driver;

/// <summary>
/// The command queue (section 3.1). Commands go in by batches, each closed by a fence; a batch is complete when the head has
/// passed its fence, and in no other case (S4.15).
/// </summary>
/// <remarks>
/// Positions are counted from the start of time in 64 bits; the slot in the ring is <c>(position - origin) mod size</c>. What
/// was queued since the last fence that completed stays in the ring and in a copy, for resubmission. A ticket is the
/// position after a fence.
/// </remarks>
internal sealed unsafe partial class CommandQueue
{
    /// <summary>log2 of the smallest ring: three commands and a fence, and the slot that stays empty.</summary>
    public const int MinSizeLog2 = 3;

    private const uint ErrorBits = QueueCsr.MemoryFaultBit | QueueCsr.CommandTimeoutBit | QueueCsr.CommandIllegalBit;

    private readonly HardwareAccess _hardware;
    private readonly IRegisterWindow _registers;
    private readonly IPhysicalMemory _memory;
    private readonly IPageAllocator _pages;
    private readonly ILogger _logger;
    private readonly string _name;
    private readonly bool _hasSecondStage;
    private readonly IoLock _lock = new();
    private readonly PhysicalAddress _base;
    private readonly int _bytesLog2;
    private readonly uint _size;
    private readonly uint _mask;
    private readonly ulong* _host;
    private readonly Command[] _copy;
    private readonly long[] _counts = new long[(int)CommandOpcode.Ats * 2 + 2];
    private (ulong From, ulong To, Errno Result)[] _lost = [];
    private Progress _at;
    private bool _failed;
    private bool _closed;

    private CommandQueue(
        HardwareAccess hardware,
        IPhysicalMemory memory,
        IPageAllocator pages,
        PhysicalAddress start,
        int bytesLog2,
        int sizeLog2,
        Capabilities capabilities,
        RiscVDriverOptions options)
    {
        _hardware = hardware;
        _registers = hardware.Registers;
        _memory = memory;
        _pages = pages;
        _logger = options.Logger;
        _name = options.Name;
        _hasSecondStage = capabilities.Has(
            Capabilities.Sv32x4Bit | Capabilities.Sv39x4Bit | Capabilities.Sv48x4Bit | Capabilities.Sv57x4Bit);
        _base = start;
        _bytesLog2 = bytesLog2;
        _size = 1u << sizeLog2;
        _mask = _size - 1;
        _copy = new Command[_size];
        _host = (ulong*)memory.TryGetHostPointer(start, (ulong)_size * QueueBase.CommandSize);
    }

    /// <summary>Sets the queue up; it must be off.</summary>
    public static Errno TryCreate(
        HardwareAccess hardware,
        IPhysicalMemory memory,
        IPageAllocator pages,
        Capabilities capabilities,
        RiscVDriverOptions options,
        out CommandQueue? queue)
    {
        queue = null;
        int sizeLog2 = options.CommandQueueSizeLog2;
        Errno error = hardware.TryAllocateQueue(
            pages, RegisterOffset.CommandQueueBase, QueueBase.CommandSize, MinSizeLog2,
            ref sizeLog2, out PhysicalAddress start, out int bytesLog2);
        if (error != Errno.Success)
        {
            return error;
        }

        CommandQueue made = new(hardware, memory, pages, start, bytesLog2, sizeLog2, capabilities, options);
        if (!made.TurnOn())
        {
            made.Close();
            return Errno.IoError;
        }

        queue = made;
        return Errno.Success;
    }

    /// <summary>Most commands of a batch.</summary>
    public int BatchLimit => (int)(_size / 2);

    /// <summary>Queues commands and a fence behind them, without waiting.</summary>
    /// <param name="commands">At most <see cref="BatchLimit"/>.</param>
    /// <param name="kind">What they are counted as.</param>
    /// <param name="ticket">What to <see cref="Wait"/> for.</param>
    /// <param name="ordersDma">Whether the fence also waits for devices' accesses that are translated already.</param>
    /// <returns>
    /// Success; <see cref="Errno.IoError"/> if the queue is out of order; <see cref="Errno.NoDevice"/> if it was closed.
    /// </returns>
    public Errno Submit(ReadOnlySpan<Command> commands, BatchKind kind, out ulong ticket, bool ordersDma = true)
    {
        ticket = 0;
        Errno error = Injection.Hit(InjectionKind.QueueSpace);
        if (error != Errno.Success)
        {
            return error;
        }

        using (_lock.Acquire())
        {
            error = Prepare((uint)commands.Length + 1);
            return error == Errno.Success ? Ring(commands, kind, 0, out ticket, ordersDma) : error;
        }
    }

    /// <summary>Waits until the fence of a ticket has completed, recovering the queue where it stops.</summary>
    /// <returns>
    /// Success only if the fence completed; <see cref="Errno.TimedOut"/> if it did, but a device did not answer an ATS
    /// invalidation of the batch; <see cref="Errno.IoError"/> if the queue had to be given up;
    /// <see cref="Errno.NoDevice"/> if it was closed.
    /// </returns>
    public Errno Wait(ulong ticket)
    {
        if (TryGetResult(ticket, out Errno result))
        {
            return result;
        }

        long start = _hardware.Time.GetTimestamp();
        for (int spins = 0; ; spins++)
        {
            using (_lock.Acquire())
            {
                if (_closed)
                {
                    return Errno.NoDevice;
                }

                Advance();
                if (TryGetResult(ticket, out result))
                {
                    return result;
                }

                uint csr = _registers.Read32(RegisterOffset.CommandQueueCsr);
                if ((csr & ErrorBits) != 0 || (csr & QueueCsr.OnBit) == 0)
                {
                    Recover(csr);
                    start = _hardware.Time.GetTimestamp();
                }
                else if (_hardware.Time.GetElapsedTime(start) >= Patience)
                {
                    Recover(csr);
                    start = _hardware.Time.GetTimestamp();
                }

                if (TryGetResult(ticket, out result))
                {
                    return result;
                }
            }

            HardwareAccess.Pause(spins);
        }
    }

    /// <summary>
    /// The interrupt of the queue: if commands stopped, recovers them even when nobody waits. A thread that is just queueing
    /// sees the error by itself.
    /// </summary>
    public void HandleInterrupt()
    {
        if (_lock.IsHeld)
        {
            return;
        }

        using (_lock.Acquire())
        {
            if (_closed || _failed)
            {
                return;
            }

            uint csr = _registers.Read32(RegisterOffset.CommandQueueCsr);
            if ((csr & ErrorBits) != 0)
            {
                Advance();
                Recover(csr);
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

            _closed = true;
            if (TurnOff())
            {
                _pages.Free(_base, _bytesLog2);
            }
        }
    }

    /// <summary>Commands on their way: queued, and not known to be completed.</summary>
    public int Queued => (int)(uint)(Volatile.Read(ref _at.Tail) - Volatile.Read(ref _at.Completed));

    /// <summary>Batches so far that synchronised a domain.</summary>
    public long Synchronisations => Volatile.Read(ref _at.Synchronisations);

    /// <summary>Batches so far that invalidated a whole address space.</summary>
    public long Flushes => Volatile.Read(ref _at.Flushes);

    /// <summary>Of those, the ones in place of too many commands.</summary>
    public long Collapses => Volatile.Read(ref _at.Collapses);

    /// <summary>Commands queued so far of one kind.</summary>
    public long Count(CommandOpcode opcode, int function) => Volatile.Read(ref _counts[((int)opcode * 2) + function]);

    // Takes note of how far the hardware has come. A head that lies outside of what is queued is no progress.
    private void Advance()
    {
        if (_at.Head == _at.Tail)
        {
            return;
        }

        uint moved = (_registers.Read32(RegisterOffset.CommandQueueHead) - Slot(_at.Head)) & _mask;
        if (moved == 0 || moved > _at.Tail - _at.Head)
        {
            return;
        }

        _at.Head += moved;
        for (ulong position = _at.Head; (long)(position - _at.Completed) > 0; position--)
        {
            if (_copy[(uint)(position - 1) & _mask].Opcode == CommandOpcode.Iofence)
            {
                Volatile.Write(ref _at.Completed, position);
                return;
            }
        }
    }

    private bool TryGetResult(ulong ticket, out Errno result)
    {
        result = Errno.Success;
        if (Volatile.Read(ref _at.Completed) < ticket)
        {
            return false;
        }

        foreach ((ulong from, ulong to, Errno error) in Volatile.Read(ref _lost))
        {
            if (ticket > from && ticket <= to)
            {
                result = error;
            }
        }

        return true;
    }

    /// <summary>What changes with every batch: on cache lines of its own, so that threads that only post do not wait for it.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    private struct Progress
    {
        // Position of what is in slot 0.
        [FieldOffset(128)]
        public ulong Origin;

        // After the last command that was queued.
        [FieldOffset(136)]
        public ulong Tail;

        // How far the hardware is known to have come.
        [FieldOffset(144)]
        public ulong Head;

        // After the last fence that is known to have completed.
        [FieldOffset(152)]
        public ulong Completed;

        // After the fence behind the last command for a device.
        [FieldOffset(160)]
        public ulong AfterAts;

        [FieldOffset(168)]
        public long Synchronisations;

        [FieldOffset(176)]
        public long Flushes;

        [FieldOffset(184)]
        public long Collapses;
    }
}
