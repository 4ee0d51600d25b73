using System.Numerics;
using System.Runtime.CompilerServices;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <content>The ring: room in it, commands into it, and the doorbell.</content>
internal sealed unsafe partial class CommandQueue
{
    // Makes sure that the queue works and has room. Under the lock.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Errno Prepare(uint needed)
    {
        if (_closed)
        {
            return Errno.NoDevice;
        }

        return _failed && !TryRevive() ? Errno.IoError : WaitForSpace(needed);
    }

    // Commands, what is posted under a mask, and a fence for all. Under the lock, with room for them.
    private Errno Ring(ReadOnlySpan<Command> commands, BatchKind kind, ulong posts, out ulong ticket, bool ordersDma = true)
    {
        ticket = 0;
        ulong position = _at.Tail;
        bool isPut = PutAll(ref position, commands, kind) && (posts == 0 || PutPosts(ref position, posts));
        if (!isPut || !Put(position++, Command.Fence(reads: ordersDma, writes: ordersDma)))
        {
            return Errno.IoError;
        }

        _counts[(int)CommandOpcode.Iofence * 2]++;
        _at.Tail = position;
        ticket = position;
        _registers.Write32(RegisterOffset.CommandQueueTail, Slot(position));
        return Errno.Success;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private bool PutPosts(ref ulong position, ulong posts)
    {
        bool isPut = true;
        for (; posts != 0 && isPut; posts &= posts - 1)
        {
            int place = BitOperations.TrailingZeroCount(posts);
            isPut = PutAll(ref position, _board.CommandsAt(place), _board.KindAt(place));
        }

        return isPut;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool PutAll(ref ulong position, ReadOnlySpan<Command> commands, BatchKind kind)
    {
        foreach (ref readonly Command command in commands)
        {
            if (!Put(position++, command))
            {
                return false;
            }

            _counts[((int)command.Opcode * 2) + command.Function]++;
            if (command.Opcode == CommandOpcode.Ats)
            {
                _at.AfterAts = position + 1;
            }
        }

        _at.Synchronisations += (long)(kind & BatchKind.Synchronisation);
        if (kind > BatchKind.Synchronisation)
        {
            CountFlush(kind);
        }

        return true;
    }

    private void CountFlush(BatchKind kind)
    {
        _at.Flushes += (kind & BatchKind.Flush) != 0 ? 1 : 0;
        _at.Collapses += (kind & BatchKind.Collapse) != 0 ? 1 : 0;
    }

    // While devices are asked to invalidate, the fence takes as long as they do.
    private TimeSpan Patience => _at.Completed < _at.AfterAts ? _hardware.AtsTimeout : _hardware.Timeout;

    private Errno WaitForSpace(uint needed)
    {
        if (_at.Tail - _at.Completed + needed < _size)
        {
            return Errno.Success;
        }

        long start = _hardware.Time.GetTimestamp();
        for (int spins = 0; ; spins++)
        {
            Advance();
            if (_at.Tail - _at.Completed + needed < _size)
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

    private uint Slot(ulong position) => (uint)(position - _at.Origin) & _mask;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool Put(ulong position, in Command command)
    {
        _copy[(uint)position & _mask] = command;
        return Store(Slot(position), command);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
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
}
