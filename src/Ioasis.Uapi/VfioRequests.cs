using System.Runtime.InteropServices;

namespace Ioasis.Uapi;

/// <summary>Request numbers of VFIO (Linux <c>include/uapi/linux/vfio.h</c>): <c>_IO(';', 100 + n)</c>.</summary>
public static class VfioRequests
{
    private const uint Base = (uint)';' << 8 | 100;

    /// <summary>VFIO_GET_API_VERSION, of a container.</summary>
    public const uint GetApiVersion = Base;

    /// <summary>VFIO_CHECK_EXTENSION, of a container.</summary>
    public const uint CheckExtension = Base + 1;

    /// <summary>VFIO_SET_IOMMU, of a container.</summary>
    public const uint SetIommu = Base + 2;

    /// <summary>VFIO_GROUP_GET_STATUS.</summary>
    public const uint GroupGetStatus = Base + 3;

    /// <summary>VFIO_GROUP_SET_CONTAINER.</summary>
    public const uint GroupSetContainer = Base + 4;

    /// <summary>VFIO_GROUP_UNSET_CONTAINER.</summary>
    public const uint GroupUnsetContainer = Base + 5;

    /// <summary>VFIO_GROUP_GET_DEVICE_FD.</summary>
    public const uint GroupGetDeviceFd = Base + 6;

    /// <summary>VFIO_DEVICE_GET_INFO.</summary>
    public const uint DeviceGetInfo = Base + 7;

    /// <summary>VFIO_DEVICE_GET_REGION_INFO.</summary>
    public const uint DeviceGetRegionInfo = Base + 8;

    /// <summary>VFIO_DEVICE_GET_IRQ_INFO.</summary>
    public const uint DeviceGetIrqInfo = Base + 9;

    /// <summary>VFIO_DEVICE_SET_IRQS.</summary>
    public const uint DeviceSetIrqs = Base + 10;

    /// <summary>VFIO_DEVICE_RESET.</summary>
    public const uint DeviceReset = Base + 11;

    /// <summary>VFIO_DEVICE_GET_PCI_HOT_RESET_INFO; containers have the same number for <see cref="IommuGetInfo"/>.</summary>
    public const uint DeviceGetPciHotResetInfo = Base + 12;

    /// <summary>VFIO_DEVICE_PCI_HOT_RESET; containers have the same number for <see cref="IommuMapDma"/>.</summary>
    public const uint DevicePciHotReset = Base + 13;

    /// <summary>VFIO_DEVICE_IOEVENTFD.</summary>
    public const uint DeviceIoEventFd = Base + 16;

    /// <summary>VFIO_DEVICE_FEATURE; containers have the same number for <see cref="IommuDirtyPages"/>.</summary>
    public const uint DeviceFeature = Base + 17;

    /// <summary>VFIO_IOMMU_GET_INFO, of a container.</summary>
    public const uint IommuGetInfo = Base + 12;

    /// <summary>VFIO_IOMMU_MAP_DMA, of a container.</summary>
    public const uint IommuMapDma = Base + 13;

    /// <summary>VFIO_IOMMU_UNMAP_DMA, of a container.</summary>
    public const uint IommuUnmapDma = Base + 14;

    /// <summary>VFIO_IOMMU_ENABLE, of a container.</summary>
    public const uint IommuEnable = Base + 15;

    /// <summary>VFIO_IOMMU_DISABLE, of a container.</summary>
    public const uint IommuDisable = Base + 16;

    /// <summary>VFIO_IOMMU_DIRTY_PAGES, of a container.</summary>
    public const uint IommuDirtyPages = Base + 17;

    /// <summary>VFIO_DEVICE_BIND_IOMMUFD.</summary>
    public const uint DeviceBindIommufd = Base + 18;

    /// <summary>VFIO_DEVICE_ATTACH_IOMMUFD_PT.</summary>
    public const uint DeviceAttachIommufdPt = Base + 19;

    /// <summary>VFIO_DEVICE_DETACH_IOMMUFD_PT.</summary>
    public const uint DeviceDetachIommufdPt = Base + 20;
}

