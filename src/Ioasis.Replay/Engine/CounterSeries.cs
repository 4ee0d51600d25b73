using Ioasis.Embedded;
using Ioasis.Replay.Report;

namespace Ioasis.Replay.Engine;

/// <summary>
/// The hardware's counters over the recording's time: the columns of a <see cref="SeriesReport"/> that only the replay knows. The plan
/// says when a sample is due, about once for each interval, so that there are never many.
/// </summary>
internal sealed class CounterSeries(ReplayStack stack)
{
    private readonly List<(double Seconds, TimelineRecorder.CounterSample Counters)> _samples = [];

    /// <summary>Takes a sample.</summary>
    public void Sample(double seconds)
    {
        IommuActivityTotals totals = stack.Platform.Iommu.GetTotals();
        _samples.Add((seconds, new(totals.Hits, totals.Misses, totals.Invalidations, totals.RemovedEntries, stack.TotalTableBytes())));
    }

    /// <summary>Adds the columns to a report that has those of the plan.</summary>
    public SeriesReport AddTo(SeriesReport plan)
    {
        // The same times give the same intervals.
        TimelineRecorder recorder = new();
        recorder.Begin(plan.StartSeconds[0]);
        foreach ((double seconds, TimelineRecorder.CounterSample counters) in _samples)
        {
            recorder.Sample(seconds, counters);
        }

        SeriesReport sampled = recorder.ToReport();
        return plan with
        {
            PageTableBytes = sampled.PageTableBytes,
            IotlbHits = sampled.IotlbHits,
            IotlbMisses = sampled.IotlbMisses,
            InvalidationCommands = sampled.InvalidationCommands,
            EntriesRemoved = sampled.EntriesRemoved,
        };
    }
}
