using System.Runtime.InteropServices;

namespace Ioasis.Uapi;

/// <summary>Kinds of a container's IOMMU, and extensions that one can ask for (<c>VFIO_TYPE1_IOMMU</c> and the like).</summary>
public enum VfioExtension
{
    /// <summary>Type 1: an unmap may cut into mappings only at their start.</summary>
    Type1 = 1,

    /// <summary>Type 1, version 2: an unmap may not cut mappings at all.</summary>
    Type1V2 = 3,

    /// <summary>DMA is coherent with the processor's caches.</summary>
    CoherentDma = 4,

    /// <summary><see cref="VfioDmaUnmapFlags.All"/> is known.</summary>
    UnmapAll = 9,

    /// <summary>The client's addresses of mappings can be changed.</summary>
    UpdateVaddr = 10,
}

/// <summary>Flags of <see cref="VfioGroupStatus"/>.</summary>
[Flags]
public enum VfioGroupFlags : uint
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>The group can be used.</summary>
    Viable = 1,

    /// <summary>The group is in a container.</summary>
    ContainerSet = 2,
}

/// <summary>Flags of <see cref="VfioIommuType1Info"/>.</summary>
[Flags]
public enum VfioIommuInfoFlags : uint
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>The page sizes are told.</summary>
    PageSizes = 1,

    /// <summary>There are capabilities.</summary>
    Caps = 2,
}

/// <summary>Flags of a map in a container.</summary>
[Flags]
public enum VfioDmaMapFlags : uint
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>Devices may read.</summary>
    Read = 1,

    /// <summary>Devices may write.</summary>
    Write = 2,

    /// <summary>Only the client's address of a mapping is changed.</summary>
    Vaddr = 4,
}

/// <summary>Flags of an unmap in a container.</summary>
[Flags]
public enum VfioDmaUnmapFlags : uint
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>The dirty pages are told.</summary>
    GetDirtyBitmap = 1,

    /// <summary>Everything is unmapped; IOVA and size are 0.</summary>
    All = 2,

    /// <summary>Only the client's address of the mappings becomes invalid.</summary>
    Vaddr = 4,
}

/// <summary><c>struct vfio_group_status</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct VfioGroupStatus
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Argsz;

    /// <summary>Out: the state.</summary>
    [FieldOffset(4)] public VfioGroupFlags Flags;
}

/// <summary><c>struct vfio_info_cap_header</c>: the beginning of a capability.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct VfioInfoCapHeader
{
    /// <summary>Which capability.</summary>
    [FieldOffset(0)] public ushort Id;

    /// <summary>Its version (S3.11).</summary>
    [FieldOffset(2)] public ushort Version;

    /// <summary>Offset of the next from the start of the information, 0 for none.</summary>
    [FieldOffset(4)] public uint Next;
}

/// <summary><c>struct vfio_iommu_type1_info</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct VfioIommuType1Info
{
    /// <summary>In: bytes of the buffer. Out: bytes that are needed, if that is more.</summary>
    [FieldOffset(0)] public uint Argsz;

    /// <summary>Out: what is told.</summary>
    [FieldOffset(4)] public VfioIommuInfoFlags Flags;

    /// <summary>Out: bit n is set if a leaf can have 2^n bytes in every domain.</summary>
    [FieldOffset(8)] public ulong IovaPageSizes;

    /// <summary>Out: offset of the first capability; 0 if the buffer is too short for them.</summary>
    [FieldOffset(16)] public uint CapOffset;

    /// <summary>Padding.</summary>
    [FieldOffset(20)] public uint Pad;

    /// <summary>Bytes of the oldest version, which never grows (S3.8).</summary>
    public const int MinimumSize = 16;

    /// <summary>ID of the capability with the usable IOVA ranges: header, count, reserved, <see cref="VfioIovaRange"/>s.</summary>
    public const ushort IovaRangeCapability = 1;

    /// <summary>ID of the capability of dirty tracking: header, flags, padding, page sizes, bytes of the largest bitmap.</summary>
    public const ushort MigrationCapability = 2;

    /// <summary>ID of the capability with the number of mappings that are still possible: header, count.</summary>
    public const ushort DmaAvailableCapability = 3;
}

/// <summary><c>struct vfio_iova_range</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct VfioIovaRange
{
    /// <summary>First IOVA.</summary>
    [FieldOffset(0)] public ulong Start;

    /// <summary>Last IOVA, inclusive.</summary>
    [FieldOffset(8)] public ulong End;
}

/// <summary><c>struct vfio_iommu_type1_dma_map</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
public struct VfioIommuType1DmaMap
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Argsz;

    /// <summary>What devices may do.</summary>
    [FieldOffset(4)] public VfioDmaMapFlags Flags;

    /// <summary>The client's memory.</summary>
    [FieldOffset(8)] public ulong Vaddr;

    /// <summary>Where devices see it.</summary>
    [FieldOffset(16)] public ulong Iova;

    /// <summary>Bytes.</summary>
    [FieldOffset(24)] public ulong Size;
}

/// <summary><c>struct vfio_iommu_type1_dma_unmap</c>, without the dirty bitmap that may follow.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct VfioIommuType1DmaUnmap
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Argsz;

    /// <summary>How to unmap.</summary>
    [FieldOffset(4)] public VfioDmaUnmapFlags Flags;

    /// <summary>First IOVA.</summary>
    [FieldOffset(8)] public ulong Iova;

    /// <summary>In: bytes to unmap. Out: bytes that were mapped.</summary>
    [FieldOffset(16)] public ulong Size;
}

/// <summary>Flags of <see cref="VfioIommuType1DirtyBitmap"/>: exactly one.</summary>
[Flags]
public enum VfioDirtyPagesFlags : uint
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>Starts to track.</summary>
    Start = 1,

    /// <summary>Stops to track.</summary>
    Stop = 2,

    /// <summary>Reads what is dirty.</summary>
    GetBitmap = 4,
}

/// <summary><c>struct vfio_bitmap</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct VfioBitmap
{
    /// <summary>Bytes of a page, for which a bit stands.</summary>
    [FieldOffset(0)] public ulong PageSize;

    /// <summary>Bytes of the bitmap.</summary>
    [FieldOffset(8)] public ulong Size;

    /// <summary>User address of the bitmap; bit 0 of its first word is the first page.</summary>
    [FieldOffset(16)] public ulong Data;
}

/// <summary><c>struct vfio_iommu_type1_dirty_bitmap</c>, without what follows.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct VfioIommuType1DirtyBitmap
{
    /// <summary>Bytes of the structure, and of <see cref="VfioIommuType1DirtyBitmapGet"/> where it follows.</summary>
    [FieldOffset(0)] public uint Argsz;

    /// <summary>What to do.</summary>
    [FieldOffset(4)] public VfioDirtyPagesFlags Flags;
}

/// <summary><c>struct vfio_iommu_type1_dirty_bitmap_get</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
public struct VfioIommuType1DirtyBitmapGet
{
    /// <summary>First IOVA.</summary>
    [FieldOffset(0)] public ulong Iova;

    /// <summary>Bytes.</summary>
    [FieldOffset(8)] public ulong Size;

    /// <summary>Where the bits go.</summary>
    [FieldOffset(16)] public VfioBitmap Bitmap;
}
