using System.Buffers;
using Ioasis.Platform;

namespace Ioasis.Devices.Virtio;

/// <content>The work on the queues, and the interrupts that follow: noted under the lock of the work, sent after it.</content>
public abstract partial class VirtioDevice
{
    // Turns in one run after which the thread that rang the bell is let go: rings that the device's own writes feed must not keep it.
    private const int TurnLimit = 1 << 14;
    private const byte QueueInterrupt = 1;
    private const byte ConfigurationInterrupt = 2;

    [ThreadStatic]
    private static Queue<VirtioDevice>? t_waiting;

    [ThreadStatic]
    private static bool t_isRunning;

    private readonly List<int> _raised = [];
    private bool _configurationChanged;
    private bool _line;
    private long _interrupts;

    /// <summary>Interrupts sent since it was made.</summary>
    public long InterruptCount => Volatile.Read(ref _interrupts);

    private readonly record struct Outgoing(int[]? Vectors, int Count);

    /// <summary>Work has come for a queue.</summary>
    private protected void Notify(int queue)
    {
        _queues[queue].Notify();
        Volatile.Write(ref _hasWork, 1);
        Run();
    }

    /// <summary>The kind's configuration has changed and the driver is to hear of it. Under the lock of the registers; then <see cref="Run"/>.</summary>
    private protected void ChangeConfiguration()
    {
        _generation++;
        _configurationChanged = (_status & VirtioStatus.DriverOk) != 0;
        Volatile.Write(ref _hasWork, 1);
    }

    /// <summary>A queue by its number.</summary>
    private protected VirtioQueue QueueAt(int index) => _queues[index];

    /// <summary>The lock of the registers.</summary>
    private protected IoLock Registers => _registers;

    /// <summary>
    /// Does what is to be done, unless somebody is at it: whoever has the lock looks again after giving it back. A thread that is at work
    /// for a device, whose DMA or whose frames lead here, goes on with this one when it has done that.
    /// </summary>
    private protected void Run()
    {
        if (t_isRunning)
        {
            Wait();
            return;
        }

        t_isRunning = true;
        try
        {
            int turns = 0;
            VirtioDevice? next = this;
            while (next is not null)
            {
                next.RunOne(ref turns);
                next = t_waiting is { } waiting && waiting.TryDequeue(out VirtioDevice? other) ? other : null;
            }
        }
        finally
        {
            t_waiting?.Clear();
            t_isRunning = false;
        }
    }

    /// <summary>Tells the driver of what was given back, if it wants to hear of it.</summary>
    private protected void Announce(VirtioQueue queue)
    {
        if (queue.Ring is { } ring)
        {
            if (!ring.TakeInterrupt(out bool isWanted))
            {
                _ = Break(ring);
            }
            else if (isWanted)
            {
                Raise(queue.Vector, QueueInterrupt);
            }
        }
    }

    /// <summary>Gives a buffer back.</summary>
    /// <returns>False if the queue is broken: the device needs a reset then.</returns>
    private protected bool Complete(VirtioQueue queue, VirtioChain chain, long written) =>
        Use(queue, chain, written) && Publish(queue);

    /// <summary>Says what was written to a buffer; the driver sees it with <see cref="Publish"/>.</summary>
    /// <returns>False if the queue is broken: the device needs a reset then.</returns>
    private protected bool Use(VirtioQueue queue, VirtioChain chain, long written) => Use(queue, chain.Id, chain.Slots, written);

    private bool Use(VirtioQueue queue, uint id, int slots, long written) =>
        queue.Ring is { } ring && CanWork && (ring.Use(id, slots, (uint)Math.Min(written, uint.MaxValue)) || Break(ring));

    /// <summary>Gives buffers back that were used, all at once.</summary>
    /// <returns>False if the queue is broken: the device needs a reset then.</returns>
    private protected bool Publish(VirtioQueue queue) =>
        queue.Ring is { } ring && CanWork && (ring.Publish() || Break(ring));

    /// <summary>Takes the next buffer of a queue; asks to be notified if there is none.</summary>
    /// <param name="queue">The queue.</param>
    /// <param name="chain">The buffer.</param>
    /// <returns>Whether there was one.</returns>
    private protected bool TryTake(VirtioQueue queue, VirtioChain chain)
    {
        while (queue.Ring is { } ring && CanWork)
        {
            RingTake taken = ring.Take(chain);
            if (taken == RingTake.Taken)
            {
                return true;
            }

            bool hasMore = false;
            if (taken == RingTake.Broken || !ring.RequestNotification(out hasMore))
            {
                return Break(ring);
            }

            if (!hasMore)
            {
                return false;
            }
        }

        return false;
    }

    private bool Break(VirtioRing ring)
    {
        NeedReset(ring.Mistake!);
        return false;
    }

