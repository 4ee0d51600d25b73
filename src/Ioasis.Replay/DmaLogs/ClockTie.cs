using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.DmaLogs;

/// <summary>
/// Ties the clock of a DMA log (the host's wall clock) to that of a kernel trace (the guest's) by the marks that stand in
/// both. The log's line of a mark comes a little after the trace's, so of neighbouring marks the one with the smallest
/// difference is nearest the truth; between marks the difference is interpolated, which follows the drift of the clocks. Where
/// a clock jumped (a guest whose machine stood still, a clock that was set), the two sides are tied apart.
/// </summary>
internal sealed class ClockTie
{
    private const int Neighbours = 3;
    private const double NsPerSecond = 1e9;

    // Clocks of one run do not differ more: a twentieth in rate, half a second for a delayed line.
    private const double MostDrift = 0.05;
    private const double MostDelaySeconds = 0.5;

    // Marks, and where a clock jumped: two points at one time, with the difference before it and behind it.
    private readonly double[] _log;
    private readonly double[] _difference;

    // By mark: when it was logged, and how late the lines of the marks around it are: against what the least delayed marks of the
    // whole segment say, for where the writer waits for the processor long, all of a few neighbours are late.
    private readonly double[] _marks;
    private readonly double[] _lateness;
    private int _interval;

