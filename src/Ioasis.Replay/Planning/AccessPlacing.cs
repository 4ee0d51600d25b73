using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Planning;

/// <summary>What the accesses of a log are placed in: the events of a trace, how they are planned, and how far an access reaches.</summary>
internal sealed class AccessPlacing
{
    // Rounding of seconds, and the most that clocks are tied anew.
    private const double Margin = 0.02;
    private const double Rounding = 0.001;

    private readonly PlannedTrace _trace;

    /// <summary>Goes through the log once: which pages it uses, and how far back its clock goes.</summary>
    /// <param name="trace">The trace.</param>
    /// <param name="log">The log.</param>
    /// <param name="clocks">How the clocks are tied.</param>
    /// <param name="nearSeconds">Farther than this from an access a mapping has nothing to do with it.</param>
    public AccessPlacing(PlannedTrace trace, DmaLog log, ClockTie clocks, double nearSeconds)
    {
        _trace = trace;
        Log = log;
        Clocks = clocks;
        Devices = DmaPlanner.DevicesOf(trace.Events.Trace, log);
        ReachSeconds = trace.Events.IsOrdered ? nearSeconds + Margin : double.PositiveInfinity;
        double latest = double.NegativeInfinity;
        int number = 0;
        foreach (DmaAccess access in log.Accesses)
        {
            CheckCancelled(number++);
            double at = clocks.ToTraceSeconds(access.TimeNs);
            latest = Math.Max(latest, at);
            BackStepSeconds = Math.Max(BackStepSeconds, latest - at);
            Used.Add(Devices[access.Device], access.Iova);
        }

        BackStepSeconds += Rounding;
    }

    /// <summary>The trace, but for its events.</summary>
    public KernelTrace Trace => _trace.Events.Trace;

    /// <summary>Its events.</summary>
    public IEnumerable<MappingEvent> Events => _trace.Events.Events;

    /// <summary>The log.</summary>
    public DmaLog Log { get; }

    /// <summary>How the clocks are tied.</summary>
    public ClockTie Clocks { get; }

    /// <summary>For each device of the log the device of the plan.</summary>
    public int[] Devices { get; }

    /// <summary>The pages that the log uses.</summary>
    public SeenPages Used { get; } = new();

    /// <summary>No access is earlier than one before it by more than this, in seconds.</summary>
    public double BackStepSeconds { get; }

    /// <summary>How far from an access, in seconds, a mapping may be and still matter to it.</summary>
    public double ReachSeconds { get; }

    /// <summary>Asks now and then whether the caller cancelled.</summary>
    /// <param name="number">Which access it is.</param>
    /// <exception cref="OperationCanceledException">The caller did.</exception>
    public void CheckCancelled(int number)
    {
        if ((number & 0xfff) == 0)
        {
            _trace.Cancellation.ThrowIfCancellationRequested();
        }
    }

    /// <summary>A planner from the trace's beginning.</summary>
    public MappingPlanner Planner(IPlanSink sink) => _trace.Planner(sink);
}
