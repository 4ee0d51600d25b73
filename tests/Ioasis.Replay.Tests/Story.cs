using System.Globalization;
using System.Text;

namespace Ioasis.Replay.Tests;

/// <summary>The fields that a kernel's events have, by version.</summary>
public enum KernelFields
{
    /// <summary>4.19 to 5.16: <c>iommu:map</c> with one address, no DMA events.</summary>
    V4_19,

    /// <summary>5.17 to 6.11: a range.</summary>
    V5_17,

    /// <summary>6.12: DMA events by page, allocations without a direction, freed lists as <c>dma_unmap_sg</c>.</summary>
    V6_12,

    /// <summary>6.13 to 6.17: allocations with a direction, <c>dma_alloc_sgt</c>.</summary>
    V6_13,

    /// <summary>6.18: DMA events by physical address.</summary>
    V6_18,

    /// <summary>7.2: lists with their counts.</summary>
    V7_2,
}

/// <summary>One event of a story, before a recorder prints it.</summary>
/// <param name="Comm">The task's name.</param>
/// <param name="Pid">The task's number.</param>
/// <param name="Cpu">The CPU.</param>
/// <param name="Context">The context, as the third column of the flags has it.</param>
/// <param name="Microseconds">The time.</param>
/// <param name="Group">The event's group.</param>
/// <param name="Name">The event's name.</param>
/// <param name="Fields">What it says.</param>
internal sealed record StoryEvent(string Comm, int Pid, int Cpu, char Context, long Microseconds, string Group, string Name, string Fields);

/// <summary>
/// One course of events with each kind of DMA call, as a kernel of any version would trace it: a disk that maps lists, a network
/// card that maps pages while interrupts come between, and buffers of every kind that are allocated and freed.
/// </summary>
internal static class Story
{
    private const string Disk = "0000:00:17.0";
    private const string Card = "0000:04:00.0";

    public static List<StoryEvent> Tell(KernelFields version)
    {
        Teller t = new(version);
        t.Alloc(Disk, "dma_alloc", 0xfffff000, 0x1000, 0x10000);
        t.Alloc(Card, "dma_alloc", 0xfffff000, 0x1000, 0x20000);
        t.Alloc(Card, "dma_alloc_pages", 0xffffd000, 0x2000, 0x30000);
        t.Alloc(Disk, "dma_alloc_sgt", 0xffffc000, 0x1000, 0x40000);
        for (int round = 0; round < 6; round++)
        {
            ulong offset = (ulong)round << 16;
            t.MapList(Disk, 0xff800000 + offset, [0x100000, 0x200000, 0x300000]);
            t.MapOne(Card, 0xff400000 + offset, 0x1000, 0x400042, "page");
            t.MapOne(Card, 0xff410000 + offset, 0x2000, 0x500000, "page");
            t.UnmapOne(Card, 0xff410000 + offset, 0x2000, "page");
            t.UnmapListWithInterrupt(Disk, 0xff800000 + offset, 3, Card, 0xff400000 + offset, 0x1000);
        }

        t.MapOne(Disk, 0xfe000000, 0x1000, 0x8090000, "resource");
        t.UnmapOne(Disk, 0xfe000000, 0x1000, "resource");
        t.Free(Disk, "dma_free_sgt", 0xffffc000, 0x1000);
        t.Free(Card, "dma_free_pages", 0xffffd000, 0x2000);
        t.Free(Card, "dma_free", 0xfffff000, 0x1000);
        return t.Events;
    }

    private sealed class Teller(KernelFields version)
    {
        private long _time = 5_000_000;

        public List<StoryEvent> Events { get; } = [];

        private bool HasDma => version >= KernelFields.V6_12;

        public void Alloc(string device, string name, ulong iova, ulong size, ulong physical)
        {
            Map(device, '.', iova, size, physical);
            bool list = name is "dma_alloc_sgt";
            string kind = list && version == KernelFields.V6_12 ? "dma_map_sg" : name;
            if (kind is "dma_map_sg")
            {
                // 6.12 traced an allocated list as one that was mapped.
                Dma(device, '.', kind, F($"dir=FROM_DEVICE dma_addrs={{0x{iova:x}}} sizes={{0x{size:x}}} phys_addrs={{0x{physical:x}}} attrs="));
                return;
            }

            string direction = version >= KernelFields.V6_13 ? "dir=BIDIRECTIONAL " : "";
            Dma(device, '.', kind, list
                ? F($"{direction}dma_addr={iova:x} size={size} phys_addrs={{0x{physical:x}}} flags=GFP_KERNEL attrs=")
                : F($"{direction}dma_addr={iova:x} size={size - 8} virt_addr=0000000012345678 flags=GFP_KERNEL|__GFP_ZERO attrs="));
        }