/// <summary>Flags of <see cref="VfioDeviceInfo"/>.</summary>
[Flags]
public enum VfioDeviceFlags : uint
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>The device can be reset.</summary>
    Reset = 1,

    /// <summary>A PCI device.</summary>
    Pci = 2,

    /// <summary>A platform device.</summary>
    Platform = 4,

    /// <summary>Capabilities follow the structure.</summary>
    Caps = 128,
}

/// <summary>Flags of an attach or a detach.</summary>
[Flags]
public enum VfioAttachFlags : uint
{
    /// <summary>The device's requests without PASID.</summary>
    None = 0,

    /// <summary>One PASID of the device.</summary>
    Pasid = 1,
}

/// <summary><c>struct vfio_device_info</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct VfioDeviceInfo
{
    /// <summary>Bytes that the caller minimally and the kernel really needs: 16, all known fields with 20.</summary>
    [FieldOffset(0)] public uint Argsz;

    /// <summary>Out: kind of device.</summary>
    [FieldOffset(4)] public VfioDeviceFlags Flags;

    /// <summary>Out: regions.</summary>
    [FieldOffset(8)] public uint NumRegions;

    /// <summary>Out: kinds of interrupts.</summary>
    [FieldOffset(12)] public uint NumIrqs;

    /// <summary>Out: offset of the first capability, 0 for none.</summary>
    [FieldOffset(16)] public uint CapOffset;

    /// <summary>Padding.</summary>
    [FieldOffset(20)] public uint Pad;

    /// <summary>Bytes of the oldest version.</summary>
    public const int MinimumSize = 16;
}

/// <summary><c>struct vfio_device_bind_iommufd</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct VfioDeviceBindIommufd
{
    /// <summary>Bytes of the structure; 16 for callers without a token.</summary>
    [FieldOffset(0)] public uint Argsz;

    /// <summary>Bit 0: a token is given.</summary>
    [FieldOffset(4)] public uint Flags;

    /// <summary>Descriptor of <c>/dev/iommu</c>.</summary>
    [FieldOffset(8)] public int Iommufd;

    /// <summary>Out: the device's object ID there.</summary>
    [FieldOffset(12)] public uint OutDeviceId;

    /// <summary>User address of a 16-byte token.</summary>
    [FieldOffset(16)] public ulong TokenAddress;

    /// <summary>Bytes of the oldest version.</summary>
    public const int MinimumSize = 16;

    /// <summary>The flag by which a token is given.</summary>
    public const uint TokenFlag = 1;

    /// <summary>Bytes of a token.</summary>
    public const int TokenSize = 16;
}

/// <summary><c>struct vfio_device_attach_iommufd_pt</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct VfioDeviceAttachIommufdPt
{
    /// <summary>Bytes of the structure; 12 for callers without PASIDs.</summary>
    [FieldOffset(0)] public uint Argsz;

    /// <summary>Whether <see cref="Pasid"/> counts.</summary>
    [FieldOffset(4)] public VfioAttachFlags Flags;

    /// <summary>In: an address space or a page table. Out: the page table that it became.</summary>
    [FieldOffset(8)] public uint PageTableId;

    /// <summary>With <see cref="VfioAttachFlags.Pasid"/>.</summary>
    [FieldOffset(12)] public uint Pasid;

    /// <summary>Bytes of the oldest version.</summary>
    public const int MinimumSize = 12;
}

/// <summary><c>struct vfio_device_detach_iommufd_pt</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 12)]
public struct VfioDeviceDetachIommufdPt
{
    /// <summary>Bytes of the structure; 8 for callers without PASIDs.</summary>
    [FieldOffset(0)] public uint Argsz;

    /// <summary>Whether <see cref="Pasid"/> counts.</summary>
    [FieldOffset(4)] public VfioAttachFlags Flags;

    /// <summary>With <see cref="VfioAttachFlags.Pasid"/>.</summary>
    [FieldOffset(8)] public uint Pasid;

    /// <summary>Bytes of the oldest version.</summary>
    public const int MinimumSize = 8;
}
