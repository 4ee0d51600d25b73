namespace Ioasis.Embedded.Sanitizing;

/// <summary>
/// Accesses that used a translation which the program's own page tables did not have any more, until it is known whether that was a mistake. A program changes a table and then
/// has the IOMMU forget: an access in between may use the old translation. So one that is followed by the invalidation, with no other call of the same thread before
/// it, is no mistake. Not thread-safe.
/// </summary>
/// <param name="report">Takes those that were mistakes.</param>
internal sealed class StaleUses(Action<DmaReport> report)
{
    // More are like those that are held: a flood.
    private const int MostWaiting = 4096;

    private readonly List<(DmaReport Report, long Moment)> _waiting = [];
    private readonly Dictionary<int, long> _lastCalls = [];
    private long _moment;
    private int _underWay;

    /// <summary>An access begins.</summary>
    /// <returns>What <see cref="Used"/> wants to know; null while a call is under way that may change what is mapped: then nothing can be said.</returns>
    public long? Begin() => _underWay == 0 ? _moment : null;

    /// <summary>An access used a translation that the tables do not have.</summary>
    /// <param name="use">The report, should it be a mistake.</param>
    /// <param name="begun">What <see cref="Begin"/> returned before the translation.</param>
    public void Used(DmaReport use, long begun)
    {
        // A call that began since may have changed the tables, or what the IOMMU holds of them.
        if (_underWay > 0 || _moment != begun)
        {
            return;
        }

        int same = _waiting.FindIndex(other => other.Report.Device == use.Device && other.Report.Access == use.Access && other.Report.Iova >> 12 == use.Iova >> 12);
        if (same >= 0)
        {
            _waiting[same].Report.Count++;
        }
        else if (_waiting.Count < MostWaiting)
        {
            _waiting.Add((use, _moment));
        }
    }

    /// <summary>A thread makes a call on a device or an address space that is no invalidation.</summary>
    public void Call(int thread)
    {
        _lastCalls[thread] = ++_moment;

        // With one thread alone nobody can come with an invalidation that was on its way.
        if (_lastCalls.Count == 1)
        {
            End();
        }
    }

    /// <summary>A call begins that changes what is mapped or what an IOMMU holds of it.</summary>
    public void BeginCall()
    {
        _moment++;
        _underWay++;
    }

    /// <summary>Such a call is over.</summary>
    public void EndCall() => _underWay--;

    /// <summary>A thread had the IOMMU forget.</summary>
    /// <param name="thread">The thread.</param>
    /// <param name="covers">Whether an access is among what was forgotten.</param>
    public void Invalidated(int thread, Func<DmaReport, bool> covers)
    {
        _lastCalls.TryAdd(thread, 0);
        for (int i = _waiting.Count - 1; i >= 0; i--)
        {
            (DmaReport use, long moment) = _waiting[i];
            if (covers(use))
            {
                _waiting.RemoveAt(i);
                if (_lastCalls[thread] > moment)
                {
                    report(use);
                }
            }
        }
    }

    /// <summary>Nothing follows: what waits was a mistake.</summary>
    public void End()
    {
        foreach ((DmaReport use, _) in _waiting)
        {
            report(use);
        }

        _waiting.Clear();
    }
}
