using System.Runtime.InteropServices;
using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Planning;

/// <summary>A mapping from its map to its unmap, as far as it matters for accesses.</summary>
internal struct WindowArea
{
    /// <summary>First IOVA.</summary>
    public ulong Start;

    /// <summary>Bytes.</summary>
    public ulong Length;

    /// <summary>Recorded physical address of the first byte.</summary>
    public ulong Physical;

    /// <summary>When it was mapped, in seconds of the trace.</summary>
    public double MapSeconds;

    /// <summary>When it was unmapped, in seconds of the trace; infinite while it lives.</summary>
    public double EndSeconds;

    /// <summary>Place of the event that mapped it in the order of all maps and unmaps.</summary>
    public long MapEvent;

    /// <summary>The step that maps it.</summary>
    public int MapStep;

    /// <summary>The step that ends it, or -1 while it lives.</summary>
    public int EndStep;

    /// <summary>Its device.</summary>
    public int Device;
}

/// <summary>
/// A plan near a time that moves on: which page of which device is mapped to what, when, and by which step, as far as a log uses it.
/// Farther than the reach of an <see cref="AccessPlacing"/> from the accesses to come nothing is kept. Where the times of a trace's
/// events do not rise, nearness is no matter of their order, and the reach is infinite.
/// </summary>
internal sealed class MappingWindow : IPlanSink
{
    private readonly AccessPlacing _placing;
    private readonly MappingPlanner _planner;
    private readonly IEnumerator<MappingEvent> _events;
    private readonly Dictionary<(int Device, ulong Page), SlidingList<int>> _pages = [];
    private readonly Dictionary<long, int> _live = [];
    private readonly SlidingList<int> _ended = new();
    private readonly Stack<int> _free = new();
    private readonly Stack<SlidingList<int>> _freeLists = new();
    private readonly List<ulong> _found = [];

    // Times that no event before reached, with the steps that came before it.
    private readonly SlidingList<(double Seconds, int Steps)> _times = new();
    private readonly Func<int, double> _mapSeconds;
    private WindowArea[] _areas = new WindowArea[256];
    private int _usedAreas;
    private int _steps;
    private double _head = double.NegativeInfinity;
    private double _latest = double.NegativeInfinity;
    private bool _isOver;

    /// <summary>Makes a window at the trace's beginning.</summary>
    public MappingWindow(AccessPlacing placing)
    {
        _placing = placing;
        _planner = placing.Planner(this);
        _events = placing.Events.GetEnumerator();
        _mapSeconds = area => _areas[area].MapSeconds;
    }

    /// <summary>No later access is earlier than this, in seconds of the trace.</summary>
    public double Earliest => _latest - _placing.BackStepSeconds;

    /// <summary>One of the areas that are kept.</summary>
    public ref readonly WindowArea this[int area] => ref _areas[area];

    /// <summary>Moves to the time of the next access.</summary>
    public void MoveTo(double at)
    {
        if (at <= _latest)
        {
            return;
        }

        _latest = at;
        double until = at + _placing.ReachSeconds;
        while (!_isOver && _head <= until)
        {
            Read();
        }

        Forget(Earliest - _placing.ReachSeconds);
    }

    /// <summary>How many steps there are before the first event that is later than a time.</summary>
    public int StepsBefore(double at)
    {
        int later = _times.FirstAfter(at, static time => time.Seconds);
        return later < _times.Count ? _times[later].Steps : _steps;
    }

    /// <summary>No step before this one ends or begins anything that an access still to come is placed by.</summary>
    public int FirstStepInReach() => StepsBefore(Earliest - _placing.ReachSeconds);

    /// <summary>The area that maps the access's page to where it went and is live then, or the nearest in time.</summary>
    /// <param name="device">The device in the plan.</param>
    /// <param name="access">The access.</param>
    /// <param name="at">Its time, in seconds of the trace.</param>
    /// <param name="distance">How far the area's life is from that, in seconds; 0 if it is live.</param>
    /// <returns>The area, or -1 if none within reach maps the page so.</returns>
    public int Find(int device, in DmaAccess access, double at, out double distance)
    {
        distance = double.PositiveInfinity;
        if (!_pages.TryGetValue((device, access.Iova >> 12), out SlidingList<int>? areas))
        {
            return -1;
        }

        int later = areas.FirstAfter(at, _mapSeconds);
        int best = -1;
        for (int i = later - 1; i >= 0 && best < 0; i--)
        {
            ref readonly WindowArea area = ref _areas[areas[i]];
            if (MappingMatch.Explains(area.Start, area.Length, area.Physical, access))
            {
                best = areas[i];
                distance = at > area.EndSeconds ? at - area.EndSeconds : 0;
            }
        }

        int next = FindFrom(areas, later, access, at + distance);
        if (next >= 0)
        {
            distance = _areas[next].MapSeconds - at;
            return next;
        }

        return best;
    }

