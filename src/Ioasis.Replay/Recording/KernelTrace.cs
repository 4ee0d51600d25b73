using Ioasis.Replay.Input;

namespace Ioasis.Replay.Recording;

/// <summary>What tied a map or an unmap to its device.</summary>
internal enum Evidence : byte
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>The <c>dma_map_phys</c> behind it.</summary>
    DmaMapPhys,

    /// <summary>The <c>dma_map_page</c> behind it.</summary>
    DmaMapPage,

    /// <summary>The <c>dma_map_resource</c> behind it.</summary>
    DmaMapResource,

    /// <summary>The <c>dma_unmap_phys</c> behind it.</summary>
    DmaUnmapPhys,

    /// <summary>The <c>dma_unmap_page</c> behind it.</summary>
    DmaUnmapPage,

    /// <summary>The <c>dma_unmap_resource</c> behind it.</summary>
    DmaUnmapResource,

    /// <summary>The <c>dma_alloc</c> behind it.</summary>
    DmaAlloc,

    /// <summary>The <c>dma_alloc_pages</c> behind it.</summary>
    DmaAllocPages,

    /// <summary>The <c>dma_alloc_sgt</c> behind it.</summary>
    DmaAllocSgt,

    /// <summary>The <c>dma_free</c> before it.</summary>
    DmaFree,

    /// <summary>The <c>dma_free_pages</c> before it.</summary>
    DmaFreePages,

    /// <summary>The <c>dma_free_sgt</c> before it.</summary>
    DmaFreeSgt,

    /// <summary>The <c>dma_map_sg</c> behind it.</summary>
    DmaMapSg,

    /// <summary>The <c>dma_unmap_sg</c> before it.</summary>
    DmaUnmapSg,

    /// <summary>The probe <c>iova_link</c> before it.</summary>
    IovaLink,

    /// <summary>The probe <c>iova_destroy</c> before it.</summary>
    IovaDestroy,

    /// <summary>A probe before it told its domain, and an attach the domain's device.</summary>
    Domain,

    /// <summary>The event itself has a device field, as some vendors' kernels do.</summary>
    Field,

    /// <summary>The attach behind it: a reserved direct region.</summary>
    Attach,

    /// <summary>It was learned from accesses in a DMA log.</summary>
    DmaLog,

    /// <summary>Only one device was attached when it was mapped.</summary>
    OnlyDevice,

    /// <summary>What is mapped at the same time, what was mapped before and who maps: an IOVA space, and no real device.</summary>
    Inferred,

    /// <summary>The caller named the device for what nothing ties to one.</summary>
    Given,
}

/// <summary>How a DMA event finds its map among those of its task that have no device yet.</summary>
internal enum AttributionRule
{
    /// <summary>
    /// The newest whose range is exactly the pages of the DMA event; without one, the tightest that fits, the newest of
    /// several. An interrupt that unmaps between an unmap and its DMA event does not mislead it.
    /// </summary>
    TightestFit,

    /// <summary>The newest that overlaps, as the plain reading of "directly after" goes. For comparison with other tools.</summary>
    NewestOverlap,
}

/// <summary>One map or unmap of the recording.</summary>
internal struct MappingEvent
{
    /// <summary>Time in nanoseconds of the recorder's clock.</summary>
    public long TimeNs;

    /// <summary>First IOVA.</summary>
    public ulong Iova;

    /// <summary>Bytes, not 0.</summary>
    public ulong Length;

    /// <summary>A map's physical address; an unmap's size that the kernel says it unmapped.</summary>
    public ulong Value;

    /// <summary>Line in the file.</summary>
    public int Line;

    /// <summary>Device in the trace's <see cref="KernelTrace.Devices"/>, or -1.</summary>
    public int Device;

    /// <summary>The process ID of its task, or what stands for it; -1 if the recording does not say.</summary>
    public int Task;

    /// <summary>CPU that logged it.</summary>
    public ushort Cpu;

    /// <summary>The context that it was logged in.</summary>
    public ExecutionContextKind Context;

    /// <summary>What named the device.</summary>
    public Evidence Evidence;

    /// <summary>Whether it is an unmap.</summary>
    public bool IsUnmap;
}

/// <summary>A numbered note in the recording, made at the same moment in the kernel's trace and in the DMA log.</summary>
/// <param name="Number">Its number.</param>
/// <param name="TimeNs">When, on the recorder's clock.</param>
/// <param name="Text">What it says.</param>
/// <param name="Line">Line in the file.</param>
internal readonly record struct TraceMark(int Number, long TimeNs, string Text, int Line);

/// <summary>What a kernel trace tells: its maps and unmaps with their devices, and the notes around them.</summary>
internal sealed class KernelTrace
{
    internal KernelTrace(InputLog input)
        : this(input, new())
    {
    }

    private KernelTrace(InputLog input, DeviceTable devices)
    {
        Input = input;
        Devices = devices;
    }

    /// <summary>How the reading went.</summary>
    public InputLog Input { get; }

    /// <summary>Devices that the trace names.</summary>
    public DeviceTable Devices { get; }

