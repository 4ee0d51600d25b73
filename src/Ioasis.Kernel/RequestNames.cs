using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>The names that Linux's headers give to requests of ioctl. Some numbers mean one thing to a container and another to a device.</summary>
internal static class RequestNames
{
    /// <summary>The name of a request to a file; null for one that no file knows.</summary>
    public static string? Of(OpenFile file, uint request) => file switch
    {
        IommufdFile => OfIommufd(request) ?? OfContainer(request),
        VfioContainerFile => OfContainer(request),
        VfioGroupFile => OfGroup(request),
        VfioOpenDevice => OfDevice(request),
        _ => null,
    };

    private static string? OfIommufd(uint request) => request switch
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
        _ => null,
    };

    private static string? OfContainer(uint request) => request switch
    {
        VfioRequests.GetApiVersion => "VFIO_GET_API_VERSION",
        VfioRequests.CheckExtension => "VFIO_CHECK_EXTENSION",
        VfioRequests.SetIommu => "VFIO_SET_IOMMU",
        VfioRequests.IommuGetInfo => "VFIO_IOMMU_GET_INFO",
        VfioRequests.IommuMapDma => "VFIO_IOMMU_MAP_DMA",
        VfioRequests.IommuUnmapDma => "VFIO_IOMMU_UNMAP_DMA",
        VfioRequests.IommuEnable => "VFIO_IOMMU_ENABLE",
        VfioRequests.IommuDisable => "VFIO_IOMMU_DISABLE",
        VfioRequests.IommuDirtyPages => "VFIO_IOMMU_DIRTY_PAGES",
        _ => null,
    };

    private static string? OfGroup(uint request) => request switch
    {
        VfioRequests.GroupGetStatus => "VFIO_GROUP_GET_STATUS",
        VfioRequests.GroupSetContainer => "VFIO_GROUP_SET_CONTAINER",
        VfioRequests.GroupUnsetContainer => "VFIO_GROUP_UNSET_CONTAINER",
        VfioRequests.GroupGetDeviceFd => "VFIO_GROUP_GET_DEVICE_FD",
        _ => null,
    };

    private static string? OfDevice(uint request) => request switch
    {
        VfioRequests.DeviceGetInfo => "VFIO_DEVICE_GET_INFO",
        VfioRequests.DeviceGetRegionInfo => "VFIO_DEVICE_GET_REGION_INFO",
        VfioRequests.DeviceGetIrqInfo => "VFIO_DEVICE_GET_IRQ_INFO",
        VfioRequests.DeviceSetIrqs => "VFIO_DEVICE_SET_IRQS",
        VfioRequests.DeviceReset => "VFIO_DEVICE_RESET",
        VfioRequests.DeviceGetPciHotResetInfo => "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO",
        VfioRequests.DevicePciHotReset => "VFIO_DEVICE_PCI_HOT_RESET",
        VfioRequests.DeviceIoEventFd => "VFIO_DEVICE_IOEVENTFD",
        VfioRequests.DeviceFeature => "VFIO_DEVICE_FEATURE",
        VfioRequests.DeviceBindIommufd => "VFIO_DEVICE_BIND_IOMMUFD",
        VfioRequests.DeviceAttachIommufdPt => "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
        VfioRequests.DeviceDetachIommufdPt => "VFIO_DEVICE_DETACH_IOMMUFD_PT",
        _ => null,
    };
}
