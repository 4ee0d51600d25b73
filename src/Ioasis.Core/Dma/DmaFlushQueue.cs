using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// The IOVAs of a <see cref="DmaDomain"/> that were unmapped and not yet invalidated: a ring for each processor, so that
/// threads do not meet. One invalidation of the whole address space covers what waits in all rings; only then the IOVAs go
/// back (invariant 2, S4.14). The kernel side of the ABI, whose IOVAs users choose and whose calls hold a lock anyway, has
/// <see cref="LazyInvalidation"/> instead. Thread-safe; allocates no managed memory in a steady state.
/// </summary>
/// <remarks>
/// Flushes are numbered. An entry notes the number of the last flush that had begun when it was queued, after its page-table
/// entries were cleared; it is covered as soon as a flush with a higher number has completed, for that one began later. The
/// locks are full barriers, so that neither side's look can pass its store. Order of the locks: flush, then tables; a ring, then
/// the allocator's.
/// </remarks>
internal sealed class DmaFlushQueue : IDisposable
{
    private readonly PagingDomain _domain;
    private readonly IovaAllocator _iovas;
    private readonly LazyRing<Entry>[] _rings;
    private readonly int _ringCount;
    private readonly int _capacity;
    private readonly Func<int>? _chooser;
    private readonly LazyFlushMeter _meter;
    private readonly ITimer? _timer;
    private readonly IoLock _flushLock = new();
    private readonly IoLock _tableLock = new();
    private InvalidationGather _tables;
    private long _begun;
    private long _completed;
    private long _since;
    private int _waiting;

