using System.Globalization;

namespace Ioasis.Recorder;

/// <summary>What the kernel says that it lost.</summary>
internal static class LossCounters
{
    /// <summary>Events that were overwritten or dropped, by CPU; only CPUs that lost some.</summary>
    public static IReadOnlyDictionary<int, long> ByCpu(TracingFiles files, string instance)
    {
        SortedDictionary<int, long> lost = [];
        foreach (string folder in files.List($"{instance}/per_cpu"))
        {
            if (!folder.StartsWith("cpu", StringComparison.Ordinal)
                || !int.TryParse(folder.AsSpan(3), NumberStyles.None, CultureInfo.InvariantCulture, out int cpu))
            {
                continue;
            }

            long count = 0;
            foreach (string line in (files.TryRead($"{instance}/per_cpu/{folder}/stats") ?? "").Split('\n'))
            {
                // entries: 162 / overrun: 0 / commit overrun: 0 / … / dropped events: 0
                if (line.Split(':', StringSplitOptions.TrimEntries) is ["overrun" or "commit overrun" or "dropped events", var number]
                    && long.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out long value))
                {
                    count += value;
                }
            }

            if (count > 0)
            {
                lost[cpu] = count;
            }
        }

        return lost;
    }

    /// <summary>The probes that did not run each time.</summary>
    public static IReadOnlyList<ProbeMiss> Missed(TracingFiles files, string tracing, IReadOnlySet<string> events)
    {
        List<ProbeMiss> missed = [];
        foreach (string line in files.Lines($"{tracing}/kprobe_profile"))
        {
            if (line.Split(' ', StringSplitOptions.RemoveEmptyEntries) is [var name, var hit, var miss]
                && events.Contains(name)
                && long.TryParse(hit, NumberStyles.None, CultureInfo.InvariantCulture, out long hits)
                && long.TryParse(miss, NumberStyles.None, CultureInfo.InvariantCulture, out long misses) && misses > 0)
            {
                missed.Add(new(name, hits, misses));
            }
        }

        return missed;
    }
}
