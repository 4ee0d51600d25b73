namespace Ioasis.Replay.Recording;

/// <summary>The events of a kernel trace that say something about DMA mappings.</summary>
public enum KernelEventKind : byte
{
    /// <summary>An event that is counted under <c>other</c>.</summary>
    Other,

    /// <summary><c>iommu:map</c>.</summary>
    Map,

    /// <summary><c>iommu:unmap</c>.</summary>
    Unmap,

    /// <summary><c>dma:dma_map_phys</c>.</summary>
    DmaMapPhys,

    /// <summary><c>dma:dma_map_page</c>, the name before 6.18.</summary>
    DmaMapPage,

    /// <summary><c>dma:dma_unmap_phys</c>.</summary>
    DmaUnmapPhys,

    /// <summary><c>dma:dma_unmap_page</c>.</summary>
    DmaUnmapPage,

    /// <summary><c>dma:dma_alloc</c>.</summary>
    DmaAlloc,

    /// <summary><c>dma:dma_alloc_pages</c>.</summary>
    DmaAllocPages,

    /// <summary><c>dma:dma_free</c>.</summary>
    DmaFree,

    /// <summary><c>dma:dma_free_pages</c>.</summary>
    DmaFreePages,

    /// <summary><c>dma:dma_map_sg</c>.</summary>
    DmaMapSg,

    /// <summary><c>dma:dma_unmap_sg</c>.</summary>
    DmaUnmapSg,

    /// <summary>The probe at the entry of <c>dma_iova_link()</c>.</summary>
    IovaLink,

    /// <summary>The probe at the entry of <c>dma_iova_destroy()</c>.</summary>
    IovaDestroy,

    /// <summary><c>iommu:add_device_to_group</c>.</summary>
    AddDeviceToGroup,

    /// <summary><c>iommu:attach_device_to_domain</c>.</summary>
    AttachDevice,

    /// <summary>A line that a program wrote to <c>trace_marker</c>.</summary>
    Mark,

    /// <summary><c>intel_iommu:cache_tag_flush_range</c>: an IOTLB invalidation.</summary>
    FlushRange,

    /// <summary><c>intel_iommu:cache_tag_assign</c>.</summary>
    CacheTagAssign,

    /// <summary><c>intel_iommu:qi_submit</c>: a command to the invalidation queue.</summary>
    QueuedInvalidation,

    /// <summary><c>iommu:io_page_fault</c>.</summary>
    IoPageFault,

    /// <summary>Another event of the <c>dma</c> group.</summary>
    OtherDma,
}

/// <summary>In which context a CPU logged an event, by the recorder's flags.</summary>
public enum ExecutionContextKind : byte
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

/// <summary>One event line, cut into its parts; valid as long as the line.</summary>
internal ref struct KernelEvent
{
    /// <summary>Time in nanoseconds of the recorder's clock.</summary>
    public long TimeNs;

    /// <summary>The CPU that logged it.</summary>
    public int Cpu;

    /// <summary>The context that it was logged in.</summary>
    public ExecutionContextKind Context;

    /// <summary>Command and process ID: the identity of the task.</summary>
    public ReadOnlySpan<byte> Task;

    /// <summary>The event's name without its group.</summary>
    public ReadOnlySpan<byte> Name;

    /// <summary>What the event says.</summary>
    public ReadOnlySpan<byte> Fields;

    /// <summary>Whether the name came with its group, as perf writes it.</summary>
    public bool HasGroup;

    /// <summary>Whether more than one space stands behind the name, as trace-cmd pads it.</summary>
    public bool IsPadded;
}
