using Ioasis.Primitives;

namespace Ioasis.Replay.Report;

/// <summary>
/// Gathers what a <see cref="SeriesReport"/> holds while a replay runs, in memory that does not grow with the recording:
/// when the intervals are used up, neighbours are joined and each becomes twice as long. Times that go backwards count
/// into the interval that is open. Not for use by two threads at once.
/// </summary>
internal sealed class TimelineRecorder
{
    private const double FirstIntervalSeconds = 1.0 / 4096;
    private const int Capacity = SeriesReport.MaxPoints;

    private readonly List<(string Name, IovaMapRecorder Map, long[] Live)> _devices = [];
    private readonly List<RecordedMark> _marks = [];
    private readonly long[] _liveBytes = new long[Capacity];
    private readonly long[] _liveRanges = new long[Capacity];
    private readonly long[] _maps = new long[Capacity];
    private readonly long[] _unmaps = new long[Capacity];
    private readonly long[] _tableBytes = new long[Capacity];
    private readonly long[] _hits = new long[Capacity];
    private readonly long[] _misses = new long[Capacity];
    private readonly long[] _commands = new long[Capacity];
    private readonly long[] _removed = new long[Capacity];
    private readonly long[] _recorded = new long[Capacity];
    private double _interval = FirstIntervalSeconds;

    // The reciprocal of the interval: exact, for an interval is a power of two.
    private double _intervalsPerSecond = 1 / FirstIntervalSeconds;
    private double _start = double.NaN;
    private double _latest;
    private int _open;
    private int _sampled = -1;
    private long _nowBytes;
    private long _nowRanges;
    private CounterSample _last;

    /// <summary>Cumulative counters of the replay; each only grows, but for the page-table memory.</summary>
    /// <param name="IotlbHits">Hits so far.</param>
    /// <param name="IotlbMisses">Misses so far.</param>
    /// <param name="InvalidationCommands">Invalidation commands so far, fences not counted.</param>
    /// <param name="EntriesRemoved">Cache entries that they removed so far.</param>
    /// <param name="PageTableBytes">Page-table memory now.</param>
    public readonly record struct CounterSample(
        long IotlbHits, long IotlbMisses, long InvalidationCommands, long EntriesRemoved, long PageTableBytes);

    /// <summary>Adds a device and returns its number for the calls below, from 0.</summary>
    public int AddDevice(string name)
    {
        _devices.Add((name, new IovaMapRecorder(name), new long[Capacity]));
        return _devices.Count - 1;
    }

    /// <summary>A range of the device became mapped. Parts that were mapped already must be told as unmapped before.</summary>
    public void Mapped(int device, Iova iova, long lengthBytes, double seconds)
    {
        Advance(seconds);
        _maps[_open]++;
        Change(device, iova, lengthBytes, 1);
    }

    /// <summary>A range of the device stopped being mapped.</summary>
    /// <param name="device">Number of the device.</param>
    /// <param name="iova">First byte.</param>
    /// <param name="lengthBytes">Bytes that were mapped.</param>
    /// <param name="ranges">Mapped ranges that are gone with it: 0 when only a part of one is.</param>
    /// <param name="seconds">When, on the recording's clock.</param>
    public void Unmapped(int device, Iova iova, long lengthBytes, int ranges, double seconds)
    {
        Advance(seconds);
        Change(device, iova, -lengthBytes, -ranges);
    }

    /// <summary>Counts an unmap event, whatever it covers.</summary>
    public void UnmapEvent(double seconds)
    {
        Advance(seconds);
        _unmaps[_open]++;
    }

    /// <summary>Counts an invalidation that the recording tells of.</summary>
    public void RecordedInvalidation(double seconds)
    {
        Advance(seconds);
        _recorded[_open]++;
    }

    /// <summary>Keeps a mark of the recording.</summary>
    public void Mark(double seconds, string text)
    {
        Advance(seconds);
        _marks.Add(new(seconds, text));
    }

    /// <summary>Begins at a time, unless it has begun with something before.</summary>
    public void Begin(double seconds) => Advance(seconds);

    /// <summary>As <see cref="WantsSample"/>, for who adds the sample elsewhere: the interval counts as sampled.</summary>
    public bool ClaimSample(double seconds)
    {
        bool wanted = WantsSample(seconds);
        _sampled = _open;
        return wanted;
    }