        public void Free(string device, string name, ulong iova, ulong size)
        {
            bool list = name is "dma_free_sgt";
            string direction = version >= KernelFields.V6_13 ? "dir=BIDIRECTIONAL " : "";
            if (list && version == KernelFields.V6_12)
            {
                Dma(device, '.', "dma_unmap_sg", "dir=FROM_DEVICE phys_addrs={0x40000} attrs=");
            }
            else
            {
                Dma(device, '.', name, list
                    ? F($"{direction}dma_addr={iova:x} size={size} phys_addrs={{0x40000}}")
                    : F($"{direction}dma_addr={iova:x} size={size - 8} virt_addr=0000000012345678 attrs="));
            }

            Unmap(device, '.', iova, size);
        }

        public void MapList(string device, ulong iova, ulong[] pages)
        {
            for (int i = 0; i < pages.Length; i++)
            {
                Map(device, '.', iova + ((ulong)i << 12), 0x1000, pages[i]);
            }

            string counts = version >= KernelFields.V7_2 ? F($"nents={pages.Length}/{pages.Length} ents={pages.Length}/{pages.Length} ") : "";
            Dma(device, '.', "dma_map_sg", F($"dir=TO_DEVICE {counts}dma_addrs={{{Join(pages.Select((_, i) => iova + ((ulong)i << 12)))}}} ")
                + F($"sizes={{{Join(pages.Select(_ => 0x1000ul))}}} phys_addrs={{{Join(pages)}}} attrs="));
        }

        /// <summary>A list is unmapped in one call, and between its event and its unmap an interrupt unmaps for another device.</summary>
        public void UnmapListWithInterrupt(string device, ulong iova, int pages, string other, ulong otherIova, ulong otherSize)
        {
            Dma(device, '.', "dma_unmap_sg", F($"dir=TO_DEVICE phys_addrs={{{Join(Enumerable.Range(0, pages).Select(i => (ulong)i << 20))}}} attrs="));
            (string comm, int pid, int cpu) = TaskOf(device);
            Unmap(other, 'h', otherIova, otherSize, (comm, pid, cpu));
            Dma(other, 'h', version >= KernelFields.V6_18 ? "dma_unmap_phys" : "dma_unmap_page", F($"dir=FROM_DEVICE dma_addr={otherIova + 0x42:x} size=1522 attrs="), (comm, pid, cpu));
            Unmap(device, '.', iova, (ulong)pages << 12);
        }

        public void MapOne(string device, ulong iova, ulong size, ulong physical, string kind)
        {
            Map(device, '.', iova, size, physical & ~0xffful);
            string name = version >= KernelFields.V6_18 ? "dma_map_phys" : "dma_map_" + kind;
            ulong offset = physical & 0xfff;
            Dma(device, '.', name, F($"dir=TO_DEVICE dma_addr={iova + offset:x} size={size - offset} phys_addr={physical:x} attrs="));
        }

        public void UnmapOne(string device, ulong iova, ulong size, string kind)
        {
            Unmap(device, '.', iova, size);
            string name = version >= KernelFields.V6_18 ? "dma_unmap_phys" : "dma_unmap_" + kind;
            Dma(device, '.', name, F($"dir=TO_DEVICE dma_addr={iova:x} size={size} attrs="));
        }

        private void Map(string device, char context, ulong iova, ulong size, ulong physical) =>
            Add(TaskOf(device), context, "iommu", "map", F($"IOMMU: iova=0x{iova:x16}{Range(iova, size)} paddr=0x{physical:x16} size={size}"));

        private void Unmap(string device, char context, ulong iova, ulong size, (string, int, int)? task = null) =>
            Add(task ?? TaskOf(device), context, "iommu", "unmap", F($"IOMMU: iova=0x{iova:x16}{Range(iova, size)} size={size} unmapped_size={size}"));

        private string Range(ulong iova, ulong size) => version >= KernelFields.V5_17 ? F($" - 0x{iova + size:x16}") : "";

        private void Dma(string device, char context, string name, string fields, (string, int, int)? task = null)
        {
            if (HasDma)
            {
                Add(task ?? TaskOf(device), context, "dma", name, device + " " + fields);
            }
        }

        private void Add((string Comm, int Pid, int Cpu) task, char context, string group, string name, string fields) =>
            Events.Add(new(task.Comm, task.Pid, task.Cpu, context, _time += 10, group, name, fields));

        private static (string Comm, int Pid, int Cpu) TaskOf(string device) => device is Disk ? ("kworker/0:1H", 90, 0) : ("nc", 1234567, 1);

        private static string Join(IEnumerable<ulong> values) => string.Join(',', values.Select(v => F($"0x{v:x}")));

