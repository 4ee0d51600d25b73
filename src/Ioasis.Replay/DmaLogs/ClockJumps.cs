namespace Ioasis.Replay.DmaLogs;

/// <summary>A jump of one of the two clocks against the other.</summary>
/// <param name="AtSeconds">The first mark behind it, in seconds of the trace.</param>
/// <param name="Seconds">How much longer it took on the log's clock than on the trace's: negative where the trace's clock ran ahead.</param>
internal readonly record struct ClockJump(double AtSeconds, double Seconds);

/// <summary>Finds where between two marks a clock jumped.</summary>
internal static class ClockJumps
{
    // What stands still writes no line: a gap shorter than the jump is something else.
    private const double LeastGap = 0.9;

    /// <summary>The points to interpolate between: the marks, and two more at one time for each jump.</summary>
    /// <param name="log">Times of the marks on the log's clock.</param>
    /// <param name="trace">Times of the marks on the trace's clock.</param>
    /// <param name="difference">What the clocks differ by at each mark.</param>
    /// <param name="segment">A number for each mark that is one higher behind each jump.</param>
    /// <param name="logTimesNs">Times of the log's accesses.</param>
    /// <param name="traceTimesNs">Times of the trace's maps and unmaps.</param>
    public static (double[] Log, double[] Difference) Place(
        double[] log, double[] trace, double[] difference, int[] segment, IEnumerable<long> logTimesNs, IEnumerable<long> traceTimesNs)
    {
        (double From, double To)[] logGaps = LongestGaps(log, segment, logTimesNs.Select(ClockTie.LogSeconds));
        (double From, double To)[] traceGaps = LongestGaps(trace, segment, traceTimesNs.Select(static ns => ns / 1e9));
        List<double> points = [log[0]];
        List<double> differences = [difference[0]];
        for (int i = 1; i < log.Length; i++)
        {
            if (segment[i] != segment[i - 1])
            {
                double jump = difference[i] - difference[i - 1];
                (double from, double to) = logGaps[segment[i - 1]];
                (double traceFrom, double traceTo) = traceGaps[segment[i - 1]];

                // The trace's clock stood still: the log has a gap, behind which it goes on. Or it ran ahead: the trace has the gap.
                double at = jump > 0 && to - from >= LeastGap * jump ? to
                    : jump < 0 && traceTo - traceFrom >= LeastGap * -jump ? (traceFrom + difference[i - 1] + traceTo + difference[i]) / 2
                    : (log[i - 1] + log[i]) / 2;
                at = Math.Clamp(at, log[i - 1], log[i]);
                points.AddRange([at, at]);
                differences.AddRange([difference[i - 1], difference[i]]);
            }

            points.Add(log[i]);
            differences.Add(difference[i]);
        }

        return ([.. points], [.. differences]);
    }

    /// <summary>For each jump the longest time without anything between the marks around it.</summary>
    private static (double From, double To)[] LongestGaps(double[] marks, int[] segment, IEnumerable<double> times)
    {
        // By the jump's number: the segment before it.
        (double From, double To)[] gaps = new (double, double)[segment[^1]];
        double[] last = new double[gaps.Length];
        double[] end = new double[gaps.Length];
        for (int i = 1; i < marks.Length; i++)
        {
            if (segment[i] != segment[i - 1])
            {
                last[segment[i - 1]] = marks[i - 1];
                end[segment[i - 1]] = marks[i];
                gaps[segment[i - 1]] = (marks[i - 1], marks[i - 1]);
            }
        }

        foreach (double time in times)
        {
            for (int j = 0; j < gaps.Length; j++)
            {
                if (time > last[j] && time < end[j])
                {
                    Note(j, time);
                }
            }
        }

        for (int j = 0; j < gaps.Length; j++)
        {
            Note(j, end[j]);
        }

        return gaps;

        void Note(int jump, double time)
        {
            if (time - last[jump] > gaps[jump].To - gaps[jump].From)
            {
                gaps[jump] = (last[jump], time);
            }

            last[jump] = time;
        }
    }
}
