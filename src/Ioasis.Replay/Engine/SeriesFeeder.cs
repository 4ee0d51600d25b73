using Ioasis.Primitives;
using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Planning;
using Ioasis.Replay.Recording;
using Ioasis.Replay.Report;

namespace Ioasis.Replay.Engine;

/// <summary>
/// Tells a <see cref="TimelineRecorder"/> what a plan does, together with the recording's own notes at their time. When a sample of the
/// hardware's counters is due it says so: whoever replays takes it (<see cref="CounterSeries"/>).
/// </summary>
internal sealed class SeriesFeeder
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

    /// <summary>An area is mapped.</summary>
    /// <returns>Whether a sample is due after it.</returns>
    public bool Mapped(in LiveArea area, long timeNs)
    {
        double seconds = timeNs / 1e9;
        Advance(timeNs);
        _recorder.Mapped(area.Device, new(area.Start), (long)area.Length, seconds);
        return _recorder.ClaimSample(seconds);
    }

    /// <summary>Areas are unmapped.</summary>
    /// <returns>Whether a sample is due after it.</returns>
    public bool Unmapped(in PlanCall call, ReadOnlySpan<LiveArea> ended)
    {
        double seconds = call.TimeNs / 1e9;
        Advance(call.TimeNs);
        if (call.CheckLength > 0)
        {
            _recorder.UnmapEvent(seconds);
        }

        foreach (ref readonly LiveArea area in ended)
        {
            _recorder.Unmapped(call.Device, new(area.Start), (long)area.Length, 1, seconds);
        }

        return _recorder.ClaimSample(seconds);
    }

    /// <summary>The series, when the recording is over.</summary>
    /// <param name="endNs">When it was over.</param>
    /// <param name="counters">What the replay sampled, also then.</param>
    public SeriesReport Finish(long endNs, CounterSeries counters)
    {
        Advance(endNs);
        _ = _recorder.ClaimSample(endNs / 1e9);
        return counters.AddTo(_recorder.ToReport());
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
}
