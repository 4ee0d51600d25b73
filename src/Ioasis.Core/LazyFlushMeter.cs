namespace Ioasis.Core;

/// <summary>Why a queue of deferred invalidations was flushed.</summary>
internal enum LazyFlushReason
{
    /// <summary>Its owner asked for it.</summary>
    Explicit,

    /// <summary>The oldest entry reached the time limit.</summary>
    TimeLimit,

    /// <summary>The queue was full.</summary>
    QueueFull,

    /// <summary>A map needs IOVAs that wait in the queue.</summary>
    Overlap,
}

/// <summary>What a queue of deferred invalidations did since it was made.</summary>
/// <param name="Deferred">Unmaps that were deferred.</param>
/// <param name="Released">Unmaps whose IOVAs were given back after a flush.</param>
/// <param name="FailedFlushes">Flushes that an IOMMU did not complete; their entries stayed.</param>
/// <param name="ExplicitFlushes">Flushes that were asked for.</param>
/// <param name="TimeLimitFlushes">Flushes at the time limit.</param>
/// <param name="QueueFullFlushes">Flushes of a full queue.</param>
/// <param name="OverlapFlushes">Flushes before a map that needs waiting IOVAs.</param>
internal readonly record struct LazyFlushStatistics(
    long Deferred,
    long Released,
    long FailedFlushes,
    long ExplicitFlushes,
    long TimeLimitFlushes,
    long QueueFullFlushes,
    long OverlapFlushes);

/// <summary>Counts the flushes of a queue of deferred invalidations, and measures how long something has waited there. Thread-safe.</summary>
/// <param name="time">The clock.</param>
/// <param name="limit">How long an entry may wait.</param>
internal sealed class LazyFlushMeter(TimeProvider time, TimeSpan limit)
{
    private readonly long[] _flushes = new long[4];
    private long _failed;

    /// <summary>How long an entry may wait.</summary>
    public TimeSpan Limit => limit;

    /// <summary>A time stamp of now.</summary>
    public long Now => time.GetTimestamp();

    /// <summary>Whether the time limit has passed since a time stamp.</summary>
    public bool HasPassed(long since) => time.GetElapsedTime(since) >= limit;

    /// <summary>A flush begins.</summary>
    public void CountFlush(LazyFlushReason reason) => Interlocked.Increment(ref _flushes[(int)reason]);

    /// <summary>An IOMMU did not complete a flush.</summary>
    public void CountFailure() => Interlocked.Increment(ref _failed);

    /// <summary>The counts, with those of what was queued.</summary>
    public LazyFlushStatistics Read(long deferred, long released) => new(
        deferred,
        released,
        Volatile.Read(ref _failed),
        Volatile.Read(ref _flushes[(int)LazyFlushReason.Explicit]),
        Volatile.Read(ref _flushes[(int)LazyFlushReason.TimeLimit]),
        Volatile.Read(ref _flushes[(int)LazyFlushReason.QueueFull]),
        Volatile.Read(ref _flushes[(int)LazyFlushReason.Overlap]));
}
