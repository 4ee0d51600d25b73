using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Ioasis.Uapi;

/// <summary><c>struct iommu_destroy</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct IommuDestroy : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>The object.</summary>
    [FieldOffset(4)] public uint Id;

    /// <inheritdoc/>
    public static uint Request => IommufdRequests.Destroy;

    /// <inheritdoc/>
    public static int MinimumSize => 8;
}

/// <summary><c>struct iommu_ioas_alloc</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 12)]
public struct IommuIoasAlloc : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>0.</summary>
    [FieldOffset(4)] public uint Flags;

    /// <summary>Out: the address space.</summary>
    [FieldOffset(8)] public uint OutIoasId;

    /// <inheritdoc/>
    public static uint Request => IommufdRequests.IoasAlloc;

    /// <inheritdoc/>
    public static int MinimumSize => 12;
}

/// <summary><c>struct iommu_iova_range</c>, an element of an array in user memory.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct IommuIovaRange
{
    /// <summary>First IOVA.</summary>
    [FieldOffset(0)] public ulong Start;

    /// <summary>Last IOVA, inclusive.</summary>
    [FieldOffset(8)] public ulong Last;
}

/// <summary><c>struct iommu_ioas_iova_ranges</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
public struct IommuIoasIovaRanges : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>The address space.</summary>
    [FieldOffset(4)] public uint IoasId;

    /// <summary>In: elements that fit the array. Out: ranges that there are.</summary>
    [FieldOffset(8)] public uint NumIovas;

    /// <summary>0.</summary>
    [FieldOffset(12)] public uint Reserved;

    /// <summary>User address of an array of <see cref="IommuIovaRange"/>.</summary>
    [FieldOffset(16)] public ulong AllowedIovas;

    /// <summary>Out: what starts and ends of mappings must be multiples of.</summary>
    [FieldOffset(24)] public ulong OutIovaAlignment;

    /// <inheritdoc/>
    public static uint Request => IommufdRequests.IoasIovaRanges;

    /// <inheritdoc/>
    public static int MinimumSize => 32;
}

/// <summary><c>struct iommu_ioas_allow_iovas</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct IommuIoasAllowIovas : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>The address space.</summary>
    [FieldOffset(4)] public uint IoasId;

    /// <summary>Elements of the array.</summary>
    [FieldOffset(8)] public uint NumIovas;

    /// <summary>0.</summary>
    [FieldOffset(12)] public uint Reserved;

    /// <summary>User address of an array of <see cref="IommuIovaRange"/>.</summary>
    [FieldOffset(16)] public ulong AllowedIovas;

    /// <inheritdoc/>
    public static uint Request => IommufdRequests.IoasAllowIovas;

    /// <inheritdoc/>
    public static int MinimumSize => 24;
}

/// <summary><c>struct iommu_ioas_map</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
public struct IommuIoasMap : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>How to map.</summary>
    [FieldOffset(4)] public IoasMapFlags Flags;

    /// <summary>The address space.</summary>
    [FieldOffset(8)] public uint IoasId;

    /// <summary>0.</summary>
    [FieldOffset(12)] public uint Reserved;

    /// <summary>The client's memory.</summary>
    [FieldOffset(16)] public ulong UserVa;

    /// <summary>Bytes.</summary>
    [FieldOffset(24)] public ulong Length;

    /// <summary>In with <see cref="IoasMapFlags.FixedIova"/>, out always: where it is mapped.</summary>
    [FieldOffset(32)] public ulong Iova;

    /// <inheritdoc/>
    public static uint Request => IommufdRequests.IoasMap;

    /// <inheritdoc/>
    public static int MinimumSize => 40;
}

/// <summary><c>struct iommu_ioas_copy</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
public struct IommuIoasCopy : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>How to map.</summary>
    [FieldOffset(4)] public IoasMapFlags Flags;

    /// <summary>Where to map.</summary>
    [FieldOffset(8)] public uint DestinationIoasId;

    /// <summary>Where it is mapped already.</summary>
    [FieldOffset(12)] public uint SourceIoasId;

    /// <summary>Bytes.</summary>
    [FieldOffset(16)] public ulong Length;

    /// <summary>In with <see cref="IoasMapFlags.FixedIova"/>, out always: the new IOVA.</summary>
    [FieldOffset(24)] public ulong DestinationIova;

    /// <summary>The IOVA of what is copied.</summary>
    [FieldOffset(32)] public ulong SourceIova;

    /// <inheritdoc/>
    public static uint Request => IommufdRequests.IoasCopy;

    /// <inheritdoc/>
    public static int MinimumSize => 40;
}

/// <summary><c>struct iommu_ioas_unmap</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct IommuIoasUnmap : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>The address space.</summary>
    [FieldOffset(4)] public uint IoasId;

    /// <summary>First IOVA.</summary>
    [FieldOffset(8)] public ulong Iova;

    /// <summary>In: bytes to unmap; with IOVA 0, 2^64-1 means everything. Out: bytes that were mapped.</summary>
    [FieldOffset(16)] public ulong Length;

    /// <inheritdoc/>
    public static uint Request => IommufdRequests.IoasUnmap;

    /// <inheritdoc/>
    public static int MinimumSize => 24;
}

