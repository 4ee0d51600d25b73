using System.Runtime.InteropServices;

namespace Ioasis.Uapi;

/// <summary>Linux's numbers for Intel's VT-d (<c>include/uapi/linux/iommufd.h</c>).</summary>
public static class VtdUapi
{
    /// <summary>Kind of hardware information: <see cref="IommuHwInfoVtd"/> (<c>IOMMU_HW_INFO_TYPE_INTEL_VTD</c>).</summary>
    public const uint HardwareInfoType = 1;

    /// <summary>Kind of the data of a nested table: <see cref="IommuHwptVtdS1"/> (<c>IOMMU_HWPT_DATA_VTD_S1</c>).</summary>
    public const uint HwptDataType = 1;

    /// <summary>Kind of the entries of an invalidation: <see cref="IommuHwptVtdS1Invalidate"/> (<c>IOMMU_HWPT_INVALIDATE_DATA_VTD_S1</c>).</summary>
    public const uint InvalidateDataType = 0;
}

/// <summary>Properties of the hardware beside its registers (<c>enum iommu_hw_info_vtd_flags</c>).</summary>
[Flags]
public enum IommuHwInfoVtdFlags : uint
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>Erratum 772415: read-only mappings may not be in the second stage under a nested table.</summary>
    Errata772415Spr17 = 1,
}

/// <summary>What a guest's IOMMU may be told to have (<c>struct iommu_hw_info_vtd</c>).</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct IommuHwInfoVtd
{
    /// <summary>Properties beside the registers.</summary>
    [FieldOffset(0)] public IommuHwInfoVtdFlags Flags;

    /// <summary>0.</summary>
    [FieldOffset(4)] public uint Reserved;

    /// <summary>The capability register (VT-d specification, section 11.4.2).</summary>
    [FieldOffset(8)] public ulong Capabilities;

    /// <summary>The extended capability register (section 11.4.3).</summary>
    [FieldOffset(16)] public ulong ExtendedCapabilities;
}

/// <summary>What a guest wants of its first stage (<c>enum iommu_hwpt_vtd_s1_flags</c>): bits of the PASID-table entry.</summary>
[Flags]
public enum IommuHwptVtdS1Flags : ulong
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>Supervisor requests are served (SRE).</summary>
    SupervisorRequests = 1,

    /// <summary>The extended accessed flag is kept (EAFE).</summary>
    ExtendedAccessed = 2,

    /// <summary>Write protection counts for supervisor requests (WPE).</summary>
    WriteProtect = 4,
}

/// <summary>A guest's first stage (<c>struct iommu_hwpt_vtd_s1</c>).</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct IommuHwptVtdS1
{
    /// <summary>Bits of the PASID-table entry.</summary>
    [FieldOffset(0)] public IommuHwptVtdS1Flags Flags;

    /// <summary>Guest-physical address of the root table.</summary>
    [FieldOffset(8)] public ulong PageTableAddress;

    /// <summary>Width of its addresses: 48, or 57 with 5 levels.</summary>
    [FieldOffset(16)] public uint AddressWidth;

    /// <summary>0.</summary>
    [FieldOffset(20)] public uint Reserved;
}

/// <summary>How far an invalidation reaches (<c>enum iommu_hwpt_vtd_s1_invalidate_flags</c>).</summary>
[Flags]
public enum IommuHwptVtdS1InvalidateFlags : uint
{
    /// <summary>Caches of all levels.</summary>
    None = 0,

    /// <summary>Only what was cached of leaves.</summary>
    Leaf = 1,
}

/// <summary>What a guest has its IOMMU forget of a first stage (<c>struct iommu_hwpt_vtd_s1_invalidate</c>).</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct IommuHwptVtdS1Invalidate
{
    /// <summary>First address, aligned to 4 KiB; 0 with all pages.</summary>
    [FieldOffset(0)] public ulong Address;

    /// <summary>Pages of 4 KiB; 2^64 - 1 for all.</summary>
    [FieldOffset(8)] public ulong PageCount;

    /// <summary>How far it reaches.</summary>
    [FieldOffset(16)] public IommuHwptVtdS1InvalidateFlags Flags;

    /// <summary>0.</summary>
    [FieldOffset(20)] public uint Reserved;
}
