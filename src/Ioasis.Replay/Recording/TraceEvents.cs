using Ioasis.Replay.Input;

namespace Ioasis.Replay.Recording;

/// <summary>
/// A kernel trace whose maps and unmaps are gone through several times, and are in memory only as far as there are few: the rest lies in a
/// temporary file.
/// </summary>
internal sealed class TraceEvents
{
    private TraceEvents(KernelTrace trace, IEnumerable<MappingEvent> events, int count, IEnumerable<long> invalidations)
    {
        Trace = trace;
        Events = events;
        Count = count;
        Invalidations = invalidations;
    }

    /// <summary>All else that the trace tells.</summary>
    public KernelTrace Trace { get; }

    /// <summary>Its maps and unmaps.</summary>
    public IEnumerable<MappingEvent> Events { get; }

    /// <summary>How many.</summary>
    public int Count { get; }

    /// <summary>Times of the IOTLB invalidations that it tells of, in nanoseconds.</summary>
    public IEnumerable<long> Invalidations { get; }

    /// <summary>Whether no event is earlier than one before it.</summary>
    public bool IsOrdered { get; private init; }

    /// <summary>Whether nothing names the device of some map.</summary>
    public bool HasUnnamedMaps { get; private init; }

    /// <summary>Whether nothing names the device of some map or unmap.</summary>
    public bool HasUnnamed { get; private init; }

    /// <summary>A trace that is in memory.</summary>
    public static TraceEvents Of(KernelTrace trace)
    {
        Survey survey = new();
        foreach (ref readonly MappingEvent e in trace.Mappings.AsSpan())
        {
            survey.Add(e);
        }

        return survey.Tell(trace, trace.Mappings, trace.Mappings.Length, trace.Invalidations);
    }

    /// <summary>Reads a trace to its end.</summary>
    /// <exception cref="TraceInputException">The file cannot be read, is cut off, or holds no event.</exception>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    public static TraceEvents Read(MappingReader reader)
    {
        string path = reader.Trace.Input.Path;
        SpilledList<MappingEvent> events = new(path, "maps and unmaps");
        SpilledList<long> invalidations = new(path, "invalidations");
        Survey survey = new();
        while (reader.TryRead(out MappingEvent e))
        {
            events.Add(e);
            survey.Add(e);
            Move(reader, invalidations);
        }

        Move(reader, invalidations);
        return survey.Tell(reader.Trace, events, events.Length, invalidations);
    }

    /// <summary>The same trace after mappings that were there before it began.</summary>
    public TraceEvents After(IReadOnlyCollection<MappingEvent> before) =>
        new(Trace.Apart(before.Count), before.Concat(Events), Count + before.Count, Invalidations)
        {
            IsOrdered = IsOrdered && Events.Select(static e => e.TimeNs).FirstOrDefault(long.MaxValue) >= Trace.Input.FirstTimeNs,
            HasUnnamedMaps = HasUnnamedMaps,
            HasUnnamed = HasUnnamed,
        };

    /// <summary>The trace with its maps and unmaps in memory.</summary>
    public KernelTrace Whole() => Trace.Whole([.. Events], Invalidations as IReadOnlyList<long> ?? [.. Invalidations]);

    private static void Move(MappingReader reader, SpilledList<long> invalidations)
    {
        foreach (long time in reader.NewInvalidations)
        {
            invalidations.Add(time);
        }

        reader.NewInvalidations.Clear();
        reader.NewMarks.Clear();
    }

    private struct Survey()
    {
        private long _latest = long.MinValue;
        private bool _steppedBack;
        private bool _unnamedMaps;
        private bool _unnamed;

        public void Add(in MappingEvent e)
        {
            _steppedBack |= e.TimeNs < _latest;
            _latest = Math.Max(_latest, e.TimeNs);
            _unnamedMaps |= e.Device < 0 && !e.IsUnmap;
            _unnamed |= e.Device < 0;
        }

        public readonly TraceEvents Tell(KernelTrace trace, IEnumerable<MappingEvent> events, int count, IEnumerable<long> invalidations) =>
            new(trace, events, count, invalidations)
            {
                IsOrdered = !_steppedBack,
                HasUnnamedMaps = _unnamedMaps,
                HasUnnamed = _unnamed,
            };
    }
}