/// <summary><c>struct iommu_option</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct IommuOption : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>Which option.</summary>
    [FieldOffset(4)] public IommuOptionId OptionId;

    /// <summary>Set or get.</summary>
    [FieldOffset(8)] public IommuOptionOperation Operation;

    /// <summary>0.</summary>
    [FieldOffset(10)] public ushort Reserved;

    /// <summary>The object, 0 for a global option.</summary>
    [FieldOffset(12)] public uint ObjectId;

    /// <summary>The value, in or out.</summary>
    [FieldOffset(16)] public ulong Value;

    /// <inheritdoc/>
    public static uint Request => IommufdRequests.Option;

    /// <inheritdoc/>
    public static int MinimumSize => 24;
}

/// <summary><c>struct iommu_vfio_ioas</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 12)]
public struct IommuVfioIoas : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>The address space, in or out.</summary>
    [FieldOffset(4)] public uint IoasId;

    /// <summary>What to do.</summary>
    [FieldOffset(8)] public VfioIoasOperation Operation;

    /// <summary>0.</summary>
    [FieldOffset(10)] public ushort Reserved;

    /// <inheritdoc/>
    public static uint Request => IommufdRequests.VfioIoas;

    /// <inheritdoc/>
    public static int MinimumSize => 12;
}

/// <summary><c>struct iommu_hwpt_alloc</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 48)]
public struct IommuHwptAlloc : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>What the table must be able to do.</summary>
    [FieldOffset(4)] public HwptAllocFlags Flags;

    /// <summary>The device that it is for.</summary>
    [FieldOffset(8)] public uint DeviceId;

    /// <summary>The address space whose mappings it holds, or the parent of a nested table.</summary>
    [FieldOffset(12)] public uint PageTableId;

    /// <summary>Out: the table.</summary>
    [FieldOffset(16)] public uint OutHwptId;

    /// <summary>0.</summary>
    [FieldOffset(20)] public uint Reserved;

    /// <summary>Kind of the data.</summary>
    [FieldOffset(24)] public HwptDataType DataType;

    /// <summary>Bytes of the data.</summary>
    [FieldOffset(28)] public uint DataLength;

    /// <summary>User address of the data.</summary>
    [FieldOffset(32)] public ulong DataAddress;

    /// <summary>The fault queue, with <see cref="HwptAllocFlags.FaultIdValid"/>.</summary>
    [FieldOffset(40)] public uint FaultId;

    /// <summary>0.</summary>
    [FieldOffset(44)] public uint Reserved2;

    /// <inheritdoc/>
    public static uint Request => IommufdRequests.HwptAlloc;

    /// <inheritdoc/>
    public static int MinimumSize => 24;
}

/// <summary><c>struct iommu_hw_info</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
public struct IommuHwInfo : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>Bit 0: <see cref="DataType"/> asks for a kind of data.</summary>
    [FieldOffset(4)] public uint Flags;

    /// <summary>The device.</summary>
    [FieldOffset(8)] public uint DeviceId;

    /// <summary>In: bytes of the buffer. Out: bytes that the kernel has.</summary>
    [FieldOffset(12)] public uint DataLength;

    /// <summary>User address of the buffer.</summary>
    [FieldOffset(16)] public ulong DataAddress;

    /// <summary>Out: kind of the data.</summary>
    [FieldOffset(24)] public uint DataType;

    /// <summary>Out: PASID bits of the device, 0 if it has none.</summary>
    [FieldOffset(28)] public byte OutMaxPasidLog2;

    /// <summary>0.</summary>
    [FieldOffset(29)] public ReservedBytes Reserved;

    /// <summary>Out: <see cref="HwCapabilities"/>.</summary>
    [FieldOffset(32)] public HwCapabilities OutCapabilities;

    /// <inheritdoc/>
    public static uint Request => IommufdRequests.GetHwInfo;

    /// <inheritdoc/>
    public static int MinimumSize => 32;

    /// <summary>Three bytes.</summary>
    [InlineArray(3)]
    public struct ReservedBytes
    {
        private byte _first;
    }
}

/// <summary>Capabilities of the path of a device (<c>enum iommufd_hw_capabilities</c>).</summary>
[Flags]
public enum HwCapabilities : ulong
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>The hardware tracks dirty pages.</summary>
    DirtyTracking = 1,

    /// <summary>The device can execute by PASID.</summary>
    PciPasidExecute = 2,

    /// <summary>The device has privileged mode by PASID.</summary>
    PciPasidPrivileged = 4,

    /// <summary>The device cannot use PCIe ATS.</summary>
    PciAtsNotSupported = 8,
}
