using Ioasis.Linux.Discovery;

namespace Ioasis.Recorder;

/// <summary>Finds tracefs, or says what to do.</summary>
internal static class TracingFolder
{
    private static readonly string[] Places = ["sys/kernel/tracing", "sys/kernel/debug/tracing"];

    /// <summary>Where tracefs is.</summary>
    /// <param name="files">The machine's files.</param>
    /// <exception cref="RecorderException">It cannot be used; the message says what to do.</exception>
    public static string Find(TracingFiles files)
    {
        ArgumentNullException.ThrowIfNull(files);
        foreach (string place in Places)
        {
            if (files.Exists($"{place}/instances"))
            {
                if (files.IsRoot)
                {
                    return place;
                }

                throw NotRoot();
            }
        }

        if (!files.IsRoot)
        {
            throw NotRoot();
        }

        string filesystems = files.TryRead("proc/filesystems") ?? "";
        throw new RecorderException(
            filesystems.Contains("tracefs", StringComparison.Ordinal)
                ? "tracefs is not mounted: `mount -t tracefs nodev /sys/kernel/tracing` mounts it"
                    + " (in a container it must come from the host: --privileged -v /sys/kernel/tracing:/sys/kernel/tracing)"
                : "this kernel has no tracing; it must be built with CONFIG_FTRACE and CONFIG_KPROBE_EVENTS");
    }

    /// <summary>What a refusal of the kernel's may come from, beyond its error number; null if nothing is known.</summary>
    internal static string? WhyRefused(Sysfs files) =>
        files.TryRead("sys/kernel/security/lockdown")?.Contains("[confidentiality]", StringComparison.Ordinal) is true
            ? "the kernel is locked down for confidentiality (see /sys/kernel/security/lockdown), which forbids tracing and probes:"
                + " start it with lockdown=integrity or without lockdown"
            : null;

    private static RecorderException NotRoot() =>
        new("tracing the kernel needs root: run it with sudo");
}
