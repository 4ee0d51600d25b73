using System.Runtime.InteropServices;

namespace Ioasis.Uapi;

/// <summary>Numbers of a PCI device's regions (<c>VFIO_PCI_*_REGION_INDEX</c>). Their offsets are the number shifted by 40.</summary>
public enum VfioPciRegion
{
    /// <summary>Base address register 0.</summary>
    Bar0 = 0,

    /// <summary>Base address register 1.</summary>
    Bar1 = 1,

    /// <summary>Base address register 2.</summary>
    Bar2 = 2,

    /// <summary>Base address register 3.</summary>
    Bar3 = 3,

    /// <summary>Base address register 4.</summary>
    Bar4 = 4,

    /// <summary>Base address register 5.</summary>
    Bar5 = 5,

    /// <summary>The expansion ROM.</summary>
    Rom = 6,

    /// <summary>Configuration space.</summary>
    Config = 7,

    /// <summary>The legacy VGA ranges.</summary>
    Vga = 8,

    /// <summary>How many there are.</summary>
    Count = 9,
}

/// <summary>Numbers of a PCI device's interrupts (<c>VFIO_PCI_*_IRQ_INDEX</c>).</summary>
public enum VfioPciInterrupt
{
    /// <summary>The wire.</summary>
    Intx = 0,

    /// <summary>MSI.</summary>
    Msi = 1,

    /// <summary>MSI-X.</summary>
    MsiX = 2,

    /// <summary>A PCIe error.</summary>
    Error = 3,

    /// <summary>The kernel asks for the device back.</summary>
    Request = 4,

    /// <summary>How many there are.</summary>
    Count = 5,
}

/// <summary>Flags of <see cref="VfioRegionInfo"/>.</summary>
[Flags]
public enum VfioRegionFlags : uint
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>The region can be read.</summary>
    Read = 1,

    /// <summary>The region can be written.</summary>
    Write = 2,

    /// <summary>The region can be mapped.</summary>
    Mmap = 4,

    /// <summary>There are capabilities.</summary>
    Caps = 8,
}

/// <summary>Flags of <see cref="VfioIrqInfo"/>.</summary>
[Flags]
public enum VfioIrqInfoFlags : uint
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>Signalled by event counters.</summary>
    EventFd = 1,

    /// <summary>It can be masked and unmasked.</summary>
    Maskable = 2,

    /// <summary>It is masked when it is signalled.</summary>
    AutoMasked = 4,

    /// <summary>All vectors have to be enabled together.</summary>
    NoResize = 8,
}

/// <summary>Flags of <see cref="VfioIrqSet"/>: one kind of data and one action.</summary>
[Flags]
public enum VfioIrqSetFlags : uint
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>No data.</summary>
    DataNone = 1,

    /// <summary>A byte for each vector: whether to act on it.</summary>
    DataBool = 2,

    /// <summary>A descriptor of an event counter for each vector, or -1.</summary>
    DataEventFd = 4,

    /// <summary>Mask.</summary>
    ActionMask = 8,

    /// <summary>Unmask.</summary>
    ActionUnmask = 16,

    /// <summary>Signal now, or name what is signalled later.</summary>
    ActionTrigger = 32,

    /// <summary>The kinds of data.</summary>
    DataTypeMask = DataNone | DataBool | DataEventFd,

    /// <summary>The actions.</summary>
    ActionTypeMask = ActionMask | ActionUnmask | ActionTrigger,
}

/// <summary>Flags of <see cref="VfioDeviceFeature"/>, beside the feature's number in the lower 16 bits.</summary>
[Flags]
public enum VfioFeatureFlags : uint
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>The number of the feature.</summary>
    NumberMask = 0xffff,

    /// <summary>Get.</summary>
    Get = 1 << 16,

    /// <summary>Set.</summary>
    Set = 1 << 17,

    /// <summary>Ask whether the other flags are possible.</summary>
    Probe = 1 << 18,
}

/// <summary>Numbers of features.</summary>
public enum VfioFeature
{
    /// <summary>Token of a device with virtual functions.</summary>
    PciVfToken = 0,

    /// <summary>What a migration can do.</summary>
    Migration = 1,

    /// <summary>State of a migration.</summary>
    MigrationDeviceState = 2,

    /// <summary>The device may go to low power until it is used.</summary>
    LowPowerEntry = 3,

    /// <summary>As <see cref="LowPowerEntry"/>, with an event counter that tells of a wake-up.</summary>
    LowPowerEntryWithWakeup = 4,

    /// <summary>The device may not go to low power any more.</summary>
    LowPowerExit = 5,

    /// <summary>Starts to log DMA.</summary>
    DmaLoggingStart = 6,