        private static string F(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
    }
}

/// <summary>How recorders print an event.</summary>
internal static class Layouts
{
    public static IReadOnlyDictionary<string, Func<List<StoryEvent>, string>> All { get; } = new Dictionary<string, Func<List<StoryEvent>, string>>(StringComparer.Ordinal)
    {
        ["ftrace"] = Lines(e => $"{Task(e)} [{e.Cpu:d3}] {Flags(e, 5)} {Seconds(e, 6)}: {e.Name}: {e.Fields}", "# tracer: nop\n#\n"),
        ["ftrace, four flags"] = Lines(e => $"{Task(e)} [{e.Cpu:d3}] {Flags(e, 4)} {Seconds(e, 6)}: {e.Name}: {e.Fields}"),
        ["ftrace, real-time flags"] = Lines(e => $"{Task(e)} [{e.Cpu:d3}] {Flags(e, 7)} {Seconds(e, 6)}: {e.Name}: {e.Fields}"),
        ["ftrace, no flags"] = Lines(e => $"{Task(e)} [{e.Cpu:d3}] {Seconds(e, 6)}: {e.Name}: {e.Fields}"),
        ["ftrace, thread groups"] = Lines(e => $"{Task(e)} ({e.Pid,7}) [{e.Cpu:d3}] {Flags(e, 5)} {Seconds(e, 6)}: {e.Name}: {e.Fields}"),
        ["ftrace, unknown thread groups"] = Lines(e => $"{Task(e)} (-------) [{e.Cpu:d3}] {Flags(e, 5)} {Seconds(e, 6)}: {e.Name}: {e.Fields}"),
        ["ftrace, counter"] = Lines(e => $"{Task(e)} [{e.Cpu:d3}] {Flags(e, 5)} {e.Microseconds * 1000,12}: {e.Name}: {e.Fields}"),
        ["ftrace, compiler's suffixes"] = Lines(e => $"{Task(e)} [{e.Cpu:d3}] {Flags(e, 5)} {Seconds(e, 6)}: {e.Name}.llvm.123456: {e.Fields}"),
        ["ftrace, carriage returns"] = Lines(e => $"{Task(e)} [{e.Cpu:d3}] {Flags(e, 5)} {Seconds(e, 6)}: {e.Name}: {e.Fields}\r"),
        ["ftrace, tabs"] = Lines(e => $"\t{e.Comm}-{e.Pid}\t[{e.Cpu:d3}]\t{Flags(e, 5)}\t{Seconds(e, 6)}: {e.Name}: {e.Fields}"),
        ["ftrace, comments and stacks between"] = Lines(e => $"##### CPU {e.Cpu} buffer started ####\n{Task(e)} [{e.Cpu:d3}] {Flags(e, 5)} {Seconds(e, 6)}: {e.Name}: {e.Fields}\n => iommu_map\n => __iommu_dma_map\n"),
        ["latency"] = Lines(e => $"{Short(e)} {e.Cpu,3}{Flags(e, 5)} {e.Microseconds,4}us : {e.Name}: {e.Fields}"),
        ["latency, marked"] = Lines(e => $"{Short(e)} {e.Cpu,3}{Flags(e, 4)} {e.Microseconds,4}us+: {e.Name}: {e.Fields}"),
        ["latency, verbose"] = Lines(e => $"{e.Comm,16} {e.Pid,7} {e.Cpu,3} {(e.Context is 'h' ? 9 : 0)} 00000001 00000010 [{e.Microseconds:x8}] {e.Microseconds / 1000}.{e.Microseconds % 1000:d3}ms (+0.010ms): {e.Name}: {e.Fields}"),
        ["dump in the kernel's log"] = Lines(e => $"[   99.123456] {Short(e)} {e.Cpu,3}{Flags(e, 5)} {e.Microseconds,4}us : {e.Name}: {e.Fields}", "[   99.123456] Dumping ftrace buffer:\n[   99.123456] ---------------------------------\n"),
        ["dump in the journal"] = Lines(e => $"Nov 28 10:05:08 host kernel: [   99.123456][    C1] {Short(e)} {e.Cpu,3}{Flags(e, 5)} {e.Microseconds,4}us : {e.Name}: {e.Fields}"),
        ["dump in a log with levels"] = Lines(e => $"<6>[   99.123456] {Short(e)} {e.Cpu,3}{Flags(e, 5)} {e.Microseconds,4}us : {e.Name}: {e.Fields}"),
        ["trace-cmd"] = Lines(e => $"{e.Comm,16}-{e.Pid,-5} [{e.Cpu:d3}] {Seconds(e, 6)}: {e.Name + ":",-21} {e.Fields}", "cpus=2\n"),
        ["trace-cmd, flags"] = Lines(e => $"{e.Comm,16}-{e.Pid,-5} [{e.Cpu:d3}] {Flags(e, 5)} {Seconds(e, 6)}: {e.Name + ":",-21} {e.Fields}"),
        ["trace-cmd, nanoseconds"] = Lines(e => $"{e.Comm,16}-{e.Pid,-5} [{e.Cpu:d3}] {Seconds(e, 9)}: {e.Name + ":",-21} {e.Fields}"),
        ["trace-cmd, latency"] = Lines(e => $"{Short(e)} {e.Cpu,3}{Flags(e, 5)} {Seconds(e, 6)}: {e.Name + ":",-21} {e.Fields}"),
        ["trace-cmd, differences"] = Lines(e => $"{e.Comm,16}-{e.Pid,-5} [{e.Cpu:d3}] {Seconds(e, 6)} (+10)     : {e.Name + ":",-21} {e.Fields}"),
        ["perf"] = Lines(e => $"{e.Comm,16} {e.Pid,5} [{e.Cpu:d3}] {Seconds(e, 6)}: {e.Group + ":" + e.Name,20}: {e.Fields}"),
        ["perf, nanoseconds"] = Lines(e => $"{e.Comm,16} {e.Pid,5} [{e.Cpu:d3}] {Seconds(e, 9)}: {e.Group + ":" + e.Name,20}: {e.Fields}"),
        ["perf, processes and threads"] = Lines(e => $"{e.Comm,16} {e.Pid}/{e.Pid} [{e.Cpu:d3}] {Seconds(e, 6)}: {e.Group + ":" + e.Name,20}: {e.Fields}"),
        ["perf, period"] = Lines(e => $"{e.Comm,16} {e.Pid,5} [{e.Cpu:d3}] {Seconds(e, 6)}:          1 {e.Group + ":" + e.Name,20}: {e.Fields}"),
        ["perf, symbols before the text"] = Lines(e => $"{e.Comm,16} {e.Pid,5} [{e.Cpu:d3}] {Seconds(e, 6)}: {e.Group + ":" + e.Name,20}: ffffffff81234567 iommu_map+0x12 ([kernel.kallsyms]) {e.Fields}"),
        ["perf, symbols without addresses"] = Lines(e => $"{e.Comm,16} {e.Pid,5} [{e.Cpu:d3}] {Seconds(e, 6)}: {e.Group + ":" + e.Name,20}: iommu_map ([kernel.kallsyms]) {e.Fields}"),
        ["perf, symbols without their file"] = Lines(e => $"{e.Comm,16} {e.Pid,5} [{e.Cpu:d3}] {Seconds(e, 6)}: {e.Group + ":" + e.Name,20}:  ffffffff81234567 iommu_map {e.Fields}"),
        ["perf, addresses before the text"] = Lines(e => $"{e.Comm,16} {e.Pid,5} [{e.Cpu:d3}] {Seconds(e, 6)}: {e.Group + ":" + e.Name,20}:  ffffffff81234567 {e.Fields}"),
        ["perf, symbols behind the text"] = Lines(e => $"{e.Comm,16} {e.Pid,5} [{e.Cpu:d3}] {Seconds(e, 6)}: {e.Group + ":" + e.Name,20}: {e.Fields} ffffffff81234567 iommu_map+0x12 ([kernel.kallsyms])"),
        ["perf, no CPU"] = Lines(e => $"{e.Comm,16} {e.Pid,5} {Seconds(e, 6)}: {e.Group + ":" + e.Name,20}: {e.Fields}"),
        ["perf, call chains"] = Lines(e => $"{e.Comm,16} {e.Pid,5} [{e.Cpu:d3}] {Seconds(e, 6)}: {e.Group + ":" + e.Name,20}: {e.Fields}\n\tffffffff81234567 iommu_map+0x12 ([kernel.kallsyms])\n"),
    };

    private static Func<List<StoryEvent>, string> Lines(Func<StoryEvent, FormattableString> print, string header = "") => events =>
    {
        StringBuilder text = new(header);
        foreach (StoryEvent e in events)
        {
            text.Append(print(e).ToString(CultureInfo.InvariantCulture)).Append('\n');
        }

        return text.ToString();
    };

    private static string Task(StoryEvent e) => string.Create(CultureInfo.InvariantCulture, $"{e.Comm,16}-{e.Pid,-7}");

    private static string Short(StoryEvent e) => string.Create(CultureInfo.InvariantCulture, $"{e.Comm[..Math.Min(8, e.Comm.Length)],8}-{e.Pid,-7}");

    private static string Flags(StoryEvent e, int columns) => ("d." + e.Context + "1...")[..columns];

    private static string Seconds(StoryEvent e, int digits) => digits == 6
        ? string.Create(CultureInfo.InvariantCulture, $"{e.Microseconds / 1_000_000,5}.{e.Microseconds % 1_000_000:d6}")
        : string.Create(CultureInfo.InvariantCulture, $"{e.Microseconds / 1_000_000,5}.{e.Microseconds % 1_000_000:d6}000");
}
