using System.Runtime.InteropServices;

namespace Ioasis.Replay.Recording;

/// <summary>
/// Gives maps and unmaps their devices while a trace is read. The kernel's <c>map</c> and <c>unmap</c> name no device; what
/// names it stands next to them in the same task, and on which side depends on the event (Linux, kernel/dma/mapping.c, the
/// same from 6.12 to 7.2): <c>dma_map_*</c>, <c>dma_alloc*</c>, <c>dma_unmap_page</c>, <c>dma_unmap_phys</c> and
/// <c>dma_unmap_resource</c> are traced after what they did; <c>dma_unmap_sg</c> and <c>dma_free*</c> before. Probes stand
/// before. It never guesses: what nothing names keeps device -1.
/// </summary>
/// <remarks>
/// It holds the last <see cref="WindowSize"/> maps and unmaps, for an event that names a device may come after its map: what is taken out is
/// settled or too old to be claimed. So its memory does not grow with the recording.
/// </remarks>
internal sealed partial class Attribution(KernelTrace trace, AttributionRule rule)
{
    /// <summary>How many maps and unmaps can still be given a device.</summary>
    public const int WindowSize = 1 << 16;

    /// <summary>How many unclaimed events of a task are remembered when one of its DMA events claims some.</summary>
    private const int Remembered = 400;

    private const ulong PageMask = 4095;

    private readonly MappingEvent[] _window = new MappingEvent[WindowSize];
    private readonly ulong[] _windowDomains = new ulong[WindowSize];
    private readonly Dictionary<long, TaskState> _tasks = [];
    private readonly DomainTable _domains = new();
    private TaskState? _lastTask;
    private long _first;
    private long _next;

    /// <summary>Whether nothing more can be put in before something is taken out.</summary>
    public bool IsFull => _next - _first == WindowSize;

    /// <summary>The domains that probes and the recording's head tell of.</summary>
    public DomainTable Domains => _domains;

    /// <summary>Takes out the oldest map or unmap.</summary>
    public bool TryTake(out MappingEvent e)
    {
        if (_first == _next)
        {
            e = default;
            return false;
        }

        int at = (int)(_first++ % WindowSize);
        e = _window[at];

        // The domain may have been learned from a later map of it.
        if (e.Device < 0 && _windowDomains[at] != 0 && _domains.TrySole(_windowDomains[at], out e.Device))
        {
            e.Evidence = Evidence.Domain;
        }

        return true;
    }

    /// <summary>The state of the task of an event. Idle tasks have one number on all CPUs: there the CPU tells them apart.</summary>
    public TaskState TaskOf(in KernelEvent e)
    {
        long key = e.Pid > 0 ? e.Pid : -2 - e.Cpu;
        if (_lastTask is { } last && last.Key == key)
        {
            return last;
        }

        ref TaskState? task = ref CollectionsMarshal.GetValueRefOrAddDefault(_tasks, key, out _);
        task ??= new(key);
        return _lastTask = task;
    }

    /// <summary>A map.</summary>
    public void Map(TaskState task, in KernelEvent e, MappingEvent map)
    {
        ulong domain = DomainOf(task, e, unmap: false, out int underWay);
        if (!TryOwn(e, domain, underWay, ref map) && !TryProbe(task.Links, ref map, Evidence.IovaLink))
        {
            Wait(task.Maps, e.Context, domain);
        }

        Put(map, domain);
    }

    /// <summary>An unmap.</summary>
    public void Unmap(TaskState task, in KernelEvent e, MappingEvent unmap)
    {
        ulong domain = DomainOf(task, e, unmap: true, out int underWay);
        if (!TryOwn(e, domain, underWay, ref unmap) && !TryProbe(task.Destroys, ref unmap, Evidence.IovaDestroy))
        {
            bool announced = TryAnnounced(task, e.Context, ref unmap);
            Wait(task.Unmaps, e.Context, domain, announced);
        }

        Put(unmap, domain);
    }

