namespace Ioasis.VfioUser;

/// <summary>Commands of the protocol (vfio-user specification, "Commands").</summary>
internal enum VfioUserCommand : ushort
{
    /// <summary>Agrees on version and capabilities; first of all. Client to server.</summary>
    Version = 1,

    /// <summary>Shows memory to the device. Client to server.</summary>
    DmaMap = 2,

    /// <summary>Takes memory back. Client to server.</summary>
    DmaUnmap = 3,

    /// <summary>VFIO_DEVICE_GET_INFO.</summary>
    DeviceGetInfo = 4,

    /// <summary>VFIO_DEVICE_GET_REGION_INFO.</summary>
    DeviceGetRegionInfo = 5,

    /// <summary>Descriptors by which a hypervisor's accesses come past the client.</summary>
    DeviceGetRegionIoFds = 6,

    /// <summary>VFIO_DEVICE_GET_IRQ_INFO.</summary>
    DeviceGetIrqInfo = 7,

    /// <summary>VFIO_DEVICE_SET_IRQS.</summary>
    DeviceSetIrqs = 8,

    /// <summary>Reads from a region.</summary>
    RegionRead = 9,

    /// <summary>Writes to a region.</summary>
    RegionWrite = 10,

    /// <summary>The device reads memory that came without descriptor. Server to client.</summary>
    DmaRead = 11,

    /// <summary>The device writes memory that came without descriptor. Server to client.</summary>
    DmaWrite = 12,

    /// <summary>VFIO_DEVICE_RESET.</summary>
    DeviceReset = 13,

    /// <summary>Which memory the device has written; of versions before 0.9 of the specification.</summary>
    DirtyPages = 14,

    /// <summary>Several writes of at most 8 bytes.</summary>
    RegionWriteMulti = 15,

    /// <summary>VFIO_DEVICE_FEATURE.</summary>
    DeviceFeature = 16,

    /// <summary>Reads the state of a device that migrates.</summary>
    MigrationRead = 17,

    /// <summary>Writes it.</summary>
    MigrationWrite = 18,
}

/// <summary>Flags of a message (specification, "Header").</summary>
[Flags]
internal enum MessageFlags : uint
{
    /// <summary>A command that is answered.</summary>
    None = 0,

    /// <summary>An answer.</summary>
    Reply = 1,

    /// <summary>The type of a message: command or reply.</summary>
    TypeMask = 0xf,

    /// <summary>A command that is not answered.</summary>
    NoReply = 0x10,

    /// <summary>An answer that is an error.</summary>
    Error = 0x20,
}
