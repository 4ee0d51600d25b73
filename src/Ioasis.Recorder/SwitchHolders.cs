namespace Ioasis.Recorder;

/// <summary>
/// The recorders for which the kernel's optimization of probes is switched off. The kernel turns a breakpoint into a jump when it can, and
/// serves that with interrupts on: an interrupt that comes meanwhile passes every probe by. The switch is the whole machine's, so
/// each recorder that needs it off has a probe of this name in the machine's list, and the last one switches it on again.
/// </summary>
internal static class SwitchHolders
{
    /// <summary>The switch.</summary>
    public const string Path = "proc/sys/debug/kprobes-optimization";

    /// <summary>The event of the probe, which is never switched on.</summary>
    public const string Event = "ioasis_optimized";

    /// <summary>The groups of the recorders that hold the switch.</summary>
    /// <param name="files">The machine's files.</param>
    /// <param name="list">The machine's list of probes.</param>
    public static IReadOnlyList<string> Groups(TracingFiles files, string list)
    {
        List<string> groups = [];
        foreach (string line in files.Lines(list))
        {
            // p:ioasis_812_4711/ioasis_optimized iommu_map
            int colon = line.IndexOf(':', StringComparison.Ordinal) + 1;
            int slash = line.IndexOf($"/{Event} ", StringComparison.Ordinal);
            if (colon > 0 && slash > colon)
            {
                groups.Add(line[colon..slash]);
            }
        }

        return groups;
    }
}
