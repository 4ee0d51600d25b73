using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Planning;

/// <summary>
/// Plans a trace together with a DMA log. The log shows two things that the trace does not tell: who uses mappings that no
/// event names, and what was mapped before the trace began.
/// </summary>
public static class DmaPlanner
{
    private const int Rounds = 8;

    /// <summary>Makes the plan and the schedule of the log's accesses.</summary>
    /// <param name="trace">The trace.</param>
    /// <param name="log">The log of the same run.</param>
    /// <param name="clocks">How their clocks are tied.</param>
    /// <param name="options">What the plan depends on besides.</param>
    /// <param name="toleranceSeconds">How far an access may lie from its mapping's life.</param>
    public static (MappingPlan Plan, DmaSchedule Schedule) Make(
        KernelTrace trace, DmaLog log, ClockTie clocks, PlanOptions? options, double toleranceSeconds)
    {
        ArgumentNullException.ThrowIfNull(trace);
        ArgumentNullException.ThrowIfNull(log);
        ArgumentNullException.ThrowIfNull(clocks);
        options ??= new();
        for (int device = 0; device < log.Devices.Count; device++)
        {
            trace.Devices.Intern(log.Devices.Id(device));
        }

        MappingPlan plan = MakePlan(trace, log, clocks, options, toleranceSeconds);
        DmaSchedule schedule = DmaSchedule.Make(plan, log, clocks, toleranceSeconds);

        // What was learned may take an explanation from another access, which is then learned from in turn.
        List<MappingEvent> before = [];
        for (int round = 0; round < Rounds; round++)
        {
            List<MappingEvent> more = MappedBefore(plan, log, schedule);
            if (more.Count == 0)
            {
                break;
            }

            before.AddRange(more);
            plan = MakePlan(trace.After(before), log, clocks, options, toleranceSeconds);
            schedule = DmaSchedule.Make(plan, log, clocks, toleranceSeconds);
        }

        return (plan, schedule);
    }

    private static MappingPlan MakePlan(KernelTrace trace, DmaLog log, ClockTie clocks, PlanOptions options, double tolerance)
    {
        return Planner.Make(
            options.Rest is not null ? trace : OwnerAssignment.FromLog(trace, log, DevicesOf(trace, log), clocks, tolerance),
            options);
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
    private static List<MappingEvent> MappedBefore(MappingPlan plan, DmaLog log, DmaSchedule schedule)
    {
        KernelTrace trace = plan.Trace;
        Dictionary<(int Device, ulong Page), int> firstMapped = [];
        List<MappingEvent> result = [];
        HashSet<(int Device, ulong Page)> learned = [];
        DmaAccessList.Reader accesses = log.Accesses.Read();
        foreach (ref readonly ScheduledDma scheduled in schedule.Accesses.AsSpan())
        {
            if (scheduled.Class != DmaClass.Unexplained || trace.AttachedDevices.Contains(scheduled.Device))
            {
                continue;
            }

            if (firstMapped.Count == 0)
            {
                FirstMaps(plan, firstMapped);
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

    /// <summary>For each page of each device the step that maps it first.</summary>
    private static void FirstMaps(MappingPlan plan, Dictionary<(int Device, ulong Page), int> firstMapped)
    {
        for (int i = 0; i < plan.Steps.Length; i++)
        {
            ref readonly PlanStep step = ref plan.Steps[i];
            if (step.Kind != StepKind.Map)
            {
                continue;
            }

            ulong first = step.Start >> 12;
            ulong last = (step.Start + (step.Length - 1)) >> 12;
            for (ulong page = first; page <= last && page - first < 1 << 18; page++)
            {
                firstMapped.TryAdd((step.Device, page), i);
            }
        }
    }
}
