namespace Ioasis.Devices.Ioat;

/// <summary>Registers of a QuickData engine, version 3.3, in base address register 0: those of the device, then those of its one channel.</summary>
internal static class IoatRegisters
{
    public const uint ChannelCount = 0x00;
    public const uint TransferCapability = 0x01;
    public const uint GeneralControl = 0x02;
    public const uint InterruptControl = 0x03;
    public const uint AttentionStatus = 0x04;
    public const uint Version = 0x08;
    public const uint Capabilities = 0x10;

    public const uint ChannelControl = 0x80;
    public const uint Compatibility = 0x82;
    public const uint Command = 0x84;
    public const uint DescriptorCount = 0x86;
    public const uint Status = 0x88;
    public const uint ChainAddress = 0x90;
    public const uint CompletionAddress = 0x98;
    public const uint CurrentDescriptor = 0xa0;
    public const uint Errors = 0xa8;
    public const uint ErrorMask = 0xac;
    public const uint End = 0x100;

    public const uint MsiXTable = 0x2000;
    public const uint MsiXPending = 0x3000;
    public const ulong Size = 0x4000;

    public const byte Version33 = 0x33;
    public const uint CanFill = 0x40;
    public const ushort CompatibleWith2And3 = 6;
}

/// <summary>INTRCTRL.</summary>
[Flags]
internal enum IoatInterrupts : byte
{
    None = 0,
    Master = 1,
    IsPending = 2,
    IsAsserted = 4,
    EveryVector = 8,
}

/// <summary>CHANCTRL.</summary>
[Flags]
internal enum IoatControl : ushort
{
    None = 0,

    /// <summary>Set by an interrupt; written as one it allows the next.</summary>
    InterruptDisabled = 1,
    ErrorCompletion = 4,
    AnyErrorAborts = 8,
    ErrorInterrupt = 0x10,
    NoDescriptorSnoop = 0x20,
    InUse = 0x100,
    CompletionToCache = 0x200,
    Settings = ErrorCompletion | AnyErrorAborts | ErrorInterrupt | NoDescriptorSnoop | CompletionToCache,
}

/// <summary>CHANCMD.</summary>
internal static class IoatCommand
{
    public const byte Suspend = 4;
    public const byte Reset = 0x20;
}

/// <summary>What the channel does: CHANSTS, bits 2:0.</summary>
internal enum IoatState
{
    /// <summary>It processes descriptors.</summary>
    Active = 0,

    /// <summary>It has done all that it was told to.</summary>
    Idle = 1,

    /// <summary>It was told to stop between two descriptors.</summary>
    Suspended = 2,

    /// <summary>After a reset or an error.</summary>
    Halted = 3,

    /// <summary>It was given a chain after a reset, and waits for a number of descriptors.</summary>
    Armed = 4,
}

/// <summary>What went wrong: CHANERR.</summary>
[Flags]
internal enum IoatErrors : uint
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>A source beyond the addresses that the engine has.</summary>
    SourceAddress = 1,

    /// <summary>A destination beyond the addresses that the engine has.</summary>
    DestinationAddress = 1 << 1,

    /// <summary>The next descriptor cannot be read.</summary>
    NextAddress = 1 << 2,

    /// <summary>The next descriptor is not aligned to 64 bytes.</summary>
    NextAlignment = 1 << 3,

    /// <summary>CHAINADDR is not aligned to 64 bytes, or its descriptor cannot be read.</summary>
    ChainAddress = 1 << 4,

    /// <summary>CHANCMD was written with more than one command.</summary>
    Command = 1 << 5,

    /// <summary>The source cannot be read.</summary>
    ReadData = 1 << 8,

    /// <summary>The destination cannot be written.</summary>
    WriteData = 1 << 9,

    /// <summary>An operation or an option that the engine does not have.</summary>
    Control = 1 << 10,

    /// <summary>No bytes, or more than XFERCAP allows.</summary>
    Length = 1 << 11,

    /// <summary>The completion cannot be written.</summary>
    CompletionAddress = 1 << 12,
}
