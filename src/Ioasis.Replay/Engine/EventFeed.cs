using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Engine;

/// <summary>A piece of a recording: maps and unmaps in order, and what was read beside them.</summary>
internal sealed class EventBlock
{
    /// <summary>Maps and unmaps; their devices are numbers in <see cref="EventFeed.Devices"/> once the feed gave the block out.</summary>
    public MappingEvent[] Events { get; private set; } = [];

    /// <summary>How many.</summary>
    public int Count { get; set; }

    /// <summary>Names of devices that the recording told for the first time, in its order.</summary>
    public List<string> NewDevices { get; } = [];

    /// <summary>Times of invalidations.</summary>
    public List<long> Invalidations { get; } = [];

    /// <summary>Notes.</summary>
    public List<TraceMark> Marks { get; } = [];

    /// <summary>How much of the recording was read when the block was full, 0 to 1.</summary>
    public double Fraction { get; set; }

    /// <summary>Whether it is the last one.</summary>
    public bool IsLast { get; set; }

    /// <summary>The events.</summary>
    public Span<MappingEvent> Span => Events.AsSpan(0, Count);

    /// <summary>Empties it for so many events.</summary>
    public void Reset(int capacity)
    {
        if (Events.Length < capacity)
        {
            Events = new MappingEvent[capacity];
        }

        Count = 0;
        NewDevices.Clear();
        Invalidations.Clear();
        Marks.Clear();
        IsLast = false;
    }
}

/// <summary>Gives out a recording block by block, to one thread.</summary>
internal abstract class EventFeed
{
    /// <summary>The recording: complete once the last block was given out, but for its maps and unmaps.</summary>
    public abstract KernelTrace Trace { get; }

    /// <summary>The devices, by the numbers that the blocks have.</summary>
    public abstract DeviceTable Devices { get; }

    /// <summary>Devices with DMA events so far: those that maps without a name may belong to.</summary>
    public abstract int[] Candidates { get; }

    /// <summary>Time that reading took, on whatever thread.</summary>
    public abstract TimeSpan ReadTime { get; }

    /// <summary>The next block, valid until the next call; there is at least one, and none after <see cref="EventBlock.IsLast"/>.</summary>
    /// <exception cref="Input.TraceInputException">The recording cannot be read.</exception>
    public abstract EventBlock Next();
}

/// <summary>A recording that is in memory: one block of all.</summary>
internal sealed class WholeFeed(KernelTrace trace, TimeSpan readTime) : EventFeed
{
    public override KernelTrace Trace => trace;

    public override DeviceTable Devices => trace.Devices;

    public override int[] Candidates => [.. trace.DmaEventsByDevice.Keys];

    public override TimeSpan ReadTime => readTime;

    public override EventBlock Next()
    {
        EventBlock block = new();
        block.Reset(trace.Mappings.Length);
        block.IsLast = true;
        block.Fraction = 1;
        trace.Mappings.CopyTo(block.Events.AsSpan());
        block.Count = trace.Mappings.Length;
        block.Marks.AddRange(trace.Marks.Values);
        block.Invalidations.AddRange(trace.Invalidations);
        return block;
    }
}
