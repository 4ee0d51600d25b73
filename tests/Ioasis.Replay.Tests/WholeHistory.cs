using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Planning;

namespace Ioasis.Replay.Tests;

/// <summary>
/// When each page of each device was mapped to what, as far as a log uses it. Finds the mapping that explains an access: the
/// one that is live at its time, or the nearest in time.
/// </summary>
internal sealed class WholeHistory
{
    private readonly Dictionary<(int Device, ulong Page), List<int>> _history = [];
    private readonly MappingPlan _plan;
    private readonly double[] _mapSeconds;
    private readonly double[] _endSeconds;

    /// <summary>Files the plan's areas under the pages that the log uses.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="log">The log.</param>
    /// <param name="devices">For each device of the log the device of the plan whose mappings its accesses are looked up in.</param>
    public WholeHistory(MappingPlan plan, DmaLog log, int[] devices)
    {
        _plan = plan;
        _mapSeconds = new double[plan.Areas.Length];
        _endSeconds = new double[plan.Areas.Length];
        for (int i = 0; i < plan.Areas.Length; i++)
        {
            _mapSeconds[i] = plan.MapTimeNs(plan.Areas[i]) / 1e9;
            _endSeconds[i] = plan.Areas[i].EndEvent < 0 ? double.PositiveInfinity : plan.EndTimeNs(plan.Areas[i]) / 1e9;
        }

        Index(log, devices);
    }

    /// <summary>When an area was mapped, in seconds of the trace.</summary>
    public double MapSeconds(int area) => _mapSeconds[area];

    /// <summary>The area that maps the access's page to where it went and is live then, or the nearest in time.</summary>
    /// <param name="device">The device in the plan.</param>
    /// <param name="access">The access.</param>
    /// <param name="at">Its time, in seconds of the trace.</param>
    /// <param name="distance">How far the area's life is from that, in seconds; 0 if it is live.</param>
    /// <returns>The area's index, or -1 if none ever mapped the page so.</returns>
    public int Find(int device, in DmaAccess access, double at, out double distance)
    {
        distance = double.PositiveInfinity;
        return _history.TryGetValue((device, access.Iova >> 12), out List<int>? areas) ? Nearest(areas, access, at, out distance) : -1;
    }

    /// <summary>The first area mapped after a time and before another that maps the access's page to where it went, or -1.</summary>
    public int FindMappedNext(int device, DmaAccess access, double after, double before) =>
        _history.TryGetValue((device, access.Iova >> 12), out List<int>? areas)
            ? areas.Skip(FirstAfter(areas, after)).TakeWhile(area => _mapSeconds[area] < before).Where(area => Matches(area, access)).DefaultIfEmpty(-1).First()
            : -1;

    private void Index(DmaLog log, int[] devices)
    {
        Dictionary<int, HashSet<ulong>> pages = [];
        foreach (DmaAccess access in log.Accesses)
        {
            int device = devices[access.Device];
            if (!pages.TryGetValue(device, out HashSet<ulong>? set))
            {
                pages.Add(device, set = []);
            }

            set.Add(access.Iova >> 12);
        }

        for (int i = 0; i < _plan.Areas.Length; i++)
        {
            ref readonly Area area = ref _plan.Areas[i];
            if (!pages.TryGetValue(area.Device, out HashSet<ulong>? set))
            {
                continue;
            }

            ulong first = area.Start >> 12;
            ulong last = (area.Start + (area.Length - 1)) >> 12;
            if (last - first < (ulong)set.Count)
            {
                for (ulong page = first; page <= last; page++)
                {
                    if (set.Contains(page))
                    {
                        File(area.Device, page, i);
                    }
                }

                continue;
            }

            foreach (ulong page in set)
            {
                if (page >= first && page <= last)
                {
                    File(area.Device, page, i);
                }
            }
        }
    }

    private void File(int device, ulong page, int area)
    {
        if (!_history.TryGetValue((device, page), out List<int>? areas))
        {
            _history.Add((device, page), areas = []);
        }

        areas.Add(area);
    }

    private int FirstAfter(List<int> areas, double at)
    {
        int low = 0;
        int high = areas.Count;
        while (low < high)
        {
            int middle = (low + high) >> 1;
            if (_mapSeconds[areas[middle]] <= at)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }

    private int Nearest(List<int> areas, in DmaAccess access, double at, out double distance)
    {
        int low = FirstAfter(areas, at);
        int best = -1;
        distance = double.PositiveInfinity;
        for (int i = low - 1; i >= 0; i--)
        {
            if (Matches(areas[i], access))
            {
                best = areas[i];
                distance = at > _endSeconds[best] ? at - _endSeconds[best] : 0;
                break;
            }
        }

        for (int i = low; i < areas.Count && distance > 0 && _mapSeconds[areas[i]] - at < distance; i++)
        {
            if (Matches(areas[i], access))
            {
                best = areas[i];
                distance = _mapSeconds[best] - at;
                break;
            }
        }

        return best;
    }

    private bool Matches(int index, in DmaAccess access)
    {
        ref readonly Area area = ref _plan.Areas[index];
        return MappingMatch.Explains(area.Start, area.Length, area.Physical, access);
    }
}
