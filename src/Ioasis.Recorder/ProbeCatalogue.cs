namespace Ioasis.Recorder;

/// <summary>
/// The probes that tie maps to devices, and which of them a kernel takes. Exported functions keep their arguments from 5.4 to
/// 7.2; a static one is probed only under its plain name, which a compiler does not leave to a copy with other arguments.
/// Three facts about structures are used, and hold for all of these kernels: a domain begins with its type, a device with its
/// name (its kobject is first, and the name is first in that), and a group with its kobject.
/// </summary>
internal static class ProbeCatalogue
{
    /// <summary>How many words of a group are looked at: more than it has.</summary>
    public const int GroupWords = 48;

    /// <summary>The first word of a group in which its number may stand: behind its kobject of 64 bytes.</summary>
    public const int FirstGroupWord = 8;

    /// <summary>The event of a group's state.</summary>
    public const string GroupEvent = "ioasis_group";

    private const string Domain = "domain=$arg1:x64 type=+0($arg1):u32";
    private const string SecondIsDevice = "dev=+0(+0($arg2)):string";
    private const string FirstIsDevice = "dev=+0(+0($arg1)):string";

    /// <summary>Maps: the domain that each is for.</summary>
    public static IReadOnlyList<Probe> Maps { get; } =
    [
        Map("ioasis_map", "iommu_map"),
        Map("ioasis_map_atomic", "iommu_map_atomic"),
        Map("ioasis_map_nosync", "iommu_map_nosync"),
        ListMap("ioasis_map_sg", "iommu_map_sg"),
        ListMap("ioasis_map_sg_atomic", "iommu_map_sg_atomic"),
    ];

    /// <summary>Unmaps: the domain that each is for.</summary>
    public static IReadOnlyList<Probe> Unmaps { get; } =
    [
        new("ioasis_unmap", "iommu_unmap", $"{Domain} iova=$arg2:x64 size=$arg3:x64", "the domain of an unmap") { Nests = true },
        new("ioasis_unmap_fast", "iommu_unmap_fast", $"{Domain} iova=$arg2:x64 size=$arg3:x64", "the domain of an unmap") { Nests = true },
    ];

    /// <summary>Domains: what is attached to one, and when its address is free for another.</summary>
    public static IReadOnlyList<Probe> Domains { get; } =
    [
        new("ioasis_pasid", "iommu_attach_device_pasid", $"{Domain} {SecondIsDevice} pasid=$arg3:u32", "which device a domain is attached to, by PASID"),
        new("ioasis_free", "iommu_domain_free", "domain=$arg1:x64", "the end of a domain"),
    ];

    /// <summary>Attachments: the core's own function.</summary>
    public static Probe Attach { get; } = AttachBy("ioasis_attach", "__iommu_attach_device");

    /// <summary>Attachments where the compiler left no such function: the drivers', which are called through a pointer.</summary>
    public static IReadOnlyList<Probe> DriverAttach { get; } =
    [
        .. new[]
        {
            "intel_iommu_attach_device", "amd_iommu_attach_device", "arm_smmu_attach_dev", "qcom_iommu_attach_dev",
            "viommu_attach_dev", "riscv_iommu_attach_paging_domain", "apple_dart_attach_dev_paging", "apple_dart_attach_dev",
            "mtk_iommu_attach_device", "rk_iommu_attach_device", "exynos_iommu_attach_device", "sun50i_iommu_attach_device",
            "tegra_smmu_attach_dev", "ipmmu_attach_device", "sprd_iommu_attach_device", "msm_iommu_attach_dev",
            "omap_iommu_attach_dev", "s390_iommu_attach_device", "hv_iommu_attach_dev",
        }.Select(static function => AttachBy($"ioasis_attach_{function}", function)),
    ];

    /// <summary>Entries of the DMA API: which device of a group with several a map is for.</summary>
    public static IReadOnlyList<Probe> Dma { get; } =
    [
        .. new[]
        {
            "map_page", "map_phys", "map_sg", "map_resource", "unmap_page", "unmap_phys", "unmap_sg", "unmap_resource",
            "alloc", "alloc_noncontiguous", "free", "free_noncontiguous",
        }.Select(static name => new Probe($"ioasis_dma_{name}", $"iommu_dma_{name}", FirstIsDevice, "which device of a group maps") { Nests = true }),
    ];

    /// <summary>The DMA API's two steps, reserve IOVAs and link pages to them, which have no trace event of their own.</summary>
    public static IReadOnlyList<Probe> DmaLink { get; } =
    [
        new("ioasis_dma_iova_link", "dma_iova_link", FirstIsDevice, "which device links pages") { Nests = true },
        new("ioasis_dma_iova_unlink", "dma_iova_unlink", FirstIsDevice, "which device unlinks pages") { Nests = true },
        new("ioasis_dma_iova_destroy", "dma_iova_destroy", FirstIsDevice, "which device unlinks pages") { Nests = true },
    ];

    /// <summary>What maps into a device's domain without the DMA API.</summary>
    public static IReadOnlyList<Probe> Other { get; } =
    [
        new("ioasis_other_prepare_msi", "iommu_dma_prepare_msi", "", "maps of interrupt doorbells") { Nests = true },
        new("ioasis_other_sw_msi", "iommu_dma_sw_msi", "", "maps of interrupt doorbells") { Nests = true },
        new("ioasis_other_direct", "iommu_create_device_direct_mappings", "", "maps of direct regions") { Nests = true },
    ];

    /// <summary>
    /// The function that shows a group's type in sysfs: it is given the group, in which its domain stands. The group's layout
    /// differs between kernels and their settings, so its words are noted, and the type of what each might point to.
    /// </summary>
    public static Probe Group { get; } = new(
        GroupEvent,
        "iommu_group_show_type",
        $"name=+0(+0($arg1)):string words=+0($arg1):x64[{GroupWords}] "
            + string.Join(' ', Enumerable.Range(FirstGroupWord, GroupWords - FirstGroupWord).Select(static i => $"t{i}=+0(+{i * 8}($arg1)):u32")),
        "the domain of each group when the recording begins");

    /// <summary>All functions that are asked for.</summary>
    public static IEnumerable<string> Functions() =>
        Maps.Concat(Unmaps).Concat(Domains).Append(Attach).Concat(DriverAttach).Concat(Dma).Concat(DmaLink).Concat(Other).Append(Group)
            .Select(static probe => probe.Function);

    private static Probe Map(string name, string function) =>
        new(name, function, $"{Domain} iova=$arg2:x64 paddr=$arg3:x64 size=$arg4:x64", "the domain of a map") { Nests = true };

    private static Probe ListMap(string name, string function) =>
        new(name, function, $"{Domain} iova=$arg2:x64", "the domain of the maps of a list") { Nests = true };

    private static Probe AttachBy(string name, string function) =>
        new(name, function, $"{Domain} {SecondIsDevice}", "which device a domain is attached to");
}
