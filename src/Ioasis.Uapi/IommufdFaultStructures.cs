using System.Runtime.InteropServices;

namespace Ioasis.Uapi;

/// <summary>Flags of <see cref="IommuHwptPgfault"/> (<c>enum iommu_hwpt_pgfault_flags</c>).</summary>
[Flags]
public enum PageFaultFlags : uint
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>The PASID counts.</summary>
    PasidValid = 1,

    /// <summary>The last request of its group.</summary>
    LastPage = 2,
}

/// <summary>What a device asks for (<c>enum iommu_hwpt_pgfault_perm</c>).</summary>
[Flags]
public enum PageFaultPermissions : uint
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>To read.</summary>
    Read = 1,

    /// <summary>To write.</summary>
    Write = 2,

    /// <summary>To execute.</summary>
    Execute = 4,

    /// <summary>As supervisor.</summary>
    Privileged = 8,
}

/// <summary>What a group of page requests is answered (<c>enum iommufd_page_response_code</c>).</summary>
public enum IommuPageResponseCode : uint
{
    /// <summary>The pages are there: the device may try again.</summary>
    Success = 0,

    /// <summary>There is no such page: the device shall not try again.</summary>
    Invalid = 1,
}

/// <summary><c>struct iommu_hwpt_pgfault</c>: a page request, as a read of a fault queue gives it.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
public struct IommuHwptPgfault
{
    /// <summary>What counts.</summary>
    [FieldOffset(0)] public PageFaultFlags Flags;

    /// <summary>Object number of the device.</summary>
    [FieldOffset(4)] public uint DeviceId;

    /// <summary>The PASID.</summary>
    [FieldOffset(8)] public uint Pasid;

    /// <summary>The device's index of the group.</summary>
    [FieldOffset(12)] public uint GroupIndex;

    /// <summary>What the device wants to do.</summary>
    [FieldOffset(16)] public PageFaultPermissions Permissions;

    /// <summary>0.</summary>
    [FieldOffset(20)] public uint Reserved;

    /// <summary>The IOVA.</summary>
    [FieldOffset(24)] public ulong Address;

    /// <summary>Bytes that the device is going to use, 0 if unknown.</summary>
    [FieldOffset(32)] public uint Length;

    /// <summary>What the answer to the group has to name.</summary>
    [FieldOffset(36)] public uint Cookie;
}

/// <summary><c>struct iommu_hwpt_page_response</c>: an answer, as it is written to a fault queue.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct IommuHwptPageResponse
{
    /// <summary>Cookie of the group.</summary>
    [FieldOffset(0)] public uint Cookie;

    /// <summary>The answer.</summary>
    [FieldOffset(4)] public IommuPageResponseCode Code;
}

/// <summary><c>struct iommu_fault_alloc</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct IommuFaultAlloc : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>0.</summary>
    [FieldOffset(4)] public uint Flags;

    /// <summary>Out: the fault queue.</summary>
    [FieldOffset(8)] public uint OutFaultId;

    /// <summary>Out: the descriptor that reads and answers.</summary>
    [FieldOffset(12)] public uint OutFaultFd;

    /// <inheritdoc/>
    public static uint Request => IommufdRequests.FaultQueueAlloc;

    /// <inheritdoc/>
    public static int MinimumSize => 16;
}
