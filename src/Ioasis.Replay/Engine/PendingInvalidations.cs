using Ioasis.Primitives;
using Ioasis.Replay.Planning;

namespace Ioasis.Replay.Engine;

/// <summary>An unmap whose check waits.</summary>
/// <param name="Call">The unmap.</param>
/// <param name="TimeNs">Since when.</param>
/// <param name="Ended">Its areas where every page is checked, else empty.</param>
internal readonly record struct PendingCheck(PlanCall Call, long TimeNs, AddressRange[] Ended);

/// <summary>
/// The unmaps of one device whose invalidation is deferred: they may be reached until a flush, so their check waits for it. An
/// unmap as old as the limit has been flushed by the time that the machine polled its queues; one whose IOVAs are mapped
/// again was flushed before, and has nothing left to check.
/// </summary>
internal sealed class PendingInvalidations(long limitNs)
{
    private readonly Queue<PendingCheck> _pending = new();

    /// <summary>Unmaps that were not checked because their IOVAs were mapped again first.</summary>
    public long Reused { get; private set; }

    /// <summary>When the oldest is due, or <see cref="long.MaxValue"/>.</summary>
    public long DueNs => _pending.Count == 0 ? long.MaxValue : _pending.Peek().TimeNs + limitNs;

    /// <summary>Defers the check of an unmap.</summary>
    public void Add(in PendingCheck check) => _pending.Enqueue(check);

    /// <summary>Takes the oldest that is due.</summary>
    public bool TryTakeDue(long nowNs, out PendingCheck check)
    {
        if (_pending.Count == 0 || _pending.Peek().TimeNs + limitNs > nowNs)
        {
            check = default;
            return false;
        }

        check = _pending.Dequeue();
        return true;
    }

    /// <summary>A map takes IOVAs: those unmaps that waited for them are done.</summary>
    public void Reuse(ulong start, ulong length)
    {
        int count = _pending.Count;
        if (count == 0 || !Overlaps(start, length))
        {
            return;
        }

        for (int i = 0; i < count; i++)
        {
            PendingCheck check = _pending.Dequeue();
            if (Overlap(check.Call, start, length))
            {
                Reused++;
            }
            else
            {
                _pending.Enqueue(check);
            }
        }
    }

    /// <summary>Whether an IOVA waits for its invalidation.</summary>
    public bool Overlaps(ulong start, ulong length)
    {
        foreach (PendingCheck check in _pending)
        {
            if (Overlap(check.Call, start, length))
            {
                return true;
            }
        }

        return false;
    }

    private static bool Overlap(in PlanCall call, ulong start, ulong length) =>
        call.CheckStart <= start + (length - 1) && start <= call.CheckStart + (call.CheckLength - 1);
}