    /// <summary>The first area mapped after a time and before another that maps the access's page to where it went.</summary>
    /// <param name="device">The device in the plan.</param>
    /// <param name="access">The access.</param>
    /// <param name="after">In seconds of the trace.</param>
    /// <param name="before">In seconds of the trace.</param>
    /// <returns>The area, or -1 if none is mapped between the two.</returns>
    public int FindMappedNext(int device, in DmaAccess access, double after, double before) =>
        _pages.TryGetValue((device, access.Iova >> 12), out SlidingList<int>? areas)
            ? FindFrom(areas, areas.FirstAfter(after, _mapSeconds), access, before)
            : -1;

    private int FindFrom(SlidingList<int> areas, int first, in DmaAccess access, double before)
    {
        for (int i = first; i < areas.Count && _areas[areas[i]].MapSeconds < before; i++)
        {
            ref readonly WindowArea area = ref _areas[areas[i]];
            if (MappingMatch.Explains(area.Start, area.Length, area.Physical, access))
            {
                return areas[i];
            }
        }

        return -1;
    }

    /// <inheritdoc/>
    public void Map(in PlanCall call, in LiveArea area)
    {
        _steps = (int)call.Number + 1;
        _placing.Used.Collect(area.Device, area.Start >> 12, (area.Start + (area.Length - 1)) >> 12, _found);
        if (_found.Count == 0)
        {
            return;
        }

        int slot = TakeSlot();
        _areas[slot] = new()
        {
            Start = area.Start,
            Length = area.Length,
            Physical = area.Physical,
            MapSeconds = area.MapTimeNs / 1e9,
            EndSeconds = double.PositiveInfinity,
            MapEvent = call.Event,
            MapStep = (int)call.Number,
            EndStep = -1,
            Device = area.Device,
        };
        _live.Add(area.Number, slot);
        foreach (ulong page in _found)
        {
            ref SlidingList<int>? areas = ref CollectionsMarshal.GetValueRefOrAddDefault(_pages, (area.Device, page), out _);
            areas ??= _freeLists.TryPop(out SlidingList<int>? list) ? list : new();
            areas.Add(slot);
        }
    }

    /// <inheritdoc/>
    public void Unmap(in PlanCall call, ReadOnlySpan<LiveArea> ended)
    {
        _steps = (int)call.Number + 1;
        foreach (ref readonly LiveArea area in ended)
        {
            if (_live.Remove(area.Number, out int slot))
            {
                _areas[slot].EndSeconds = call.TimeNs / 1e9;
                _areas[slot].EndStep = (int)call.Number;
                _ended.Add(slot);
            }
        }
    }

    private void Read()
    {
        if (!_events.MoveNext())
        {
            _isOver = true;
            _events.Dispose();
            return;
        }

        MappingEvent e = _events.Current;
        double seconds = e.TimeNs / 1e9;
        if (seconds > _head)
        {
            _head = seconds;
            _times.Add((seconds, _steps));
        }

        _planner.Take(e, e.Device);
    }

    // The areas of a page end in the order in which they began: what is forgotten first is at the front.
    private void Forget(double before)
    {
        while (_times.Count > 0 && _times[0].Seconds <= before)
        {
            _times.RemoveFirst();
        }

        while (_ended.Count > 0 && _areas[_ended[0]].EndSeconds < before)
        {
            int slot = _ended[0];
            _ended.RemoveFirst();
            _free.Push(slot);
            ref readonly WindowArea area = ref _areas[slot];
            _placing.Used.Collect(area.Device, area.Start >> 12, (area.Start + (area.Length - 1)) >> 12, _found);
            foreach (ulong page in _found)
            {
                SlidingList<int> areas = _pages[(area.Device, page)];
                areas.RemoveFirst();
                if (areas.Count == 0)
                {
                    _pages.Remove((area.Device, page));
                    _freeLists.Push(areas);
                }
            }
        }
    }

    private int TakeSlot()
    {
        if (_free.TryPop(out int slot))
        {
            return slot;
        }

        if (_usedAreas == _areas.Length)
        {
            Array.Resize(ref _areas, _usedAreas * 2);
        }

        return _usedAreas++;
    }
}
