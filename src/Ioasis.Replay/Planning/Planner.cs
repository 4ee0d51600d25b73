using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Planning;

/// <summary>Makes a <see cref="MappingPlan"/> from a trace: decides who every mapping belongs to and what odd cases mean.</summary>
public sealed partial class Planner
{
    private const ulong PageMask = 4095;

    private readonly KernelTrace _trace;
    private readonly PlanOptions _options;
    private readonly MappingPlan _plan;
    private readonly List<Area> _areas;
    private readonly List<PlanStep> _steps;
    private readonly List<int> _ended = [];
    private readonly List<LiveAreas> _live = [];
    private readonly HashSet<ulong> _seen;
    private readonly List<int> _found = [];
    private readonly int[] _candidates;

    // Only conflicts are wanted, to infer whose the unnamed mappings are: no steps are kept.
    private readonly bool _infer;
    private int _rest = -1;
    private int _liveAreas;
    private ulong _liveBytes;
    private int[] _deviceAreas = [];
    private ulong[] _deviceBytes = [];
    private int[] _devicePeakAreas = [];
    private ulong[] _devicePeakBytes = [];
    private int[] _devicePeakEvent = [];
    private long[] _conflicts = [];

    private Planner(KernelTrace trace, PlanOptions options, bool infer)
    {
        _trace = trace;
        _options = options;
        _infer = infer;
        _plan = new(trace);
        _areas = new(Array.FindAll(trace.Mappings, static m => !m.IsUnmap).Length);
        _steps = new(infer ? 0 : trace.Mappings.Length);
        _seen = new(infer ? 0 : trace.Mappings.Length);
        _candidates = [.. trace.DmaEventsByDevice.Keys];
    }

    /// <summary>Makes the plan. Without <see cref="PlanOptions.Rest"/> the device of what nothing names is inferred.</summary>
    public static MappingPlan Make(KernelTrace trace, PlanOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(trace);
        options ??= new();
        if (options.Rest is null && options.Overrides is null && Array.Exists(trace.Mappings, static m => m.Device < 0 && !m.IsUnmap))
        {
            int rest = Infer(new Planner(trace, options, infer: true).Run());
            if (rest >= 0)
            {
                options = options with { Rest = trace.Devices.Name(rest), RestChoice = RestChoice.Inferred };
            }
        }

        return new Planner(trace, options, infer: false).Run();
    }

    /// <summary>
    /// The one device with DMA events whose own mappings do not overlap those that nothing names, or -1. A stray overlap (an
    /// event that found the wrong map) does not decide: every other device must have fifty times as many, and at least one.
    /// </summary>
    private static int Infer(MappingPlan plan)
    {
        int found = -1;
        long fewest = long.MaxValue;
        long next = long.MaxValue;
        foreach (int device in plan.Trace.DmaEventsByDevice.Keys)
        {
            long conflicts = device < plan.Conflicts.Length ? plan.Conflicts[device] : 0;
            if (conflicts < fewest)
            {
                (found, next, fewest) = (device, fewest, conflicts);
            }
            else
            {
                next = Math.Min(next, conflicts);
            }
        }

        return found >= 0 && next > 0 && next / 50 >= fewest ? found : -1;
    }

