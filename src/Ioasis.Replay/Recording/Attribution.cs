using System.Runtime.InteropServices;
using Ioasis.Replay.Input;

namespace Ioasis.Replay.Recording;

/// <summary>
/// Gives maps and unmaps their devices while a trace is read. The kernel's <c>map</c> and <c>unmap</c> name no device; what
/// names it stands next to them in the same task: <c>dma_map_phys</c> and its kin directly behind, the probes
/// <c>iova_link</c> and <c>iova_destroy</c> directly before, an attach behind the direct regions. It never guesses: what
/// nothing names keeps device -1.
/// </summary>
internal sealed class Attribution(KernelTrace trace, AttributionRule rule)
{
    /// <summary>How many unclaimed events of a task are remembered when one of its DMA events claims some.</summary>
    private const int Remembered = 400;

    /// <summary>How many probes of a task are remembered.</summary>
    private const int RememberedProbes = 64;

    private const ulong PageMask = 4095;

    private readonly List<MappingEvent> _mappings = new(1 << 14);
    private readonly TaskTable _tasks = new();

    /// <summary>All maps and unmaps so far.</summary>
    public List<MappingEvent> Mappings => _mappings;

    /// <summary>The state of the task of an event. Idle tasks have one number on all CPUs: there the CPU tells them apart.</summary>
    public TaskState TaskOf(in KernelEvent e) => _tasks.Find(e.Task, IsIdle(e.Task) ? e.Cpu : -1);

    /// <summary>A map.</summary>
    public void Map(TaskState task, in MappingEvent map)
    {
        MappingEvent m = map;
        if (!TryProbe(task.Links, ref m, Evidence.IovaLink))
        {
            task.Maps.Add(_mappings.Count);
        }

        _mappings.Add(m);
    }

    /// <summary>An unmap.</summary>
    public void Unmap(TaskState task, in MappingEvent unmap)
    {
        MappingEvent m = unmap;
        if (!TryProbe(task.Destroys, ref m, Evidence.IovaDestroy))
        {
            task.Unmaps.Add(_mappings.Count);
        }

        _mappings.Add(m);
    }

    /// <summary>A probe at the entry of <c>dma_iova_link()</c> or <c>dma_iova_destroy()</c>.</summary>
    public static void Probe(List<(int Device, ulong Iova)> probes, int device, ulong iova)
    {
        probes.Add((device, iova & ~PageMask));
        if (probes.Count > RememberedProbes)
        {
            probes.RemoveAt(0);
        }
    }

    /// <summary>An event that stands for one map or unmap: <c>dma_map_phys</c>, <c>dma_unmap_phys</c> and their old names.</summary>
    public void ClaimOne(List<int> pending, ulong address, ulong size, int device, Evidence evidence, int line, int cpu)
    {
        Span<MappingEvent> mappings = CollectionsMarshal.AsSpan(_mappings);
        ulong end = address + Math.Max(size, 1);
        ulong pageStart = address & ~PageMask;
        ulong pageLength = ((end + PageMask) & ~PageMask) - pageStart;
        int newest = -1;
        int best = -1;
        for (int i = pending.Count - 1; i >= 0; i--)
        {
            ref MappingEvent m = ref mappings[pending[i]];
            if (!Overlaps(m, address, end))
            {
                continue;
            }

            newest = newest < 0 ? i : newest;
            if (rule == AttributionRule.NewestOverlap || (m.Iova == pageStart && m.Length == pageLength))
            {
                best = i;
                break;
            }

            if (best < 0 || Fit(m, address, end) < Fit(mappings[pending[best]], address, end))
            {
                best = i;
            }
        }

        if (best >= 0)
        {
            ref MappingEvent m = ref mappings[pending[best]];
            m.Device = device;
            m.Evidence = evidence;
            if (m.Cpu != cpu && trace.Migrations++ == 0)
            {
                trace.FirstMigration = line;
            }

            if (best != newest && trace.InterruptedPairs++ == 0)
            {
                trace.FirstInterruptedPair = line;
            }

            pending.RemoveAt(best);
        }

        Forget(pending);
    }

