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
    private readonly DriverMutation _mutations;
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
    private ulong _origin;
    private ulong _tail;
    private ulong _head;
    private ulong _completed;
    private ulong _afterAts;
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
        _mutations = options.Mutations;
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
    /// <param name="ticket">What to <see cref="Wait"/> for.</param>
    /// <returns>
    /// Success; <see cref="Errno.IoError"/> if the queue is out of order; <see cref="Errno.NoDevice"/> if it was closed.
    /// </returns>
    public Errno Submit(ReadOnlySpan<Command> commands, out ulong ticket)
    {
        using (_lock.Acquire())
        {
            return SubmitLocked(commands, out ticket);
        }
    }

    /// <summary>Queues commands and a fence behind them and waits until the fence has completed.</summary>
    public Errno SubmitAndWait(ReadOnlySpan<Command> commands)
    {
        ulong ticket;
        using (_lock.Acquire())
        {
            Errno error = SubmitLocked(commands, out ticket);
            if (error != Errno.Success)
            {
                return error;
            }

            Advance();
        }

        return Wait(ticket);
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
                    if ((_mutations & DriverMutation.ErrorIsCompletion) != 0)
                    {
                        return Errno.Success;
                    }

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

    /// <summary>Commands queued so far of one kind.</summary>
    public long Count(CommandOpcode opcode, int function) => Volatile.Read(ref _counts[((int)opcode * 2) + function]);

    private Errno SubmitLocked(ReadOnlySpan<Command> commands, out ulong ticket)
    {
        ticket = 0;
        Errno error = Injection.Hit(InjectionKind.QueueSpace);
        if (error != Errno.Success)
        {
            return error;
        }

        if (_closed)
        {
            return Errno.NoDevice;
        }

        if (_failed && !TryRevive())
        {
            return Errno.IoError;
        }

        error = WaitForSpace((uint)commands.Length + 1);
        if (error != Errno.Success)
        {
            return error;
        }

        ulong position = _tail;
        foreach (ref readonly Command command in commands)
        {
            if (!Put(position++, command))
            {
                return Errno.IoError;
            }
        }

        if (!Put(position++, Command.Fence()))
        {
            return Errno.IoError;
        }

        foreach (ref readonly Command command in commands)
        {
            _counts[((int)command.Opcode * 2) + command.Function]++;
            if (command.Opcode == CommandOpcode.Ats)
            {
                _afterAts = position;
            }
        }

        _counts[(int)CommandOpcode.Iofence * 2]++;
        _tail = position;
        ticket = position;
        _registers.Write32(RegisterOffset.CommandQueueTail, Slot(position));
        return Errno.Success;
    }

    // While devices are asked to invalidate, the fence takes as long as they do.
    private TimeSpan Patience => _completed < _afterAts ? _hardware.AtsTimeout : _hardware.Timeout;

    private Errno WaitForSpace(uint needed)
    {
        if (_tail - _completed + needed < _size)
        {
            return Errno.Success;
        }

        long start = _hardware.Time.GetTimestamp();
        for (int spins = 0; ; spins++)
        {
            Advance();
            if (_tail - _completed + needed < _size)
            {
                return Errno.Success;
            }

            if (needed >= _size)
            {
                return Errno.InvalidArgument;
            }

            uint csr = _registers.Read32(RegisterOffset.CommandQueueCsr);
            if ((csr & ErrorBits) != 0 || (csr & QueueCsr.OnBit) == 0
                || _hardware.Time.GetElapsedTime(start) >= Patience)
            {
                Recover(csr);
                start = _hardware.Time.GetTimestamp();
                if (_failed)
                {
                    return Errno.IoError;
                }
            }

            HardwareAccess.Pause(spins);
        }
    }

    private uint Slot(ulong position) => (uint)(position - _origin) & _mask;

    private bool Put(ulong position, in Command command)
    {
        _copy[(uint)position & _mask] = command;
        return Store(Slot(position), command);
    }

    private bool Store(uint slot, in Command command)
    {
        if (_host != null)
        {
            ulong* entry = _host + (slot * 2ul);
            entry[0] = command.Low;
            entry[1] = command.High;
            return true;
        }

        PhysicalAddress address = _base + ((ulong)slot * QueueBase.CommandSize);
        return _memory.Write64(address, command.Low) == MemoryStatus.Success
            && _memory.Write64(address + 8, command.High) == MemoryStatus.Success;
    }

    // Takes note of how far the hardware has come. A head that lies outside of what is queued is no progress.
    private void Advance()
    {
        if (_head == _tail)
        {
            return;
        }

        uint moved = (_registers.Read32(RegisterOffset.CommandQueueHead) - Slot(_head)) & _mask;
        if (moved == 0 || moved > _tail - _head)
        {
            return;
        }

        _head += moved;
        for (ulong position = _head; (long)(position - _completed) > 0; position--)
        {
            if (_copy[(uint)(position - 1) & _mask].Opcode == CommandOpcode.Iofence)
            {
                Volatile.Write(ref _completed, position);
                return;
            }
        }
    }

    private bool TryGetResult(ulong ticket, out Errno result)
    {
        result = Errno.Success;
        if (Volatile.Read(ref _completed) < ticket)
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
}
