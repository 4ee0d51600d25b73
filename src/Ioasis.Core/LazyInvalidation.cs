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

/// <summary>Limits of a queue of deferred invalidations.</summary>
public sealed record LazyInvalidationOptions
{
    /// <summary>Entries at which the queue is flushed; 1 or more.</summary>
    public int Capacity { get; init; } = 256;

    /// <summary>Age of the oldest entry at which a poll flushes (<c>EmbeddedPlatform.Poll</c>).</summary>
    public TimeSpan TimeLimit { get; init; } = TimeSpan.FromMilliseconds(10);

    /// <summary>The clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;
}

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
    private readonly int _capacity;
    private readonly LazyFlushMeter _meter;
    private readonly LazyRing<Entry> _ring;

    // Order of the locks: _flushLock, then the ring's. The ring's guards everything below but _flushed, which is under _flushLock.
    private readonly IoLock _flushLock = new();
    private InvalidationGather _pending;
    private InvalidationGather _flushed;

    // The oldest entries of the ring, which a flush covers just now. They wait until it has completed and their releases have run.
    private int _underWay;

    // When the first of the others came.
    private long _oldest;

    // No entry reaches outside of these.
    private ulong _start;
    private ulong _last;

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
        _meter = new(options.TimeProvider, options.TimeLimit);
        _ring = new(_capacity);
    }

    /// <summary>Unmaps whose release has not run. Without the lock it may be too large for a moment, never too small.</summary>
    public int PendingCount => _ring.Count;

    /// <summary>What the queue did so far.</summary>
    public LazyFlushStatistics Statistics
    {
        get
        {
            using (_ring.Lock.Acquire())
            {
                return _meter.Read(_ring.Deferred, _ring.Deferred - _ring.Count);
            }
        }
    }

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
        using (_ring.Lock.Acquire())
        {
            if (_ring.Count == _underWay)
            {
                _oldest = _meter.Now;
            }

            Widen(range, isFirst: _ring.Count == 0);
            _ring.Add(new(range, release, cookie0, cookie1));
            gather.MoveTo(ref _pending);
            full = _ring.Count - _underWay >= _capacity;
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
        using (_ring.Lock.Acquire())
        {
            overlaps = Overlaps(range);
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
        using (_ring.Lock.Acquire())
        {
            if (_ring.Count == _underWay || !_meter.HasPassed(_oldest))
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
            LazyRing<Entry>.View covered;
            long oldest;
            using (_ring.Lock.Acquire())
            {
                covered = _ring.Look();
                if (covered.Count == 0)
                {
                    return Errno.Success;
                }

                _underWay = covered.Count;
                oldest = _oldest;
                (_pending, _flushed) = (_flushed, _pending);
            }

            _meter.CountFlush(reason);
            Errno error = _domain.Sync(ref _flushed);
            if (error != Errno.Success)
            {
                KeepForLater(oldest);
                return error;
            }

            for (int i = 0; i < covered.Count; i++)
            {
                ref readonly Entry entry = ref covered[i];
                entry.Release.Release(entry.Range, entry.Cookie0, entry.Cookie1);
            }

            using (_ring.Lock.Acquire())
            {
                _ring.RemoveOldest(covered.Count);
                _underWay = 0;
                LazyRing<Entry>.View left = _ring.Look();
                for (int i = 0; i < left.Count; i++)
                {
                    Widen(left[i].Range, isFirst: i == 0);
                }
            }

            return Errno.Success;
        }
    }

    // What could not be invalidated waits in front of what came since, with its time stamp. In this order: the invalidation of what is
    // older first.
    private void KeepForLater(long oldest)
    {
        using (_ring.Lock.Acquire())
        {
            _meter.CountFailure();
            _pending.MoveTo(ref _flushed);
            (_pending, _flushed) = (_flushed, _pending);
            _underWay = 0;
            _oldest = oldest;
        }
    }

    private void Widen(AddressRange range, bool isFirst)
    {
        _start = isFirst ? range.Start : Math.Min(_start, range.Start);
        _last = isFirst ? range.Last : Math.Max(_last, range.Last);
    }

    private bool Overlaps(AddressRange range)
    {
        LazyRing<Entry>.View waiting = _ring.Look();
        if (waiting.Count == 0 || range.Start > _last || range.Last < _start)
        {
            return false;
        }

        for (int i = 0; i < waiting.Count; i++)
        {
            if (waiting[i].Range.Overlaps(range))
            {
                return true;
            }
        }

        return false;
    }

    private readonly record struct Entry(AddressRange Range, ILazyRelease Release, ulong Cookie0, ulong Cookie1);
}
