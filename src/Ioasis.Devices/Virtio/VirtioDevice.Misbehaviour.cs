namespace Ioasis.Devices.Virtio;

/// <content>Misbehaviour on request (<see cref="VirtioMisbehaviour"/>). Under the lock of the work where nothing else is said.</content>
public abstract partial class VirtioDevice : IMisbehavingDevice
{
    private readonly Misbehaver? _misbehaver;
    private readonly List<HeldBuffer> _held = [];
    private readonly List<DelayedBuffer> _delayed = [];
    private ITimer? _timer;
    private bool _isGone;
    private bool _isHung;

    private readonly record struct HeldBuffer(VirtioQueue Queue, uint Id, int Slots, long Written);

    private readonly record struct DelayedBuffer(long DueAt, VirtioQueue Queue, VirtioChain Chain);

    /// <summary>What it did wrong on request, by requests: the first 4096 of it.</summary>
    public IReadOnlyList<DeviceMisdeed> Misdeeds
    {
        get
        {
            using (_work.Acquire())
            {
                return _misbehaver?.Misdeeds ?? [];
            }
        }
    }

    /// <summary>What does wrong; null for a device that behaves.</summary>
    private protected Misbehaver? Wrong => _misbehaver;

    /// <summary>When the kind has something to do next, by <see cref="Now"/>.</summary>
    private protected virtual long NextDue => long.MaxValue;

    /// <summary>A request is there.</summary>
    /// <returns>Whether it is begun: else the device is gone, or hangs.</returns>
    private protected bool Begin()
    {
        if (_misbehaver is null || _misbehaver.Begin(out bool isGone, out bool isHung))
        {
            return true;
        }

        Volatile.Write(ref _isGone, _isGone || isGone);
        Volatile.Write(ref _isHung, _isHung || isHung);
        return false;
    }

    /// <summary>Gives a request's buffer back, as a device does that misbehaves.</summary>
    /// <returns>False if the queue is broken.</returns>
    private protected bool Finish(VirtioQueue queue, VirtioChain chain, long written)
    {
        if (_misbehaver is not { } wrong)
        {
            return Complete(queue, chain, written);
        }

        if (written > 1)
        {
            Stray(chain);
        }

        int times = wrong.Times($"buffer {chain.Id} of queue {queue.Index}");
        for (int i = 0; i < times; i++)
        {
            if (_options.Misbehaviour!.Reorders)
            {
                _held.Add(new(queue, chain.Id, chain.Slots, written));
            }
            else if (!Complete(queue, chain, written))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Memory was written for a request: the device may write more.</summary>
    private protected void Stray(VirtioChain chain) => _misbehaver?.Stray(chain.FirstWritable, StrayTo);

    /// <summary>Whether a request is put off: it is done by <see cref="ServeLate"/> then, and the chain is not the caller's any more.</summary>
    private protected bool IsPutOff(VirtioQueue queue, VirtioChain chain, VirtioOperation operation)
    {
        if (_misbehaver is not { } wrong || _options.Misbehaviour!.DelayOf(operation) is var time && time == TimeSpan.Zero)
        {
            return false;
        }

        wrong.Note($"buffer {chain.Id} of queue {queue.Index} late by {time.TotalMilliseconds} ms");
        _delayed.Add(new(After(time), queue, chain));
        return true;
    }

    /// <summary>Does a request that was put off.</summary>
    private protected virtual void ServeLate(VirtioQueue queue, VirtioChain chain)
    {
    }

    /// <summary>The clock. Under no lock.</summary>
    private protected long Now() => _options.TimeProvider.GetTimestamp();

    /// <summary>The time after a span from now. Under no lock.</summary>
    private protected long After(TimeSpan time) => Now() + (long)(time.TotalSeconds * _options.TimeProvider.TimestampFrequency);

    private bool StrayTo(ulong address, ReadOnlySpan<byte> bytes) => WriteMemory(new(address), bytes) == Platform.DmaStatus.Success;

    // What was put off and is due.
    private void ServeDelayed()
    {
        if (_delayed.Count == 0)
        {
            return;
        }

        long now = Now();
        for (int i = 0; i < _delayed.Count && CanWork;)
        {
            DelayedBuffer delayed = _delayed[i];
            if (delayed.DueAt > now)
            {
                i++;
                continue;
            }

            _delayed.RemoveAt(i);
            ServeLate(delayed.Queue, delayed.Chain);
            Announce(delayed.Queue);
        }
    }

    // Nothing more is to be taken for now: what was held back goes, in an order of chance. Returns whether there was something.
    private bool ReleaseHeld()
    {
        if (_held.Count == 0)
        {
            return false;
        }

        HeldBuffer[] all = [.. _held];
        _held.Clear();
        _misbehaver!.Shuffle<HeldBuffer>(all);
        if (all.Length > 1)
        {
            _misbehaver.Note($"{all.Length} buffers completed in the order {string.Join(' ', all.Select(static buffer => buffer.Id))}");
        }

        foreach (HeldBuffer buffer in all)
        {
            if (Use(buffer.Queue, buffer.Id, buffer.Slots, buffer.Written) && Publish(buffer.Queue))
            {
                Announce(buffer.Queue);
            }
        }

        return true;
    }

    private void ForgetHeld(VirtioQueue? queue)
    {
        _ = _held.RemoveAll(buffer => queue is null || buffer.Queue == queue);
        _ = _delayed.RemoveAll(buffer => queue is null || buffer.Queue == queue);
        if (queue is null)
        {
            _misbehaver?.ForgetLate();
        }
    }

    // For the first of what is held back.
    private void SetTimer()
    {
        if (_misbehaver is null)
        {
            return;
        }

        long first = Math.Min(_misbehaver.FirstLate, NextDue);
        foreach (DelayedBuffer buffer in _delayed)
        {
            first = Math.Min(first, buffer.DueAt);
        }

        if (first == long.MaxValue)
        {
            return;
        }

        double seconds = (double)Math.Max(first - Now(), 0) / _options.TimeProvider.TimestampFrequency;
        _timer ??= _options.TimeProvider.CreateTimer(
            static state => ((VirtioDevice)state!).OnTimer(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);

        // A timer may be early by less than its unit; it must not be so again and again.
        _ = _timer.Change(TimeSpan.FromMilliseconds(Math.Min(Math.Ceiling(seconds * 1000), int.MaxValue)), Timeout.InfiniteTimeSpan);
    }

    private void OnTimer()
    {
        foreach (VirtioQueue queue in _queues)
        {
            queue.Notify();
        }

        Volatile.Write(ref _hasWork, 1);
        Run();
    }
}
