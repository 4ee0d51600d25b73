using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Input;
using Ioasis.Replay.Planning;

namespace Ioasis.Replay.Engine;

/// <summary>What is replayed: a recording, and the accesses of a log at their places in it.</summary>
internal sealed class ReplayCase(EventFeed feed, PlanOptions planning, ReplayTarget target)
{
    /// <summary>The recording.</summary>
    public EventFeed Feed { get; } = feed;

    /// <summary>How it is planned.</summary>
    public PlanOptions Planning { get; } = planning;

    /// <summary>The machine that it is replayed on.</summary>
    public ReplayTarget Target { get; } = target;

    /// <summary>
    /// Says who takes what nothing names in the plan that the accesses were placed in, made before with <see cref="Planning"/>; null without
    /// a log.
    /// </summary>
    public PlanSummary? Placed { get; init; }

    /// <summary>The log, or null.</summary>
    public DmaLog? Log { get; init; }

    /// <summary>Its accesses, by step.</summary>
    public IEnumerable<ScheduledDma> Accesses { get; init; } = [];

    /// <summary>Whether the recording was learned from the log.</summary>
    public bool Learned { get; init; }

    /// <summary>How the clocks were tied.</summary>
    public ClockTie? Alignment { get; init; }

    /// <summary>Accesses that were explained only by tying the clocks more closely in their neighbourhood.</summary>
    public int Refined { get; init; }

    /// <summary>Distances of accesses within the tolerance from their mappings; null without a trace.</summary>
    public SpilledList<double>? Residuals { get; init; }

    /// <summary>Unexplained accesses that a larger tolerance would explain, and the tolerance in seconds.</summary>
    public (int Count, double Seconds) NearMisses { get; init; }

    /// <summary>Times of the log's invalidations on the recording's clock, for a recording that tells of none.</summary>
    public IEnumerable<long> LoggedInvalidationTimes() => Log is null ? [] : InvalidationTimes(Log, Alignment);

    /// <summary>Times of a log's invalidations.</summary>
    /// <param name="log">The log.</param>
    /// <param name="clocks">What ties its clock to the recording's; null to stay with its own.</param>
    public static IEnumerable<long> InvalidationTimes(DmaLog log, ClockTie? clocks)
    {
        foreach (LoggedInvalidation invalidation in log.Invalidations)
        {
            if (invalidation.Scope != InvalidationScope.Other)
            {
                yield return clocks is null ? invalidation.TimeNs : (long)(clocks.ToTraceSeconds(invalidation.TimeNs) * 1e9);
            }
        }
    }
}