    /// <summary>Whether <see cref="Sample"/> has something to add at this time: once for each interval.</summary>
    public bool WantsSample(double seconds)
    {
        Advance(seconds);
        return _open != _sampled;
    }

    /// <summary>What the counters grew by since the last sample goes into the interval of this time.</summary>
    public void Sample(double seconds, in CounterSample counters)
    {
        Advance(seconds);
        _hits[_open] += counters.IotlbHits - _last.IotlbHits;
        _misses[_open] += counters.IotlbMisses - _last.IotlbMisses;
        _commands[_open] += counters.InvalidationCommands - _last.InvalidationCommands;
        _removed[_open] += counters.EntriesRemoved - _last.EntriesRemoved;
        _tableBytes[_open] = counters.PageTableBytes;
        _last = counters;
        _sampled = _open;
    }

    /// <summary>The series so far.</summary>
    public SeriesReport ToReport()
    {
        int count = double.IsNaN(_start) ? 0 : _open + 1;
        double[] starts = new double[count];
        for (int i = 0; i < count; i++)
        {
            starts[i] = _start + (i * _interval);
        }

        return new()
        {
            IntervalSeconds = count == 0 ? 0 : _interval,
            StartSeconds = starts,
            LiveBytes = _liveBytes[..count],
            LiveRanges = _liveRanges[..count],
            LiveBytesByDevice = [.. _devices.Select(d => new DeviceSeries(d.Name, d.Live[..count]))],
            Maps = _maps[..count],
            Unmaps = _unmaps[..count],
            PageTableBytes = _tableBytes[..count],
            IotlbHits = _hits[..count],
            IotlbMisses = _misses[..count],
            InvalidationCommands = _commands[..count],
            EntriesRemoved = _removed[..count],
            RecordedInvalidations = _recorded[..count],
            Marks = [.. _marks],
            IovaMaps = [.. _devices.Select(d => d.Map.ToReport(_latest)).Where(m => m.Bands.Count > 0)],
        };
    }

    private void Change(int device, Iova iova, long bytes, int ranges)
    {
        (_, IovaMapRecorder map, long[] live) = _devices[device];
        map.Change(iova, bytes, _latest);
        live[_open] += bytes;
        _nowBytes += bytes;
        _nowRanges += ranges;
        _liveBytes[_open] = Math.Max(_liveBytes[_open], _nowBytes);
        _liveRanges[_open] = Math.Max(_liveRanges[_open], _nowRanges);
    }

    private void Advance(double seconds)
    {
        if (double.IsNaN(_start))
        {
            _start = seconds;
            _latest = seconds;
        }

        if (!(seconds > _latest))
        {
            return;
        }

        _latest = seconds;
        while ((seconds - _start) * _intervalsPerSecond >= Capacity)
        {
            JoinNeighbours();
        }

        int interval = (int)((seconds - _start) * _intervalsPerSecond);
        while (_open < interval)
        {
            _open++;
            _liveBytes[_open] = _nowBytes;
            _liveRanges[_open] = _nowRanges;
            _tableBytes[_open] = _tableBytes[_open - 1];
            foreach ((_, _, long[] live) in _devices)
            {
                live[_open] = live[_open - 1];
            }
        }
    }

    private void JoinNeighbours()
    {
        foreach (long[] sums in (ReadOnlySpan<long[]>)[_maps, _unmaps, _hits, _misses, _commands, _removed, _recorded])
        {
            Join(sums, static (a, b) => a + b);
        }

        Join(_liveBytes, Math.Max);
        Join(_liveRanges, Math.Max);

        // A level is that of the later half, unless the later half has not begun.
        JoinLevel(_tableBytes);
        foreach ((_, _, long[] live) in _devices)
        {
            JoinLevel(live);
        }

        _interval *= 2;
        _intervalsPerSecond /= 2;
        _open /= 2;
        _sampled = _sampled < 0 ? -1 : _sampled / 2;
    }

    private static void Join(long[] values, Func<long, long, long> join)
    {
        for (int i = 0; i < Capacity / 2; i++)
        {
            values[i] = join(values[2 * i], values[(2 * i) + 1]);
        }

        Array.Clear(values, Capacity / 2, Capacity / 2);
    }

    private void JoinLevel(long[] values)
    {
        for (int i = 0; i < Capacity / 2; i++)
        {
            values[i] = values[Math.Min((2 * i) + 1, Math.Max(_open, 2 * i))];
        }

        Array.Clear(values, Capacity / 2, Capacity / 2);
    }
}
