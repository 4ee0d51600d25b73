using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Planning;

/// <summary>
/// Decides event by event who every mapping belongs to and what odd cases mean, and tells a sink the calls that follow. It
/// remembers what is live, and which IOVAs were ever mapped (a bit each); nothing else grows with the recording.
/// </summary>
internal sealed class MappingPlanner
{
    private const ulong PageMask = 4095;

    private readonly PlanSummary _plan;
    private readonly IPlanSink? _sink;
    private readonly ulong _lastIova;
    private readonly SeenPages _seen = new();
    private readonly List<int> _found = [];
    private readonly Stack<int> _free = new();
    private readonly List<DeviceState> _devices = [];

    // Only conflicts are wanted, to infer whose the unnamed mappings are.
    private readonly int[]? _candidates;
    private LiveArea[] _areas = new LiveArea[1 << 10];
    private LiveArea[] _ended = new LiveArea[16];
    private int _usedAreas;
    private long _areaNumber;
    private long _callNumber;
    private long _eventNumber = -1;
    private ulong _liveBytes;
    private int _liveAreas;

    /// <summary>Makes a planner.</summary>
    /// <param name="plan">Where the sums go.</param>
    /// <param name="sink">Who carries the plan out; null for nobody.</param>
    /// <param name="lastIova">The last IOVA that can be mapped, inclusive.</param>
    /// <param name="candidates">Devices whose conflicts with <see cref="PlanSummary.RestDevice"/> are counted; null for none.</param>
    public MappingPlanner(PlanSummary plan, IPlanSink? sink, ulong lastIova, int[]? candidates = null)
    {
        _plan = plan;
        _sink = sink;
        _lastIova = lastIova;
        _candidates = candidates;
    }

    /// <summary>For each device: maps without a device that overlap its own, in IOVA and in time.</summary>
    public long ConflictsOf(int device) => device < _devices.Count ? _devices[device].Conflicts : 0;

    /// <summary>Makes room for devices up to a number.</summary>
    public void GrowTo(int devices)
    {
        while (_devices.Count < devices)
        {
            _devices.Add(new());
        }
    }

    /// <summary>Takes the next event.</summary>
    /// <param name="e">The event.</param>
    /// <param name="device">Its device; -1 if nothing names one.</param>
    /// <param name="assigned">A device that is to take it although nothing names it, or -1.</param>
    public void Take(in MappingEvent e, int device, int assigned = -1)
    {
        if (++_eventNumber == 0)
        {
            _plan.PeakBytesTimeNs = e.TimeNs;
        }

        bool named = device >= 0;
        if (!named)
        {
            device = assigned >= 0 ? assigned : _plan.RestDevice;
            if (e.IsUnmap)
            {
                _plan.UnmapsWithoutEvidence++;
            }
            else
            {
                _plan.MapsWithoutEvidence++;
            }
        }

        if (e.IsUnmap)
        {
            Unmap(e, device, named);
        }
        else
        {
            Map(e, device);
        }
    }

    /// <summary>Completes the sums.</summary>
    public void Finish()
    {
        _plan.EndAreas = _liveAreas;
        _plan.EndBytes = _liveBytes;
        _plan.Devices = [.. _devices.Select(static d => d.ToSummary())];
    }

    /// <summary>The areas that live, in the order of their maps.</summary>
    public LiveArea[] Live()
    {
        LiveArea[] live = [.. _devices.SelectMany(static d => d.Live.All).Select(area => _areas[area])];
        Array.Sort(live, static (a, b) => a.Number.CompareTo(b.Number));
        return live;
    }

