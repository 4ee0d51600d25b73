namespace Ioasis.Devices.Nvme;

/// <summary>
/// The registers of a controller and their fields (NVM Express Base Specification 2.0, section 3.1.3; doorbells: NVMe over PCIe
/// Transport Specification 1.0, section 3.1.2).
/// </summary>
internal static class NvmeRegisters
{
    /// <summary>Controller Capabilities, 8 bytes.</summary>
    public const uint Capabilities = 0x00;

    /// <summary>Version.</summary>
    public const uint Version = 0x08;

    /// <summary>Interrupt Mask Set.</summary>
    public const uint InterruptMaskSet = 0x0c;

    /// <summary>Interrupt Mask Clear.</summary>
    public const uint InterruptMaskClear = 0x10;

    /// <summary>Controller Configuration.</summary>
    public const uint Configuration = 0x14;

    /// <summary>Controller Status.</summary>
    public const uint Status = 0x1c;

    /// <summary>NVM Subsystem Reset.</summary>
    public const uint SubsystemReset = 0x20;

    /// <summary>Admin Queue Attributes.</summary>
    public const uint AdminQueueAttributes = 0x24;

    /// <summary>Admin Submission Queue Base Address, 8 bytes.</summary>
    public const uint AdminSubmissionQueue = 0x28;

    /// <summary>Admin Completion Queue Base Address, 8 bytes.</summary>
    public const uint AdminCompletionQueue = 0x30;

    /// <summary>Controller Ready Timeouts.</summary>
    public const uint ReadyTimeouts = 0x68;

    /// <summary>The first doorbell: submission queue y at 2y words from here, its completion queue's one word further.</summary>
    public const uint Doorbells = 0x1000;

    /// <summary>Capabilities: most entries of a queue, less 1, 15:0.</summary>
    public const ulong QueueEntriesMask = 0xffff;

    /// <summary>Capabilities: queues must be contiguous.</summary>
    public const ulong ContiguousQueues = 1ul << 16;

    /// <summary>Capabilities: longest wait for a change of "ready", in units of 500 ms, 31:24.</summary>
    public const int TimeoutShift = 24;

    /// <summary>Capabilities: NVM subsystem reset is there.</summary>
    public const ulong SubsystemResetSupported = 1ul << 36;

    /// <summary>Capabilities: the NVM command set.</summary>
    public const ulong NvmCommandSet = 1ul << 37;

    /// <summary>Capabilities: one or more I/O command sets, chosen by identify.</summary>
    public const ulong IoCommandSets = 1ul << 43;

    /// <summary>Capabilities: log2 of the largest page less 12, 55:52. The smallest (51:48) is 4 KiB.</summary>
    public const int LargestPageShift = 52;

    /// <summary>Capabilities: "controller ready with media" is there.</summary>
    public const ulong ReadyWithMedia = 1ul << 59;

    /// <summary>Version 2.0.</summary>
    public const uint Version20 = 0x0002_0000;

    /// <summary>Configuration: enable.</summary>
    public const uint Enable = 1;

    /// <summary>Configuration: the bits that mean something: EN, CSS, MPS, AMS, SHN, IOSQES, IOCQES.</summary>
    public const uint ConfigurationMask = 0x00ff_fff1;

    /// <summary>Status: ready.</summary>
    public const uint Ready = 1;

    /// <summary>Status: fatal.</summary>
    public const uint Fatal = 2;

    /// <summary>Status: shutdown complete.</summary>
    public const uint ShutdownComplete = 2 << 2;

    /// <summary>Status: both bits of the shutdown status.</summary>
    public const uint ShutdownMask = 3 << 2;

    /// <summary>Status: an NVM subsystem reset occurred; written 1 to clear.</summary>
    public const uint SubsystemResetOccurred = 1 << 4;

    /// <summary>What is written to reset the NVM subsystem: "NVMe".</summary>
    public const uint SubsystemResetValue = 0x4e56_4d65;
}
