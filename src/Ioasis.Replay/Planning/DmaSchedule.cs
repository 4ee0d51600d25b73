using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Planning;

/// <summary>
/// The accesses of a DMA log at their places among the steps of a plan, with the class of each, decided by the mappings near it
/// in time: a mapping of the same device, page and physical page that is live at that time, or the nearest one.
/// </summary>
internal sealed class DmaSchedule
{
    // More than this no pair of clocks is apart after they were tied, in seconds.
    private const double MostRefined = 0.01;

    // Farther than this from an access a mapping is another story, and not a matter of the clocks, in seconds.
    private const double MostNear = 0.1;

    private readonly AccessPlacing _placing;
    private readonly ClockLead? _leads;
    private readonly double _tolerance;
    private readonly double _begin;
    private readonly double _end;

    private DmaSchedule(AccessPlacing placing, double tolerance, ClockLead? leads)
    {
        _placing = placing;
        _tolerance = tolerance;
        _leads = leads;
        _begin = placing.Trace.Input.FirstTimeNs / 1e9;
        _end = placing.Trace.Input.LastTimeNs / 1e9;
        Accesses = new(placing.Log.Input.Path, "accesses");
        Residuals = new(placing.Log.Input.Path, "accesses near a map or unmap");
    }

    /// <summary>Accesses by <see cref="ScheduledDma.AfterStep"/>, then in the log's order.</summary>
    public SpilledList<ScheduledDma> Accesses { get; }

    /// <summary>
    /// Accesses that seem to come before their map by more than the tolerance, and by no more than the clocks are apart there: the log's
    /// lines of marks are as late, or many accesses seem to come before their maps by the same time.
    /// </summary>
    public int Refined { get; private set; }

    /// <summary>Distances of the accesses within the tolerance from their map or unmap, in seconds, in the log's order.</summary>
    public SpilledList<double> Residuals { get; }

    /// <summary>Accesses that no mapping explains.</summary>
    public int Unexplained { get; private set; }

    /// <summary>Unexplained accesses for which a tolerance of a tenth of a second or less would find a mapping.</summary>
    public int NearMisses { get; private set; }

    /// <summary>The tolerance that would explain all of <see cref="NearMisses"/>, in seconds.</summary>
    public double FarthestNearMiss { get; private set; }

    /// <summary>Makes the schedule.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="log">The log.</param>
    /// <param name="alignment">How the clocks are tied.</param>
    /// <param name="toleranceSeconds">How far an access may lie from its mapping's life.</param>
    public static DmaSchedule Make(MappingPlan plan, DmaLog log, ClockTie alignment, double toleranceSeconds)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(log);
        ArgumentNullException.ThrowIfNull(alignment);
        return Make(new PlannedTrace(TraceEvents.Of(plan.Trace), plan, plan.Options), log, alignment, toleranceSeconds);
    }

    /// <summary>Makes the schedule of a log among the steps of a plan that nobody keeps.</summary>
    /// <param name="trace">The trace.</param>
    /// <param name="log">The log.</param>
    /// <param name="alignment">How the clocks are tied.</param>
    /// <param name="toleranceSeconds">How far an access may lie from its mapping's life.</param>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    internal static DmaSchedule Make(PlannedTrace trace, DmaLog log, ClockTie alignment, double toleranceSeconds)
    {
        AccessPlacing placing = new(trace, log, alignment, MostNear + toleranceSeconds);
        DmaSchedule schedule = new(placing, toleranceSeconds, null);
        if (!schedule.TryRun())
        {
            schedule = new(placing, toleranceSeconds, new(placing, MostRefined));
            schedule.TryRun();
        }

        return schedule;
    }

    /// <summary>Places all accesses.</summary>
    /// <returns>False if the clocks have to be tied more closely for it.</returns>
    private bool TryRun()
    {
        MappingWindow window = new(_placing);
        ScheduleOrder order = new(Accesses);
        SpilledList<DmaAccess>.Reader accesses = _placing.Log.Accesses.Read();
        for (int i = 0; i < _placing.Log.Accesses.Length; i++)
        {
            _placing.CheckCancelled(i);
            ref readonly DmaAccess access = ref accesses[i];
            double at = _placing.Clocks.ToTraceSeconds(access.TimeNs);
            window.MoveTo(at);
            ScheduledDma scheduled = new()
            {
                Access = i,
                Device = _placing.Devices[access.Device],
                AfterStep = window.StepsBefore(at) - 1,
                SizeLog2 = Math.Max(access.SizeLog2, (byte)12),
                Class = DmaClass.RecordedFault,
            };
            if (access.Outcome != DmaOutcome.Faulted && !TryPlace(window, access, at, ref scheduled))
            {
                return false;
            }

            if (order.Add(scheduled))
            {
                order.Release(window.FirstStepInReach() - 1);
            }
        }

        order.Release(int.MaxValue);
        return true;
    }

    private bool TryPlace(MappingWindow window, in DmaAccess access, double at, ref ScheduledDma scheduled)
    {
        int area = window.Find(scheduled.Device, access, at, out double distance);
        bool explained = area >= 0 && distance < _tolerance;
        if (area >= 0 && !explained)
        {
            // As early as the log's lines are late there.
            double until = at + Math.Min(_placing.Clocks.LatenessSeconds(access.TimeNs), MostNear) + _tolerance;
            int next = window.FindMappedNext(scheduled.Device, access, at, until);
            if (next >= 0)
            {
                Refined++;
                area = next;
                explained = true;
            }
        }

        if (area >= 0 && !explained && distance < MostRefined)
        {
            if (_leads is null)
            {
                return false;
            }

            int refined = window.Find(scheduled.Device, access, at + _leads.At(at), out double refinedDistance);
            if (refinedDistance < _tolerance)
            {
                Refined++;
                area = refined;
                explained = true;
            }
        }

        if (!explained)
        {
            scheduled.Class = at < _begin - _tolerance || at > _end ? DmaClass.OutsideRecording : DmaClass.Unexplained;
            if (scheduled.Class == DmaClass.Unexplained)
            {
                Unexplained++;
                if (distance < MostNear)
                {
                    NearMisses++;
                    FarthestNearMiss = Math.Max(FarthestNearMiss, distance);
                }
            }

            return true;
        }

        ref readonly WindowArea mapping = ref window[area];
        scheduled.Class = DmaClass.Live;
        if (distance > 0)
        {
            Residuals.Add(distance);
            scheduled.Class = DmaClass.WithinTolerance;
        }
        else if (mapping.MapEvent < _placing.Trace.MappedBefore)
        {
            scheduled.Class = DmaClass.MappedBefore;
        }

        if (access.SizeLog2 == DmaAccess.UnknownSize)
        {
            scheduled.SizeLog2 = MappingMatch.BlockOf(mapping.Start, mapping.Length, mapping.Physical, access);
        }

        // Between the map and the end of its area, whatever the clocks say.
        int last = mapping.EndStep < 0 ? int.MaxValue : mapping.EndStep - 1;
        scheduled.AfterStep = Math.Clamp(scheduled.AfterStep, mapping.MapStep, Math.Max(mapping.MapStep, last));
        return true;
    }
}