    private void Map(in MappingEvent e, int device)
    {
        ulong last = e.Iova + (e.Length - 1);
        if (((e.Iova | e.Length | e.Value) & PageMask) != 0)
        {
            _plan.Oddities.Add(PlanOddity.NotPageAligned, e.Line);
            return;
        }

        if (last > _lastIova)
        {
            _plan.Oddities.Add(PlanOddity.OutsideMode, e.Line);
            return;
        }

        if (_candidates is not null)
        {
            CountConflicts(device, e.Iova, last);
        }

        DeviceState state = _devices[device];
        state.Live.FindOverlaps(e.Iova, last, _found);
        if (_found.Count > 0)
        {
            _plan.Oddities.Add(PlanOddity.MapOverLive, e.Line);
            EndFound(e, device, last, AreaFlags.Replaced, checkLength: 0);
        }

        if (e.Evidence == Evidence.Attach)
        {
            _plan.Oddities.Add(PlanOddity.DirectRegion, e.Line);
        }

        if (e.Length > 1 << 16 && LeafSizes.IsMixed(e.Iova, e.Value, e.Length))
        {
            _plan.Oddities.Add(PlanOddity.MixedLeafSizes, e.Line);
        }

        if (_candidates is null && !_seen.Add(device, e.Iova))
        {
            _plan.Oddities.Add(PlanOddity.IovaReuse, e.Line);
        }

        Begin(e, device, e.Iova, e.Length, e.Value, e.Evidence == Evidence.Attach ? AreaFlags.Direct : AreaFlags.None);
        state.NotePeak();
        _plan.PeakAreas = Math.Max(_plan.PeakAreas, _liveAreas);
        if (_liveBytes > _plan.PeakBytes)
        {
            _plan.PeakBytes = _liveBytes;
            _plan.PeakBytesTimeNs = e.TimeNs;
        }
    }

    private void Unmap(in MappingEvent e, int device, bool named)
    {
        if (e.Value != e.Length)
        {
            _plan.Oddities.Add(PlanOddity.UnmappedSizeDiffers, e.Line);
        }

        ulong last = e.Iova + (e.Length - 1);
        _found.Clear();
        if (device >= 0)
        {
            _devices[device].Live.FindOverlaps(e.Iova, last, _found);
        }

        if (_found.Count == 0)
        {
            // An event that names its device is believed: its mapping is older than the recording, or its map was lost.
            int owner = -1;
            int count = named ? 0 : FindOwner(e.Iova, last, out owner);
            if (count == 0)
            {
                _plan.Oddities.Add(PlanOddity.UnmapOfUnknown, e.Line);
                return;
            }

            _plan.Oddities.Add(count > 1 ? PlanOddity.UnmapAmbiguous : PlanOddity.UnmapByUniqueIova, e.Line);
            device = owner;
            _devices[device].Live.FindOverlaps(e.Iova, last, _found);
        }

        if (_found.Count > 1)
        {
            _plan.Oddities.Add(PlanOddity.UnmapOfManyMaps, e.Line);
        }

        bool cut = false;
        ulong covered = 0;
        foreach (int found in _found)
        {
            ref readonly LiveArea area = ref _areas[found];
            ulong areaLast = area.Start + (area.Length - 1);
            cut |= area.Start < e.Iova || areaLast > last;
            covered += Math.Min(areaLast, last) - Math.Max(area.Start, e.Iova) + 1;
        }

        if (cut)
        {
            _plan.Oddities.Add(PlanOddity.PartialUnmap, e.Line);
        }

        if (covered != e.Length)
        {
            _plan.Oddities.Add(PlanOddity.UnmapWithHoles, e.Line);
        }

        EndFound(e, device, last, AreaFlags.None, e.Length);
    }

    /// <summary>Ends the areas that were found, and maps again what of them lies outside the event's range.</summary>
    private void EndFound(in MappingEvent e, int device, ulong last, AreaFlags flags, ulong checkLength)
    {
        DeviceState state = _devices[device];
        state.LeavePeak();
        int count = _found.Count;
        if (_ended.Length < count)
        {
            Array.Resize(ref _ended, count * 2);
        }

        ulong start = e.Iova;
        for (int i = 0; i < count; i++)
        {
            ref LiveArea area = ref _areas[_found[i]];
            area.Flags |= flags;
            if (area.Start < start || area.Start + (area.Length - 1) > last)
            {
                area.Flags |= AreaFlags.Split;
            }

            _ended[i] = area;
            state.Live.Remove(area.Start);
            state.Bytes -= area.Length;
            _liveAreas--;
            _liveBytes -= area.Length;
            _free.Push(_found[i]);
        }

        LiveArea low = _ended[0];
        LiveArea high = _ended[count - 1];
        _sink?.Unmap(
            new()
            {
                Start = low.Start,
                Length = high.Start + high.Length - low.Start,
                CheckStart = start,
                CheckLength = checkLength,
                TimeNs = e.TimeNs,
                Number = _callNumber++,
                Event = _eventNumber,
                Line = e.Line,
                Device = device,
            },
            _ended.AsSpan(0, count));

        if (low.Start < start)
        {
            Begin(e, device, low.Start, start - low.Start, low.Physical, (low.Flags & AreaFlags.Direct) | AreaFlags.Remainder);
        }

        ulong highLast = high.Start + (high.Length - 1);
        if (highLast > last)
        {
            ulong skipped = last + 1 - high.Start;
            Begin(e, device, last + 1, highLast - last, high.Physical + skipped, (high.Flags & AreaFlags.Direct) | AreaFlags.Remainder);
        }
    }

