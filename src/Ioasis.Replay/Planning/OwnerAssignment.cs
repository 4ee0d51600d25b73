using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Planning;

/// <summary>Finds owners for the maps and unmaps of a whole trace that nothing in it ties to a device.</summary>
internal static class OwnerAssignment
{
    /// <summary>Finds them from the trace alone.</summary>
    /// <returns>The trace with owners, or the same one where its events without a device are of one IOVA space: the planner asks whose.</returns>
    public static KernelTrace FromTrace(KernelTrace trace)
    {
        if (!Array.Exists(trace.Mappings, static m => m.Device < 0 && !m.IsUnmap))
        {
            return trace;
        }

        if (OnlyDevice(trace) is { } only)
        {
            return trace.With(Array.ConvertAll(trace.Mappings, m => m.Device >= 0 ? m : Owned(m, only, Evidence.OnlyDevice)));
        }

        MappingEvent[] mappings = (MappingEvent[])trace.Mappings.Clone();
        SpaceResolver resolver = Resolve(new(trace.Devices), mappings);
        return resolver.SpaceDevices.Count <= 1 ? trace : Named(trace, mappings, resolver);
    }

    /// <summary>Finds them with a log of the same run: who uses a mapping owns it.</summary>
    public static KernelTrace FromLog(KernelTrace trace, DmaLog log, int[] devices, ClockTie clocks, double toleranceSeconds)
    {
        if (!Array.Exists(trace.Mappings, static m => m.Device < 0 && !m.IsUnmap))
        {
            return trace;
        }

        int[]? users = UserVote.FindUsers(trace, log, devices, clocks, toleranceSeconds, out long[] lastUse);
        if (users is null)
        {
            return FromTrace(trace);
        }

        MappingEvent[] mappings = (MappingEvent[])trace.Mappings.Clone();
        for (int i = 0; i < mappings.Length; i++)
        {
            if (users[i] >= 0)
            {
                mappings[i] = Owned(mappings[i], users[i], Evidence.DmaLog);
            }
        }

        SpaceResolver resolver = new(trace.Devices);
        foreach (int device in MostlyUnnamed(mappings))
        {
            resolver.Absorb(device);
        }

        return Named(trace, mappings, Resolve(resolver, mappings, lastUse));
    }

    /// <summary>Devices of whose maps the log, and not the trace, told a good part: they may have more that nobody used.</summary>
    private static IEnumerable<int> MostlyUnnamed(MappingEvent[] mappings)
    {
        Dictionary<int, (long Maps, long Voted)> counts = [];
        foreach (ref readonly MappingEvent e in mappings.AsSpan())
        {
            if (!e.IsUnmap && e.Device >= 0)
            {
                (long maps, long voted) = counts.GetValueOrDefault(e.Device);
                counts[e.Device] = (maps + 1, voted + (e.Evidence == Evidence.DmaLog ? 1 : 0));
            }
        }

        return counts.Where(static c => c.Value.Voted * 4 > c.Value.Maps).Select(static c => c.Key);
    }

    private static SpaceResolver Resolve(SpaceResolver resolver, MappingEvent[] mappings, long[]? lastUseNs = null)
    {
        for (int i = 0; i < mappings.Length; i++)
        {
            resolver.Resolve(ref mappings[i], lastUseNs is null ? long.MinValue : lastUseNs[i]);
        }

        return resolver;
    }

    private static KernelTrace Named(KernelTrace trace, MappingEvent[] mappings, SpaceResolver resolver)
    {
        Dictionary<int, int> owners = resolver.FindOwners([.. trace.DmaEventsByDevice.Keys]);
        if (owners.Count > 0)
        {
            foreach (ref MappingEvent e in mappings.AsSpan())
            {
                if (owners.TryGetValue(e.Device, out int owner))
                {
                    e.Device = owner;
                }
            }
        }

        return trace.With(mappings);
    }

    /// <summary>The one device that was attached, of a trace that begins before any attach and any map.</summary>
    internal static int? OnlyDevice(KernelTrace trace) =>
        trace.AttachedDevices.Count == 1 && trace.Devices.Count == 1 && trace.AttachesComeFirst ? trace.AttachedDevices.Single() : null;

    private static MappingEvent Owned(MappingEvent e, int device, Evidence evidence)
    {
        e.Device = device;
        e.Evidence = evidence;
        return e;
    }
}
