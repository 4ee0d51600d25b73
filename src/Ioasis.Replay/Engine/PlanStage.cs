using Ioasis.Replay.Planning;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Engine;

/// <summary>
/// The first half of a replay: from events to calls. It gives maps and unmaps their owners, decides what they mean, and sums up all
/// that does not depend on what the stack does. It may run in a thread of its own; it touches nothing of the stack.
/// </summary>
internal sealed class PlanStage : IPlanSink
{
    // Events of a block: few enough that its calls stay in a processor's cache on their way.
    private const int BlockSize = 1 << 10;

    private readonly ReplayCase _case;
    private readonly DeviceTable _table;
    private readonly StreamOwners _owners;
    private readonly MappingPlanner _planner;
    private readonly bool _recordsSeries;
    private EventBlock? _events;
    private PlanBlock? _block;
    private int _nextEvent;
    private int _toldDevices;
    private long _index;
    private double _fraction;
    private bool _hasInvalidations;

    /// <summary>Makes the stage; the recording is read when the first block is asked for.</summary>
    /// <param name="replay">What is replayed.</param>
    /// <param name="recordsSeries">Whether time series are recorded.</param>
    public PlanStage(ReplayCase replay, bool recordsSeries)
    {
        _case = replay;
        _table = replay.Feed.Devices;
        _owners = new(_table);
        _planner = new(Summary, this, replay.Planning.LastIova);
        _recordsSeries = recordsSeries;
        Summary.RestDevice = replay.Placed?.RestDevice ?? -1;
        Summary.RestChoice = replay.Placed?.RestChoice ?? RestChoice.NotNeeded;
    }

    /// <summary>What the plan sums up; complete after <see cref="Finish"/>.</summary>
    public PlanSummary Summary { get; } = new();

    /// <summary>Sums over maps and unmaps.</summary>
    public MappingStatistics Statistics { get; } = new();

    /// <summary>What changes over the recording's time, as far as the plan knows it.</summary>
    public SeriesFeeder Series { get; } = new();

    /// <summary>Time of the first event in nanoseconds, known with the first block; null without an event.</summary>
    public long? StartNs { get; private set; }

    /// <summary>The areas that live at the end, in the order of their maps; known after <see cref="Finish"/>.</summary>
    public LiveArea[] Live { get; private set; } = [];

    /// <summary>Plans the next events.</summary>
    /// <param name="block">Gets the calls; the last one says so.</param>
    /// <exception cref="Input.TraceInputException">The recording cannot be read.</exception>
    public void Next(PlanBlock block)
    {
        block.Reset();
        _block = block;
        if (_events is null || _nextEvent == _events.Count)
        {
            _fraction = _events?.Fraction ?? 0;
            _events = _case.Feed.Next();
            _nextEvent = 0;
            Begin(_events);
        }

        for (; _toldDevices < _table.Count; _toldDevices++)
        {
            block.NewDevices.Add(new(_table.Name(_toldDevices), _table.Id(_toldDevices)));
        }

        int[]? overrides = _case.Planning.Overrides;
        int mappedBefore = _case.Feed.Trace.MappedBefore;
        Span<MappingEvent> events = _events.Span;
        int end = Math.Min(events.Length, _nextEvent + BlockSize);
        for (int i = _nextEvent; i < end; i++, _index++)
        {
            ref readonly MappingEvent e = ref events[i];
            Statistics.Event(e, e.Device >= 0, _index >= mappedBefore);
            _planner.Take(e, e.Device, overrides is null ? -1 : overrides[_index]);
        }

        _nextEvent = end;
        block.Fraction = events.Length == 0 ? _events.Fraction : _fraction + ((_events.Fraction - _fraction) * end / events.Length);
        block.IsLast = _events.IsLast && end == events.Length;
    }

    /// <summary>Completes the sums, after the last block.</summary>
    public void Finish()
    {
        _planner.Finish();
        Live = _planner.Live();
        Series.AddDevices(_table);
    }

    /// <inheritdoc/>
    public void Map(in PlanCall call, in LiveArea area)
    {
        _block!.Map(call, area);
        Statistics.Mapped(area);
        if (_recordsSeries && Series.Mapped(area, call.TimeNs))
        {
            _block.Sample(call.TimeNs / 1e9);
        }
    }

    /// <inheritdoc/>
    public void Unmap(in PlanCall call, ReadOnlySpan<LiveArea> ended)
    {
        _block!.Unmap(call, ended);
        Statistics.Unmapped(call, ended);
        if (_recordsSeries && Series.Unmapped(call, ended))
        {
            _block.Sample(call.TimeNs / 1e9);
        }
    }

    /// <summary>Takes what came beside events: devices, notes, invalidations; chooses who takes what nothing names.</summary>
    private void Begin(EventBlock block)
    {
        StartNs ??= block.Count > 0 ? block.Events[0].TimeNs : null;
        if (!_case.Learned && _case.Placed is null)
        {
            FindOwners(block);
        }

        _planner.GrowTo(_table.Count);
        _hasInvalidations |= block.Invalidations.Count > 0;
        IEnumerable<long> invalidations = block.IsLast && !_hasInvalidations ? _case.LoggedInvalidationTimes() : block.Invalidations;
        if (_recordsSeries)
        {
            Series.AddDevices(_table);
            Series.Expect(block.Marks, invalidations);
        }

        foreach (long time in invalidations)
        {
            Statistics.FlushDelays.Invalidation(time);
        }
    }

    private void FindOwners(EventBlock block)
    {
        bool anyUnnamed = false;
        foreach (ref readonly MappingEvent e in block.Span)
        {
            anyUnnamed |= e.Device < 0;
        }

        // Whoever tells spaces apart has to see every event from the first one without a name on.
        if (!anyUnnamed && !_owners.HasBegun)
        {
            return;
        }

        int[] candidates = _case.Feed.Candidates;
        if (_case.Planning.Rest is null)
        {
            KernelTrace trace = _case.Feed.Trace;
            int only = block.IsLast && OwnerAssignment.OnlyDevice(trace) is { } device ? _table.Intern(trace.Devices.Name(device)) : -1;
            _owners.Assign(block.Span, candidates, only);
        }

        RestRule.Choose(Summary, _case.Planning, _table, block.Span, candidates);
    }
}
