namespace Ioasis.Uapi;

/// <summary>
/// Request numbers of <c>/dev/iommu</c> (Linux <c>include/uapi/linux/iommufd.h</c>): <c>_IO(';', 0x80 + n)</c>, without
/// direction and size, because every argument carries its own size.
/// </summary>
public static class IommufdRequests
{
    private const uint Base = (uint)';' << 8 | 0x80;

    /// <summary>IOMMU_DESTROY.</summary>
    public const uint Destroy = Base;

    /// <summary>IOMMU_IOAS_ALLOC.</summary>
    public const uint IoasAlloc = Base + 0x01;

    /// <summary>IOMMU_IOAS_ALLOW_IOVAS.</summary>
    public const uint IoasAllowIovas = Base + 0x02;

    /// <summary>IOMMU_IOAS_COPY.</summary>
    public const uint IoasCopy = Base + 0x03;

    /// <summary>IOMMU_IOAS_IOVA_RANGES.</summary>
    public const uint IoasIovaRanges = Base + 0x04;

    /// <summary>IOMMU_IOAS_MAP.</summary>
    public const uint IoasMap = Base + 0x05;

    /// <summary>IOMMU_IOAS_UNMAP.</summary>
    public const uint IoasUnmap = Base + 0x06;

    /// <summary>IOMMU_OPTION.</summary>
    public const uint Option = Base + 0x07;

    /// <summary>IOMMU_VFIO_IOAS.</summary>
    public const uint VfioIoas = Base + 0x08;

    /// <summary>IOMMU_HWPT_ALLOC.</summary>
    public const uint HwptAlloc = Base + 0x09;

    /// <summary>IOMMU_GET_HW_INFO.</summary>
    public const uint GetHwInfo = Base + 0x0a;

    /// <summary>IOMMU_HWPT_SET_DIRTY_TRACKING.</summary>
    public const uint HwptSetDirtyTracking = Base + 0x0b;

    /// <summary>IOMMU_HWPT_GET_DIRTY_BITMAP.</summary>
    public const uint HwptGetDirtyBitmap = Base + 0x0c;

    /// <summary>IOMMU_HWPT_INVALIDATE.</summary>
    public const uint HwptInvalidate = Base + 0x0d;

    /// <summary>IOMMU_FAULT_QUEUE_ALLOC.</summary>
    public const uint FaultQueueAlloc = Base + 0x0e;

    /// <summary>IOMMU_IOAS_MAP_FILE.</summary>
    public const uint IoasMapFile = Base + 0x0f;

    /// <summary>IOMMU_VIOMMU_ALLOC.</summary>
    public const uint ViommuAlloc = Base + 0x10;

    /// <summary>IOMMU_VDEVICE_ALLOC.</summary>
    public const uint VdeviceAlloc = Base + 0x11;

    /// <summary>IOMMU_IOAS_CHANGE_PROCESS.</summary>
    public const uint IoasChangeProcess = Base + 0x12;

    /// <summary>IOMMU_VEVENTQ_ALLOC.</summary>
    public const uint VeventqAlloc = Base + 0x13;

    /// <summary>IOMMU_HW_QUEUE_ALLOC.</summary>
    public const uint HwQueueAlloc = Base + 0x14;
}

/// <summary>Flags of a map or a copy (<c>enum iommufd_ioas_map_flags</c>).</summary>
[Flags]
public enum IoasMapFlags : uint
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>The caller chose the IOVA; without it the kernel does.</summary>
    FixedIova = 1,

    /// <summary>Devices may write.</summary>
    Writable = 2,

    /// <summary>Devices may read.</summary>
    Readable = 4,
}

/// <summary>Options (<c>enum iommufd_option</c>), and Ioasis' own from 2^31 on (docs/abi.md).</summary>
public enum IommuOptionId : uint
{
    /// <summary>How pinned memory is accounted: 0 by user, 1 by process. Global.</summary>
    RlimitMode = 0,

    /// <summary>Whether contiguous pages may be mapped with one large leaf: 1 (default) or 0. Per address space.</summary>
    HugePages = 1,

    /// <summary>
    /// Ioasis: whether unmaps of an address space return before their invalidation: 0 (default) or 1. Until the flush the
    /// pages stay pinned and the IOVAs are not given out again.
    /// </summary>
    LazyInvalidation = 0x8000_0001,

    /// <summary>Ioasis: setting 1 completes every pending invalidation of an address space; reading tells how many wait.</summary>
    Flush = 0x8000_0002,
}

/// <summary>What to do with an option (<c>enum iommufd_option_ops</c>).</summary>
public enum IommuOptionOperation : ushort
{
    /// <summary>Stores a value.</summary>
    Set = 0,

    /// <summary>Reads the value.</summary>
    Get = 1,
}

/// <summary>What to do with the address space that VFIO compatibility uses (<c>enum iommufd_vfio_ioas_op</c>).</summary>
public enum VfioIoasOperation : ushort
{
    /// <summary>Reads its ID.</summary>
    Get = 0,

    /// <summary>Chooses it.</summary>
    Set = 1,

    /// <summary>Chooses none.</summary>
    Clear = 2,
}

/// <summary>Flags of a page-table allocation (<c>enum iommufd_hwpt_alloc_flags</c>).</summary>
[Flags]
public enum HwptAllocFlags : uint
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>The table will be the parent of nested ones.</summary>
    NestParent = 1,

    /// <summary>Devices that cannot track dirty pages may not attach.</summary>
    DirtyTracking = 2,

    /// <summary>A fault queue is given.</summary>
    FaultIdValid = 4,

    /// <summary>The table may be attached to PASIDs.</summary>
    Pasid = 8,
}

/// <summary>
/// Kind of a user-managed page table (<c>enum iommu_hwpt_data_type</c>). Those of an architecture stand with its structures.
/// </summary>
public enum HwptDataType : uint
{
    /// <summary>The kernel manages the table.</summary>
    None = 0,
}
