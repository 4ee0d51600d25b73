namespace Ioasis.Lab.Qemu.Tests;

/// <summary>A clock that goes on by a tick each time that somebody looks, and by what a test says.</summary>
internal sealed class SettableClock : TimeProvider
{
    private long _ticks;

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override long GetTimestamp() => Interlocked.Increment(ref _ticks);

    public void Advance(TimeSpan by) => Interlocked.Add(ref _ticks, by.Ticks);
}
