namespace Ioasis.Replay.Engine;

/// <summary>
/// From each unmap to the next invalidation that the recording tells of, while it is read. Many unmaps that wait long (a
/// recording may have no invalidation at all) are joined with their neighbours in time.
/// </summary>
internal sealed class FlushDelays
{
    private const int MostWaiting = 1 << 18;

    private readonly Queue<long> _invalidations = new();
    private Queue<(long TimeNs, long Count)> _waiting = new();

    /// <summary>The delays.</summary>
    public DurationSketch Delays { get; } = new();

    /// <summary>An unmap of the recording.</summary>
    public void Unmap(long timeNs)
    {
        _waiting.Enqueue((timeNs, 1));
        if (_invalidations.Count > 0)
        {
            Match();
        }
        else if (_waiting.Count > MostWaiting)
        {
            Join();
        }
    }

    /// <summary>An invalidation of the recording.</summary>
    public void Invalidation(long timeNs)
    {
        _invalidations.Enqueue(timeNs);
        Match();
    }

    // An invalidation that is older than the oldest unmap that waits is of no use to any.
    private void Match()
    {
        while (_waiting.Count > 0 && _invalidations.TryPeek(out long invalidation))
        {
            (long unmap, long count) = _waiting.Peek();
            if (invalidation < unmap)
            {
                _invalidations.Dequeue();
                continue;
            }

            Delays.Add((invalidation - unmap) / 1e9, count);
            _waiting.Dequeue();
        }
    }

    private void Join()
    {
        Queue<(long, long)> joined = new(_waiting.Count);
        while (_waiting.TryDequeue(out (long TimeNs, long Count) first))
        {
            joined.Enqueue(_waiting.TryDequeue(out (long TimeNs, long Count) second)
                ? (first.TimeNs + ((second.TimeNs - first.TimeNs) / 2), first.Count + second.Count)
                : first);
        }

        _waiting = joined;
    }
}
