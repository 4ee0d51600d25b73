using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Planning;

/// <summary>
/// Plans a trace together with a DMA log. The log shows two things that the trace does not tell: who uses mappings that no
/// event names, and what was mapped before the trace began.
/// </summary>
internal static class DmaPlanner
{
    private const int Rounds = 8;

    // Of a larger map no more pages are looked at.
    private const ulong MostPages = 1 << 18;

    /// <summary>Makes the plan and the schedule of the log's accesses.</summary>
    /// <param name="trace">The trace.</param>
    /// <param name="log">The log of the same run.</param>
    /// <param name="clocks">How their clocks are tied.</param>
    /// <param name="options">What the plan depends on besides.</param>
    /// <param name="toleranceSeconds">How far an access may lie from its mapping's life.</param>
    /// <param name="cancellationToken">Stops it.</param>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    public static DmaPlan Make(
        TraceEvents trace, DmaLog log, ClockTie clocks, PlanOptions options, double toleranceSeconds, CancellationToken cancellationToken = default)
    {
        for (int device = 0; device < log.Devices.Count; device++)
        {
            trace.Trace.Devices.Intern(log.Devices.Id(device));
        }

        DmaPlan plan = Plan(trace, log, clocks, options, toleranceSeconds, cancellationToken);

        // What was learned may take an explanation from another access, which is then learned from in turn.
        List<MappingEvent> before = [];
        for (int round = 0; round < Rounds; round++)
        {
            List<MappingEvent> more = MappedBefore(plan, log);
            if (more.Count == 0)
            {
                break;
            }

            before.AddRange(more);
            plan = Plan(trace.After(before), log, clocks, options, toleranceSeconds, cancellationToken);
        }

        return plan;
    }

    private static DmaPlan Plan(
        TraceEvents events, DmaLog log, ClockTie clocks, PlanOptions options, double tolerance, CancellationToken cancellationToken)
    {
        PlanSummary rest = new();
        DeviceTable devices = events.Trace.Devices;
        if (options.Rest is not null)
        {
            if (events.HasUnnamed)
            {
                RestRule.Give(rest, options, devices);
            }
        }
        else if (events.HasUnnamedMaps)
        {
            // Who uses a map may show long after it: this needs all of them.
            KernelTrace owned = OwnerAssignment.FromLog(events.Whole(), log, DevicesOf(events.Trace, log), clocks, tolerance);
            RestRule.Choose(rest, options, devices, owned.Mappings, [.. owned.DmaEventsByDevice.Keys]);
            events = TraceEvents.Of(owned);
        }

        PlannedTrace planned = new(events, rest, options, cancellationToken);
        return new(planned, DmaSchedule.Make(planned, log, clocks, tolerance));
    }

    /// <summary>
    /// For each device of a log the one of the trace in whose IOVA space its accesses are: itself, added if the trace does not
    /// name it, or the one that leads its group.
    /// </summary>
    internal static int[] DevicesOf(KernelTrace trace, DmaLog log)
    {
        int[] devices = new int[log.Devices.Count];
        for (int i = 0; i < devices.Length; i++)
        {
            devices[i] = trace.Devices.Intern(log.Devices.Id(i));
        }

        if (trace.GroupOf.Count == 0)
        {
            return devices;
        }

        Dictionary<int, long> uses = [];
        foreach (DmaAccess access in log.Accesses)
        {
            System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrAddDefault(uses, devices[access.Device], out _)++;
        }

        return Array.ConvertAll(devices, d => trace.SpaceOf(d, uses));
    }

    /// <summary>
    /// Pages that are used before the trace maps them, of devices that were attached before the trace began. A device that the
    /// trace attaches starts with an empty address space: there an access without a mapping stays unexplained.
    /// </summary>
    private static List<MappingEvent> MappedBefore(DmaPlan plan, DmaLog log)
    {
        List<MappingEvent> result = [];
        if (plan.Schedule.Unexplained == 0)
        {
            return result;
        }

        KernelTrace trace = plan.Trace.Events.Trace;
        SpilledList<DmaAccess>.Reader accesses = log.Accesses.Read();
        SeenPages asked = new();
        foreach (ScheduledDma scheduled in plan.Schedule.Accesses)
        {
            if (scheduled.Class == DmaClass.Unexplained && !trace.AttachedDevices.Contains(scheduled.Device))
            {
                asked.Add(scheduled.Device, accesses[scheduled.Access].Iova);
            }
        }

        Dictionary<(int Device, ulong Page), int> firstMapped = FirstMaps.Of(plan, asked);
        HashSet<(int Device, ulong Page)> learned = [];
        foreach (ScheduledDma scheduled in plan.Schedule.Accesses)
        {
            if (scheduled.Class != DmaClass.Unexplained || trace.AttachedDevices.Contains(scheduled.Device))
            {
                continue;
            }

            ref readonly DmaAccess access = ref accesses[scheduled.Access];
            (int, ulong) key = (scheduled.Device, access.Iova >> 12);
            if (learned.Contains(key)
                || (firstMapped.TryGetValue(key, out int step) && step <= scheduled.AfterStep))
            {
                continue;
            }

            learned.Add(key);
            ulong offset = access.Iova & ~4095ul & ((1ul << scheduled.SizeLog2) - 1);
            result.Add(new()
            {
                TimeNs = trace.Input.FirstTimeNs,
                Iova = access.Iova & ~4095ul,
                Length = 4096,
                Value = (access.Physical & ~((1ul << scheduled.SizeLog2) - 1)) + offset,
                Line = access.Line,
                Device = scheduled.Device,
                Evidence = Evidence.DmaLog,
            });
        }

        return result;
    }

    /// <summary>For each of some pages the step that maps it first.</summary>
    private sealed class FirstMaps(SeenPages asked) : IPlanSink
    {
        private readonly Dictionary<(int Device, ulong Page), int> _steps = [];
        private readonly List<ulong> _found = [];

        public static Dictionary<(int Device, ulong Page), int> Of(DmaPlan plan, SeenPages asked)
        {
            FirstMaps maps = new(asked);
            MappingPlanner planner = plan.Trace.Planner(maps);
            foreach (MappingEvent e in plan.Trace.Events.Events)
            {
                planner.Take(e, e.Device);
            }

            return maps._steps;
        }

        public void Map(in PlanCall call, in LiveArea area)
        {
            ulong first = area.Start >> 12;
            ulong last = (area.Start + (area.Length - 1)) >> 12;
            asked.Collect(area.Device, first, Math.Min(last, first + MostPages - 1), _found);
            foreach (ulong page in _found)
            {
                _steps.TryAdd((area.Device, page), (int)call.Number);
            }
        }

        public void Unmap(in PlanCall call, ReadOnlySpan<LiveArea> ended)
        {
        }
    }
}
