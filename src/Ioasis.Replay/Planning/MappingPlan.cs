using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Planning;

/// <summary>What is special about an area.</summary>
[Flags]
internal enum AreaFlags : byte
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>A reserved direct region, mapped before its device's attach.</summary>
    Direct = 1,

    /// <summary>What stayed of an area of which a part was unmapped.</summary>
    Remainder = 2,

    /// <summary>It ended because another was mapped over it.</summary>
    Replaced = 4,

    /// <summary>It ended because a part of it was unmapped; its remainders follow.</summary>
    Split = 8,
}

/// <summary>One mapping from its map to its unmap.</summary>
internal struct Area
{
    /// <summary>First IOVA.</summary>
    public ulong Start;

    /// <summary>Bytes.</summary>
    public ulong Length;

    /// <summary>Recorded physical address of the first byte.</summary>
    public ulong Physical;

    /// <summary>Device in the trace's table.</summary>
    public int Device;

    /// <summary>The event that mapped it, an index into <see cref="KernelTrace.Mappings"/>.</summary>
    public int MapEvent;

    /// <summary>The event that ended it, or -1 while it lives.</summary>
    public int EndEvent;

    /// <summary>What is special.</summary>
    public AreaFlags Flags;

    /// <summary>First byte behind it.</summary>
    public readonly ulong End => Start + Length;
}

/// <summary>What a step does.</summary>
internal enum StepKind : byte
{
    /// <summary>Maps one area.</summary>
    Map,

    /// <summary>Unmaps whole areas.</summary>
    Unmap,
}

/// <summary>One call that the replay makes. The steps of one event follow each other.</summary>
internal struct PlanStep
{
    /// <summary>First IOVA of the call: it cuts no area.</summary>
    public ulong Start;

    /// <summary>Bytes of the call.</summary>
    public ulong Length;

    /// <summary>The event that it comes from, an index into <see cref="KernelTrace.Mappings"/>.</summary>
    public int Event;

    /// <summary>Map: the area. Unmap: where its areas begin in <see cref="MappingPlan.Ended"/>.</summary>
    public int Area;

    /// <summary>How many areas an unmap ends.</summary>
    public int AreaCount;

    /// <summary>The device.</summary>
    public int Device;

    /// <summary>What it does.</summary>
    public StepKind Kind;

    /// <summary>Unmap: first IOVA of what must fault afterwards.</summary>
    public ulong CheckStart;

    /// <summary>Unmap: bytes of what must fault afterwards; 0 where a replacement follows.</summary>
    public ulong CheckLength;
}

/// <summary>Counts of what a plain map and unmap is not, each with the line of its first.</summary>
internal sealed class PlanOddities
{
    private readonly long[] _counts = new long[Enum.GetValues<PlanOddity>().Length];
    private readonly int[] _lines = new int[Enum.GetValues<PlanOddity>().Length];

    /// <summary>How often.</summary>
    public long this[PlanOddity oddity] => _counts[(int)oddity];

    /// <summary>Line of the first, 0 without one.</summary>
    public int FirstLine(PlanOddity oddity) => _lines[(int)oddity];

    internal void Add(PlanOddity oddity, int line)
    {
        if (_counts[(int)oddity]++ == 0)
        {
            _lines[(int)oddity] = line;
        }
    }
}

/// <summary>What a recording has that a toy would not.</summary>
internal enum PlanOddity
{
    /// <summary>One unmap ends several maps.</summary>
    UnmapOfManyMaps,

    /// <summary>An unmap ends a part of a mapping: the rest is mapped again.</summary>
    PartialUnmap,

    /// <summary>A map lies over a live one of the same device: the old one ends.</summary>
    MapOverLive,

    /// <summary>Only a part of an unmap's range is mapped.</summary>
    UnmapWithHoles,

    /// <summary>Nothing is mapped where an unmap says: mapped before the recording began, or its map was lost.</summary>
    UnmapOfUnknown,

    /// <summary>The kernel unmapped another size than it was asked to.</summary>
    UnmappedSizeDiffers,

    /// <summary>An unmap without a device found it by the one live mapping at its IOVA.</summary>
    UnmapByUniqueIova,

    /// <summary>An unmap without a device found live mappings of several at its IOVA, and took the one that it covers best.</summary>
    UnmapAmbiguous,

