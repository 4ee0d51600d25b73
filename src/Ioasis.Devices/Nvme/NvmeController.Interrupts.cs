using Ioasis.Uapi;

namespace Ioasis.Devices.Nvme;

/// <content>
/// Interrupts: what completion queues raise, on the pin, by MSI or MSI-X, with coalescing (PCIe transport 1.0, section 3.5; base
/// specification 2.0, sections 5.27.1.6 and 5.27.1.7). Under the lock they are only noted, and sent after it.
/// </content>
public sealed partial class NvmeController
{
    private readonly List<int> _raised = [];
    private ITimer? _timer;
    private uint _heldMessages;
    private bool _line;
    private bool _hasCoalesced;

    private long _messages;

    /// <summary>Messages sent since it was made.</summary>
    public long Messages => Volatile.Read(ref _messages);

    private int VectorCount => Description.MsiX?.Vectors ?? Math.Max(Description.MsiVectors, 1);

    private readonly record struct Outgoing(int[]? Vectors, int Count);

    private void RaiseInterrupt(CompletionQueue completion, int entries)
    {
        if (completion.Id != 0 && Coalesces(completion.Vector, entries))
        {
            return;
        }

        Send(completion.Vector);
        UpdateLine();
    }

    private void Send(int vector)
    {
        if (!_raised.Contains(vector))
        {
            _raised.Add(vector);
        }
    }

    // The pin stays asserted while there is an entry that the driver has not taken.
    private void UpdateLine()
    {
        bool line = false;
        if ((_interruptMask & 1) == 0 && !UsesMessages)
        {
            foreach (CompletionQueue? completion in _completion)
            {
                line |= completion is { HasInterrupts: true } && completion.Head != completion.Tail;
            }
        }

        Volatile.Write(ref _line, line);
    }

    private void ResetInterrupts()
    {
        _raised.Clear();
        _hasCoalesced = false;
        _heldMessages = 0;
        Volatile.Write(ref _line, false);
    }

    // INTMS and INTMC mask MSI; MSI-X has masks of its own. What was held is sent when its mask goes.
    private void SendUnmasked()
    {
        for (int vector = 0; vector < 32; vector++)
        {
            if ((_heldMessages & ~_interruptMask & (1u << vector)) != 0)
            {
                _heldMessages &= ~(1u << vector);
                Send(vector);
            }
        }
    }

    private Outgoing TakeOutgoing()
    {
        int late = _misbehaviour?.LateCount ?? 0;
        if (_raised.Count + late == 0)
        {
            return default;
        }

        int[] vectors = System.Buffers.ArrayPool<int>.Shared.Rent(_raised.Count + late);
        int count = late > 0 ? _misbehaviour!.TakeLate(vectors, Now()) : 0;
        VfioPciInterrupt? kind = Interrupts.Kind;
        foreach (int vector in _raised)
        {
            if (kind == VfioPciInterrupt.Msi && vector < 32 && (_interruptMask & (1u << vector)) != 0)
            {
                _heldMessages |= 1u << vector;
            }
            else if (_misbehaviour is null || !Withholds(vector))
            {
                vectors[count++] = vector;
            }
        }

        _raised.Clear();
        _messages += count;
        return new(vectors, count);
    }

    // Not under the lock.
    private void Deliver(Outgoing outgoing)
    {
        if (outgoing.Vectors is { } vectors)
        {
            for (int i = 0; i < outgoing.Count; i++)
            {
                _ = SendMessage(vectors[i]);
            }

            System.Buffers.ArrayPool<int>.Shared.Return(vectors);
        }

        // Threads may come here in another order than they left the lock: whoever showed a level that is not the newest shows it again.
        bool line;
        do
        {
            line = Volatile.Read(ref _line);
            SetInterruptLine(line);
            Interlocked.MemoryBarrier();
        }
        while (Volatile.Read(ref _line) != line);
    }

    private bool Coalesces(int vector, int entries)
    {
        (int threshold, TimeSpan time) = _features.CoalescingOf(vector);
        if (threshold == 0 || time == TimeSpan.Zero)
        {
            return false;
        }

        _features.Waiting[vector] += entries;
        if (_features.Waiting[vector] > threshold)
        {
            _features.Waiting[vector] = 0;
            return false;
        }

        if (!_hasCoalesced)
        {
            _hasCoalesced = true;
            _timer ??= _options.TimeProvider.CreateTimer(
                static state => ((NvmeController)state!).OnTime(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
            _ = _timer.Change(time, Timeout.InfiniteTimeSpan);
        }

        return true;
    }

    private void OnTime()
    {
        Post(CoalescingTime, 0);
        RunPosted();
    }

    private void EndCoalescing()
    {
        if (!_hasCoalesced)
        {
            return;
        }

        _hasCoalesced = false;
        for (int vector = 0; vector < _features.Waiting.Length; vector++)
        {
            if (_features.Waiting[vector] > 0)
            {
                _features.Waiting[vector] = 0;
                Send(vector);
            }
        }

        UpdateLine();
    }
}
