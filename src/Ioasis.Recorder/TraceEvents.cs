namespace Ioasis.Recorder;

/// <summary>Which of the kernel's own trace events are recorded.</summary>
internal static class TraceEvents
{
    /// <summary>The folder of trace events below tracefs.</summary>
    private static readonly string[] IntelDma =
    [
        // To 5.10, Intel's DMA API maps by itself: these events are the maps. From 6.10, invalidations.
        "map_single", "map_sg", "unmap_single", "unmap_sg", "bounce_map_single", "bounce_map_sg", "bounce_unmap_single", "bounce_unmap_sg",
        "cache_tag_flush_range", "cache_tag_flush_all",
    ];

    private static readonly string[] DmaPrefixes = ["dma_map", "dma_unmap", "dma_alloc", "dma_free"];

    /// <summary>The events that this kernel has, as <c>iommu:map</c>; the map and the unmap come last, so that nothing before them is missed.</summary>
    public static IReadOnlyList<string> Find(TracingFiles files, string tracing)
    {
        List<string> events = [];
        foreach (string name in files.List($"{tracing}/events/intel_iommu"))
        {
            if (IntelDma.Contains(name, StringComparer.Ordinal))
            {
                events.Add($"intel_iommu:{name}");
            }
        }

        foreach (string name in files.List($"{tracing}/events/dma"))
        {
            if (DmaPrefixes.Any(prefix => name.StartsWith(prefix, StringComparison.Ordinal)))
            {
                events.Add($"dma:{name}");
            }
        }

        foreach (string name in files.List($"{tracing}/events/iommu"))
        {
            if (files.Exists($"{tracing}/events/iommu/{name}/enable"))
            {
                events.Add($"iommu:{name}");
            }
        }

        return events;
    }

    /// <summary>The file that switches an event on.</summary>
    public static string Switch(string instance, string name) =>
        $"{instance}/events/{name.Replace(':', '/')}/enable";
}
