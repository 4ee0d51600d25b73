using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Planning;

namespace Ioasis.Replay.Engine;

/// <summary>What is replayed: a recording, and the accesses of a log at their places in it.</summary>
internal sealed class ReplayCase(EventFeed feed, PlanOptions planning)
{
    /// <summary>The recording.</summary>
    public EventFeed Feed { get; } = feed;

    /// <summary>How it is planned.</summary>
    public PlanOptions Planning { get; } = planning;

    /// <summary>The plan that the accesses were placed in, made before with <see cref="Planning"/>; null without a log.</summary>
    public MappingPlan? Placed { get; init; }

    /// <summary>The log, or null.</summary>
    public DmaLog? Log { get; init; }

    /// <summary>Its accesses.</summary>
    public ScheduledDma[] Accesses { get; init; } = [];

    /// <summary>Whether the recording was learned from the log.</summary>
    public bool Learned { get; init; }

    /// <summary>How the clocks were tied.</summary>
    public ClockTie? Alignment { get; init; }

    /// <summary>Accesses that were explained only by tying the clocks more closely in their neighbourhood.</summary>
    public int Refined { get; init; }

    /// <summary>Distances of accesses within the tolerance from their mappings, sorted.</summary>
    public double[] Residuals { get; init; } = [];

    /// <summary>Unexplained accesses that a larger tolerance would explain, and the tolerance in seconds.</summary>
    public (int Count, double Seconds) NearMisses { get; init; }

    /// <summary>Times of the log's invalidations on the recording's clock, for a recording that tells of none.</summary>
    public IEnumerable<long> LoggedInvalidationTimes()
    {
        foreach (LoggedInvalidation invalidation in Log?.Invalidations ?? [])
        {
            if (invalidation.Scope != InvalidationScope.Other)
            {
                yield return Alignment is null ? invalidation.TimeNs : (long)(Alignment.ToTraceSeconds(invalidation.TimeNs) * 1e9);
            }
        }
    }
}
