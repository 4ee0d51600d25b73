using System.Runtime.InteropServices;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Planning;

/// <summary>
/// Makes a <see cref="MappingPlan"/>, all of it in memory: for recordings that a DMA log goes with, whose accesses need a mapping's whole
/// history. A recording alone is replayed as it is planned (<see cref="MappingPlanner"/>).
/// </summary>
internal static class Planner
{
    /// <summary>Makes the plan. Without <see cref="PlanOptions.Rest"/> the device of what nothing names is inferred.</summary>
    public static MappingPlan Make(KernelTrace trace, PlanOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(trace);
        options ??= new();
        MappingPlan plan = new(trace, options);
        RestRule.Choose(plan, options, trace.Devices, trace.Mappings, [.. trace.DmaEventsByDevice.Keys]);
        Recorder recorder = new();
        MappingPlanner planner = new(plan, recorder, options.LastIova);
        planner.GrowTo(trace.Devices.Count);
        for (int i = 0; i < trace.Mappings.Length; i++)
        {
            planner.Take(trace.Mappings[i], trace.Mappings[i].Device, options.Overrides is { } overrides ? overrides[i] : -1);
        }

        planner.Finish();
        plan.Areas = [.. recorder.Areas];
        plan.Steps = [.. recorder.Steps];
        plan.Ended = [.. recorder.Ended];
        return plan;
    }

    private sealed class Recorder : IPlanSink
    {
        public List<Area> Areas { get; } = [];

        public List<PlanStep> Steps { get; } = [];

        public List<int> Ended { get; } = [];

        public void Map(in PlanCall call, in LiveArea area)
        {
            Steps.Add(Step(call, StepKind.Map, Areas.Count, 1));
            Areas.Add(new()
            {
                Start = area.Start,
                Length = area.Length,
                Physical = area.Physical,
                Device = area.Device,
                MapEvent = (int)call.Event,
                EndEvent = -1,
                Flags = area.Flags,
            });
        }

        public void Unmap(in PlanCall call, ReadOnlySpan<LiveArea> ended)
        {
            Steps.Add(Step(call, StepKind.Unmap, Ended.Count, ended.Length));
            Span<Area> areas = CollectionsMarshal.AsSpan(Areas);
            foreach (ref readonly LiveArea area in ended)
            {
                areas[(int)area.Number].EndEvent = (int)call.Event;
                areas[(int)area.Number].Flags = area.Flags;
                Ended.Add((int)area.Number);
            }
        }

        private static PlanStep Step(in PlanCall call, StepKind kind, int area, int count) => new()
        {
            Kind = kind,
            Start = call.Start,
            Length = call.Length,
            Event = (int)call.Event,
            Area = area,
            AreaCount = count,
            Device = call.Device,
            CheckStart = call.CheckStart,
            CheckLength = call.CheckLength,
        };
    }
}
