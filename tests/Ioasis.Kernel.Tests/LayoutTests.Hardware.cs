using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <content>Structures for page tables, fault queues and virtual IOMMUs; those of header "ioasis" no C header has.</content>
public sealed partial class LayoutTests
{
    private static Layout[] HardwareLayouts =>
    [
        new(typeof(IommuHwptSetDirtyTracking), "iommufd", "iommu_hwpt_set_dirty_tracking", 16,
            [("Size", "size", 0), ("Flags", "flags", 4), ("HwptId", "hwpt_id", 8), ("Reserved", "__reserved", 12)]),
        new(typeof(IommuHwptGetDirtyBitmap), "iommufd", "iommu_hwpt_get_dirty_bitmap", 48,
            [("Size", "size", 0), ("HwptId", "hwpt_id", 4), ("Flags", "flags", 8), ("Reserved", "__reserved", 12),
             ("Iova", "iova", 16), ("Length", "length", 24), ("PageSize", "page_size", 32), ("Data", "data", 40)]),
        new(typeof(IommuHwptPgfault), "iommufd", "iommu_hwpt_pgfault", 40,
            [("Flags", "flags", 0), ("DeviceId", "dev_id", 4), ("Pasid", "pasid", 8), ("GroupIndex", "grpid", 12),
             ("Permissions", "perm", 16), ("Reserved", "__reserved", 20), ("Address", "addr", 24), ("Length", "length", 32),
             ("Cookie", "cookie", 36)]),
        new(typeof(IommuHwptPageResponse), "iommufd", "iommu_hwpt_page_response", 8,
            [("Cookie", "cookie", 0), ("Code", "code", 4)]),
        new(typeof(IommuFaultAlloc), "iommufd", "iommu_fault_alloc", 16,
            [("Size", "size", 0), ("Flags", "flags", 4), ("OutFaultId", "out_fault_id", 8),
             ("OutFaultFd", "out_fault_fd", 12)]),
        new(typeof(IommuHwptInvalidate), "iommufd", "iommu_hwpt_invalidate", 32,
            [("Size", "size", 0), ("HwptId", "hwpt_id", 4), ("DataAddress", "data_uptr", 8), ("DataType", "data_type", 16),
             ("EntryLength", "entry_len", 20), ("EntryCount", "entry_num", 24), ("Reserved", "__reserved", 28)]),
        new(typeof(IommuViommuAlloc), "iommufd", "iommu_viommu_alloc", 40,
            [("Size", "size", 0), ("Flags", "flags", 4), ("Type", "type", 8), ("DeviceId", "dev_id", 12),
             ("HwptId", "hwpt_id", 16), ("OutViommuId", "out_viommu_id", 20), ("DataLength", "data_len", 24),
             ("Reserved", "__reserved", 28), ("DataAddress", "data_uptr", 32)]),
        new(typeof(IommuVdeviceAlloc), "iommufd", "iommu_vdevice_alloc", 24,
            [("Size", "size", 0), ("ViommuId", "viommu_id", 4), ("DeviceId", "dev_id", 8),
             ("OutVdeviceId", "out_vdevice_id", 12), ("VirtualId", "virt_id", 16)]),
        new(typeof(IommufdVeventHeader), "iommufd", "iommufd_vevent_header", 8,
            [("Flags", "flags", 0), ("Sequence", "sequence", 4)]),
        new(typeof(IommuVeventqAlloc), "iommufd", "iommu_veventq_alloc", 32,
            [("Size", "size", 0), ("Flags", "flags", 4), ("ViommuId", "viommu_id", 8), ("Type", "type", 12),
             ("Depth", "veventq_depth", 16), ("OutVeventqId", "out_veventq_id", 20), ("OutVeventqFd", "out_veventq_fd", 24),
             ("Reserved", "__reserved", 28)]),
        new(typeof(IommuHwQueueAlloc), "iommufd", "iommu_hw_queue_alloc", 40,
            [("Size", "size", 0), ("Flags", "flags", 4), ("ViommuId", "viommu_id", 8), ("Type", "type", 12),
             ("Index", "index", 16), ("OutHwQueueId", "out_hw_queue_id", 20),
             ("NestingParentIova", "nesting_parent_iova", 24), ("Length", "length", 32)]),
        new(typeof(IommuIoasMapFile), "iommufd", "iommu_ioas_map_file", 40,
            [("Size", "size", 0), ("Flags", "flags", 4), ("IoasId", "ioas_id", 8), ("Fd", "fd", 12), ("Start", "start", 16),
             ("Length", "length", 24), ("Iova", "iova", 32)]),
        new(typeof(IommuIoasChangeProcess), "iommufd", "iommu_ioas_change_process", 8,
            [("Size", "size", 0), ("Reserved", "__reserved", 4)]),
        new(typeof(IommuHwInfoRiscV), "ioasis", "iommu_hw_info_riscv", 16,
            [("Capabilities", "capabilities", 0), ("FeatureControl", "fctl", 8), ("Reserved", "__reserved", 12)]),
        new(typeof(IommuHwptRiscV), "ioasis", "iommu_hwpt_riscv", 32,
            [("TranslationControl", "tc", 0), ("TranslationAttributes", "ta", 8), ("FirstStageContext", "fsc", 16),
             ("Reserved", "__reserved", 24)]),
        new(typeof(IommuInvalidateRiscV), "ioasis", "iommu_invalidate_riscv", 16,
            [("Word0", "word0", 0), ("Word1", "word1", 8)]),
        new(typeof(IommuVeventRiscV), "ioasis", "iommu_vevent_riscv", 32,
            [("Word0", "word0", 0), ("Word1", "word1", 8), ("Iotval", "iotval", 16), ("Iotval2", "iotval2", 24)]),
    ];
}