    private ClockTie(double[] log, double[] trace, IEnumerable<long> logTimesNs, IEnumerable<long> traceTimesNs)
    {
        List<ClockJump> jumps = [];
        int[] segment = new int[log.Length];
        for (int i = 1; i < log.Length; i++)
        {
            bool jumped = Disagree(log, trace, i) && HasJumped(log, trace, i);
            segment[i] = segment[i - 1] + (jumped ? 1 : 0);
            if (jumped)
            {
                jumps.Add(new(trace[i], IntervalDifference(log, trace, i)));
            }
        }

        double[] difference = new double[log.Length];
        double[] delays = new double[log.Length];
        _marks = log;
        _lateness = new double[log.Length];
        double[] steady = SteadyDifference(log, trace, segment);
        List<double> around = [];
        for (int i = 0; i < log.Length; i++)
        {
            around.Clear();
            for (int j = Math.Max(0, i - Neighbours); j <= Math.Min(log.Length - 1, i + Neighbours); j++)
            {
                if (segment[j] == segment[i])
                {
                    around.Add(log[j] - trace[j]);
                }
            }

            around.Sort();
            difference[i] = around[0];
            _lateness[i] = around[around.Count / 2] - Math.Min(around[0], steady[i]);
            delays[i] = log[i] - trace[i] - around[0];
        }

        Array.Sort(delays);
        Marks = log.Length;
        Jumps = jumps;
        MedianDelaySeconds = delays[delays.Length / 2];
        MaxDelaySeconds = delays[^1];
        double jumpSeconds = jumps.Sum(static j => j.Seconds);
        double logSpan = log[^1] - log[0];
        ClockRatio = logSpan > 0 ? (trace[^1] - trace[0] + jumpSeconds) / logSpan : 1;
        DriftSeconds = log[^1] - trace[^1] - (log[0] - trace[0]) - jumpSeconds;
        (_log, _difference) = jumps.Count == 0
            ? (log, difference)
            : ClockJumps.Place(log, trace, difference, segment, logTimesNs, traceTimesNs);
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

    /// <summary>Where one of the clocks stood still or was set, in the trace's order.</summary>
    public IReadOnlyList<ClockJump> Jumps { get; }

    /// <summary>Ties the clocks.</summary>
    /// <exception cref="TraceInputException">The files share fewer than two marks, or most of the marks disagree.</exception>
    public static ClockTie Align(KernelTrace trace, DmaLog log)
    {
        ArgumentNullException.ThrowIfNull(trace);
        return Align(trace, log, trace.Mappings.Select(static m => m.TimeNs));
    }

    /// <summary>Ties the clocks of a trace whose maps and unmaps are elsewhere.</summary>
    /// <param name="trace">The trace.</param>
    /// <param name="log">The log.</param>
    /// <param name="traceTimesNs">Times of the trace's maps and unmaps, gone through only where a clock jumped.</param>
    internal static ClockTie Align(KernelTrace trace, DmaLog log, IEnumerable<long> traceTimesNs)
    {
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
        double[] logSeconds = [.. marks.Select(static m => m.Log)];
        double[] traceSeconds = [.. marks.Select(static m => m.Trace)];
        int apart = 0;
        double farthest = 0;
        for (int i = 1; i < marks.Count; i++)
        {
            if (Disagree(logSeconds, traceSeconds, i))
            {
                apart++;
                farthest = Math.Max(farthest, Math.Abs(IntervalDifference(logSeconds, traceSeconds, i)));
            }
        }

        // A clock jumps now and then: of two runs' marks, most are apart.
        if (apart * 2 > marks.Count - 1)
        {
            throw new TraceInputException(
                TraceInputError.NoCommonMarks,
                log.Input.Path,
                null,
                string.Create(
                    System.Globalization.CultureInfo.InvariantCulture,
                    $"has marks of the same numbers as {trace.Input.Path}, but of {marks.Count - 1} intervals between them {apart} differ, by up to {farthest:F1} s: the two are not of the same run"));
        }

        return new(logSeconds, traceSeconds, log.Accesses.Select(static a => a.TimeNs), traceTimesNs);
    }

    private static double IntervalDifference(double[] log, double[] trace, int i) => log[i] - log[i - 1] - (trace[i] - trace[i - 1]);

    private static bool Disagree(double[] log, double[] trace, int i) =>
        Math.Abs(IntervalDifference(log, trace, i)) > MostDelaySeconds + (MostDrift * (log[i] - log[i - 1]));

    // A line that was late is followed by one that was not; a clock that jumped stays apart.
    private static bool HasJumped(double[] log, double[] trace, int i)
    {
        double before = double.MaxValue;
        double behind = double.MaxValue;
        for (int j = Math.Max(0, i - Neighbours); j < i; j++)
        {
            before = Math.Min(before, log[j] - trace[j]);
        }

        for (int j = i; j < Math.Min(log.Length, i + Neighbours); j++)
        {
            behind = Math.Min(behind, log[j] - trace[j]);
        }

        return Math.Abs(behind - before) > MostDelaySeconds;
    }

    /// <summary>
    /// What the clocks differ by at each mark if their rates do not change between two jumps: the straight line that no mark lies below
    /// and all marks together lie nearest to, which is the edge of their lower hull at their mean time.
    /// </summary>
    private static double[] SteadyDifference(double[] log, double[] trace, int[] segment)
    {
        double[] steady = new double[log.Length];
        List<int> hull = [];
        for (int first = 0, end; first < log.Length; first = end)
        {
            hull.Clear();
            double sum = 0;
            for (end = first; end < log.Length && segment[end] == segment[first]; end++)
            {
                sum += log[end];
                while (hull.Count > 1 && Height(hull[^2], hull[^1], end) <= 0)
                {
                    hull.RemoveAt(hull.Count - 1);
                }

                hull.Add(end);
            }

            double mean = sum / (end - first);
            int right = Math.Max(1, hull.FindIndex(i => log[i] >= mean));
            for (int i = first; i < end; i++)
            {
                steady[i] = log[i] - trace[i] - (hull.Count > 1 ? Height(hull[right - 1], hull[right], i) : 0);
            }
        }

        return steady;

        // How far mark i lies above the line through two others; both differences are small, so no digits are lost.
        double Height(int from, int to, int i)
        {
            double span = log[to] - log[from];
            double slope = span > 0 ? Change(from, to) / span : 0;
            return Change(from, i) - (slope * (log[i] - log[from]));
        }

        double Change(int from, int to) => log[to] - log[from] - (trace[to] - trace[from]);
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

    /// <summary>
    /// How late the lines of the marks around a time are, in seconds: the median, of the two sides the larger. Where the log's writer
    /// waits for the processor so long, the least delayed mark may be late as well, and times of the log seem earlier than they were, by
    /// no more than about this.
    /// </summary>
    /// <param name="logTimeNs">Nanoseconds since the Unix epoch.</param>
    public double LatenessSeconds(long logTimeNs)
    {
        int next = Array.BinarySearch(_marks, LogSeconds(logTimeNs));
        next = Math.Min(next < 0 ? ~next : next, _marks.Length - 1);
        return Math.Max(_lateness[Math.Max(next - 1, 0)], _lateness[next]);
    }

    // Whole minutes and the rest apart, so that microseconds survive the rounding of a number of this size alike everywhere.
    internal static double LogSeconds(long ns)
    {
        long minutes = ns / 60_000_000_000;
        return (minutes * 60) + ((ns - (minutes * 60_000_000_000)) / NsPerSecond);
    }
}
