using System.Globalization;
using Ioasis.Linux.Discovery;

namespace Ioasis.Recorder;

/// <summary>The version of the running kernel, for what cannot be seen otherwise.</summary>
internal static class KernelRelease
{
    /// <summary>Whether the kernel is of this version or newer; false if it does not say.</summary>
    public static bool IsAtLeast(Sysfs files, int major, int minor)
    {
        // 6.1.0-50-amd64
        string[] parts = (files.TryRead("proc/sys/kernel/osrelease") ?? "").Split('.', '-');
        return parts.Length > 1
            && int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out int first)
            && int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out int second)
            && (first, second).CompareTo((major, minor)) >= 0;
    }
}
