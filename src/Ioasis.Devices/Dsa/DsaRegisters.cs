namespace Ioasis.Devices.Dsa;

/// <summary>Registers in base address register 0 (DSA specification 1.x, section 9.2). Where tables are, OFFSETS tells the driver.</summary>
internal static class DsaRegisters
{
    public const uint Version = 0x00;
    public const uint GeneralCapabilities = 0x10;
    public const uint QueueCapabilities = 0x20;
    public const uint GroupCapabilities = 0x30;
    public const uint EngineCapabilities = 0x38;
    public const uint OperationCapabilities = 0x40;
    public const uint Offsets = 0x60;
    public const uint GeneralConfiguration = 0x80;
    public const uint GeneralControl = 0x88;
    public const uint GeneralStatus = 0x90;
    public const uint InterruptCause = 0x98;
    public const uint Command = 0xa0;
    public const uint CommandStatus = 0xa8;
    public const uint CommandCapabilities = 0xb0;
    public const uint SoftwareError = 0xc0;
    public const uint EventLogConfiguration = 0xe0;
    public const uint EventLogStatus = 0xf0;

    public const uint Groups = 0x400;
    public const uint GroupSize = 64;
    public const uint GroupEngines = 32;
    public const uint GroupFlags = 40;
    public const uint Queues = 0x800;
    public const uint QueueSize = 64;
    public const uint MessagePermissions = 0xc00;
    public const uint MessagePermissionSize = 8;
    public const uint End = 0x1000;
    public const uint TableUnit = 0x100;

    public const uint MsiXTable = 0x2000;
    public const uint MsiXPending = 0x3000;
    public const ulong Size = 0x1_0000;

    public const int PortalPage = 4096;
    public const int PortalsOfQueue = 4;

    public const uint Version1 = 0x100;

    // Block on fault, overlapping copies, cache control, destination readback, configuration; the event log in units of 64 bytes.
    public const ulong FixedCapabilities = 1 | 2 | 4 | (1 << 8) | (1ul << 31);
    public const ulong HasCommandCapabilities = 1 << 4;
    public const ulong HasEventLog = 1 << 12;
    public const int TransferShift = 16;
    public const int BatchShift = 21;

    // WQCAP: 64 bytes of configuration, shared and dedicated, priority, occupancy, operations by queue.
    public const ulong FixedQueueCapabilities = (1ul << 24) | (1ul << 48) | (1ul << 49) | (1ul << 51) | (1ul << 52) | (1ul << 54);
    public const ulong QueuesCanDisableAts = 1ul << 50;
    public const ulong QueuesCanDisablePageRequests = 1ul << 55;

    public const uint EventLogEnable = 1 << 13;
    public const ulong EventLogInterruptPending = 1ul << 62;
    public const int EventSize = 64;

    public const uint CommandActive = 1u << 31;
    public const uint CommandInterrupt = 1u << 31;
}

/// <summary>GENSTS bits 1:0.</summary>
internal enum DsaState
{
    /// <summary>It can be configured, and takes nothing.</summary>
    Disabled,

    /// <summary>Work queues can be enabled.</summary>
    Enabled,

    /// <summary>It takes nothing more and ends what it has.</summary>
    Draining,
}

/// <summary>GENCTRL: which events are told by vector 0.</summary>
[Flags]
internal enum DsaControl : uint
{
    SoftwareError = 1,
    Halt = 2,
    EventLog = 4,
}

/// <summary>INTCAUSE: why vector 0 was sent.</summary>
[Flags]
internal enum DsaCause : uint
{
    SoftwareError = 1,
    Command = 2,
    EventLog = 0x20,
}

/// <summary>CMD bits 24:20.</summary>
internal enum DsaCommand
{
    EnableDevice = 1,
    DisableDevice,
    DrainAll,
    AbortAll,
    ResetDevice,
    EnableQueue,
    DisableQueue,
    DrainQueue,
    AbortQueue,
    ResetQueue,
    DrainPasid,
    AbortPasid,
    RequestHandle,
    ReleaseHandle,
}

/// <summary>CMDSTS bits 7:0.</summary>
internal enum DsaCommandError
{
    None = 0,
    BadCommand = 1,
    BadQueue = 2,
    ReservedOperand = 4,
    DeviceNotDisabled = 0x10,
    NoBusMaster = 0x12,
    QueueSizes = 0x14,
    GroupIncomplete = 0x15,
    GroupQueues = 0x16,
    GroupEngines = 0x17,
    GroupBuffers = 0x18,
    DeviceNotEnabledForQueue = 0x20,
    QueueNotDisabled = 0x21,
    QueueSizeIsZero = 0x22,
    QueuePriorityIsZero = 0x23,
    QueueMode = 0x24,
    QueueBlockOnFault = 0x25,
    QueuePasid = 0x26,
    QueueBatchSize = 0x27,
    QueueTransferSize = 0x28,
    QueuePrivilege = 0x2a,
    QueueAts = 0x2c,
    DeviceNotEnabled = 0x31,
    QueueNotEnabled = 0x32,
    BadVector = 0x41,
    NoHandle = 0x42,
    NoHandleOfVector = 0x43,
}
