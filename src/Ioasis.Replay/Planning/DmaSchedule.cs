using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Recording;

namespace Ioasis.Replay.Planning;

/// <summary>How a logged access lies with respect to the mappings.</summary>
public enum DmaClass : byte
{
    /// <summary>Its page was mapped to where it went.</summary>
    Live,

    /// <summary>
    /// Its page was mapped so, but the clocks as they were tied put it a little before the map or behind the unmap: it is
    /// replayed right behind the map, or right before the unmap.
    /// </summary>
    WithinTolerance,

    /// <summary>
    /// Its device was attached before the kernel trace began, and the trace does not map its page before it: the mapping was
    /// learned from the log. Later accesses to the page must agree with the first, until the trace unmaps it.
    /// </summary>
    MappedBefore,

    /// <summary>The log says that it faulted.</summary>
    RecordedFault,

    /// <summary>It was made before the first or after the last event of the kernel trace: what was mapped then is not known.</summary>
    OutsideRecording,

    /// <summary>No mapping of the recording explains it: a mismatch.</summary>
    Unexplained,
}

/// <summary>One access with its place in the replay.</summary>
public struct ScheduledDma
{
    /// <summary>Index into <see cref="DmaLog.Accesses"/>.</summary>
    public int Access;

    /// <summary>The step after which it is made, or -1 for before the first.</summary>
    public int AfterStep;

    /// <summary>Device in the trace's table.</summary>
    public int Device;

    /// <summary>Its class.</summary>
    public DmaClass Class;

    /// <summary>log2 of the block whose start the logged physical address is: bits below do not count.</summary>
    public byte SizeLog2;
}

/// <summary>
/// The accesses of a DMA log at their places among the steps of a plan, with the class of each, decided by the mapping's whole
/// history: a mapping of the same device, page and physical page that is live at that time, or the nearest one in time.
/// </summary>
public sealed class DmaSchedule
{
    // More than this no pair of clocks is apart after they were tied, in seconds.
    private const double MostRefined = 0.01;

    private readonly Dictionary<(int Device, ulong Page), List<int>> _history = [];
    private readonly MappingPlan _plan;
    private readonly double[] _mapSeconds;
    private readonly double[] _endSeconds;
    private double _leadAt = double.NaN;
    private double _lead;
    private int[] _mapStep = [];
    private int[] _endStep = [];

    private DmaSchedule(MappingPlan plan)
    {
        _plan = plan;
        _mapSeconds = new double[plan.Areas.Length];
        _endSeconds = new double[plan.Areas.Length];
        for (int i = 0; i < plan.Areas.Length; i++)
        {
            _mapSeconds[i] = plan.MapTimeNs(plan.Areas[i]) / 1e9;
            _endSeconds[i] = plan.Areas[i].EndEvent < 0 ? double.PositiveInfinity : plan.EndTimeNs(plan.Areas[i]) / 1e9;
        }
    }

    /// <summary>Accesses by <see cref="ScheduledDma.AfterStep"/>, then in the log's order.</summary>
    public ScheduledDma[] Accesses { get; private set; } = [];

    /// <summary>
    /// Accesses that lie within the tolerance only after the clocks were tied more closely in their neighbourhood: where many
    /// accesses seem to come before their maps by the same time, it is the clocks that are apart by it.
    /// </summary>
    public int Refined { get; private set; }

    /// <summary>Distances of the accesses within the tolerance from their map or unmap, in seconds, sorted.</summary>
    public double[] Residuals { get; private set; } = [];

