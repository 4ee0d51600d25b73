using System.Buffers.Binary;
using Ioasis.Platform;

namespace Ioasis.Devices.Ioat;

/// <content>
/// The channel at work. It runs in the thread that writes the register, and after 256 turns in one of the pool, so that a
/// store that starts gigabytes of work returns. Interrupts are counted under the lock of the registers and sent after it.
/// </content>
public sealed partial class IoatDevice
{
    // Descriptors, or pieces of large ones, in one run.
    private const int TurnLimit = 256;
    private const int PieceLength = 1 << 16;

    private readonly byte[] _buffer = new byte[PieceLength];
    private int _hasWork;
    private int _resetsWanted;
    private int _turns;
    private long _done;

    private bool IsInterrupted => Volatile.Read(ref _resetPosted) || Volatile.Read(ref _resetsWanted) != 0;

    // Whoever has the lock of the work looks again after giving it back, so that nothing that was posted meanwhile stays. A DMA of its own that
    // leads back here is posted too.
    private void Run()
    {
        while (Volatile.Read(ref _hasWork) != 0 && Volatile.Read(ref _resetsWanted) == 0 && !_work.IsHeld && _work.TryAcquire(out IoLock.Scope scope))
        {
            bool isDone;
            using (scope)
            {
                isDone = Work();
            }

            Deliver();
            if (!isDone)
            {
                _ = ThreadPool.QueueUserWorkItem(static device => device.Run(), this, preferLocal: false);
                return;
            }
        }
    }

    // Returns false if it ends before everything is done.
    private bool Work()
    {
        Span<byte> bytes = stackalloc byte[IoatDescriptor.Size];
        _ = Interlocked.Exchange(ref _hasWork, 0);
        for (_turns = 0; _turns < TurnLimit; _turns++)
        {
            ulong address;
            bool isFirst;
            using (_registers.Acquire())
            {
                if (!TakeNext(out address, out isFirst))
                {
                    return true;
                }
            }

            IoatErrors error = Fetch(address, isFirst, bytes);
            IoatDescriptor descriptor = new(bytes);
            if (error == IoatErrors.None)
            {
                error = descriptor.FindError(1u << _options.TransferLog2);
            }

            if (error == IoatErrors.None && !descriptor.IsNull)
            {
                error = Move(descriptor);
            }

            if (Volatile.Read(ref _resetsWanted) != 0)
            {
                return true;
            }

            if (!Volatile.Read(ref _resetPosted))
            {
                Conclude(address, descriptor, error);
            }
        }

        Volatile.Write(ref _hasWork, 1);
        return false;
    }

    // Under the lock of the registers: what is to be done next, if anything.
    private bool TakeNext(out ulong address, out bool isFirst)
    {
        address = _next;
        isFirst = _isFirst;
        if (_resetPosted)
        {
            ResetChannel();
        }

        if (_state != IoatState.Active)
        {
            return false;
        }

        if (_suspends || _executed == _count)
        {
            _state = _suspends ? IoatState.Suspended : IoatState.Idle;
            _suspends = false;
            return false;
        }

        _current = address;
        return true;
    }

    private IoatErrors Fetch(ulong address, bool isFirst, Span<byte> bytes)
    {
        bytes.Clear();
        return (address & (IoatDescriptor.Size - 1)) != 0 ? (isFirst ? IoatErrors.ChainAddress : IoatErrors.NextAlignment)
            : ReadMemory(new(address), bytes) != DmaStatus.Success ? (isFirst ? IoatErrors.ChainAddress : IoatErrors.NextAddress)
            : IoatErrors.None;
    }

    // In ascending order. What was moved before an error or a reset stays.
    private IoatErrors Move(in IoatDescriptor descriptor)
    {
        bool fills = descriptor.Operation == IoatDescriptor.Fill;
        if (fills)
        {
            for (int i = 0; i < Math.Min(PieceLength, descriptor.Length); i += sizeof(ulong))
            {
                BinaryPrimitives.WriteUInt64LittleEndian(_buffer.AsSpan(i), descriptor.Source);
            }
        }

        for (uint at = 0; at < descriptor.Length; at += PieceLength)
        {
            _turns += at != 0 ? 1 : 0;
            if (IsInterrupted)
            {
                return IoatErrors.None;
            }

            Span<byte> piece = _buffer.AsSpan(0, (int)Math.Min(PieceLength, descriptor.Length - at));
            if (!fills && ReadMemory(new(descriptor.Source + at), piece) != DmaStatus.Success)
            {
                return IoatErrors.ReadData;
            }

            if (IsInterrupted)
            {
                return IoatErrors.None;
            }

            if (WriteMemory(new(descriptor.Destination + at), piece) != DmaStatus.Success)
            {
                return IoatErrors.WriteData;
            }
        }

        return IoatErrors.None;
    }

    // The completion is in memory before CHANSTS and an interrupt tell of it.
    private void Conclude(ulong address, in IoatDescriptor descriptor, IoatErrors error)
    {
        bool writes;
        ulong place;
        ulong value;
        using (_registers.Acquire())
        {
            writes = error == IoatErrors.None ? descriptor.WantsCompletion : (_control & IoatControl.ErrorCompletion) != 0;
            place = _completionAddress;
            value = error != IoatErrors.None ? (_completed & ~63ul) | (uint)IoatState.Halted
                : address | (uint)((ushort)(_executed + 1) == _count ? IoatState.Idle : IoatState.Active);
        }

        if (writes)
        {
            Span<byte> bytes = stackalloc byte[sizeof(ulong)];
            BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
            error |= WriteMemory(new(place), bytes) == DmaStatus.Success ? IoatErrors.None : IoatErrors.CompletionAddress;
        }

        using (_registers.Acquire())
        {
            // A command may have halted it meanwhile.
            if (_state != IoatState.Active)
            {
                return;
            }

            if (error != IoatErrors.None)
            {
                Halt(error);
                return;
            }

            _completed = address;
            _next = descriptor.Next;
            _isFirst = false;
            _executed++;
            _done++;
            if (_executed == _count && !_suspends)
            {
                _state = IoatState.Idle;
            }

            if (descriptor.WantsInterrupt)
            {
                RaiseInterrupt();
            }
        }
    }

    // Not under a lock.
    private void Deliver()
    {
        int messages;
        using (_registers.Acquire())
        {
            messages = _messages;
            _messages = 0;
        }

        for (int i = 0; i < messages && UsesMessages; i++)
        {
            _ = SendMessage(0);
        }

        ShowLine();
    }

    // Threads may come here in another order than the state changed: whoever showed a level that is not the newest shows it again.
    private void ShowLine()
    {
        while (true)
        {
            bool line = IsLineWanted();
            if (line || Volatile.Read(ref _line))
            {
                Volatile.Write(ref _line, line);
                SetInterruptLine(line);
            }

            Interlocked.MemoryBarrier();
            if (IsLineWanted() == line)
            {
                return;
            }
        }
    }

    private bool IsLineWanted()
    {
        using (_registers.Acquire())
        {
            return _attention && HasMaster && !UsesMessages;
        }
    }
}
