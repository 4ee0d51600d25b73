using System.Runtime.InteropServices;

namespace Ioasis.Uapi;

/// <summary>Flags of <see cref="IommufdVeventHeader"/> (<c>enum iommu_veventq_flag</c>).</summary>
[Flags]
public enum VeventFlags : uint
{
    /// <summary>An event follows.</summary>
    None = 0,

    /// <summary>Events were lost before this one, and nothing follows.</summary>
    LostEvents = 1,
}

/// <summary><c>struct iommu_hwpt_invalidate</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
public struct IommuHwptInvalidate : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>A nested page table or a virtual IOMMU.</summary>
    [FieldOffset(4)] public uint HwptId;

    /// <summary>User address of the entries.</summary>
    [FieldOffset(8)] public ulong DataAddress;

    /// <summary>Kind of the entries.</summary>
    [FieldOffset(16)] public uint DataType;

    /// <summary>Bytes of an entry.</summary>
    [FieldOffset(20)] public uint EntryLength;

    /// <summary>In: entries. Out, also when the call fails: entries that were carried out.</summary>
    [FieldOffset(24)] public uint EntryCount;

    /// <summary>0.</summary>
    [FieldOffset(28)] public uint Reserved;

    /// <inheritdoc/>
    public static uint Request => IommufdRequests.HwptInvalidate;

    /// <inheritdoc/>
    public static int MinimumSize => 32;
}

/// <summary><c>struct iommu_viommu_alloc</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
public struct IommuViommuAlloc : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>0.</summary>
    [FieldOffset(4)] public uint Flags;

    /// <summary>Kind; 0 is none.</summary>
    [FieldOffset(8)] public uint Type;

    /// <summary>A device behind the IOMMU that it is a part of.</summary>
    [FieldOffset(12)] public uint DeviceId;

    /// <summary>The parent of the guest's nested tables.</summary>
    [FieldOffset(16)] public uint HwptId;

    /// <summary>Out: the virtual IOMMU.</summary>
    [FieldOffset(20)] public uint OutViommuId;

    /// <summary>Bytes of the data.</summary>
    [FieldOffset(24)] public uint DataLength;

    /// <summary>0.</summary>
    [FieldOffset(28)] public uint Reserved;

    /// <summary>User address of the data.</summary>
    [FieldOffset(32)] public ulong DataAddress;

    /// <inheritdoc/>
    public static uint Request => IommufdRequests.ViommuAlloc;

    /// <inheritdoc/>
    public static int MinimumSize => 24;
}

/// <summary><c>struct iommu_vdevice_alloc</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
public struct IommuVdeviceAlloc : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>The virtual IOMMU.</summary>
    [FieldOffset(4)] public uint ViommuId;

    /// <summary>The device.</summary>
    [FieldOffset(8)] public uint DeviceId;

    /// <summary>Out: the virtual device.</summary>
    [FieldOffset(12)] public uint OutVdeviceId;

    /// <summary>The number by which the guest knows the device.</summary>
    [FieldOffset(16)] public ulong VirtualId;

    /// <inheritdoc/>
    public static uint Request => IommufdRequests.VdeviceAlloc;

    /// <inheritdoc/>
    public static int MinimumSize => 24;
}

/// <summary><c>struct iommufd_vevent_header</c>: stands before every event that a read gives.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct IommufdVeventHeader
{
    /// <summary>Whether an event follows.</summary>
    [FieldOffset(0)] public VeventFlags Flags;

    /// <summary>Number of the event, 0 to 2^31-1 and from there to 0: gaps are events that were lost.</summary>
    [FieldOffset(4)] public uint Sequence;
}

/// <summary><c>struct iommu_veventq_alloc</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
public struct IommuVeventqAlloc : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>0.</summary>
    [FieldOffset(4)] public uint Flags;

    /// <summary>The virtual IOMMU.</summary>
    [FieldOffset(8)] public uint ViommuId;

    /// <summary>Kind; 0 is none. One queue of each kind.</summary>
    [FieldOffset(12)] public uint Type;

    /// <summary>Events that the queue holds.</summary>
    [FieldOffset(16)] public uint Depth;

    /// <summary>Out: the queue.</summary>
    [FieldOffset(20)] public uint OutVeventqId;

    /// <summary>Out: the descriptor that reads it.</summary>
    [FieldOffset(24)] public uint OutVeventqFd;

    /// <summary>0.</summary>
    [FieldOffset(28)] public uint Reserved;

    /// <inheritdoc/>
    public static uint Request => IommufdRequests.VeventqAlloc;

    /// <inheritdoc/>
    public static int MinimumSize => 28;
}

/// <summary><c>struct iommu_hw_queue_alloc</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
public struct IommuHwQueueAlloc : ISizedArgument
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Size;

    /// <summary>0.</summary>
    [FieldOffset(4)] public uint Flags;

    /// <summary>The virtual IOMMU.</summary>
    [FieldOffset(8)] public uint ViommuId;

    /// <summary>Kind; 0 is none.</summary>
    [FieldOffset(12)] public uint Type;

    /// <summary>Which queue of its kind.</summary>
    [FieldOffset(16)] public uint Index;

    /// <summary>Out: the queue.</summary>
    [FieldOffset(20)] public uint OutHwQueueId;

    /// <summary>Guest-physical address of the queue.</summary>
    [FieldOffset(24)] public ulong NestingParentIova;

    /// <summary>Bytes of the queue.</summary>
    [FieldOffset(32)] public ulong Length;

    /// <inheritdoc/>
    public static uint Request => IommufdRequests.HwQueueAlloc;

    /// <inheritdoc/>
    public static int MinimumSize => 40;
}
