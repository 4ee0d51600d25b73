using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Planning;

/// <summary>
/// Mappings learned from a DMA log alone, for IOTLB studies: a page is mapped when it is first used, mapped anew when it is
/// used with another physical page, and unmapped when the log invalidates it. What was mapped and never used, the log
/// cannot tell; and so every translation is right by construction.
/// </summary>
internal static class LearnedTrace
{
    /// <summary>Learns a trace and places the accesses among its steps.</summary>
    /// <param name="log">The log.</param>
    /// <param name="lastIova">The last IOVA that can be mapped, inclusive.</param>
    public static (MappingPlan Plan, ScheduledDma[] Accesses) Learn(DmaLog log, ulong lastIova = ulong.MaxValue)
    {
        ArgumentNullException.ThrowIfNull(log);
        KernelTrace trace = new(log.Input);
        int[] devices = new int[log.Devices.Count];
        for (int i = 0; i < devices.Length; i++)
        {
            devices[i] = trace.Devices.Intern(log.Devices.Id(i));
        }

        List<MappingEvent> events = [];
        int[] afterEvent = new int[log.Accesses.Length];
        Dictionary<uint, int> domains = FindDomains(log);
        Dictionary<ulong, ulong>[] live = new Dictionary<ulong, ulong>[log.Devices.Count];
        for (int i = 0; i < live.Length; i++)
        {
            live[i] = [];
        }

        int next = 0;
        SpilledList<DmaAccess>.Reader accesses = log.Accesses.Read();
        SpilledList<LoggedInvalidation>.Reader invalidations = log.Invalidations.Read();
        for (int i = 0; i < log.Accesses.Length; i++)
        {
            ref readonly DmaAccess access = ref accesses[i];
            for (; next < log.Invalidations.Length && invalidations[next].BeforeAccess <= i; next++)
            {
                Invalidate(invalidations[next], domains, devices, live, events, access);
            }

            if (access.Outcome == DmaOutcome.Translated)
            {
                Use(access, devices[access.Device], live[access.Device], events, lastIova);
            }

            afterEvent[i] = events.Count - 1;
        }

        trace.Mappings = [.. events];
        MappingPlan plan = Planner.Make(trace, new() { LastIova = lastIova, Rest = null });
        return (plan, Place(plan, log, devices, afterEvent));
    }

    private static void Use(
        in DmaAccess access, int device, Dictionary<ulong, ulong> live, List<MappingEvent> events, ulong lastIova)
    {
        ulong page = access.Iova & ~4095ul;
        ulong offset = page & ((1ul << access.SizeLog2) - 1);
        ulong physical = (access.Physical & ~((1ul << access.SizeLog2) - 1)) + offset;
        if (access.SizeLog2 <= 12)
        {
            physical = access.Physical & ~4095ul;
        }

        if (live.TryGetValue(page, out ulong known))
        {
            if (known == physical)
            {
                return;
            }

            events.Add(Event(access.TimeNs, access.Line, device, page, 4096, 4096, unmap: true));
        }

        if (page + 4095 <= lastIova)
        {
            live[page] = physical;
        }

        events.Add(Event(access.TimeNs, access.Line, device, page, 4096, physical, unmap: false));
    }

    private static void Invalidate(
        in LoggedInvalidation invalidation,
        Dictionary<uint, int> domains,
        int[] devices,
        Dictionary<ulong, ulong>[] live,
        List<MappingEvent> events,
        in DmaAccess next)
    {
        if (invalidation.Scope == InvalidationScope.Other || !domains.TryGetValue(invalidation.Domain, out int owner))
        {
            return;
        }

        Dictionary<ulong, ulong> pages = live[owner];
        if (invalidation.Scope == InvalidationScope.Domain)
        {
            if (pages.Count > 0)
            {
                ulong first = pages.Keys.Min();
                ulong length = pages.Keys.Max() + 4096 - first;
                events.Add(Event(invalidation.TimeNs, next.Line, devices[owner], first, length, length, unmap: true));
                pages.Clear();
            }

            return;
        }

        for (ulong page = invalidation.Address; page - invalidation.Address < 1ul << Math.Min(invalidation.SizeLog2, (byte)24); page += 4096)
        {
            if (pages.Remove(page))
            {
                events.Add(Event(invalidation.TimeNs, next.Line, devices[owner], page, 4096, 4096, unmap: true));
            }
        }
    }

    /// <summary>
    /// The devices of domains: as the log tells them, otherwise (RISC-V has PSCIDs in commands but not in accesses) the device
    /// that used most of the pages that were invalidated shortly before.
    /// </summary>
    private static Dictionary<uint, int> FindDomains(DmaLog log)
    {
        if (log.DomainDevices.Count > 0)
        {
            return new(log.DomainDevices);
        }

        Dictionary<(uint Domain, int Device), int> votes = [];
        HashSet<ulong>[] used = new HashSet<ulong>[log.Devices.Count];
        for (int i = 0; i < used.Length; i++)
        {
            used[i] = [];
        }

        int next = 0;
        SpilledList<DmaAccess>.Reader accesses = log.Accesses.Read();
        SpilledList<LoggedInvalidation>.Reader invalidations = log.Invalidations.Read();
        for (int i = 0; i <= log.Accesses.Length; i++)
        {
            for (; next < log.Invalidations.Length && invalidations[next].BeforeAccess <= i; next++)
            {
                LoggedInvalidation invalidation = invalidations[next];
                for (int device = 0; invalidation.Scope == InvalidationScope.Pages && device < used.Length; device++)
                {
                    if (used[device].Remove(invalidation.Address))
                    {
                        (uint, int) key = (invalidation.Domain, device);
                        votes[key] = votes.GetValueOrDefault(key) + 1;
                    }
                }
            }

            if (i < log.Accesses.Length)
            {
                used[accesses[i].Device].Add(accesses[i].Iova & ~4095ul);
            }
        }

        Dictionary<uint, int> result = [];
        foreach (((uint domain, int device), int count) in votes)
        {
            if (!result.TryGetValue(domain, out int best) || count > votes[(domain, best)])
            {
                result[domain] = device;
            }
        }

        return result;
    }

    private static ScheduledDma[] Place(MappingPlan plan, DmaLog log, int[] devices, int[] afterEvent)
    {
        int[] lastStep = new int[plan.Trace.Mappings.Length];
        Array.Fill(lastStep, -1);
        for (int i = 0; i < plan.Steps.Length; i++)
        {
            lastStep[plan.Steps[i].Event] = i;
        }

        for (int i = 1; i < lastStep.Length; i++)
        {
            lastStep[i] = Math.Max(lastStep[i], lastStep[i - 1]);
        }

        ScheduledDma[] result = new ScheduledDma[log.Accesses.Length];
        SpilledList<DmaAccess>.Reader accesses = log.Accesses.Read();
        for (int i = 0; i < result.Length; i++)
        {
            result[i] = new()
            {
                Access = i,
                AfterStep = afterEvent[i] < 0 ? -1 : lastStep[afterEvent[i]],
                Device = devices[accesses[i].Device],
                SizeLog2 = Math.Max(accesses[i].SizeLog2, (byte)12),
                Class = accesses[i].Outcome == DmaOutcome.Faulted ? DmaClass.RecordedFault : DmaClass.Live,
            };
        }

        return result;
    }

    private static MappingEvent Event(long timeNs, int line, int device, ulong iova, ulong length, ulong value, bool unmap) => new()
    {
        TimeNs = timeNs,
        Line = line,
        Device = device,
        Iova = iova,
        Length = length,
        Value = value,
        IsUnmap = unmap,
        Evidence = Evidence.DmaLog,
    };
}
