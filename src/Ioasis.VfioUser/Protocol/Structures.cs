using System.Runtime.InteropServices;

namespace Ioasis.VfioUser;

// The payloads that are not VFIO's own structures, each with its section of the specification. Sizes are those on the wire.

/// <summary>VFIO_USER_VERSION: a NUL-terminated JSON text follows, or nothing.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct VersionStructure(ushort Major, ushort Minor)
{
    /// <summary>Bytes of it.</summary>
    public const int Bytes = 4;
}

/// <summary>VFIO_USER_DMA_MAP.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct DmaMapStructure(uint Argsz, DmaMapFlags Flags, ulong Offset, ulong Address, ulong Size)
{
    /// <summary>Bytes of it.</summary>
    public const int Bytes = 32;
}

/// <summary>What the device may do with memory.</summary>
[Flags]
internal enum DmaMapFlags : uint
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>Read it.</summary>
    Read = 1,

    /// <summary>Write it.</summary>
    Write = 2,

    /// <summary>Both.</summary>
    All = Read | Write,
}

/// <summary>VFIO_USER_DMA_UNMAP, request and reply.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct DmaUnmapStructure(uint Argsz, DmaUnmapFlags Flags, ulong Address, ulong Size)
{
    /// <summary>Bytes of it.</summary>
    public const int Bytes = 24;
}

/// <summary>How memory is taken back.</summary>
[Flags]
internal enum DmaUnmapFlags : uint
{
    /// <summary>One region.</summary>
    None = 0,

    /// <summary>With what was written of it.</summary>
    GetDirtyBitmap = 1,

    /// <summary>All of them; address and size are 0.</summary>
    All = 2,
}

/// <summary>A bitmap of pages, in requests and before the bits in replies (struct vfio_bitmap without its pointer).</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct BitmapStructure(ulong PageSize, ulong Size)
{
    /// <summary>Bytes of it.</summary>
    public const int Bytes = 16;
}

/// <summary>VFIO_USER_DIRTY_PAGES.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct DirtyPagesStructure(uint Argsz, DirtyPagesFlags Flags)
{
    /// <summary>Bytes of it.</summary>
    public const int Bytes = 8;
}

/// <summary>What is wanted of the log of written pages.</summary>
internal enum DirtyPagesFlags : uint
{
    /// <summary>Begins.</summary>
    Start = 1,

    /// <summary>Ends.</summary>
    Stop = 2,

    /// <summary>Reports.</summary>
    GetBitmap = 4,
}

/// <summary>A range of which the log is wanted, behind <see cref="DirtyPagesStructure"/>; a <see cref="BitmapStructure"/> follows.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct DmaRangeStructure(ulong Address, ulong Size)
{
    /// <summary>Bytes of it.</summary>
    public const int Bytes = 16;
}

/// <summary>VFIO_USER_DEVICE_GET_REGION_IO_FDS.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct RegionIoFdsStructure(uint Argsz, uint Flags, uint Index, uint Count)
{
    /// <summary>Bytes of it.</summary>
    public const int Bytes = 16;
}

/// <summary>VFIO_USER_REGION_READ and VFIO_USER_REGION_WRITE: data follows a write and the reply to a read.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct RegionAccessStructure(ulong Offset, uint Region, uint Count)
{
    /// <summary>Bytes of it.</summary>
    public const int Bytes = 16;
}

/// <summary>One write of VFIO_USER_REGION_WRITE_MULTI.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct RegionWriteStructure(ulong Offset, uint Region, uint Count, ulong Data)
{
    /// <summary>Bytes of it.</summary>
    public const int Bytes = 24;
}

/// <summary>VFIO_USER_DMA_READ and VFIO_USER_DMA_WRITE: data follows a write and the reply to a read.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct DmaAccessStructure(ulong Address, ulong Count)
{
    /// <summary>Bytes of it.</summary>
    public const int Bytes = 16;
}

/// <summary>What VFIO_DEVICE_FEATURE_DMA_LOGGING_START is given; ranges follow.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct LoggingStartStructure(ulong PageSize, uint RangeCount, uint Reserved)
{
    /// <summary>Bytes of it.</summary>
    public const int Bytes = 16;
}

/// <summary>What VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT is given; the bits follow in the reply.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct LoggingReportStructure(ulong Address, ulong Size, ulong PageSize)
{
    /// <summary>Bytes of it.</summary>
    public const int Bytes = 24;
}