    /// <summary>Makes the schedule.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="log">The log.</param>
    /// <param name="alignment">How the clocks are tied.</param>
    /// <param name="toleranceSeconds">How far an access may lie from its mapping's life.</param>
    public static DmaSchedule Make(MappingPlan plan, DmaLog log, ClockTie alignment, double toleranceSeconds)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(log);
        ArgumentNullException.ThrowIfNull(alignment);
        DmaSchedule schedule = new(plan);
        int[] devices = schedule.Devices(log);
        schedule.Index(log, devices);
        schedule.Run(log, devices, alignment, toleranceSeconds);
        return schedule;
    }

    /// <summary>
    /// Asks the log who uses the mappings that nothing names: for each event the device whose accesses its mapping explains,
    /// and for those that no access touches the device that most of them belong to.
    /// </summary>
    /// <param name="plan">A plan whose unnamed mappings went to one device.</param>
    /// <param name="log">The log.</param>
    /// <param name="alignment">How the clocks are tied.</param>
    /// <param name="toleranceSeconds">How far an access may lie from its mapping's life.</param>
    /// <param name="device">The device that most belong to.</param>
    /// <returns>For each event of the trace a device or -1; null if the log shows nothing.</returns>
    internal static int[]? FindUsers(
        MappingPlan plan, DmaLog log, ClockTie alignment, double toleranceSeconds, out int device)
    {
        DmaSchedule schedule = new(plan);
        int[] devices = schedule.Devices(log);
        return schedule.Vote(log, devices, alignment, toleranceSeconds, out device);
    }

    private int[]? Vote(DmaLog log, int[] devices, ClockTie alignment, double tolerance, out int device)
    {
        device = -1;
        int rest = _plan.RestDevice;
        if (rest < 0)
        {
            return null;
        }

        int[] asRest = new int[devices.Length];
        Array.Fill(asRest, rest);
        Index(log, asRest);
        Dictionary<(int Event, int Device), int> votes = [];
        foreach (ref readonly DmaAccess access in log.Accesses.AsSpan())
        {
            if (access.Outcome != DmaOutcome.Translated || !_history.TryGetValue((rest, access.Iova >> 12), out List<int>? areas))
            {
                continue;
            }

            int area = Nearest(areas, access, alignment.ToTraceSeconds(access.TimeNs), out double distance);
            if (area >= 0 && distance < tolerance)
            {
                int mapEvent = _plan.Areas[area].MapEvent;
                if (_plan.Trace.Mappings[mapEvent].Device < 0)
                {
                    (int, int) key = (mapEvent, devices[access.Device]);
                    votes[key] = votes.GetValueOrDefault(key) + 1;
                }
            }
        }

        int[] overrides = new int[_plan.Trace.Mappings.Length];
        Array.Fill(overrides, -1);
        Dictionary<int, int> best = [];
        Dictionary<int, int> total = [];
        foreach (((int e, int d), int count) in votes)
        {
            if (count > best.GetValueOrDefault(e))
            {
                best[e] = count;
                overrides[e] = d;
            }
        }

        foreach (int e in best.Keys)
        {
            total[overrides[e]] = total.GetValueOrDefault(overrides[e]) + 1;
        }

        foreach ((int d, int count) in total)
        {
            if (device < 0 || count > total[device])
            {
                device = d;
            }
        }

        return device < 0 ? null : overrides;
    }

    private int[] Devices(DmaLog log)
    {
        int[] devices = new int[log.Devices.Count];
        for (int i = 0; i < devices.Length; i++)
        {
            devices[i] = _plan.Trace.Devices.Intern(log.Devices.Id(i));
        }

        return devices;
    }

    /// <summary>Files the areas under the pages that the log uses.</summary>
    private void Index(DmaLog log, int[] devices)
    {
        Dictionary<int, HashSet<ulong>> pages = [];
        foreach (ref readonly DmaAccess access in log.Accesses.AsSpan())
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

    private void Run(DmaLog log, int[] devices, ClockTie alignment, double tolerance)
    {
        ReadOnlySpan<MappingEvent> events = _plan.Trace.Mappings;
        int[] lastStep = LastSteps(events.Length);
        double begin = _plan.Trace.Input.FirstTimeNs / 1e9;
        double end = _plan.Trace.Input.LastTimeNs / 1e9;
        List<double> residuals = [];
        List<(double At, double Lead)>? leads = null;
        ScheduledDma[] result = new ScheduledDma[log.Accesses.Length];
        int position = 0;
        double before = double.NegativeInfinity;
        for (int i = 0; i < log.Accesses.Length; i++)
        {
            ref readonly DmaAccess access = ref log.Accesses[i];
            double at = alignment.ToTraceSeconds(access.TimeNs);
            if (at < before)
            {
                position = 0;
            }

            before = at;
            while (position < events.Length && events[position].TimeNs / 1e9 <= at)
            {
                position++;
            }

            int device = devices[access.Device];
            ref ScheduledDma scheduled = ref result[i];
            scheduled = new() { Access = i, Device = device, AfterStep = position == 0 ? -1 : lastStep[position - 1], SizeLog2 = Math.Max(access.SizeLog2, (byte)12) };
            if (access.Outcome == DmaOutcome.Faulted)
            {
                scheduled.Class = DmaClass.RecordedFault;
                continue;
            }

            double distance = double.PositiveInfinity;
            int area = _history.TryGetValue((device, access.Iova >> 12), out List<int>? areas)
                ? Nearest(areas, access, at, out distance)
                : -1;
            bool explained = area >= 0 && distance < tolerance;
            if (area >= 0 && !explained && distance < MostRefined)
            {
                leads ??= Leads(log, devices, alignment);
                int refined = Nearest(areas!, access, at + Lead(leads, at), out double refinedDistance);
                if (refinedDistance < tolerance)
                {
                    Refined++;
                    area = refined;
                    explained = true;
                }
            }

            if (!explained)
            {
                scheduled.Class = at < begin - tolerance || at > end ? DmaClass.OutsideRecording : DmaClass.Unexplained;
                continue;
            }

            if (distance > 0)
            {
                residuals.Add(distance);
                scheduled.Class = DmaClass.WithinTolerance;
            }
            else if (_plan.Areas[area].MapEvent < _plan.Trace.MappedBefore)
            {
                scheduled.Class = DmaClass.MappedBefore;
            }

            // Between the map and the end of its area, whatever the clocks say.
            ref readonly Area mapping = ref _plan.Areas[area];
            if (access.SizeLog2 == DmaAccess.UnknownSize)
            {
                scheduled.SizeLog2 = BlockOf(mapping, access);
            }

            int first = _mapStep[area];
            int last = mapping.EndEvent < 0 ? _plan.Steps.Length - 1 : _endStep[area] - 1;
            scheduled.AfterStep = Math.Clamp(scheduled.AfterStep, first, Math.Max(first, last));
        }

        Residuals = [.. residuals];
        Array.Sort(Residuals);
        Sort(result);
        Accesses = result;
    }

    /// <summary>
    /// By how much accesses seem to come before the map that they use: the time of each, and by how much. An access cannot be
    /// made before its map, so each is a lower bound of how far the clocks are apart there.
    /// </summary>
    private List<(double At, double Lead)> Leads(DmaLog log, int[] devices, ClockTie alignment)
    {
        List<(double At, double Lead)> leads = [];
        foreach (ref readonly DmaAccess access in log.Accesses.AsSpan())
        {
            double at = alignment.ToTraceSeconds(access.TimeNs);
            if (access.Outcome == DmaOutcome.Translated
                && _history.TryGetValue((devices[access.Device], access.Iova >> 12), out List<int>? areas)
                && Nearest(areas, access, at, out double distance) is int area && area >= 0
                && distance > 0 && distance < MostRefined && _mapSeconds[area] > at)
            {
                leads.Add((at, distance));
            }
        }

        leads.Sort();
        return leads;
    }

    /// <summary>How far the clocks are apart at a time: what nine of ten leads within half a second do not exceed; 0 for too few.</summary>
    private double Lead(List<(double At, double Lead)> leads, double at)
    {
        const double window = 0.5;
        const double step = 0.1;
        const int enough = 20;
        at = Math.Round(at / step) * step;
        if (_leadAt == at)
        {
            return _lead;
        }

        _leadAt = at;
        _lead = 0;
        int low = leads.BinarySearch((at - window, 0));
        int high = leads.BinarySearch((at + window, 0));
        low = low < 0 ? ~low : low;
        high = high < 0 ? ~high : high;
        if (high - low < enough)
        {
            return 0;
        }

        List<double> near = leads.GetRange(low, high - low).ConvertAll(static l => l.Lead);
        near.Sort();
        return _lead = near[near.Count * 9 / 10];
    }

    /// <summary>For each event the last step of it or of an event before, and for each area the steps that begin and end it.</summary>
    private int[] LastSteps(int events)
    {
        int[] last = new int[events];
        Array.Fill(last, -1);
        _mapStep = new int[_plan.Areas.Length];
        _endStep = new int[_plan.Areas.Length];
        for (int i = 0; i < _plan.Steps.Length; i++)
        {
            ref readonly PlanStep step = ref _plan.Steps[i];
            last[step.Event] = i;
            if (step.Kind == StepKind.Map)
            {
                _mapStep[step.Area] = i;
                continue;
            }

            for (int k = 0; k < step.AreaCount; k++)
            {
                _endStep[_plan.Ended[step.Area + k]] = i;
            }
        }

        for (int i = 1; i < events; i++)
        {
            last[i] = Math.Max(last[i], last[i - 1]);
        }

        return last;
    }

    /// <summary>The area that maps the access's page to where it went and is live then, or the nearest in time.</summary>
    private int Nearest(List<int> areas, in DmaAccess access, double at, out double distance)
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
        if (access.SizeLog2 == DmaAccess.UnknownSize)
        {
            return BlockOf(area, access) != 0;
        }

        ulong page = access.Iova & ~4095ul;
        ulong mask = ~((1ul << access.SizeLog2) - 1);
        return access.SizeLog2 <= 12
            ? area.Physical + (page - area.Start) == (access.Physical & ~4095ul)
            : ((area.Physical + (page - area.Start)) & mask) == (access.Physical & mask);
    }

    /// <summary>
    /// AMD's log has the start of the leaf, and does not tell its size, which may be any power of two: log2 of the aligned block
    /// of the area around the access that starts at the logged address, or 0 if there is none.
    /// </summary>
    private static byte BlockOf(in Area area, in DmaAccess access)
    {
        for (int log2 = 12; log2 < 48; log2++)
        {
            ulong mask = (1ul << log2) - 1;
            ulong start = access.Iova & ~mask;
            if (start < area.Start || (start | mask) - area.Start >= area.Length)
            {
                return 0;
            }

            ulong physical = area.Physical + (start - area.Start);
            if ((physical & mask) != 0)
            {
                return 0;
            }

            if (physical == (access.Physical & ~4095ul))
            {
                return (byte)log2;
            }
        }

        return 0;
    }

    /// <summary>Sorts by step; the log's order stays among equals.</summary>
    private static void Sort(ScheduledDma[] accesses)
    {
        ulong[] keys = new ulong[accesses.Length];
        bool sorted = true;
        for (int i = 0; i < keys.Length; i++)
        {
            keys[i] = ((ulong)(accesses[i].AfterStep + 1) << 32) | (uint)accesses[i].Access;
            sorted &= i == 0 || keys[i - 1] < keys[i];
        }

        if (!sorted)
        {
            Array.Sort(keys, accesses);
        }
    }
}