    /// <summary>Maps and unmaps in the file's order.</summary>
    public MappingEvent[] Mappings { get; internal set; } = [];

    /// <summary>How many of <see cref="Mappings"/>, at the front, were put there for what was mapped before the recording began.</summary>
    public int MappedBefore { get; private set; }

    /// <summary>Numbered marks; of two with the same number the later counts.</summary>
    public IReadOnlyDictionary<int, TraceMark> Marks { get; internal set; } = new Dictionary<int, TraceMark>();

    /// <summary>Times of IOTLB invalidations that the trace tells of (x86), in nanoseconds.</summary>
    public IReadOnlyList<long> Invalidations { get; internal set; } = [];

    /// <summary>Devices that were attached to a domain.</summary>
    public IReadOnlySet<int> AttachedDevices { get; internal set; } = new HashSet<int>();

    /// <summary>Devices that were added to a group or attached.</summary>
    public int DevicesInGroupEvents { get; internal set; }

    /// <summary>DMA events and probes by device.</summary>
    public IReadOnlyDictionary<int, long> DmaEventsByDevice { get; internal set; } = new Dictionary<int, long>();

    /// <summary>Attributions in which the plain reading would have chosen another event.</summary>
    public long InterruptedPairs { get; internal set; }

    /// <summary>Line of the first of them, 0 without one.</summary>
    public int FirstInterruptedPair { get; internal set; }

    /// <summary>Maps and unmaps whose task was on another CPU when the event came that names their device.</summary>
    public long Migrations { get; internal set; }

    /// <summary>Line of the first such event, 0 without one.</summary>
    public int FirstMigration { get; internal set; }

    /// <summary>DMA events of mappings that failed: no map stands for them.</summary>
    public long FailedDmaEvents { get; internal set; }

    /// <summary>Scatter lists of which the kernel traced only the first entries.</summary>
    public long CutLists { get; internal set; }

    /// <summary>Entries of them that were not traced.</summary>
    public long CutEntries { get; internal set; }

    /// <summary>Maps of those entries that were found, because they follow the traced ones in IOVA.</summary>
    public long CutEntriesFound { get; internal set; }

    /// <summary>IOMMU groups of devices, where the recording tells. The devices of a group share an IOVA space.</summary>
    public Dictionary<int, int> GroupOf { get; private init; } = [];

    /// <summary>
    /// The device under which the mappings of a device's group are filed, if the device itself maps nothing: a bridge, whose interrupts
    /// use what is mapped for the devices behind it. Otherwise the device itself.
    /// </summary>
    /// <param name="device">The device.</param>
    /// <param name="uses">How often each device appears, in DMA events or in a log: the one with most leads its group.</param>
    internal int SpaceOf(int device, IReadOnlyDictionary<int, long> uses)
    {
        if (!GroupOf.TryGetValue(device, out int group) || DmaEventsByDevice.ContainsKey(device))
        {
            return device;
        }

        int leader = device;
        foreach ((int other, int otherGroup) in GroupOf)
        {
            if (otherGroup == group && Weight(other) > Weight(leader))
            {
                leader = other;
            }
        }

        return leader;

        long Weight(int candidate) => uses.GetValueOrDefault(candidate) + (DmaEventsByDevice.GetValueOrDefault(candidate) << 20);
    }

    /// <summary>Whether the recording attaches a device before it maps anything: it began with the machine.</summary>
    internal bool AttachesComeFirst { get; set; }

    /// <summary>The same trace without its maps and unmaps, which are elsewhere.</summary>
    /// <param name="mappedBefore">How many of those were put there for what was mapped before the recording began.</param>
    internal KernelTrace Apart(int mappedBefore) => With([], mappedBefore);

    /// <summary>The same trace with its maps and unmaps, and its invalidations.</summary>
    internal KernelTrace Whole(MappingEvent[] mappings, IReadOnlyList<long> invalidations)
    {
        KernelTrace whole = With(mappings);
        whole.Invalidations = invalidations;
        return whole;
    }

    /// <summary>The same trace with other owners of its mappings.</summary>
    internal KernelTrace With(MappingEvent[] mappings) => With(mappings, MappedBefore);

    private KernelTrace With(MappingEvent[] mappings, int mappedBefore) => new(Input, Devices)
    {
        Mappings = mappings,
        MappedBefore = mappedBefore,
        AttachesComeFirst = AttachesComeFirst,
        GroupOf = GroupOf,
        Marks = Marks,
        Invalidations = Invalidations,
        AttachedDevices = AttachedDevices,
        DevicesInGroupEvents = DevicesInGroupEvents,
        DmaEventsByDevice = DmaEventsByDevice,
        InterruptedPairs = InterruptedPairs,
        FirstInterruptedPair = FirstInterruptedPair,
        Migrations = Migrations,
        FirstMigration = FirstMigration,
        FailedDmaEvents = FailedDmaEvents,
        CutLists = CutLists,
        CutEntries = CutEntries,
        CutEntriesFound = CutEntriesFound,
    };
}
