using Ioasis.Primitives;
using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Planning;
using Ioasis.Replay.Recording;
using Ioasis.Replay.Report;

namespace Ioasis.Replay.Engine;

/// <summary>Tells a <see cref="TimelineRecorder"/> what happens during a replay, together with the recording's own notes at their time.</summary>
internal sealed class SeriesFeeder(ReplayStack stack)
{
    private readonly TimelineRecorder _recorder = new();
    private readonly List<TraceMark> _marks = [];
    private readonly Queue<long> _invalidations = new();
    private int _nextMark;
    private int _devices;

    /// <summary>Takes devices that are new.</summary>
    public void AddDevices(DeviceTable devices)
    {
        for (; _devices < devices.Count; _devices++)
        {
            _recorder.AddDevice(devices.Name(_devices));
        }
    }

    /// <summary>Takes notes and invalidations that were read; they count when the replay reaches their time.</summary>
    public void Expect(IEnumerable<TraceMark> marks, IEnumerable<long> invalidations)
    {
        foreach (TraceMark mark in marks)
        {
            int at = _marks.Count;
            while (at > _nextMark && _marks[at - 1].TimeNs > mark.TimeNs)
            {
                at--;
            }

            _marks.Insert(at, mark);
        }

        foreach (long time in invalidations)
        {
            _invalidations.Enqueue(time);
        }
    }

    /// <summary>An area was mapped.</summary>
    public void Mapped(in LiveArea area, long timeNs)
    {
        Advance(timeNs);
        _recorder.Mapped(area.Device, new(area.Start), (long)area.Length, timeNs / 1e9);
        SampleIfDue(timeNs);
    }

    /// <summary>Areas were unmapped.</summary>
    public void Unmapped(in PlanCall call, ReadOnlySpan<LiveArea> ended)
    {
        Advance(call.TimeNs);
        if (call.CheckLength > 0)
        {
            _recorder.UnmapEvent(call.TimeNs / 1e9);
        }

        foreach (ref readonly LiveArea area in ended)
        {
            _recorder.Unmapped(call.Device, new(area.Start), (long)area.Length, 1, call.TimeNs / 1e9);
        }

        SampleIfDue(call.TimeNs);
    }

    /// <summary>The series, when the recording is over.</summary>
    public SeriesReport Finish(long endNs)
    {
        Advance(endNs);
        Sample(endNs);
        return _recorder.ToReport();
    }

    private void Advance(long timeNs)
    {
        while (_nextMark < _marks.Count && _marks[_nextMark].TimeNs <= timeNs)
        {
            TraceMark mark = _marks[_nextMark++];
            if (!string.Equals(mark.Text, "tick", StringComparison.Ordinal))
            {
                _recorder.Mark(mark.TimeNs / 1e9, mark.Text);
            }
        }

        while (_invalidations.TryPeek(out long invalidation) && invalidation <= timeNs)
        {
            _recorder.RecordedInvalidation(_invalidations.Dequeue() / 1e9);
        }
    }

    private void SampleIfDue(long timeNs)
    {
        if (_recorder.WantsSample(timeNs / 1e9))
        {
            Sample(timeNs);
        }
    }

    private void Sample(long timeNs)
    {
        HardwareCounters counters = HardwareCounters.Of(stack);
        _recorder.Sample(
            timeNs / 1e9,
            new(counters.Total.Hits, counters.Total.Misses, counters.Invalidations, counters.EntriesRemoved, stack.TotalTableBytes()));
    }
}
