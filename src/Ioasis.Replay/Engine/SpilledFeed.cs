using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Engine;

/// <summary>A recording that was read and planned already, block by block, with its invalidations at their time.</summary>
internal sealed class SpilledFeed : EventFeed
{
    private const int BlockSize = 1 << 13;

    private readonly TraceEvents _events;
    private readonly IEnumerator<MappingEvent> _event;
    private readonly IEnumerator<long> _invalidation;
    private readonly EventBlock _block = new();
    private int _given;
    private bool _begun;
    private bool _hasInvalidation;

    /// <summary>Makes a feed.</summary>
    /// <param name="events">The recording.</param>
    /// <param name="logged">Times of a log's invalidations, for a recording that tells of none.</param>
    /// <param name="readTime">Time that reading took.</param>
    public SpilledFeed(TraceEvents events, IEnumerable<long> logged, TimeSpan readTime)
    {
        _events = events;
        _event = events.Events.GetEnumerator();
        _invalidation = (events.Invalidations.Any() ? events.Invalidations : logged).GetEnumerator();
        ReadTime = readTime;
    }

    /// <inheritdoc/>
    public override KernelTrace Trace => _events.Trace;

    /// <inheritdoc/>
    public override DeviceTable Devices => Trace.Devices;

    /// <inheritdoc/>
    public override int[] Candidates => [.. Trace.DmaEventsByDevice.Keys];

    /// <inheritdoc/>
    public override TimeSpan ReadTime { get; }

    /// <inheritdoc/>
    public override EventBlock Next()
    {
        EventBlock block = _block;
        block.Reset(BlockSize);
        if (!_begun)
        {
            _begun = true;
            block.Marks.AddRange(Trace.Marks.Values);
            _hasInvalidation = _invalidation.MoveNext();
        }

        long latest = long.MinValue;
        int count = 0;
        for (; count < BlockSize && _event.MoveNext(); count++)
        {
            MappingEvent e = _event.Current;
            block.Events[count] = e;
            latest = Math.Max(latest, e.TimeNs);
        }

        _given += count;
        block.Count = count;
        block.IsLast = _given == _events.Count;
        block.Fraction = block.IsLast ? 1 : (double)_given / _events.Count;
        for (; _hasInvalidation && (block.IsLast || _invalidation.Current <= latest); _hasInvalidation = _invalidation.MoveNext())
        {
            block.Invalidations.Add(_invalidation.Current);
        }

        return block;
    }
}
