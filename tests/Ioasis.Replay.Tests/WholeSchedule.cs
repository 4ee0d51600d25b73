using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Input;
using Ioasis.Replay.Planning;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Tests;

/// <summary>The schedule of a log by each mapping's whole history, all of it in memory: what the schedule by windows of time must equal.</summary>
internal sealed class WholeSchedule
{
    // More than this no pair of clocks is apart after they were tied, in seconds.
    private const double MostRefined = 0.01;

    // Farther than this from an access a mapping is another story, and not a matter of the clocks, in seconds.
    private const double MostNear = 0.1;

    private readonly MappingPlan _plan;
    private readonly WholeHistory _history;
    private int[] _mapStep = [];
    private int[] _endStep = [];

    private WholeSchedule(MappingPlan plan, WholeHistory history)
    {
        _plan = plan;
        _history = history;
    }

    /// <summary>Accesses by <see cref="ScheduledDma.AfterStep"/>, then in the log's order.</summary>
    public ScheduledDma[] Accesses { get; private set; } = [];

    /// <summary>
    /// Accesses that lie within the tolerance only after the clocks were tied more closely in their neighbourhood: where many
    /// accesses seem to come before their maps by the same time, it is the clocks that are apart by it.
    /// </summary>
    public int Refined { get; private set; }

    /// <summary>Distances of the accesses within the tolerance from their map or unmap, in seconds, sorted.</summary>
    public double[] Residuals { get; private set; } = [];

    /// <summary>Unexplained accesses for which a tolerance of a tenth of a second or less would find a mapping.</summary>
    public int NearMisses { get; private set; }

    /// <summary>The tolerance that would explain all of <see cref="NearMisses"/>, in seconds.</summary>
    public double FarthestNearMiss { get; private set; }

    /// <summary>Makes the schedule.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="log">The log.</param>
    /// <param name="alignment">How the clocks are tied.</param>
    /// <param name="toleranceSeconds">How far an access may lie from its mapping's life.</param>
    public static WholeSchedule Make(MappingPlan plan, DmaLog log, ClockTie alignment, double toleranceSeconds)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(log);
        ArgumentNullException.ThrowIfNull(alignment);
        int[] devices = DmaPlanner.DevicesOf(plan.Trace, log);
        WholeSchedule schedule = new(plan, new(plan, log, devices));
        schedule.Run(log, devices, alignment, toleranceSeconds);
        return schedule;
    }

    private void Run(DmaLog log, int[] devices, ClockTie alignment, double tolerance)
    {
        ReadOnlySpan<MappingEvent> events = _plan.Trace.Mappings;
        int[] lastStep = LastSteps(events.Length);
        double begin = _plan.Trace.Input.FirstTimeNs / 1e9;
        double end = _plan.Trace.Input.LastTimeNs / 1e9;
        List<double> residuals = [];
        WholeLeads? leads = null;
        ScheduledDma[] result = new ScheduledDma[log.Accesses.Length];
        int position = 0;
        double before = double.NegativeInfinity;
        SpilledList<DmaAccess>.Reader accesses = log.Accesses.Read();
        for (int i = 0; i < log.Accesses.Length; i++)
        {
            ref readonly DmaAccess access = ref accesses[i];
            double at = alignment.ToTraceSeconds(access.TimeNs);
            if (at < before)
            {
                position = 0;
            }

            before = at;
            while (position < events.Length && events[position].TimeNs / 1e9 <= at)
            {
                position++;
            }

            int device = devices[access.Device];
            ref ScheduledDma scheduled = ref result[i];
            scheduled = new() { Access = i, Device = device, AfterStep = position == 0 ? -1 : lastStep[position - 1], SizeLog2 = Math.Max(access.SizeLog2, (byte)12) };
            if (access.Outcome == DmaOutcome.Faulted)
            {
                scheduled.Class = DmaClass.RecordedFault;
                continue;
            }

            int area = _history.Find(device, access, at, out double distance);
            bool explained = area >= 0 && distance < tolerance;
            double late = Math.Min(alignment.LatenessSeconds(access.TimeNs), MostNear) + tolerance;
            if (area >= 0 && !explained && _history.FindMappedNext(device, access, at, at + late) is int next and >= 0)
            {
                Refined++;
                area = next;
                explained = true;
            }

            if (area >= 0 && !explained && distance < MostRefined)
            {
                leads ??= new(_history, log, devices, alignment, MostRefined);
                int refined = _history.Find(device, access, at + leads.At(at), out double refinedDistance);
                if (refinedDistance < tolerance)
                {
                    Refined++;
                    area = refined;
                    explained = true;
                }
            }

            if (!explained)
            {
                scheduled.Class = at < begin - tolerance || at > end ? DmaClass.OutsideRecording : DmaClass.Unexplained;
                if (scheduled.Class == DmaClass.Unexplained && distance < MostNear)
                {
                    NearMisses++;
                    FarthestNearMiss = Math.Max(FarthestNearMiss, distance);
                }

                continue;
            }

            if (distance > 0)
            {
                residuals.Add(distance);
                scheduled.Class = DmaClass.WithinTolerance;
            }
            else if (_plan.Areas[area].MapEvent < _plan.Trace.MappedBefore)
            {
                scheduled.Class = DmaClass.MappedBefore;
            }

            // Between the map and the end of its area, whatever the clocks say.
            ref readonly Area mapping = ref _plan.Areas[area];
            if (access.SizeLog2 == DmaAccess.UnknownSize)
            {
                scheduled.SizeLog2 = MappingMatch.BlockOf(mapping.Start, mapping.Length, mapping.Physical, access);
            }

            int first = _mapStep[area];
            int last = mapping.EndEvent < 0 ? _plan.Steps.Length - 1 : _endStep[area] - 1;
            scheduled.AfterStep = Math.Clamp(scheduled.AfterStep, first, Math.Max(first, last));
        }

        Residuals = [.. residuals];
        Array.Sort(Residuals);
        Sort(result);
        Accesses = result;
    }

    /// <summary>For each event the last step of it or of an event before, and for each area the steps that begin and end it.</summary>
    private int[] LastSteps(int events)
    {
        int[] last = new int[events];
        Array.Fill(last, -1);
        _mapStep = new int[_plan.Areas.Length];
        _endStep = new int[_plan.Areas.Length];
        for (int i = 0; i < _plan.Steps.Length; i++)
        {
            ref readonly PlanStep step = ref _plan.Steps[i];
            last[step.Event] = i;
            if (step.Kind == StepKind.Map)
            {
                _mapStep[step.Area] = i;
                continue;
            }

            for (int k = 0; k < step.AreaCount; k++)
            {
                _endStep[_plan.Ended[step.Area + k]] = i;
            }
        }

        for (int i = 1; i < events; i++)
        {
            last[i] = Math.Max(last[i], last[i - 1]);
        }

        return last;
    }

    /// <summary>Sorts by step; the log's order stays among equals.</summary>
    private static void Sort(ScheduledDma[] accesses)
    {
        ulong[] keys = new ulong[accesses.Length];
        bool sorted = true;
        for (int i = 0; i < keys.Length; i++)
        {
            keys[i] = ((ulong)(accesses[i].AfterStep + 1) << 32) | (uint)accesses[i].Access;
            sorted &= i == 0 || keys[i - 1] < keys[i];
        }

        if (!sorted)
        {
            Array.Sort(keys, accesses);
        }
    }
}