    /// <summary>An IOVA is mapped again after an unmap.</summary>
    IovaReuse,

    /// <summary>A direct region is mapped before its device's attach.</summary>
    DirectRegion,

    /// <summary>A range needs leaves of more than one size.</summary>
    MixedLeafSizes,

    /// <summary>A map that is not of whole 4 KiB pages: it cannot be replayed.</summary>
    NotPageAligned,

    /// <summary>A map outside the IOVAs that the paging mode has: it cannot be replayed.</summary>
    OutsideMode,
}

/// <summary>What a plan sums up, whether or not it is kept.</summary>
internal class PlanSummary
{
    /// <summary>Odd cases.</summary>
    public PlanOddities Oddities { get; } = new();

    /// <summary>The device that took what nothing names, or -1.</summary>
    public int RestDevice { get; internal set; } = -1;

    /// <summary>How <see cref="RestDevice"/> was found.</summary>
    public RestChoice RestChoice { get; internal set; }

    /// <summary>Maps that nothing names.</summary>
    public long MapsWithoutEvidence { get; internal set; }

    /// <summary>Unmaps that nothing names.</summary>
    public long UnmapsWithoutEvidence { get; internal set; }

    /// <summary>Most areas live at one time, over all devices.</summary>
    public int PeakAreas { get; internal set; }

    /// <summary>Most bytes live at one time, over all devices.</summary>
    public ulong PeakBytes { get; internal set; }

    /// <summary>Time of the map after which <see cref="PeakBytes"/> were live, in nanoseconds.</summary>
    public long PeakBytesTimeNs { get; internal set; }

    /// <summary>Areas live at the end.</summary>
    public int EndAreas { get; internal set; }

    /// <summary>Bytes live at the end.</summary>
    public ulong EndBytes { get; internal set; }

    /// <summary>The devices by number, at the end.</summary>
    public IReadOnlyList<DeviceSummary> Devices { get; internal set; } = [];
}

/// <summary>What one device had mapped.</summary>
/// <param name="PeakAreas">Most areas live at one time.</param>
/// <param name="PeakBytes">Most bytes live at one time.</param>
/// <param name="AtPeak">How scattered they were when <paramref name="PeakBytes"/> were live first.</param>
/// <param name="AtEnd">How scattered they are at the end.</param>
internal sealed record DeviceSummary(int PeakAreas, ulong PeakBytes, Fragmentation AtPeak, Fragmentation AtEnd);

/// <summary>
/// What the replay will do, worked out before anything is replayed: every map and unmap given to a device, areas with
/// their beginnings and ends, and the calls that lead there. This folder decides what the semantics of odd cases are; it never calls the stack.
/// </summary>
internal sealed class MappingPlan : PlanSummary
{
    internal MappingPlan(KernelTrace trace, PlanOptions options)
    {
        Trace = trace;
        Options = options;
    }

    /// <summary>The recording.</summary>
    public KernelTrace Trace { get; }

    /// <summary>What it was made with.</summary>
    public PlanOptions Options { get; }

    /// <summary>All areas, in the order of their maps.</summary>
    public Area[] Areas { get; internal set; } = [];

    /// <summary>Calls, in order.</summary>
    public PlanStep[] Steps { get; internal set; } = [];

    /// <summary>Areas that unmaps end, where <see cref="PlanStep.Area"/> points.</summary>
    public int[] Ended { get; internal set; } = [];

    /// <summary>Time of an area's map in nanoseconds.</summary>
    public long MapTimeNs(in Area area) => Trace.Mappings[area.MapEvent].TimeNs;

    /// <summary>Time of an area's end in nanoseconds, or <see cref="long.MaxValue"/> while it lives.</summary>
    public long EndTimeNs(in Area area) => area.EndEvent < 0 ? long.MaxValue : Trace.Mappings[area.EndEvent].TimeNs;
}

/// <summary>How the device of maps that nothing names was found.</summary>
internal enum RestChoice
{
    /// <summary>There are none.</summary>
    NotNeeded,

    /// <summary>The caller named it.</summary>
    Given,

    /// <summary>The DMA log shows who uses those mappings.</summary>
    DmaLog,

    /// <summary>It is the one device with DMA events whose own mappings never overlap them.</summary>
    Inferred,

    /// <summary>They went to a device of their own that stands for nobody.</summary>
    Synthetic,
}
