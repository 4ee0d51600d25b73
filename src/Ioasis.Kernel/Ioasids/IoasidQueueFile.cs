using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>A descriptor from which a program reads events of one size. What it does not read fills no memory: the rest is counted.</summary>
internal abstract class IoasidQueueFile<T> : OpenFile
    where T : unmanaged
{
    private const int Limit = 1024;

    private readonly Queue<T> _events = new();
    private uint _lost;

    /// <inheritdoc/>
    public override WaitQueue Waiters { get; } = new();

    /// <summary>Guards the queue, and what goes with it.</summary>
    protected Lock QueueLock { get; } = new();

    /// <summary>Reads whole events, as many as fit; 0 bytes if there is none. A buffer that none fits is EINVAL.</summary>
    public override Errno Read(Span<byte> destination, out int count)
    {
        count = 0;
        int size = Unsafe.SizeOf<T>();
        if (destination.Length < size)
        {
            return Errno.InvalidArgument;
        }

        lock (QueueLock)
        {
            while (destination.Length - count >= size && _events.TryDequeue(out T next))
            {
                OnRead(next);
                MemoryMarshal.Write(destination[count..], next);
                count += size;
            }
        }

        return Errno.Success;
    }

    /// <inheritdoc/>
    public override PollEvents Poll()
    {
        lock (QueueLock)
        {
            return _events.Count > 0 ? PollEvents.In : PollEvents.None;
        }
    }

    /// <summary>Adds an event, which tells how many were lost before it. Under <see cref="QueueLock"/>; who waits is to be woken after it.</summary>
    /// <returns>False if there is no room.</returns>
    protected bool TryAdd(T added)
    {
        if (_events.Count >= Limit)
        {
            return false;
        }

        SetLost(ref added, _lost);
        _lost = 0;
        _events.Enqueue(added);
        return true;
    }

    /// <summary>As <see cref="TryAdd"/>; an event for which there is no room is counted.</summary>
    protected bool AddOrLose(T added)
    {
        bool fits = TryAdd(added);
        _lost += fits || _lost == uint.MaxValue ? 0u : 1;
        return fits;
    }

    /// <summary>Writes into an event how many were lost before it.</summary>
    protected abstract void SetLost(ref T added, uint lost);

    /// <summary>An event leaves the queue. Under <see cref="QueueLock"/>.</summary>
    protected virtual void OnRead(in T read)
    {
    }
}
