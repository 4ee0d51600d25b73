using Ioasis.Primitives;
using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Planning;
using Ioasis.Replay.Recording;
using Ioasis.Replay.Report;

namespace Ioasis.Replay.Engine;

/// <summary>Tells a <see cref="TimelineRecorder"/> what happens during a replay, together with the recording's own notes at their time.</summary>
internal sealed class SeriesFeeder
{
    private readonly TimelineRecorder _recorder = new();
    private readonly ReplayStack _stack;
    private readonly TraceMark[] _marks;
    private readonly long[] _invalidations;
    private int _nextMark;
    private int _nextInvalidation;
    private int _lastUnmap = -1;

    public SeriesFeeder(DeviceTable devices, ReplayStack stack, IEnumerable<TraceMark> marks, long[] invalidations)
    {
        _stack = stack;
        _marks = [.. marks.OrderBy(m => m.TimeNs)];
        _invalidations = invalidations;
        for (int i = 0; i < devices.Count; i++)
        {
            _recorder.AddDevice(devices.Name(i));
        }
    }

    /// <summary>An area was mapped.</summary>
    public void Mapped(int device, in Area area, long timeNs)
    {
        Advance(timeNs);
        _recorder.Mapped(device, new(area.Start), (long)area.Length, timeNs / 1e9);
        SampleIfDue(timeNs);
    }

    /// <summary>Areas were unmapped.</summary>
    public void Unmapped(in PlanStep step, MappingPlan plan, long timeNs)
    {
        Advance(timeNs);
        if (step.CheckLength > 0 && step.Event != _lastUnmap)
        {
            _lastUnmap = step.Event;
            _recorder.UnmapEvent(timeNs / 1e9);
        }

        for (int i = 0; i < step.AreaCount; i++)
        {
            ref readonly Area area = ref plan.Areas[plan.Ended[step.Area + i]];
            _recorder.Unmapped(step.Device, new(area.Start), (long)area.Length, 1, timeNs / 1e9);
        }

        SampleIfDue(timeNs);
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
        while (_nextMark < _marks.Length && _marks[_nextMark].TimeNs <= timeNs)
        {
            TraceMark mark = _marks[_nextMark++];
            if (!string.Equals(mark.Text, "tick", StringComparison.Ordinal))
            {
                _recorder.Mark(mark.TimeNs / 1e9, mark.Text);
            }
        }

        while (_nextInvalidation < _invalidations.Length && _invalidations[_nextInvalidation] <= timeNs)
        {
            _recorder.RecordedInvalidation(_invalidations[_nextInvalidation++] / 1e9);
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
        HardwareCounters counters = HardwareCounters.Of(_stack);
        long tables = 0;
        for (int device = 0; device < _stack.Endpoints.Length; device++)
        {
            tables += _stack.TableBytes(device);
        }

        _recorder.Sample(timeNs / 1e9, new(counters.Total.Hits, counters.Total.Misses, counters.Invalidations, counters.EntriesRemoved, tables));
    }
}
