namespace Ioasis.Devices.Virtio;

/// <summary>Bits of the device status (virtio 1.3, section 2.1).</summary>
[Flags]
internal enum VirtioStatus : byte
{
    /// <summary>After a reset.</summary>
    None = 0,

    /// <summary>The guest has found the device.</summary>
    Acknowledge = 1,

    /// <summary>The guest has a driver for it.</summary>
    Driver = 2,

    /// <summary>The driver is ready.</summary>
    DriverOk = 4,

    /// <summary>The driver has accepted features, and the device agrees.</summary>
    FeaturesOk = 8,

    /// <summary>The device met an error from which only a reset leads.</summary>
    NeedsReset = 0x40,

    /// <summary>The driver has given up.</summary>
    Failed = 0x80,
}

/// <summary>Features that do not belong to a kind of device (virtio 1.3, chapter 6).</summary>
[Flags]
internal enum VirtioFeatures : ulong
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>Descriptors may stand in tables of their own.</summary>
    IndirectDescriptors = 1ul << 28,

    /// <summary>Notifications are wanted from an index on.</summary>
    EventIndex = 1ul << 29,

    /// <summary>The device follows version 1 of the specification.</summary>
    Version1 = 1ul << 32,

    /// <summary>Its DMA goes through an IOMMU where there is one.</summary>
    AccessPlatform = 1ul << 33,

    /// <summary>Packed rings.</summary>
    PackedRing = 1ul << 34,

    /// <summary>Buffers are used in the order in which they were made available.</summary>
    InOrder = 1ul << 35,

    /// <summary>Memory accesses are ordered as the platform orders those of devices.</summary>
    OrderPlatform = 1ul << 36,

    /// <summary>Notifications carry the place in the ring.</summary>
    NotificationData = 1ul << 38,

    /// <summary>A queue can be reset by itself.</summary>
    RingReset = 1ul << 40,
}

/// <summary>The common configuration (virtio 1.3, section 4.1.4.3) and where its parts lie in base address register 0.</summary>
internal static class VirtioRegisters
{
    /// <summary>The common configuration.</summary>
    public const uint Common = 0;

    /// <summary>The interrupt status: reading clears it.</summary>
    public const uint InterruptStatus = 0x1000;

    /// <summary>The configuration of the kind of device.</summary>
    public const uint DeviceConfiguration = 0x2000;

    /// <summary>Notifications: 4 bytes a queue, in the order of their numbers.</summary>
    public const uint Notify = 0x3000;

    /// <summary>Bytes between the notification addresses of two queues.</summary>
    public const uint NotifyMultiplier = 4;

    /// <summary>"No vector" of MSI-X.</summary>
    public const ushort NoVector = 0xffff;

    /// <summary>Which 32 bits <see cref="DeviceFeature"/> shows.</summary>
    public const uint DeviceFeatureSelect = 0;

    /// <summary>Features that the device offers.</summary>
    public const uint DeviceFeature = 4;

    /// <summary>Which 32 bits <see cref="DriverFeature"/> holds.</summary>
    public const uint DriverFeatureSelect = 8;

    /// <summary>Features that the driver accepts.</summary>
    public const uint DriverFeature = 12;

    /// <summary>Vector of configuration changes.</summary>
    public const uint ConfigurationVector = 16;

    /// <summary>Queues.</summary>
    public const uint QueueCount = 18;

    /// <summary><see cref="VirtioStatus"/>.</summary>
    public const uint Status = 20;

    /// <summary>Changes with the configuration.</summary>
    public const uint Generation = 21;

    /// <summary>Which queue the registers after it mean.</summary>
    public const uint QueueSelect = 22;

    /// <summary>Entries.</summary>
    public const uint QueueSize = 24;

    /// <summary>Vector.</summary>
    public const uint QueueVector = 26;

    /// <summary>1 once it is enabled.</summary>
    public const uint QueueEnable = 28;

    /// <summary>Its notification address, in units of <see cref="NotifyMultiplier"/>.</summary>
    public const uint QueueNotifyOffset = 30;

    /// <summary>Address of the descriptor area.</summary>
    public const uint QueueDescriptors = 32;

    /// <summary>Address of the driver area.</summary>
    public const uint QueueDriver = 40;

    /// <summary>Address of the device area.</summary>
    public const uint QueueDevice = 48;

    /// <summary>1 while it is being reset.</summary>
    public const uint QueueReset = 58;

    /// <summary>Bytes of the common configuration.</summary>
    public const int CommonSize = 64;
}
