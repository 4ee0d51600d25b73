using System.Runtime.InteropServices;
using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Planning;

/// <summary>Asks a log who uses the mappings that nothing in the trace names.</summary>
internal static class UserVote
{
    // The same page is mapped to the same place for several devices only where they share a doorbell for interrupts.
    private const int MostAlike = 32;

    /// <summary>For each map without a device the one whose accesses it explains.</summary>
    /// <param name="trace">The trace.</param>
    /// <param name="log">The log of the same run.</param>
    /// <param name="devices">For each device of the log the device of the trace.</param>
    /// <param name="clocks">How their clocks are tied.</param>
    /// <param name="toleranceSeconds">How long before its map an access may be recorded.</param>
    /// <param name="lastUseNs">For each event when it was used last, in nanoseconds of the trace, or <see cref="long.MinValue"/>.</param>
    /// <returns>For each event of the trace a device or -1; null if the log shows nothing.</returns>
    public static int[]? FindUsers(
        KernelTrace trace, DmaLog log, int[] devices, ClockTie clocks, double toleranceSeconds, out long[] lastUseNs)
    {
        Dictionary<ulong, List<int>> byPage = EventsByPage(trace, log);
        Dictionary<(int Event, int Device), int> votes = [];
        int[] users = new int[trace.Mappings.Length];
        Array.Fill(users, -1);
        lastUseNs = new long[users.Length];
        Array.Fill(lastUseNs, long.MinValue);
        int[] most = new int[trace.Mappings.Length];
        foreach (DmaAccess access in log.Accesses)
        {
            if (access.Outcome != DmaOutcome.Translated || !byPage.TryGetValue(access.Iova >> 12, out List<int>? events))
            {
                continue;
            }

            int device = devices[access.Device];
            double at = clocks.ToTraceSeconds(access.TimeNs);
            int found = Find(trace, access, events, at + toleranceSeconds, users, device);
            if (found >= 0)
            {
                lastUseNs[found] = Math.Max(lastUseNs[found], (long)((at - toleranceSeconds) * 1e9));
                int count = ++CollectionsMarshal.GetValueRefOrAddDefault(votes, (found, device), out _);
                if (count > most[found])
                {
                    most[found] = count;
                    users[found] = device;
                }
            }
        }

        return votes.Count == 0 ? null : users;
    }

    /// <summary>Maps and unmaps without a device under the pages that the log uses, in the trace's order.</summary>
    private static Dictionary<ulong, List<int>> EventsByPage(KernelTrace trace, DmaLog log)
    {
        HashSet<ulong> used = [];
        foreach (DmaAccess access in log.Accesses)
        {
            used.Add(access.Iova >> 12);
        }

        Dictionary<ulong, List<int>> byPage = [];
        for (int i = 0; i < trace.Mappings.Length; i++)
        {
            ref readonly MappingEvent m = ref trace.Mappings[i];
            if (m.Device >= 0)
            {
                continue;
            }

            ulong first = m.Iova >> 12;
            ulong last = (m.Iova + (m.Length - 1)) >> 12;
            if (last - first < (ulong)used.Count)
            {
                for (ulong page = first; page <= last; page++)
                {
                    Note(page, i);
                }

                continue;
            }

            foreach (ulong page in used)
            {
                if (page >= first && page <= last)
                {
                    Note(page, i);
                }
            }
        }

        return byPage;

        void Note(ulong page, int index)
        {
            if (used.Contains(page))
            {
                (CollectionsMarshal.GetValueRefOrAddDefault(byPage, page, out _) ??= []).Add(index);
            }
        }
    }

    /// <summary>
    /// The map that the access uses: the latest of the page to that place, of those that no other device uses more. A device
    /// keeps the one that it used before for as long as nobody unmaps the page.
    /// </summary>
    private static int Find(KernelTrace trace, in DmaAccess access, List<int> events, double until, int[] users, int device)
    {
        int low = 0;
        int high = events.Count;
        while (low < high)
        {
            int middle = (low + high) >> 1;
            if (trace.Mappings[events[middle]].TimeNs / 1e9 <= until)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        int latest = -1;
        int free = -1;
        bool unmapped = false;
        for (int i = low - 1, alike = 0; i >= 0 && alike < MostAlike; i--)
        {
            int index = events[i];
            if (trace.Mappings[index].IsUnmap)
            {
                unmapped = true;
            }
            else if (MappingMatch.Explains(trace.Mappings[index], access))
            {
                latest = latest < 0 ? index : latest;
                free = free < 0 && users[index] < 0 ? index : free;
                if (users[index] == device)
                {
                    return unmapped && free >= 0 ? free : index;
                }

                if (unmapped && free >= 0)
                {
                    return free;
                }

                alike++;
            }
        }

        return free >= 0 ? free : latest;
    }
}