    private MappingPlan Run()
    {
        ReadOnlySpan<MappingEvent> events = _trace.Mappings;
        bool needed = false;
        for (int i = 0; i < events.Length; i++)
        {
            if (events[i].Device < 0)
            {
                if (events[i].IsUnmap)
                {
                    _plan.UnmapsWithoutEvidence++;
                }
                else
                {
                    _plan.MapsWithoutEvidence++;
                    needed = true;
                }
            }
        }

        if (_options.Rest is { } name && (needed || _plan.UnmapsWithoutEvidence > 0))
        {
            _rest = _trace.Devices.Intern(name);
            _plan.RestChoice = _options.RestChoice;
        }
        else if (needed)
        {
            _rest = _trace.Devices.Intern(DeviceTable.UnattributedName);
            _plan.RestChoice = RestChoice.Synthetic;
        }

        _plan.RestDevice = _rest;
        Grow(_trace.Devices.Count);
        for (int i = 0; i < events.Length; i++)
        {
            int device = events[i].Device;
            if (device < 0)
            {
                device = _options.Overrides is { } overrides && overrides[i] >= 0 ? overrides[i] : _rest;
            }

            if (events[i].IsUnmap)
            {
                Unmap(events[i], i, device);
            }
            else
            {
                Map(events[i], i, device);
            }
        }

        _plan.Areas = [.. _areas];
        _plan.Steps = [.. _steps];
        _plan.Ended = [.. _ended];
        _plan.EndAreas = _liveAreas;
        _plan.EndBytes = _liveBytes;
        _plan.PeakAreasByDevice = _devicePeakAreas;
        _plan.PeakBytesByDevice = _devicePeakBytes;
        _plan.PeakBytesEventByDevice = _devicePeakEvent;
        _plan.Conflicts = _conflicts;
        return _plan;
    }

    private void Map(in MappingEvent e, int index, int device)
    {
        ulong last = e.Iova + (e.Length - 1);
        if (((e.Iova | e.Length | e.Value) & PageMask) != 0)
        {
            _plan.Oddities.Add(PlanOddity.NotPageAligned, e.Line);
            return;
        }

        if (last > _options.LastIova)
        {
            _plan.Oddities.Add(PlanOddity.OutsideMode, e.Line);
            return;
        }

        if (_infer)
        {
            CountConflicts(device, e.Iova, e.Length);
        }

        if (FindOverlaps(_live[device], e.Iova, last))
        {
            _plan.Oddities.Add(PlanOddity.MapOverLive, e.Line);
            EndFound(device, index, e.Iova, last, AreaFlags.Replaced, checkLength: 0);
        }

        if (e.Evidence == Evidence.Attach)
        {
            _plan.Oddities.Add(PlanOddity.DirectRegion, e.Line);
        }

        if (e.Length > 1 << 16 && LeafSizes.IsMixed(e.Iova, e.Value, e.Length))
        {
            _plan.Oddities.Add(PlanOddity.MixedLeafSizes, e.Line);
        }

        if (!_infer && !_seen.Add(((ulong)device << 52) ^ (e.Iova >> 12)))
        {
            _plan.Oddities.Add(PlanOddity.IovaReuse, e.Line);
        }

        Begin(device, index, e.Iova, e.Length, e.Value, e.Evidence == Evidence.Attach ? AreaFlags.Direct : AreaFlags.None);
        Peaks(device, index);
    }

    private void Unmap(in MappingEvent e, int index, int device)
    {
        if (e.Value != e.Length)
        {
            _plan.Oddities.Add(PlanOddity.UnmappedSizeDiffers, e.Line);
        }

        ulong last = e.Iova + (e.Length - 1);
        if (device < 0 || !FindOverlaps(_live[device], e.Iova, last))
        {
            // An event that names its device is believed: its mapping is older than the recording, or its map was lost.
            int owner = -1;
            int count = e.Device >= 0 ? 0 : FindOwner(e.Iova, last, out owner);
            if (count == 0)
            {
                _plan.Oddities.Add(PlanOddity.UnmapOfUnknown, e.Line);
                return;
            }

            _plan.Oddities.Add(count > 1 ? PlanOddity.UnmapAmbiguous : PlanOddity.UnmapByUniqueIova, e.Line);
            device = owner;
            FindOverlaps(_live[device], e.Iova, last);
        }

        if (_found.Count > 1)
        {
            _plan.Oddities.Add(PlanOddity.UnmapOfManyMaps, e.Line);
        }

        bool cut = false;
        ulong covered = 0;
        foreach (int found in _found)
        {
            Area area = _areas[found];
            cut |= area.Start < e.Iova || area.Start + (area.Length - 1) > last;
            covered += Math.Min(area.Start + (area.Length - 1), last) - Math.Max(area.Start, e.Iova) + 1;
        }

        if (cut)
        {
            _plan.Oddities.Add(PlanOddity.PartialUnmap, e.Line);
        }

        if (covered != e.Length)
        {
            _plan.Oddities.Add(PlanOddity.UnmapWithHoles, e.Line);
        }

        EndFound(device, index, e.Iova, last, AreaFlags.None, e.Length);
    }