    // Is served by this thread when the device that it works for now lets it go.
    private void Wait()
    {
        t_waiting ??= new();
        if (!t_waiting.Contains(this))
        {
            t_waiting.Enqueue(this);
        }
    }

    private void RunOne(ref int turns)
    {
        while (Volatile.Read(ref _hasWork) != 0 && Volatile.Read(ref _resetsWanted) == 0 && _work.TryAcquire(out IoLock.Scope scope))
        {
            bool isDone;
            Outgoing outgoing;
            using (scope)
            {
                isDone = Work(ref turns);
                outgoing = TakeOutgoing();
            }

            Deliver(outgoing);
            if (isDone)
            {
                continue;
            }

            if (turns < TurnLimit)
            {
                Wait();
            }
            else
            {
                _ = ThreadPool.QueueUserWorkItem(static device => device.Run(), this, preferLocal: false);
            }

            return;
        }
    }

    // Returns false if it ends before everything is done: another device waits for this thread, or it has been kept long enough.
    private bool Work(ref int turns)
    {
        do
        {
            _ = Interlocked.Exchange(ref _hasWork, 0);
            if (Volatile.Read(ref _resetPosted))
            {
                ResetAll();
                _misbehaver?.StrayAfterReset(StrayTo);
            }

            ResetQueues();
            if (!CanWork)
            {
                return true;
            }

            ServeDelayed();
            bool found = false;
            foreach (VirtioQueue queue in _queues)
            {
                if (queue.Ring is not null && queue.TakeNotification())
                {
                    found = true;
                    if (Serve(queue) && queue.Ring is not null)
                    {
                        queue.Notify();
                    }

                    if (CanWork)
                    {
                        Announce(queue);
                    }
                }
            }

            if (!found && Volatile.Read(ref _hasWork) == 0 && !ReleaseHeld())
            {
                return true;
            }
        }
        while (++turns < TurnLimit && t_waiting is not { Count: > 0 });

        Volatile.Write(ref _hasWork, 1);
        return false;
    }

    // Section 2.6.1: what a queue has not used yet is forgotten; nothing of it goes out any more.
    private void ResetQueues()
    {
        foreach (VirtioQueue queue in _queues)
        {
            if (!queue.IsResetting)
            {
                continue;
            }

            ForgetHeld(queue);
            using (_registers.Acquire())
            {
                queue.Reset();
            }
        }
    }

    private void Raise(ushort vector, byte reason)
    {
        if (!UsesMessages)
        {
            using (_registers.Acquire())
            {
                _interruptStatus |= reason;
            }
        }
        else if (vector != VirtioRegisters.NoVector && !_raised.Contains(vector))
        {
            _raised.Add(vector);
        }
    }

    private Outgoing TakeOutgoing()
    {
        bool isChanged;
        ushort vector;
        using (_registers.Acquire())
        {
            isChanged = _configurationChanged;
            vector = _configurationVector;
            _configurationChanged = false;
        }

        if (isChanged)
        {
            Raise(vector, ConfigurationInterrupt);
        }

        int late = _misbehaver?.LateCount ?? 0;
        if (_raised.Count + late == 0)
        {
            SetTimer();
            return default;
        }

        int[] vectors = ArrayPool<int>.Shared.Rent(_raised.Count + late);
        int count = late > 0 ? _misbehaver!.TakeLate(vectors, Now()) : 0;
        foreach (int raised in _raised)
        {
            if (_misbehaver is null || !_misbehaver.Withholds(raised, After))
            {
                vectors[count++] = raised;
            }
        }

        _raised.Clear();
        SetTimer();
        return new(vectors, count);
    }

    // Not under a lock.
    private void Deliver(Outgoing outgoing)
    {
        if (outgoing.Vectors is { } vectors)
        {
            for (int i = 0; i < outgoing.Count; i++)
            {
                if (SendMessage(vectors[i]))
                {
                    _ = Interlocked.Increment(ref _interrupts);
                }
            }

            ArrayPool<int>.Shared.Return(vectors);
        }

        ShowLine();
    }

    private byte TakeInterruptStatus()
    {
        byte value;
        using (_registers.Acquire())
        {
            value = _interruptStatus;
            _interruptStatus = 0;
        }

        ShowLine();
        return value;
    }

    // Threads may come here in another order than the status changed: whoever showed a level that is not the newest shows it again.
    private void ShowLine()
    {
        while (true)
        {
            bool line = Volatile.Read(ref _interruptStatus) != 0;
            bool was = Volatile.Read(ref _line);
            if (line || was)
            {
                Volatile.Write(ref _line, line);
                SetInterruptLine(line);
            }

            Interlocked.MemoryBarrier();
            if ((Volatile.Read(ref _interruptStatus) != 0) == line)
            {
                return;
            }
        }
    }
}