    /// <summary>An event that may stand for several maps or unmaps: every pending one that overlaps is claimed.</summary>
    public void ClaimAll(List<int> pending, ReadOnlySpan<(ulong Address, ulong Size)> ranges, int device, Evidence evidence)
    {
        Span<MappingEvent> mappings = CollectionsMarshal.AsSpan(_mappings);
        int kept = 0;
        for (int i = 0; i < pending.Count; i++)
        {
            ref MappingEvent m = ref mappings[pending[i]];
            bool claimed = false;
            foreach ((ulong address, ulong size) in ranges)
            {
                claimed |= Overlaps(m, address, address + Math.Max(size, 1));
            }

            if (claimed)
            {
                m.Device = device;
                m.Evidence = evidence;
            }
            else
            {
                pending[kept++] = pending[i];
            }
        }

        pending.RemoveRange(kept, pending.Count - kept);
        Forget(pending);
    }

    /// <summary>An attach: the maps just before it are the device's direct regions.</summary>
    public void ClaimDirect(List<int> pending, int device)
    {
        Span<MappingEvent> mappings = CollectionsMarshal.AsSpan(_mappings);
        foreach (int i in pending)
        {
            mappings[i].Device = device;
            mappings[i].Evidence = Evidence.Attach;
        }

        pending.Clear();
    }

    /// <summary>A <c>dma_unmap_sg</c>, which has no DMA address: it follows its unmap.</summary>
    public void ClaimNewest(List<int> pending, int device, Evidence evidence)
    {
        if (pending.Count > 0)
        {
            ref MappingEvent m = ref CollectionsMarshal.AsSpan(_mappings)[pending[^1]];
            m.Device = device;
            m.Evidence = evidence;
            pending.RemoveAt(pending.Count - 1);
        }
    }

    private static bool Overlaps(in MappingEvent m, ulong start, ulong end) => m.Iova < end && start < m.Iova + m.Length;

    /// <summary>How badly a range fits: first whether it covers the DMA, then its size.</summary>
    private static ulong Fit(in MappingEvent m, ulong start, ulong end) =>
        m.Iova <= start && m.Iova + m.Length >= end ? m.Length : ulong.MaxValue / 2;

    private static void Forget(List<int> pending)
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

    // ftrace and trace-cmd name the idle task <idle>; perf has its real name, swapper or swapper/1.
    private static bool IsIdle(ReadOnlySpan<byte> task) =>
        task.Length > 6 && (task[0] == (byte)'<' ? task.StartsWith("<idle>"u8) : task[0] == (byte)'s' && task.StartsWith("swapper"u8));

    /// <summary>What is pending in one task.</summary>
    internal sealed class TaskState(byte[] name, int cpu)
    {
        public byte[] Name { get; } = name;

        public int Cpu { get; } = cpu;

        public List<int> Maps { get; } = [];

        public List<int> Unmaps { get; } = [];

        public List<(int Device, ulong Iova)> Links { get; } = [];

        public List<(int Device, ulong Iova)> Destroys { get; } = [];
    }

    /// <summary>Tasks by name, without making strings.</summary>
    private sealed class TaskTable
    {
        private readonly Dictionary<ulong, List<TaskState>> _byHash = [];
        private TaskState? _last;

        public TaskState Find(ReadOnlySpan<byte> name, int cpu)
        {
            if (_last is { } last && last.Cpu == cpu && last.Name.AsSpan().SequenceEqual(name))
            {
                return last;
            }

            ulong hash = Hash(name, cpu);
            if (!_byHash.TryGetValue(hash, out List<TaskState>? bucket))
            {
                bucket = [];
                _byHash.Add(hash, bucket);
            }

            foreach (TaskState task in bucket)
            {
                if (task.Cpu == cpu && task.Name.AsSpan().SequenceEqual(name))
                {
                    return _last = task;
                }
            }

            bucket.Add(new(name.ToArray(), cpu));
            return _last = bucket[^1];
        }

        private static ulong Hash(ReadOnlySpan<byte> name, int cpu)
        {
            ulong hash = 0xcbf29ce484222325 ^ (uint)cpu;
            foreach (byte c in name)
            {
                hash = (hash ^ c) * 0x100000001b3;
            }

            return hash;
        }
    }
}