    /// <summary>Ends the areas that were found, and maps again what of them lies outside a range.</summary>
    private void EndFound(int device, int index, ulong start, ulong last, AreaFlags flags, ulong checkLength)
    {
        int firstEnded = _ended.Count;
        Area low = _areas[_found[0]];
        Area high = _areas[_found[^1]];
        foreach (int found in _found)
        {
            Area area = _areas[found];
            area.EndEvent = index;
            area.Flags |= flags;
            if (area.Start < start || area.Start + (area.Length - 1) > last)
            {
                area.Flags |= AreaFlags.Split;
            }

            _areas[found] = area;
            _ended.Add(found);
            _live[device].Remove(area.Start);
            _liveAreas--;
            _liveBytes -= area.Length;
            _deviceAreas[device]--;
            _deviceBytes[device] -= area.Length;
        }

        AddStep(new()
        {
            Kind = StepKind.Unmap,
            Start = low.Start,
            Length = high.Start + high.Length - low.Start,
            Event = index,
            Area = firstEnded,
            AreaCount = _ended.Count - firstEnded,
            Device = device,
            CheckStart = start,
            CheckLength = checkLength,
        });

        if (low.Start < start)
        {
            Begin(device, index, low.Start, start - low.Start, low.Physical, (low.Flags & AreaFlags.Direct) | AreaFlags.Remainder);
        }

        ulong highLast = high.Start + (high.Length - 1);
        if (highLast > last)
        {
            ulong skipped = last + 1 - high.Start;
            Begin(
                device, index, last + 1, highLast - last, high.Physical + skipped, (high.Flags & AreaFlags.Direct) | AreaFlags.Remainder);
        }
    }

    private void Begin(int device, int index, ulong start, ulong length, ulong physical, AreaFlags flags)
    {
        AddStep(new()
        {
            Kind = StepKind.Map,
            Start = start,
            Length = length,
            Event = index,
            Area = _areas.Count,
            AreaCount = 1,
            Device = device,
        });
        _live[device].Add(start, _areas.Count);
        _areas.Add(new()
        {
            Start = start,
            Length = length,
            Physical = physical,
            Device = device,
            MapEvent = index,
            EndEvent = -1,
            Flags = flags,
        });
        _liveAreas++;
        _liveBytes += length;
        _deviceAreas[device]++;
        _deviceBytes[device] += length;
    }

    private void AddStep(in PlanStep step)
    {
        if (!_infer)
        {
            _steps.Add(step);
        }
    }

    private void Peaks(int device, int index)
    {
        _plan.PeakAreas = Math.Max(_plan.PeakAreas, _liveAreas);
        if (_liveBytes > _plan.PeakBytes)
        {
            _plan.PeakBytes = _liveBytes;
            _plan.PeakBytesEvent = index;
        }

        _devicePeakAreas[device] = Math.Max(_devicePeakAreas[device], _deviceAreas[device]);
        if (_deviceBytes[device] > _devicePeakBytes[device])
        {
            _devicePeakBytes[device] = _deviceBytes[device];
            _devicePeakEvent[device] = index;
        }
    }

    private void Grow(int devices)
    {
        while (_live.Count < devices)
        {
            _live.Add(new());
        }

        _deviceAreas = new int[devices];
        _deviceBytes = new ulong[devices];
        _devicePeakAreas = new int[devices];
        _devicePeakBytes = new ulong[devices];
        _devicePeakEvent = new int[devices];
        _conflicts = new long[devices];
    }
}
