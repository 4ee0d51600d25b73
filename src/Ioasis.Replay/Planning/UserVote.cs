using Ioasis.Replay.DmaLogs;

namespace Ioasis.Replay.Planning;

/// <summary>Asks a log who uses the mappings that nothing in the trace names.</summary>
internal static class UserVote
{
    /// <summary>
    /// For each event the device whose accesses its mapping explains, and for those that no access touches the device that
    /// most of them belong to.
    /// </summary>
    /// <param name="plan">A plan whose unnamed mappings went to one device.</param>
    /// <param name="log">The log.</param>
    /// <param name="alignment">How the clocks are tied.</param>
    /// <param name="toleranceSeconds">How far an access may lie from its mapping's life.</param>
    /// <param name="device">The device that most belong to.</param>
    /// <returns>For each event of the trace a device or -1; null if the log shows nothing.</returns>
    public static int[]? FindUsers(
        MappingPlan plan, DmaLog log, ClockTie alignment, double toleranceSeconds, out int device)
    {
        device = -1;
        int rest = plan.RestDevice;
        if (rest < 0)
        {
            return null;
        }

        int[] devices = plan.DevicesOf(log);
        int[] asRest = new int[devices.Length];
        Array.Fill(asRest, rest);
        MappingHistory history = new(plan, log, asRest);
        Dictionary<(int Event, int Device), int> votes = [];
        foreach (ref readonly DmaAccess access in log.Accesses.AsSpan())
        {
            if (access.Outcome != DmaOutcome.Translated)
            {
                continue;
            }

            int area = history.Find(rest, access, alignment.ToTraceSeconds(access.TimeNs), out double distance);
            if (area >= 0 && distance < toleranceSeconds)
            {
                int mapEvent = plan.Areas[area].MapEvent;
                if (plan.Trace.Mappings[mapEvent].Device < 0)
                {
                    (int, int) key = (mapEvent, devices[access.Device]);
                    votes[key] = votes.GetValueOrDefault(key) + 1;
                }
            }
        }

        int[] overrides = new int[plan.Trace.Mappings.Length];
        Array.Fill(overrides, -1);
        Dictionary<int, int> best = [];
        Dictionary<int, int> total = [];
        foreach (((int e, int d), int count) in votes)
        {
            if (count > best.GetValueOrDefault(e))
            {
                best[e] = count;
                overrides[e] = d;
            }
        }

        foreach (int e in best.Keys)
        {
            total[overrides[e]] = total.GetValueOrDefault(overrides[e]) + 1;
        }

        foreach ((int d, int count) in total)
        {
            if (device < 0 || count > total[device])
            {
                device = d;
            }
        }

        return device < 0 ? null : overrides;
    }
}