    /// <summary>Stops to log DMA.</summary>
    DmaLoggingStop = 7,

    /// <summary>Reads the log of DMA.</summary>
    DmaLoggingReport = 8,

    /// <summary>Size of the data of a migration.</summary>
    MigrationDataSize = 9,

    /// <summary>Bus mastering of devices that are not PCI.</summary>
    BusMaster = 10,

    /// <summary>A region as a buffer of other drivers.</summary>
    DmaBuf = 11,
}

/// <summary><c>struct vfio_region_info</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
public struct VfioRegionInfo
{
    /// <summary>In: bytes of the buffer. Out: bytes that are needed, if that is more.</summary>
    [FieldOffset(0)] public uint Argsz;

    /// <summary>Out: what can be done with it.</summary>
    [FieldOffset(4)] public VfioRegionFlags Flags;

    /// <summary>In: which region.</summary>
    [FieldOffset(8)] public uint Index;

    /// <summary>Out: offset of the first capability; 0 for none, or if the buffer is too short.</summary>
    [FieldOffset(12)] public uint CapOffset;

    /// <summary>Out: bytes; 0 if there is no such region.</summary>
    [FieldOffset(16)] public ulong Size;

    /// <summary>Out: where it lies in the device's descriptor.</summary>
    [FieldOffset(24)] public ulong Offset;

    /// <summary>Bytes of the structure.</summary>
    public const int MinimumSize = 32;

    /// <summary>ID of the capability with the parts that can be mapped: count, reserved, <see cref="VfioSparseArea"/>s.</summary>
    public const ushort SparseMmapCapability = 1;

    /// <summary>ID of the capability that says that the MSI-X table lies in what can be mapped: no body.</summary>
    public const ushort MsiXMappableCapability = 3;
}

/// <summary><c>struct vfio_region_sparse_mmap_area</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct VfioSparseArea
{
    /// <summary>Offset in the region.</summary>
    [FieldOffset(0)] public ulong Offset;

    /// <summary>Bytes.</summary>
    [FieldOffset(8)] public ulong Size;
}

/// <summary><c>struct vfio_irq_info</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct VfioIrqInfo
{
    /// <summary>Bytes of the structure.</summary>
    [FieldOffset(0)] public uint Argsz;

    /// <summary>Out: what can be done with it.</summary>
    [FieldOffset(4)] public VfioIrqInfoFlags Flags;

    /// <summary>In: which interrupt.</summary>
    [FieldOffset(8)] public uint Index;

    /// <summary>Out: vectors.</summary>
    [FieldOffset(12)] public uint Count;
}

/// <summary><c>struct vfio_irq_set</c>, without the data that may follow.</summary>
[StructLayout(LayoutKind.Explicit, Size = 20)]
public struct VfioIrqSet
{
    /// <summary>Bytes of the structure and the data.</summary>
    [FieldOffset(0)] public uint Argsz;

    /// <summary>Kind of data, and action.</summary>
    [FieldOffset(4)] public VfioIrqSetFlags Flags;

    /// <summary>Which interrupt.</summary>
    [FieldOffset(8)] public uint Index;

    /// <summary>First vector.</summary>
    [FieldOffset(12)] public uint Start;

    /// <summary>Vectors; 0 with <see cref="VfioIrqSetFlags.DataNone"/> disables all.</summary>
    [FieldOffset(16)] public uint Count;

    /// <summary>Bytes of the structure, where the data begins.</summary>
    public const int MinimumSize = 20;
}

/// <summary>Flags of <see cref="VfioDeviceIoEventFd"/>: exactly one, the width of the write.</summary>
[Flags]
public enum VfioIoEventFlags : uint
{
    /// <summary>None: not a valid width.</summary>
    None = 0,

    /// <summary>VFIO_DEVICE_IOEVENTFD_8.</summary>
    Width8 = 1,

    /// <summary>VFIO_DEVICE_IOEVENTFD_16.</summary>
    Width16 = 2,

    /// <summary>VFIO_DEVICE_IOEVENTFD_32.</summary>
    Width32 = 4,

    /// <summary>VFIO_DEVICE_IOEVENTFD_64; vfio-pci of Linux 7.2 refuses it on x86.</summary>
    Width64 = 8,

    /// <summary>VFIO_DEVICE_IOEVENTFD_SIZE_MASK. The value of each is its width in bytes.</summary>
    WidthMask = 15,
}

/// <summary><c>struct vfio_device_ioeventfd</c>: the register is written whenever the counter is.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
public struct VfioDeviceIoEventFd
{
    /// <summary>Bytes of the structure: at least <see cref="MinimumSize"/>.</summary>
    [FieldOffset(0)] public uint Argsz;

