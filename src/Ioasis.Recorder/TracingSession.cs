using System.Globalization;

namespace Ioasis.Recorder;

/// <summary>
/// The names of one recording on a machine. They carry the process that made them, so that what a dead one left can be told
/// from what a living one uses.
/// </summary>
/// <param name="Tracing">Where tracefs is.</param>
/// <param name="Process">The recorder's process.</param>
/// <param name="Start">When it began, in ticks after boot.</param>
internal sealed record TracingSession(string Tracing, int Process, long Start)
{
    /// <summary>The tracing instance.</summary>
    public string Instance => string.Create(CultureInfo.InvariantCulture, $"{Tracing}/instances/ioasis-{Process}-{Start}");

    /// <summary>The group of the probes, a part of their names.</summary>
    public string ProbeGroup => string.Create(CultureInfo.InvariantCulture, $"ioasis_{Process}_{Start}");

    /// <summary>The machine's list of probes.</summary>
    public string ProbeList => $"{Tracing}/kprobe_events";

    /// <summary>Reads process and start out of the name of an instance or of a group of probes.</summary>
    public static bool TryOwner(string name, out int process, out long start)
    {
        ArgumentNullException.ThrowIfNull(name);
        string[] parts = name.Split('-', '_');
        (process, start) = (0, 0);
        return parts is ["ioasis", var first, var second]
            && int.TryParse(first, NumberStyles.None, CultureInfo.InvariantCulture, out process)
            && long.TryParse(second, NumberStyles.None, CultureInfo.InvariantCulture, out start);
    }
}
