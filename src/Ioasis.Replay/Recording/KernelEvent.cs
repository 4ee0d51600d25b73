namespace Ioasis.Replay.Recording;

/// <summary>The events of a kernel trace that say something about DMA mappings.</summary>
internal enum KernelEventKind : byte
{
    /// <summary>An event that is counted by its name and says nothing here.</summary>
    Other,

    /// <summary><c>iommu:map</c>.</summary>
    Map,

    /// <summary><c>iommu:unmap</c>.</summary>
    Unmap,

    /// <summary><c>dma:dma_map_phys</c>, since 6.18.</summary>
    DmaMapPhys,

    /// <summary><c>dma:dma_map_page</c>, 6.12 to 6.17.</summary>
    DmaMapPage,

    /// <summary><c>dma:dma_map_resource</c>, 6.12 to 6.17.</summary>
    DmaMapResource,

    /// <summary><c>dma:dma_unmap_phys</c>.</summary>
    DmaUnmapPhys,

    /// <summary><c>dma:dma_unmap_page</c>.</summary>
    DmaUnmapPage,

    /// <summary><c>dma:dma_unmap_resource</c>.</summary>
    DmaUnmapResource,

    /// <summary><c>dma:dma_alloc</c>.</summary>
    DmaAlloc,

    /// <summary><c>dma:dma_alloc_pages</c>.</summary>
    DmaAllocPages,

    /// <summary><c>dma:dma_alloc_sgt</c>.</summary>
    DmaAllocSgt,

    /// <summary><c>dma:dma_map_sg</c>.</summary>
    DmaMapSg,

    /// <summary><c>dma:dma_unmap_sg</c>: traced before its unmap.</summary>
    DmaUnmapSg,

    /// <summary><c>dma:dma_free</c>: traced before its unmap.</summary>
    DmaFree,

    /// <summary><c>dma:dma_free_pages</c>: traced before its unmap.</summary>
    DmaFreePages,

    /// <summary><c>dma:dma_free_sgt</c>: traced before its unmap.</summary>
    DmaFreeSgt,

    /// <summary>The probe at the entry of <c>dma_iova_link()</c>.</summary>
    IovaLink,

    /// <summary>The probe at the entry of <c>dma_iova_destroy()</c>.</summary>
    IovaDestroy,

    /// <summary>A probe at the entry of the kernel's <c>iommu_map…</c>: the domain of the maps that follow.</summary>
    ProbeMap,

    /// <summary>A probe at the entry of the kernel's <c>iommu_map_sg…</c>, whose length is not known there.</summary>
    ProbeMapList,

    /// <summary>A probe at the entry of the kernel's <c>iommu_unmap…</c>.</summary>
    ProbeUnmap,

    /// <summary>A probe at the attach of a device to a domain.</summary>
    ProbeAttach,

    /// <summary>A probe at the freeing of a domain.</summary>
    ProbeFree,

    /// <summary>A probe at the entry of a function of the DMA API: the device of what follows.</summary>
    ProbeDma,

    /// <summary>A probe at the entry of a function that maps without the DMA API.</summary>
    ProbeOther,

    /// <summary><c>iommu:add_device_to_group</c>.</summary>
    AddDeviceToGroup,

    /// <summary><c>iommu:attach_device_to_domain</c>.</summary>
    AttachDevice,

    /// <summary>A line that a program wrote to <c>trace_marker</c>.</summary>
    Mark,

    /// <summary><c>intel_iommu:cache_tag_flush_range</c>: an IOTLB invalidation.</summary>
    FlushRange,

    /// <summary>Another event of the IOMMU's drivers or of the DMA API that changes no mapping: a flush, a sync, a fault.</summary>
    Known,

    /// <summary>An event that names a device and an address, and that this reader does not know: it is counted and shown.</summary>
    Unknown,
}

/// <summary>In which context a CPU logged an event, by the recorder's flags.</summary>
internal enum ExecutionContextKind : byte
{
    /// <summary>The recording does not say.</summary>
    Unknown,

    /// <summary>A task.</summary>
    Task,

    /// <summary>A software interrupt.</summary>
    SoftInterrupt,

    /// <summary>A hardware interrupt, in a task or in a software interrupt.</summary>
    HardInterrupt,
}

/// <summary>What the numbers of a recording's clock count.</summary>
internal enum ClockUnit : byte
{
    /// <summary>There is no time: events have only an order.</summary>
    None,

    /// <summary>Seconds with a fraction.</summary>
    Seconds,

    /// <summary>Microseconds since the buffer began, as the latency format has them.</summary>
    Microseconds,

    /// <summary>Ticks of a counter whose rate the recording does not tell (<c>x86-tsc</c>, <c>counter</c>).</summary>
    Ticks,
}

/// <summary>How the front of a line is laid out.</summary>
internal enum LineForm : byte
{
    /// <summary>Not known yet.</summary>
    None,

    /// <summary>With <c>[cpu]</c>: ftrace, trace-cmd, perf.</summary>
    Bracketed,

    /// <summary>The time as anchor: the latency formats, perf without its CPU column.</summary>
    Anchored,

    /// <summary>Nothing but the event, perhaps behind the kernel log's own time.</summary>
    Bare,
}

/// <summary>One event of a recording; what it points to is valid until the next one is read.</summary>
internal ref struct KernelEvent
{
    /// <summary>What happened.</summary>
    public KernelEventKind Kind;

    /// <summary>Time in nanoseconds of the recorder's clock; in ticks where <see cref="Unit"/> says so.</summary>
    public long TimeNs;

    /// <summary>What the time counts.</summary>
    public ClockUnit Unit;

    /// <summary>The CPU that logged it, or -1.</summary>
    public int Cpu;

    /// <summary>The process ID of the task, or -1.</summary>
    public int Pid;

    /// <summary>The context that it was logged in.</summary>
    public ExecutionContextKind Context;

    /// <summary>How the line was laid out.</summary>
    public LineForm Form;

    /// <summary>Whether the name came with its group, as perf writes it.</summary>
    public bool HasGroup;

    /// <summary>Whether more than one space stands behind the name, as trace-cmd pads it.</summary>
    public bool IsPadded;

    /// <summary>Line in the file, or number of the record.</summary>
    public int Line;

    /// <summary>The event's name without its group and without what a compiler hung on it.</summary>
    public ReadOnlySpan<byte> Name;

    /// <summary>The text of what the event says; empty for a binary record.</summary>
    public ReadOnlySpan<byte> Fields;

    /// <summary>The device's name, or empty.</summary>
    public ReadOnlySpan<byte> Device;

    /// <summary>First IOVA.</summary>
    public ulong Address;

    /// <summary>Bytes.</summary>
    public ulong Length;

    /// <summary>A map's physical address; an unmap's size that the kernel says it unmapped; the offset of a probe; a group's number plus 1.</summary>
    public ulong Value;

    /// <summary>The address of the kernel's domain, or 0.</summary>
    public ulong Domain;

    /// <summary>The type of that domain (the kernel's bits), or -1.</summary>
    public int DomainType;

    /// <summary>The stack pointer at a probe, or 0.</summary>
    public ulong Stack;

    /// <summary>A scatter list's IOVA ranges as far as they were traced.</summary>
    public ReadOnlySpan<(ulong Address, ulong Length)> Ranges;

    /// <summary>How many entries the scatter list had: more than <see cref="Ranges"/> when the trace was cut.</summary>
    public int Entries;
}
