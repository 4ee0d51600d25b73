using System.Globalization;
using Ioasis.Primitives;

namespace Ioasis.Recorder;

/// <summary>
/// Takes away what recorders left that were killed. An instance's name tells its process; one that is alive, or whose events
/// somebody still reads, is left alone.
/// </summary>
internal static class Leftovers
{
    /// <summary>Removes instances and probes of processes that are gone.</summary>
    /// <param name="files">The machine's files.</param>
    /// <param name="tracing">Where tracefs is.</param>
    /// <returns>What was removed and what could not be, in words; empty if nothing was there.</returns>
    public static IReadOnlyList<string> Clean(TracingFiles files, string tracing)
    {
        ArgumentNullException.ThrowIfNull(files);
        List<string> done = [];
        HashSet<string> kept = new(StringComparer.Ordinal);
        foreach (string instance in files.List($"{tracing}/instances").Where(name => IsDead(files, name)))
        {
            // The end of an instance switches its events off, so its probes can go after it.
            Errno error = files.RemoveFolder($"{tracing}/instances/{instance}");
            done.Add(error == Errno.Success
                ? $"removed the instance {instance} of a recorder that was killed"
                : $"the instance {instance} of a recorder that was killed cannot be removed: {MachineChanges.Describe(error)}");
            if (error != Errno.Success)
            {
                kept.Add(instance.Replace('-', '_'));
            }
        }

        foreach (IGrouping<string, string> group in Probes(files, tracing)
            .Where(probe => !kept.Contains(probe.Group) && IsDead(files, probe.Group))
            .GroupBy(static probe => probe.Group, static probe => probe.Name, StringComparer.Ordinal))
        {
            if (SwitchHolders.Groups(files, $"{tracing}/kprobe_events") is var holders && holders.Contains(group.Key, StringComparer.Ordinal)
                && holders.All(holder => IsDead(files, holder)))
            {
                Errno error = files.Write(SwitchHolders.Path, "1");
                done.Add(error == Errno.Success
                    ? $"switched the kernel's optimization of probes on again (/{SwitchHolders.Path}), which a recorder that was killed had switched off"
                    : $"the kernel's optimization of probes cannot be switched on again (/{SwitchHolders.Path}): {MachineChanges.Describe(error)}");
                if (error != Errno.Success)
                {
                    continue;
                }
            }

            int removed = 0;
            foreach (string name in group)
            {
                Errno error = files.Write($"{tracing}/kprobe_events", $"-:{group.Key}/{name}");
                removed += error == Errno.Success ? 1 : 0;
                if (error != Errno.Success)
                {
                    done.Add($"the probe {group.Key}/{name} of a recorder that was killed cannot be removed: {MachineChanges.Describe(error)}");
                }
            }

            if (removed > 0)
            {
                done.Add(string.Create(CultureInfo.InvariantCulture, $"removed {removed} probes of a recorder that was killed ({group.Key})"));
            }
        }

        return done;
    }

    private static List<(string Group, string Name)> Probes(TracingFiles files, string tracing)
    {
        List<(string, string)> probes = [];
        foreach (string line in files.Lines($"{tracing}/kprobe_events"))
        {
            // p:ioasis_812_4711/ioasis_map iommu_map domain=…
            int colon = line.IndexOf(':', StringComparison.Ordinal) + 1;
            int slash = line.IndexOf('/', colon);
            int end = line.IndexOf(' ', colon);
            if (colon > 0 && slash > colon && end > slash)
            {
                probes.Add((line[colon..slash], line[(slash + 1)..end]));
            }
        }

        return probes;
    }

    private static bool IsDead(TracingFiles files, string name) =>
        TracingSession.TryOwner(name, out int process, out long start) && files.StartOfProcess(process) != start;
}