    /// <summary>An event that stands for one map or unmap and follows it: <c>dma_map_phys</c>, <c>dma_unmap_phys</c> and their kin.</summary>
    public void ClaimOne(TaskState task, bool unmap, in KernelEvent e, int device, Evidence evidence)
    {
        EndAnnouncements(task, e.Context);
        List<Pending> pending = unmap ? task.Unmaps : task.Maps;
        ulong size = Math.Max(e.Length, 1);
        ulong last = e.Address + (size - 1);
        if (last < e.Address)
        {
            // DMA_MAPPING_ERROR: it failed, and no map stands for it.
            trace.FailedDmaEvents++;
            return;
        }

        ulong pageStart = e.Address & ~PageMask;
        ulong pageLength = (last | PageMask) - pageStart + 1;
        Span<Pending> entries = CollectionsMarshal.AsSpan(pending);
        int newest = -1;
        int best = -1;
        for (int i = entries.Length - 1; i >= 0; i--)
        {
            if (entries[i].Event < _first)
            {
                break;
            }

            ref MappingEvent m = ref At(entries[i].Event);
            if (!Overlaps(m, e.Address, last))
            {
                continue;
            }

            bool exact = m.Iova == pageStart && m.Length == pageLength;
            if (entries[i].IsAnnounced && (!exact || m.Device == device))
            {
                continue;
            }

            newest = newest < 0 ? i : newest;
            if (rule == AttributionRule.NewestOverlap)
            {
                best = i;
                break;
            }

            if (entries[i].IsOtherContext(e.Context))
            {
                continue;
            }

            if (exact)
            {
                best = i;
                break;
            }

            if (best < 0 || Fit(m, e.Address, last) < Fit(At(entries[best].Event), e.Address, last))
            {
                best = i;
            }
        }

        if (best >= 0)
        {
            if (entries[best].IsAnnounced)
            {
                GiveBack(task, entries[best].Event);
            }

            ref MappingEvent m = ref At(entries[best].Event);
            if (m.Cpu != (ushort)e.Cpu && e.Cpu >= 0 && trace.Migrations++ == 0)
            {
                trace.FirstMigration = e.Line;
            }

            if (best != newest && trace.InterruptedPairs++ == 0)
            {
                trace.FirstInterruptedPair = e.Line;
            }

            Own(entries[best], device, evidence);
            pending.RemoveAt(best);
        }

        Forget(pending);
    }

    /// <summary>
    /// An event that may stand for several maps, which came before it: those of its task that overlap it, and that do not
    /// overlap each other, the newest first. Of a list that was cut in the trace, the rest is what follows it in IOVA without a gap.
    /// </summary>
    public void ClaimMaps(TaskState task, in KernelEvent e, ReadOnlySpan<(ulong Address, ulong Length)> ranges, int device, Evidence evidence)
    {
        EndAnnouncements(task, e.Context);
        List<Pending> pending = task.Maps;
        ulong end = 0;
        int kept = pending.Count;
        for (int i = pending.Count - 1; i >= 0 && pending[i].Event >= _first; i--)
        {
            MappingEvent m = At(pending[i].Event);
            bool claimed = false;
            foreach ((ulong address, ulong length) in ranges)
            {
                claimed |= Overlaps(m, address, address + (Math.Max(length, 1) - 1));
            }

            if (claimed && !pending[i].IsOtherContext(e.Context) && !OverlapsClaimed(m))
            {
                Own(pending[i], device, evidence);
                _claimed.Add((m.Iova, m.Iova + (m.Length - 1)));
                pending.RemoveAt(i);
                kept = i;
            }
        }

        _claimed.Clear();
        if (e.Entries > ranges.Length)
        {
            foreach ((ulong address, ulong length) in ranges)
            {
                end = Math.Max(end, ((address + (Math.Max(length, 1) - 1)) | PageMask) + 1);
            }

            ClaimRest(pending, kept, end, e.Entries - ranges.Length, device, evidence);
        }

        Forget(pending);
    }

    /// <summary>An attach: the maps just before it, of addresses to themselves, are the device's direct regions.</summary>
    public void ClaimDirect(TaskState task, int device)
    {
        List<Pending> pending = task.Maps;
        for (int i = pending.Count - 1; i >= 0 && pending[i].Event >= _first && At(pending[i].Event) is var m && m.Iova == m.Value; i--)
        {
            Own(pending[i], device, Evidence.Attach);
            pending.RemoveAt(i);
        }
    }

