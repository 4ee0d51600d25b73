namespace Ioasis.Replay.Engine;

/// <summary>A clock that shows the recording's time: deferred invalidations become due by it. Never goes backwards.</summary>
internal sealed class TraceClock : TimeProvider
{
    private long _now;

    /// <inheritdoc/>
    public override long TimestampFrequency => 1_000_000_000;

    /// <summary>The time in nanoseconds.</summary>
    public long NowNs => Volatile.Read(ref _now);

    /// <summary>Moves the clock to a time of the recording, if that lies ahead.</summary>
    public void MoveTo(long timeNs)
    {
        if (timeNs > _now)
        {
            Volatile.Write(ref _now, timeNs);
        }
    }

    /// <inheritdoc/>
    /// <remarks>Each look takes a nanosecond, so that whoever waits for a time limit reaches it.</remarks>
    public override long GetTimestamp() => Interlocked.Increment(ref _now);

    /// <inheritdoc/>
    public override DateTimeOffset GetUtcNow() => DateTimeOffset.UnixEpoch.AddTicks(NowNs / 100);
}
