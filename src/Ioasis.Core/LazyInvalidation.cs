using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>What waits for a deferred invalidation: memory to unpin, IOVAs to give back.</summary>
internal interface ILazyRelease
{
    /// <summary>
    /// The invalidation that covers the range has completed in every IOMMU: its memory and its IOVAs may be reused. Runs in
    /// the thread that flushed, once for each deferred unmap, in their order. Must not call back into the queue.
    /// </summary>
    /// <param name="range">The IOVAs, as they were given to <see cref="LazyInvalidation.Defer"/>.</param>
    /// <param name="cookie0">As given.</param>
    /// <param name="cookie1">As given.</param>
    void Release(AddressRange range, ulong cookie0, ulong cookie1);
}

/// <summary>Why a queue of deferred invalidations was flushed.</summary>
internal enum LazyFlushReason
{
    /// <summary><see cref="LazyInvalidation.Flush()"/> was called.</summary>
    Explicit,

    /// <summary>The oldest entry reached the time limit.</summary>
    TimeLimit,

    /// <summary>The queue was full.</summary>
    QueueFull,

    /// <summary>A map needs IOVAs that wait in the queue.</summary>
    Overlap,
}

/// <summary>Limits of a queue of deferred invalidations.</summary>
public sealed record LazyInvalidationOptions
{
    /// <summary>Entries at which the queue is flushed; 1 or more.</summary>
    public int Capacity { get; init; } = 256;

    /// <summary>Age of the oldest entry at which <see cref="LazyInvalidation.Poll"/> flushes.</summary>
    public TimeSpan TimeLimit { get; init; } = TimeSpan.FromMilliseconds(10);

    /// <summary>The clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;
}

/// <summary>What a queue of deferred invalidations did since it was made.</summary>
/// <param name="Deferred">Unmaps that were deferred.</param>
/// <param name="Released">Unmaps whose release ran.</param>
/// <param name="FailedFlushes">Flushes that an IOMMU did not complete; their entries stayed.</param>
/// <param name="ExplicitFlushes">Flushes that were asked for.</param>
/// <param name="TimeLimitFlushes">Flushes at the time limit.</param>
/// <param name="QueueFullFlushes">Flushes of a full queue.</param>
/// <param name="OverlapFlushes">Flushes before a map of waiting IOVAs.</param>
internal readonly record struct LazyInvalidationStatistics(
    long Deferred,
    long Released,
    long FailedFlushes,
    long ExplicitFlushes,
    long TimeLimitFlushes,
    long QueueFullFlushes,
    long OverlapFlushes);

/// <summary>
/// Deferred invalidation of one paging domain. An unmap takes the pages out of the tables and leaves its invalidation here;
/// until a flush, devices may still reach the memory through cached translations, so neither the memory nor the IOVAs are
/// reused before (invariant 2). A flush is one invalidation for everything that waits, then the releases.
/// For IOVAs that users choose, and may choose again while they wait; drivers' IOVAs go through a <see cref="DmaDomain"/>.
/// </summary>
/// <remarks>
/// Thread-safe. Flushes exclude each other and run the releases while they do: a caller that holds a lock which a release
/// takes holds it in every call here, or in none. The queue has no thread of its own: its owner calls <see cref="Poll"/> at
/// or after <see cref="LazyInvalidationOptions.TimeLimit"/>.
/// </remarks>
internal sealed class LazyInvalidation
{
    private readonly PagingDomain _domain;
    private readonly TimeProvider _time;
    private readonly TimeSpan _limit;
    private readonly int _capacity;

    // Order of the locks: _flushLock, then _lock. _lock guards the two batches, _flushLock the one under way.
    private readonly IoLock _flushLock = new();
    private readonly IoLock _lock = new();
    private readonly long[] _flushes = new long[4];
    private Batch _pending;
    private Batch _underWay;
    private long _deferred;
    private long _released;
    private long _failed;

    /// <summary>Makes an empty queue.</summary>
    /// <param name="domain">The domain whose unmaps are deferred.</param>
    /// <param name="options">Limits.</param>
    /// <exception cref="ArgumentOutOfRangeException">The capacity is not positive.</exception>
    public LazyInvalidation(PagingDomain domain, LazyInvalidationOptions options)
    {
        ArgumentNullException.ThrowIfNull(domain);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(options.Capacity, nameof(options));
        _domain = domain;
        _capacity = options.Capacity;
        _time = options.TimeProvider;
        _limit = options.TimeLimit;
        _pending.Entries = new Entry[_capacity];
        _underWay.Entries = new Entry[_capacity];
    }

    /// <summary>Unmaps whose release has not run. Without the lock it may be too large for a moment, never too small.</summary>
    public int PendingCount
    {
        get
        {
            // Not the sum of the two batches: a flush that fails moves entries from one to the other, and a reader who looks
            // at each at the wrong moment would see none, and let a map over what still waits.
            long released = Volatile.Read(ref _released);
            return (int)(Volatile.Read(ref _deferred) - released);
        }
    }

    /// <summary>What the queue did so far.</summary>
    public LazyInvalidationStatistics Statistics => new(
        Volatile.Read(ref _deferred),
        Volatile.Read(ref _released),
        Volatile.Read(ref _failed),
        Volatile.Read(ref _flushes[(int)LazyFlushReason.Explicit]),
        Volatile.Read(ref _flushes[(int)LazyFlushReason.TimeLimit]),
        Volatile.Read(ref _flushes[(int)LazyFlushReason.QueueFull]),
        Volatile.Read(ref _flushes[(int)LazyFlushReason.Overlap]));

