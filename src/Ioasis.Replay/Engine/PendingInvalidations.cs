using Ioasis.Replay.Planning;

namespace Ioasis.Replay.Engine;

/// <summary>
/// The unmaps of one device whose invalidation is deferred: they may be reached until a flush, so their check waits for it. An
/// unmap as old as the limit has been flushed by the time that the machine polled its queues; one whose IOVAs are mapped
/// again was flushed before, and has nothing left to check.
/// </summary>
internal sealed class PendingInvalidations(long limitNs)
{
    private readonly Queue<(int Step, long TimeNs)> _pending = new();

    /// <summary>Unmaps that were not checked because their IOVAs were mapped again first.</summary>
    public long Reused { get; private set; }

    /// <summary>When the oldest is due, or <see cref="long.MaxValue"/>.</summary>
    public long DueNs => _pending.Count == 0 ? long.MaxValue : _pending.Peek().TimeNs + limitNs;

    /// <summary>Whether any waits.</summary>
    public bool Any => _pending.Count > 0;

    /// <summary>Defers the check of an unmap.</summary>
    public void Add(int step, long timeNs) => _pending.Enqueue((step, timeNs));

    /// <summary>Takes the oldest that is due.</summary>
    public bool TryTakeDue(long nowNs, out int step)
    {
        if (_pending.Count == 0 || _pending.Peek().TimeNs + limitNs > nowNs)
        {
            step = -1;
            return false;
        }

        step = _pending.Dequeue().Step;
        return true;
    }

    /// <summary>A map takes IOVAs: those unmaps that waited for them are done.</summary>
    public void Reuse(PlanStep[] steps, ulong start, ulong length)
    {
        int count = _pending.Count;
        if (count == 0 || !Overlaps(steps, start, length))
        {
            return;
        }

        for (int i = 0; i < count; i++)
        {
            (int step, long time) = _pending.Dequeue();
            if (Overlap(steps[step], start, length))
            {
                Reused++;
            }
            else
            {
                _pending.Enqueue((step, time));
            }
        }
    }

    /// <summary>Whether an IOVA waits for its invalidation.</summary>
    public bool Overlaps(PlanStep[] steps, ulong start, ulong length)
    {
        foreach ((int step, _) in _pending)
        {
            if (Overlap(steps[step], start, length))
            {
                return true;
            }
        }

        return false;
    }

    private static bool Overlap(in PlanStep step, ulong start, ulong length) =>
        step.CheckStart <= start + (length - 1) && start <= step.CheckStart + (step.CheckLength - 1);
}