    /// <summary>A probe at the entry of <c>dma_iova_link()</c> or <c>dma_iova_destroy()</c>.</summary>
    public static void Probe(List<(int Device, ulong Iova)> probes, int device, ulong iova)
    {
        const int most = 64;
        probes.Add((device, iova & ~PageMask));
        if (probes.Count > most)
        {
            probes.RemoveAt(0);
        }
    }

    private readonly List<(ulong Start, ulong Last)> _claimed = [];

    private void ClaimRest(List<Pending> pending, int from, ulong end, int entries, int device, Evidence evidence)
    {
        int found = 0;
        for (int i = from; i < pending.Count; i++)
        {
            if (pending[i].Event >= _first && At(pending[i].Event) is var m && m.Iova == end)
            {
                Own(pending[i], device, evidence);
                end = m.Iova + m.Length;
                pending.RemoveAt(i--);
                found++;
            }
        }

        trace.CutLists++;
        trace.CutEntries += entries;
        trace.CutEntriesFound += Math.Min(found, entries);
    }

    private bool OverlapsClaimed(in MappingEvent m)
    {
        foreach ((ulong start, ulong last) in _claimed)
        {
            if (Overlaps(m, start, last))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>What the event itself names, or what a probe before it does.</summary>
    private bool TryOwn(in KernelEvent e, ulong domain, int underWay, ref MappingEvent m)
    {
        if (!e.Device.IsEmpty)
        {
            m.Device = trace.Devices.Intern(e.Device);
            m.Evidence = Evidence.Field;
            return true;
        }

        if (domain != 0 && _domains.TryFind(domain, underWay, out m.Device))
        {
            m.Evidence = Evidence.Domain;
            return true;
        }

        return false;
    }

    /// <summary>The domain that the event or a probe before it names, or 0; and the device of the DMA call that it is in, or -1.</summary>
    private static ulong DomainOf(TaskState task, in KernelEvent e, bool unmap, out int underWay)
    {
        if (e.Domain == 0 && task.Calls.TryTake(unmap, e.Address, e.Length, out ulong domain, out underWay))
        {
            return domain;
        }

        ref ContextState context = ref task.Of(e.Context);
        underWay = context.DmaDevice;
        return e.Domain != 0 ? e.Domain
            : unmap ? context.UnmapDomainOf(e.Address, e.Length) : context.MapDomainOf(e.Address, e.Length);
    }

    private void Own(in Pending pending, int device, Evidence evidence)
    {
        ref MappingEvent m = ref At(pending.Event);
        m.Device = device;
        m.Evidence = evidence;
        if (pending.Domain != 0)
        {
            _domains.Learn(pending.Domain, device);
        }
    }

    private ref MappingEvent At(long number) => ref _window[number % WindowSize];

    private void Put(in MappingEvent m, ulong domain)
    {
        int at = (int)(_next++ % WindowSize);
        _window[at] = m;
        _windowDomains[at] = domain;
    }

    private void Wait(List<Pending> pending, ExecutionContextKind context, ulong domain, bool announced = false)
    {
        pending.Add(new(_next, domain, context, announced));
        if (pending.Count > 2 * Remembered)
        {
            Forget(pending);
        }
    }

    private static bool Overlaps(in MappingEvent m, ulong start, ulong last) => m.Iova <= last && start <= m.Iova + (m.Length - 1);

    /// <summary>How badly a range fits: first whether it covers the DMA, then its size.</summary>
    private static ulong Fit(in MappingEvent m, ulong start, ulong last) =>
        m.Iova <= start && m.Iova + (m.Length - 1) >= last ? m.Length : ulong.MaxValue / 2;

    private static void Forget(List<Pending> pending)
    {
        if (pending.Count > Remembered)
        {
            pending.RemoveRange(0, pending.Count - Remembered);
        }
    }

    private static bool TryProbe(List<(int Device, ulong Iova)> probes, ref MappingEvent m, Evidence evidence)
    {
        for (int i = 0; i < probes.Count; i++)
        {
            if (probes[i].Iova == m.Iova)
            {
                m.Device = probes[i].Device;
                m.Evidence = evidence;
                probes.RemoveAt(i);
                return true;
            }
        }

        return false;
    }
}
