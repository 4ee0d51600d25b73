using System.Runtime.InteropServices;

namespace Ioasis.Uapi;

/// <summary>Flags of <see cref="IommuHwptSetDirtyTracking"/> (<c>enum iommufd_hwpt_set_dirty_tracking_flags</c>).</summary>
[Flags]
public enum HwptDirtyTrackingFlags : uint
{
    /// <summary>Tracking is switched off.</summary>
    None = 0,

    /// <summary>Tracking is switched on, and everything counts as clean.</summary>
    Enable = 1,
}

/// <summary>Flags of <see cref="IommuHwptGetDirtyBitmap"/> (<c>enum iommufd_hwpt_get_dirty_bitmap_flags</c>).</summary>
[Flags]
public enum HwptDirtyBitmapFlags : uint
{
    /// <summary>What is told becomes clean.</summary>
    None = 0,

    /// <summary>What is told stays dirty.</summary>
    NoClear = 1,
}

/// <summary><c>struct iommu_hwpt_set_dirty_tracking</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct IommuHwptSetDirtyTracking : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>On or off.</summary>
    [FieldOffset(4)] public HwptDirtyTrackingFlags Flags;

    /// <summary>The page table.</summary>
    [FieldOffset(8)] public uint HwptId;

    /// <summary>0.</summary>
    [FieldOffset(12)] public uint Reserved;

    /// <inheritdoc/>
    public static uint Request => IommufdRequests.HwptSetDirtyTracking;

    /// <inheritdoc/>
    public static int MinimumSize => 16;
}

/// <summary><c>struct iommu_hwpt_get_dirty_bitmap</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 48)]
public struct IommuHwptGetDirtyBitmap : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>The page table.</summary>
    [FieldOffset(4)] public uint HwptId;

    /// <summary>Whether to leave what is told dirty.</summary>
    [FieldOffset(8)] public HwptDirtyBitmapFlags Flags;

    /// <summary>0.</summary>
    [FieldOffset(12)] public uint Reserved;

    /// <summary>First IOVA: that of bit 0.</summary>
    [FieldOffset(16)] public ulong Iova;

    /// <summary>Bytes of IOVAs.</summary>
    [FieldOffset(24)] public ulong Length;

    /// <summary>Bytes that a bit stands for.</summary>
    [FieldOffset(32)] public ulong PageSize;

    /// <summary>User address of the bitmap, of 64-bit words; bits of dirty pages are set, others stay.</summary>
    [FieldOffset(40)] public ulong Data;

    /// <inheritdoc/>
    public static uint Request => IommufdRequests.HwptGetDirtyBitmap;

    /// <inheritdoc/>
    public static int MinimumSize => 48;
}
