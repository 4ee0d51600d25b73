using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Planning;

namespace Ioasis.Replay.Engine;

/// <summary>What is replayed: a plan, and the accesses of a log at their places in it.</summary>
internal sealed class ReplayCase(MappingPlan plan, DmaLog? log, ScheduledDma[] accesses, bool learned)
{
    /// <summary>The plan.</summary>
    public MappingPlan Plan { get; } = plan;

    /// <summary>The log, or null.</summary>
    public DmaLog? Log { get; } = log;

    /// <summary>Its accesses.</summary>
    public ScheduledDma[] Accesses { get; } = accesses;

    /// <summary>Whether the plan was learned from the log.</summary>
    public bool Learned { get; } = learned;

    /// <summary>How the clocks were tied.</summary>
    public ClockTie? Alignment { get; init; }

    /// <summary>Accesses that were explained only by tying the clocks more closely in their neighbourhood.</summary>
    public int Refined { get; init; }

    /// <summary>Distances of accesses within the tolerance from their mappings, sorted.</summary>
    public double[] Residuals { get; init; } = [];

    /// <summary>Unexplained accesses that a larger tolerance would explain, and the tolerance in seconds.</summary>
    public (int Count, double Seconds) NearMisses { get; init; }

    /// <summary>Times of recorded invalidations on the trace's clock: the kernel's own events, or without any the log's.</summary>
    public long[] InvalidationTimes()
    {
        if (Plan.Trace.Invalidations.Count > 0 || Log is null)
        {
            return [.. Plan.Trace.Invalidations];
        }

        List<long> times = [];
        foreach (LoggedInvalidation invalidation in Log.Invalidations)
        {
            if (invalidation.Scope != InvalidationScope.Other)
            {
                times.Add(Alignment is null ? invalidation.TimeNs : (long)(Alignment.ToTraceSeconds(invalidation.TimeNs) * 1e9));
            }
        }

        return [.. times];
    }
}