    /// <summary>Width of the write.</summary>
    [FieldOffset(4)] public VfioIoEventFlags Flags;

    /// <summary>Place in the device's descriptor.</summary>
    [FieldOffset(8)] public ulong Offset;

    /// <summary>What is written; all 64 bits tell one entry from another.</summary>
    [FieldOffset(16)] public ulong Data;

    /// <summary>Descriptor of an event counter; -1 removes the entry with these flags, place and data.</summary>
    [FieldOffset(24)] public int Descriptor;

    /// <summary>Padding, which no kernel looks at.</summary>
    [FieldOffset(28)] public uint Reserved;

    /// <summary>Bytes up to <see cref="Descriptor"/> with it.</summary>
    public const int MinimumSize = 28;
}

/// <summary><c>struct vfio_device_feature</c>, without the data that may follow.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct VfioDeviceFeature
{
    /// <summary>Bytes of the structure and the data.</summary>
    [FieldOffset(0)] public uint Argsz;

    /// <summary>What to do, and the number of the feature.</summary>
    [FieldOffset(4)] public VfioFeatureFlags Flags;
}

/// <summary><c>struct vfio_device_feature_dma_buf</c>, without the ranges that follow: the data of <see cref="VfioFeature.DmaBuf"/>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct VfioDeviceFeatureDmaBuf
{
    /// <summary>The region.</summary>
    [FieldOffset(0)] public uint RegionIndex;

    /// <summary>Flags of the descriptor that is made.</summary>
    [FieldOffset(4)] public uint OpenFlags;

    /// <summary>0.</summary>
    [FieldOffset(8)] public uint Flags;

    /// <summary>How many <see cref="VfioRegionDmaRange"/> follow.</summary>
    [FieldOffset(12)] public uint RangeCount;
}

/// <summary><c>struct vfio_region_dma_range</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct VfioRegionDmaRange
{
    /// <summary>First byte in the region.</summary>
    [FieldOffset(0)] public ulong Offset;

    /// <summary>Bytes.</summary>
    [FieldOffset(8)] public ulong Length;
}

/// <summary><c>struct vfio_pci_dependent_device</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct VfioPciDependentDevice
{
    /// <summary>The group; for a device that is bound to <c>/dev/iommu</c>, its number there, 0 or -1.</summary>
    [FieldOffset(0)] public uint GroupOrDeviceId;

    /// <summary>The segment.</summary>
    [FieldOffset(4)] public ushort Segment;

    /// <summary>The bus.</summary>
    [FieldOffset(6)] public byte Bus;

    /// <summary>Device in 7:3, function in 2:0.</summary>
    [FieldOffset(7)] public byte DeviceFunction;

    /// <summary><c>VFIO_PCI_DEVID_OWNED</c>: without number, but of the same owner.</summary>
    public const uint Owned = 0;

    /// <summary><c>VFIO_PCI_DEVID_NOT_OWNED</c>.</summary>
    public const uint NotOwned = uint.MaxValue;
}

/// <summary>Flags of <see cref="VfioPciHotResetInfo"/>.</summary>
[Flags]
public enum VfioHotResetFlags : uint
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>Devices are named by their numbers in <c>/dev/iommu</c>, not by group.</summary>
    DeviceId = 1,

    /// <summary>All of them are of the same owner.</summary>
    DeviceIdOwned = 2,
}

/// <summary><c>struct vfio_pci_hot_reset_info</c>, without the devices that follow.</summary>
[StructLayout(LayoutKind.Explicit, Size = 12)]
public struct VfioPciHotResetInfo
{
    /// <summary>Bytes of the structure and the devices.</summary>
    [FieldOffset(0)] public uint Argsz;

    /// <summary>Out: how devices are named.</summary>
    [FieldOffset(4)] public VfioHotResetFlags Flags;

    /// <summary>Out: devices that a reset concerns.</summary>
    [FieldOffset(8)] public uint Count;

    /// <summary>Bytes of the structure, where the devices begin.</summary>
    public const int MinimumSize = 12;
}

/// <summary><c>struct vfio_pci_hot_reset</c>, without the descriptors of groups that follow.</summary>
[StructLayout(LayoutKind.Explicit, Size = 12)]
public struct VfioPciHotReset
{
    /// <summary>Bytes of the structure and the descriptors.</summary>
    [FieldOffset(0)] public uint Argsz;

    /// <summary>0.</summary>
    [FieldOffset(4)] public uint Flags;

    /// <summary>Descriptors of groups; 0 if the device is bound to <c>/dev/iommu</c>.</summary>
    [FieldOffset(8)] public uint Count;

    /// <summary>Bytes of the structure, where the descriptors begin.</summary>
    public const int MinimumSize = 12;
}
