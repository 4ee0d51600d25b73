namespace Ioasis.Replay.Planning;

/// <summary>A mapping while it lives.</summary>
internal struct LiveArea
{
    /// <summary>First IOVA.</summary>
    public ulong Start;

    /// <summary>Bytes.</summary>
    public ulong Length;

    /// <summary>Recorded physical address of the first byte.</summary>
    public ulong Physical;

    /// <summary>When it was mapped, in nanoseconds of the recording's clock.</summary>
    public long MapTimeNs;

    /// <summary>Its place in the order of all areas, from 0.</summary>
    public long Number;

    /// <summary>Line of its map.</summary>
    public int Line;

    /// <summary>Its device.</summary>
    public int Device;

    /// <summary>What is special.</summary>
    public AreaFlags Flags;
}

/// <summary>One call that the replay makes. The calls of one event follow each other.</summary>
internal struct PlanCall
{
    /// <summary>First IOVA of the call: it cuts no area.</summary>
    public ulong Start;

    /// <summary>Bytes of the call.</summary>
    public ulong Length;

    /// <summary>Unmap: first IOVA of what must fault afterwards.</summary>
    public ulong CheckStart;

    /// <summary>Unmap: bytes of what must fault afterwards; 0 where a replacement follows.</summary>
    public ulong CheckLength;

    /// <summary>Time of its event in nanoseconds.</summary>
    public long TimeNs;

    /// <summary>Its place in the order of all calls, from 0.</summary>
    public long Number;

    /// <summary>Place of its event in the order of all maps and unmaps, from 0.</summary>
    public long Event;

    /// <summary>Line of its event.</summary>
    public int Line;

    /// <summary>The device.</summary>
    public int Device;
}

/// <summary>Takes what a <see cref="MappingPlanner"/> decides, in order, as it decides it.</summary>
internal interface IPlanSink
{
    /// <summary>Maps one area.</summary>
    void Map(in PlanCall call, in LiveArea area);

    /// <summary>Unmaps whole areas with one call.</summary>
    /// <param name="call">The call.</param>
    /// <param name="ended">The areas, by start; valid during the call.</param>
    void Unmap(in PlanCall call, ReadOnlySpan<LiveArea> ended);
}
