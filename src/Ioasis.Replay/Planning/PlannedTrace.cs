using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Planning;

/// <summary>A trace and how it is planned, by whoever goes through it: nobody keeps the plan.</summary>
/// <param name="Events">The trace.</param>
/// <param name="Rest">Says who takes what nothing names.</param>
/// <param name="Options">How it is planned.</param>
/// <param name="Cancellation">Stops it.</param>
internal sealed record PlannedTrace(TraceEvents Events, PlanSummary Rest, PlanOptions Options, CancellationToken Cancellation = default)
{
    /// <summary>A planner from the trace's beginning.</summary>
    public MappingPlanner Planner(IPlanSink sink)
    {
        MappingPlanner planner = new(new() { RestDevice = Rest.RestDevice, RestChoice = Rest.RestChoice }, sink, Options.LastIova);
        planner.GrowTo(Events.Trace.Devices.Count);
        return planner;
    }
}

/// <summary>A trace with a log's accesses among its steps.</summary>
/// <param name="Trace">The trace, with what was learned from the log.</param>
/// <param name="Schedule">The accesses.</param>
internal sealed record DmaPlan(PlannedTrace Trace, DmaSchedule Schedule);
