using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.DmaLogs;

/// <summary>
/// Ties the clock of a DMA log (the host's wall clock) to that of a kernel trace (the guest's) by the marks that stand in
/// both. The log's line of a mark comes a little after the trace's, so of neighbouring marks the one with the smallest
/// difference is nearest the truth; between marks the difference is interpolated, which follows the drift of the clocks.
/// </summary>
public sealed class ClockTie
{
    private const int Neighbours = 3;
    private const double NsPerSecond = 1e9;

    // Clocks of one run do not differ more: a twentieth in rate, half a second for a delayed line.
    private const double MostDrift = 0.05;
    private const double MostDelaySeconds = 0.5;

    private readonly double[] _log;
    private readonly double[] _difference;
    private int _interval;

    private ClockTie(double[] log, double[] trace)
    {
        _log = log;
        _difference = new double[log.Length];
        double[] delays = new double[log.Length];
        for (int i = 0; i < log.Length; i++)
        {
            double smallest = double.MaxValue;
            for (int j = Math.Max(0, i - Neighbours); j <= Math.Min(log.Length - 1, i + Neighbours); j++)
            {
                smallest = Math.Min(smallest, log[j] - trace[j]);
            }

            _difference[i] = smallest;
            delays[i] = log[i] - trace[i] - smallest;
        }

        Array.Sort(delays);
        Marks = log.Length;
        MedianDelaySeconds = delays[delays.Length / 2];
        MaxDelaySeconds = delays[^1];
        double logSpan = log[^1] - log[0];
        ClockRatio = logSpan > 0 ? (trace[^1] - trace[0]) / logSpan : 1;
        DriftSeconds = log[^1] - trace[^1] - (log[0] - trace[0]);
    }

    /// <summary>Marks in both files.</summary>
    public int Marks { get; }

    /// <summary>Seconds of the trace's clock in one second of the log's.</summary>
    public double ClockRatio { get; }

    /// <summary>How far the clocks went apart from the first mark to the last, in seconds.</summary>
    public double DriftSeconds { get; }

    /// <summary>Median delay of a mark's line in the log, in seconds.</summary>
    public double MedianDelaySeconds { get; }

    /// <summary>Largest delay of a mark's line in the log, in seconds.</summary>
    public double MaxDelaySeconds { get; }

    /// <summary>Ties the clocks.</summary>
    /// <exception cref="TraceInputException">The files share fewer than two marks, or the marks disagree.</exception>
    public static ClockTie Align(KernelTrace trace, DmaLog log)
    {
        ArgumentNullException.ThrowIfNull(trace);
        ArgumentNullException.ThrowIfNull(log);
        List<(double Log, double Trace)> marks = [];
        foreach ((int number, TraceMark mark) in trace.Marks)
        {
            if (log.Marks.TryGetValue(number, out long at))
            {
                marks.Add((LogSeconds(at), mark.TimeNs / NsPerSecond));
            }
        }

        if (marks.Count < 2)
        {
            throw new TraceInputException(
                TraceInputError.NoCommonMarks,
                log.Input.Path,
                null,
                $"shares {marks.Count} numbered marks with {trace.Input.Path}, and two are needed to tie the clocks: the two are not "
                + "of the same run, or the run wrote no marks");
        }

        marks.Sort();
        (double Log, double Trace) first = marks[0];
        (double Log, double Trace) last = marks[^1];
        double apart = Math.Abs(last.Log - first.Log - (last.Trace - first.Trace));
        if (apart > MostDelaySeconds + (MostDrift * Math.Abs(last.Log - first.Log)))
        {
            throw new TraceInputException(
                TraceInputError.NoCommonMarks,
                log.Input.Path,
                null,
                string.Create(
                    System.Globalization.CultureInfo.InvariantCulture,
                    $"has marks of the same numbers as {trace.Input.Path}, but {apart:F1} s apart in time: the two are not of the same run"));
        }

        return new(marks.ConvertAll(static m => m.Log).ToArray(), marks.ConvertAll(static m => m.Trace).ToArray());
    }

    /// <summary>Time of the trace's clock, in seconds, for a time of the log's clock.</summary>
    /// <param name="logTimeNs">Nanoseconds since the Unix epoch. Fastest when asked for in rising order.</param>
    public double ToTraceSeconds(long logTimeNs)
    {
        double t = LogSeconds(logTimeNs);
        int last = _log.Length - 2;
        if (t < _log[_interval])
        {
            _interval = 0;
        }

        while (_interval < last && t >= _log[_interval + 1])
        {
            _interval++;
        }

        int i = _interval;
        double span = _log[i + 1] - _log[i];
        double f = span > 0 ? Math.Clamp((t - _log[i]) / span, 0, 1) : 0;
        return t - (_difference[i] + (f * (_difference[i + 1] - _difference[i])));
    }

    // Whole minutes and the rest apart, so that microseconds survive the rounding of a number of this size alike everywhere.
    private static double LogSeconds(long ns)
    {
        long minutes = ns / 60_000_000_000;
        return (minutes * 60) + ((ns - (minutes * 60_000_000_000)) / NsPerSecond);
    }
}
