using System.Globalization;
using Ioasis.Uapi;

namespace Ioasis.Native;

/// <summary>Linux's names of requests, and which of them take a number instead of a structure.</summary>
internal static class RequestNames
{
    /// <summary>Whether the argument is a number, or nothing, and not an address.</summary>
    public static bool TakesNumber(uint request) =>
        request is VfioRequests.GetApiVersion or VfioRequests.CheckExtension or VfioRequests.SetIommu
            or VfioRequests.GroupUnsetContainer or VfioRequests.DeviceReset;

    /// <summary>Whether the argument is a text.</summary>
    public static bool TakesText(uint request) => request is VfioRequests.GroupGetDeviceFd;

    /// <summary>The name. Where containers and devices share a number, both.</summary>
    public static string NameOf(uint request) => request switch
    {
        IommufdRequests.Destroy => "IOMMU_DESTROY",
        IommufdRequests.IoasAlloc => "IOMMU_IOAS_ALLOC",
        IommufdRequests.IoasAllowIovas => "IOMMU_IOAS_ALLOW_IOVAS",
        IommufdRequests.IoasCopy => "IOMMU_IOAS_COPY",
        IommufdRequests.IoasIovaRanges => "IOMMU_IOAS_IOVA_RANGES",
        IommufdRequests.IoasMap => "IOMMU_IOAS_MAP",
        IommufdRequests.IoasUnmap => "IOMMU_IOAS_UNMAP",
        IommufdRequests.Option => "IOMMU_OPTION",
        IommufdRequests.VfioIoas => "IOMMU_VFIO_IOAS",
        IommufdRequests.HwptAlloc => "IOMMU_HWPT_ALLOC",
        IommufdRequests.GetHwInfo => "IOMMU_GET_HW_INFO",
        IommufdRequests.HwptSetDirtyTracking => "IOMMU_HWPT_SET_DIRTY_TRACKING",
        IommufdRequests.HwptGetDirtyBitmap => "IOMMU_HWPT_GET_DIRTY_BITMAP",
        IommufdRequests.HwptInvalidate => "IOMMU_HWPT_INVALIDATE",
        IommufdRequests.FaultQueueAlloc => "IOMMU_FAULT_QUEUE_ALLOC",
        IommufdRequests.IoasMapFile => "IOMMU_IOAS_MAP_FILE",
        IommufdRequests.ViommuAlloc => "IOMMU_VIOMMU_ALLOC",
        IommufdRequests.VdeviceAlloc => "IOMMU_VDEVICE_ALLOC",
        IommufdRequests.IoasChangeProcess => "IOMMU_IOAS_CHANGE_PROCESS",
        IommufdRequests.VeventqAlloc => "IOMMU_VEVENTQ_ALLOC",
        IommufdRequests.HwQueueAlloc => "IOMMU_HW_QUEUE_ALLOC",
        VfioRequests.GetApiVersion => "VFIO_GET_API_VERSION",
        VfioRequests.CheckExtension => "VFIO_CHECK_EXTENSION",
        VfioRequests.SetIommu => "VFIO_SET_IOMMU",
        VfioRequests.GroupGetStatus => "VFIO_GROUP_GET_STATUS",
        VfioRequests.GroupSetContainer => "VFIO_GROUP_SET_CONTAINER",
        VfioRequests.GroupUnsetContainer => "VFIO_GROUP_UNSET_CONTAINER",
        VfioRequests.GroupGetDeviceFd => "VFIO_GROUP_GET_DEVICE_FD",
        VfioRequests.DeviceGetInfo => "VFIO_DEVICE_GET_INFO",
        VfioRequests.DeviceGetRegionInfo => "VFIO_DEVICE_GET_REGION_INFO",
        VfioRequests.DeviceGetIrqInfo => "VFIO_DEVICE_GET_IRQ_INFO",
        VfioRequests.DeviceSetIrqs => "VFIO_DEVICE_SET_IRQS",
        VfioRequests.DeviceReset => "VFIO_DEVICE_RESET",
        VfioRequests.IommuGetInfo => "VFIO_IOMMU_GET_INFO or VFIO_DEVICE_GET_PCI_HOT_RESET_INFO",
        VfioRequests.IommuMapDma => "VFIO_IOMMU_MAP_DMA or VFIO_DEVICE_PCI_HOT_RESET",
        VfioRequests.IommuUnmapDma => "VFIO_IOMMU_UNMAP_DMA",
        VfioRequests.IommuEnable => "VFIO_IOMMU_ENABLE",
        VfioRequests.DeviceIoEventFd => "VFIO_DEVICE_IOEVENTFD",
        VfioRequests.DeviceFeature => "VFIO_DEVICE_FEATURE or VFIO_IOMMU_DIRTY_PAGES",
        VfioRequests.DeviceBindIommufd => "VFIO_DEVICE_BIND_IOMMUFD",
        VfioRequests.DeviceAttachIommufdPt => "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
        VfioRequests.DeviceDetachIommufdPt => "VFIO_DEVICE_DETACH_IOMMUFD_PT",
        _ => string.Create(CultureInfo.InvariantCulture, $"ioctl 0x{request:x}"),
    };
}