    public DmaFlushQueue(PagingDomain domain, IovaAllocator iovas, DmaDomainOptions options)
    {
        _domain = domain;
        _iovas = iovas;
        _capacity = options.QueueCapacity;
        _chooser = options.SlotChooser;
        _meter = new(options.TimeProvider, options.TimeLimit);
        _ringCount = Math.Max(1, options.Slots ?? Environment.ProcessorCount);
        _rings = new LazyRing<Entry>[_ringCount + IovaAllocator.Spacing];
        for (int i = 0; i < _ringCount; i++)
        {
            _rings[i] = new(_capacity);
        }

        if (options.UseTimer)
        {
            _timer = options.TimeProvider.CreateTimer(
                static state => ((DmaFlushQueue)state!).OnTimer(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        }
    }

    /// <summary>IOVA ranges that wait.</summary>
    public int PendingCount
    {
        get
        {
            int count = 0;
            foreach (LazyRing<Entry> ring in _rings.AsSpan(0, _ringCount))
            {
                count += ring.Count;
            }

            return count;
        }
    }

    /// <summary>IOVA ranges that were ever queued: unchanged, it says that none came and went.</summary>
    public long DeferredCount
    {
        get
        {
            long count = 0;
            foreach (LazyRing<Entry> ring in _rings.AsSpan(0, _ringCount))
            {
                count += ring.Deferred;
            }

            return count;
        }
    }

    public LazyFlushStatistics Statistics
    {
        get
        {
            long deferred = 0;
            long released = 0;
            foreach (LazyRing<Entry> ring in _rings.AsSpan(0, _ringCount))
            {
                using (ring.Lock.Acquire())
                {
                    deferred += ring.Deferred;
                    released += ring.Deferred - ring.Count;
                }
            }

            return _meter.Read(deferred, released);
        }
    }

    /// <summary>Takes over IOVAs whose entries were cleared, and what the unmap gathered. Never loses them.</summary>
    /// <returns>Success, or the error of the flush that a full ring asked for: they then wait for the next.</returns>
    public Errno Defer(Iova iova, ulong length, ref InvalidationGather gather)
    {
        if (gather.NonLeaf)
        {
            KeepTables(ref gather);
        }

        gather.Clear();
        LazyRing<Entry> ring = RingOfProcessor();
        bool isFull;
        using (ring.Lock.Acquire())
        {
            ring.Add(new(iova.Value, length, Volatile.Read(ref _begun)));
            isFull = ring.Count >= _capacity;
            if (isFull && Release(ring))
            {
                // A flush that another ring asked for has covered some of them.
                isFull = ring.Count >= _capacity;
            }
        }

        if (Volatile.Read(ref _waiting) == 0)
        {
            Rearm();
        }

        if (!isFull)
        {
            return Errno.Success;
        }

        Errno error = Flush(LazyFlushReason.QueueFull);
        if (error == Errno.Success)
        {
            using (ring.Lock.Acquire())
            {
                _ = Release(ring);
            }
        }

        return error;
    }

    /// <summary>Invalidates everything that waits, and gives the IOVAs back.</summary>
    /// <returns>Success, or the error of the invalidation: then nothing was given back.</returns>
    public Errno FlushAll(LazyFlushReason reason)
    {
        if (PendingCount == 0)
        {
            return Errno.Success;
        }

        Errno error = Flush(reason);
        if (error == Errno.Success)
        {
            foreach (LazyRing<Entry> ring in _rings.AsSpan(0, _ringCount))
            {
                using (ring.Lock.Acquire())
                {
                    _ = Release(ring);
                }
            }
        }

        return error;
    }

    /// <summary>Flushes if something has waited for the time limit.</summary>
    public Errno Poll()
    {
        if (Volatile.Read(ref _waiting) == 0 || !_meter.HasPassed(Volatile.Read(ref _since)))
        {
            return Errno.Success;
        }

        // What is queued from here on starts the clock again.
        Volatile.Write(ref _waiting, 0);
        Errno error = FlushAll(LazyFlushReason.TimeLimit);
        if (error != Errno.Success)
        {
            Rearm();
        }

        return error;
    }

    public void Dispose() => _timer?.Dispose();

    private void OnTimer()
    {
        Volatile.Write(ref _waiting, 0);
        if (FlushAll(LazyFlushReason.TimeLimit) != Errno.Success)
        {
            Rearm();
        }
    }

    private void Rearm()
    {
        if (Interlocked.Exchange(ref _waiting, 1) == 0)
        {
            Volatile.Write(ref _since, _meter.Now);
            _ = _timer?.Change(_meter.Limit, Timeout.InfiniteTimeSpan);
        }
    }

    private LazyRing<Entry> RingOfProcessor()
    {
        uint number = _chooser is null ? (uint)Thread.GetCurrentProcessorId() : (uint)_chooser();
        uint count = (uint)_ringCount;
        return _rings[number < count ? number : number % count];
    }

    // Makes sure that what was queued before the call is covered.
    private Errno Flush(LazyFlushReason reason)
    {
        long needed = Volatile.Read(ref _begun);
        using (_flushLock.Acquire())
        {
            if (_completed > needed)
            {
                // While this thread waited, another flush began and completed.
                return Errno.Success;
            }

            long number = Interlocked.Increment(ref _begun);
            InvalidationGather gather;
            using (_tableLock.Acquire())
            {
                gather = _tables;
                _tables = default;
            }

            AddressRange aperture = _domain.Aperture;
            gather.AddLeaves(aperture.Start, aperture.Last, System.Numerics.BitOperations.TrailingZeroCount(_domain.PageSizes));
            _meter.CountFlush(reason);
            Errno error = _domain.Sync(ref gather);
            if (error == Errno.Success)
            {
                Volatile.Write(ref _completed, number);
                return Errno.Success;
            }

            _meter.CountFailure();
            KeepTables(ref gather);
            gather.Clear();
            return error;
        }
    }

    // Gives back what a completed flush covers. Under the ring's lock.
    private bool Release(LazyRing<Entry> ring)
    {
        long completed = Volatile.Read(ref _completed);
        if (ring.Count == 0 || ring.Oldest.Flush >= completed)
        {
            return false;
        }

        using IovaAllocator.FreeScope free = _iovas.BeginFree();
        do
        {
            free.Free(new(ring.Oldest.Start), ring.Oldest.Length);
            ring.RemoveOldest();
        }
        while (ring.Count > 0 && ring.Oldest.Flush < completed);
        return true;
    }

    private void KeepTables(ref InvalidationGather gather)
    {
        using (_tableLock.Acquire())
        {
            foreach ((PhysicalAddress table, int sizeLog2) in gather.FreedTables)
            {
                _tables.AddFreedTable(table, sizeLog2, gather.Range.Start, gather.Range.Last);
            }
        }
    }

    private readonly record struct Entry(ulong Start, ulong Length, long Flush);
}