    /// <summary>
    /// Takes over the invalidation of an unmap. Never loses it: whatever is returned, the entry waits here (or was flushed
    /// and released at once, when it filled the queue) and the gather is empty.
    /// </summary>
    /// <param name="gather">What the unmap gathered; empty afterwards.</param>
    /// <param name="range">The IOVAs that must not be mapped again before the flush.</param>
    /// <param name="release">What to call after the flush.</param>
    /// <param name="cookie0">Handed to the release.</param>
    /// <param name="cookie1">Handed to the release.</param>
    /// <returns>Success, or the error of the flush that a full queue asked for; the entries then stay and wait.</returns>
    public Errno Defer(ref InvalidationGather gather, AddressRange range, ILazyRelease release, ulong cookie0, ulong cookie1)
    {
        ArgumentNullException.ThrowIfNull(release);
        bool full;
        using (_lock.Acquire())
        {
            if (_pending.Count == 0)
            {
                _pending.OldestTimestamp = _time.GetTimestamp();
            }

            _pending.Add(new(range, release, cookie0, cookie1));
            gather.MoveTo(ref _pending.Gather);
            _deferred++;
            full = _pending.Count >= _capacity;
        }

        return full ? Flush(LazyFlushReason.QueueFull) : Errno.Success;
    }

    /// <summary>
    /// Before a map: makes sure that no IOVA of <paramref name="range"/> waits for an invalidation. When it returns success,
    /// the releases of all entries that overlapped have run.
    /// </summary>
    /// <returns>Success, or the error of the flush: the range must then not be mapped.</returns>
    public Errno FlushIfOverlaps(AddressRange range)
    {
        if (PendingCount == 0)
        {
            return Errno.Success;
        }

        bool overlaps;
        using (_lock.Acquire())
        {
            overlaps = _pending.Overlaps(range) || _underWay.Overlaps(range);
        }

        return overlaps ? Flush(LazyFlushReason.Overlap) : Errno.Success;
    }

    /// <summary>Invalidates everything that waits, waits for it to complete, and runs the releases.</summary>
    /// <returns>Success, or <see cref="Errno.IoError"/> when an IOMMU did not complete it: the entries then stay.</returns>
    public Errno Flush() => Flush(LazyFlushReason.Explicit);

    /// <summary>Flushes if the oldest entry has reached the time limit.</summary>
    /// <returns>Success, also when there was nothing to do; or the error of the flush.</returns>
    public Errno Poll()
    {
        using (_lock.Acquire())
        {
            if (_pending.Count == 0 || _time.GetElapsedTime(_pending.OldestTimestamp) < _limit)
            {
                return Errno.Success;
            }
        }

        return Flush(LazyFlushReason.TimeLimit);
    }

    private Errno Flush(LazyFlushReason reason)
    {
        using (_flushLock.Acquire())
        {
            using (_lock.Acquire())
            {
                if (_pending.Count == 0)
                {
                    return Errno.Success;
                }

                (_pending, _underWay) = (_underWay, _pending);
            }

            _ = Interlocked.Increment(ref _flushes[(int)reason]);
            Errno error = _domain.Sync(ref _underWay.Gather);
            if (error != Errno.Success)
            {
                KeepForLater();
                return error;
            }

            for (int i = 0; i < _underWay.Count; i++)
            {
                ref Entry entry = ref _underWay.Entries[i];
                entry.Release.Release(entry.Range, entry.Cookie0, entry.Cookie1);
            }

            using (_lock.Acquire())
            {
                _released += _underWay.Count;
                _underWay.Reset();
            }

            return Errno.Success;
        }
    }

    // What could not be invalidated goes back in front of what came since, with its time stamp.
    private void KeepForLater()
    {
        using (_lock.Acquire())
        {
            _failed++;
            for (int i = 0; i < _pending.Count; i++)
            {
                _underWay.Add(_pending.Entries[i]);
            }

            _pending.Gather.MoveTo(ref _underWay.Gather);
            _pending.Reset();
            (_pending, _underWay) = (_underWay, _pending);
        }
    }

    private readonly record struct Entry(AddressRange Range, ILazyRelease Release, ulong Cookie0, ulong Cookie1);

    private struct Batch
    {
        public Entry[] Entries;
        public int Count;
        public long OldestTimestamp;
        public InvalidationGather Gather;
        private ulong _start;
        private ulong _last;

        public void Add(in Entry entry)
        {
            if (Count == Entries.Length)
            {
                Array.Resize(ref Entries, Count * 2);
            }

            _start = Count == 0 ? entry.Range.Start : Math.Min(_start, entry.Range.Start);
            _last = Count == 0 ? entry.Range.Last : Math.Max(_last, entry.Range.Last);
            Entries[Count++] = entry;
        }

        public readonly bool Overlaps(AddressRange range)
        {
            if (Count == 0 || range.Start > _last || range.Last < _start)
            {
                return false;
            }

            foreach (ref readonly Entry entry in Entries.AsSpan(0, Count))
            {
                if (entry.Range.Overlaps(range))
                {
                    return true;
                }
            }

            return false;
        }

        public void Reset()
        {
            Entries.AsSpan(0, Count).Clear();
            Count = 0;
        }
    }
}