    private void Begin(in MappingEvent e, int device, ulong start, ulong length, ulong physical, AreaFlags flags)
    {
        int slot = TakeSlot();
        ref LiveArea area = ref _areas[slot];
        area = new()
        {
            Start = start,
            Length = length,
            Physical = physical,
            MapTimeNs = e.TimeNs,
            Number = _areaNumber++,
            Line = e.Line,
            Device = device,
            Flags = flags,
        };
        DeviceState state = _devices[device];
        state.Live.Add(start, length, slot);
        state.Bytes += length;
        _liveAreas++;
        _liveBytes += length;
        _sink?.Map(
            new()
            {
                Start = start,
                Length = length,
                TimeNs = e.TimeNs,
                Number = _callNumber++,
                Event = _eventNumber,
                Line = e.Line,
                Device = device,
            },
            area);
    }

    private int TakeSlot()
    {
        if (_free.TryPop(out int slot))
        {
            return slot;
        }

        if (_usedAreas == _areas.Length)
        {
            Array.Resize(ref _areas, _areas.Length * 2);
        }

        return _usedAreas++;
    }

    /// <summary>The device that has mappings in a range: with several the one that they cover best.</summary>
    private int FindOwner(ulong start, ulong last, out int owner)
    {
        owner = -1;
        int count = 0;
        ulong best = 0;
        for (int device = 0; device < _devices.Count; device++)
        {
            _devices[device].Live.FindOverlaps(start, last, _found);
            if (_found.Count == 0)
            {
                continue;
            }

            // Covered bytes, and a whole range before one that cuts areas: an unmap ends what was mapped.
            ulong covered = 0;
            bool whole = true;
            foreach (int found in _found)
            {
                ref readonly LiveArea area = ref _areas[found];
                ulong areaLast = area.Start + (area.Length - 1);
                covered += Math.Min(areaLast, last) - Math.Max(area.Start, start) + 1;
                whole &= area.Start >= start && areaLast <= last;
            }

            if (whole)
            {
                count++;
                covered += 1ul << 62;
            }

            if (owner < 0 || covered > best)
            {
                best = covered;
                owner = device;
            }
        }

        return Math.Max(count, owner < 0 ? 0 : 1);
    }

    private void CountConflicts(int device, ulong start, ulong last)
    {
        int rest = _plan.RestDevice;
        if (device != rest)
        {
            if (rest >= 0)
            {
                _devices[rest].Live.FindOverlaps(start, last, _found);
                _devices[device].Conflicts += _found.Count > 0 ? 1 : 0;
            }

            return;
        }

        foreach (int other in _candidates!)
        {
            if (other != rest)
            {
                _devices[other].Live.FindOverlaps(start, last, _found);
                _devices[other].Conflicts += _found.Count > 0 ? 1 : 0;
            }
        }
    }

    /// <summary>What one device has mapped, and the most that it had.</summary>
    private sealed class DeviceState
    {
        private int _peakAreas;
        private ulong _peakBytes;
        private Fragmentation _atPeak;
        private bool _isAtPeak;

        public LiveAreas Live { get; } = new();

        public ulong Bytes { get; set; }

        public long Conflicts { get; set; }

        public void NotePeak()
        {
            _peakAreas = Math.Max(_peakAreas, Live.Count);
            if (Bytes > _peakBytes)
            {
                _peakBytes = Bytes;
                _isAtPeak = true;
            }
        }

        // A peak is measured when it is left: until then each map makes a higher one.
        public void LeavePeak()
        {
            if (_isAtPeak)
            {
                _atPeak = Live.Measure();
                _isAtPeak = false;
            }
        }

        public DeviceSummary ToSummary()
        {
            LeavePeak();
            return new(_peakAreas, _peakBytes, _atPeak, Live.Measure());
        }
    }
}
