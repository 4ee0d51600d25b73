namespace Ioasis.Intel.Architecture;

/// <summary>Interrupt requests: stores of 4 bytes to FEEx_xxxx (section 5.1.2).</summary>
internal static class InterruptAddress
{
    /// <summary>The first byte of the interrupt address range.</summary>
    public const ulong First = 0xfee0_0000;

    /// <summary>Its last byte.</summary>
    public const ulong Last = 0xfeef_ffff;

    /// <summary>Interrupt format: 1 is remappable, 0 compatibility.</summary>
    public const uint RemappableBit = 1u << 4;

    /// <summary>Remappable: <c>SHV</c>, the data has a subhandle.</summary>
    public const uint SubhandleBit = 1u << 3;

    /// <summary>Remappable: bit 15 of the handle. Compatibility: destination mode, logical.</summary>
    public const uint Handle15Bit = 1u << 2;

    /// <summary>Remappable: position of bits 14:0 of the handle.</summary>
    public const int HandleShift = 5;

    /// <summary>Compatibility: position of the destination, 8 bits; bits 31:8 of an x2APIC destination are at 63:40 (Figure 5-6).</summary>
    public const int DestinationShift = 12;

    /// <summary>Compatibility: redirection hint.</summary>
    public const uint RedirectionHintBit = 1u << 3;

    /// <summary>Compatibility: destination mode, logical.</summary>
    public const uint LogicalDestinationBit = 1u << 2;

    /// <summary>Compatibility, data: position of the delivery mode, 3 bits, above the vector.</summary>
    public const int DataDeliveryModeShift = 8;

    /// <summary>Compatibility, data: trigger mode level, asserted.</summary>
    public const uint DataAssertedBit = 1u << 14;

    /// <summary>Compatibility, data: trigger mode, level.</summary>
    public const uint DataLevelTriggerBit = 1u << 15;

    /// <summary>Whether an address is in the range.</summary>
    public static bool Contains(ulong address) => address >> 20 == First >> 20;

    /// <summary>The handle of a remappable interrupt.</summary>
    public static uint Handle(uint address) => ((address >> HandleShift) & 0x7fff) | ((address & Handle15Bit) << 13);
}

/// <summary>An interrupt remapping table entry for remapped interrupts, 16 bytes (section 9.9). <c>High</c>: in the second doubleword.</summary>
internal static class InterruptEntry
{
    /// <summary>Bytes of an entry.</summary>
    public const int Size = 16;

    /// <summary><c>P</c>.</summary>
    public const ulong PresentBit = 1ul << 0;

    /// <summary><c>FPD</c>: qualified faults are not reported.</summary>
    public const ulong FaultDisableBit = 1ul << 1;

    /// <summary><c>DM</c>: the destination is logical.</summary>
    public const ulong LogicalDestinationBit = 1ul << 2;

    /// <summary><c>RH</c>: one of the destinations.</summary>
    public const ulong RedirectionHintBit = 1ul << 3;

    /// <summary><c>TM</c>: level.</summary>
    public const ulong LevelTriggerBit = 1ul << 4;

    /// <summary>Position of <c>DLM</c>, 3 bits; 3 and 6 are reserved.</summary>
    public const int DeliveryModeShift = 5;

    /// <summary><c>IM</c>: posted; reserved without <c>CAP_REG.PI</c>.</summary>
    public const ulong PostedBit = 1ul << 15;

    /// <summary>Position of <c>V</c>, 8 bits.</summary>
    public const int VectorShift = 16;

    /// <summary>Reserved: 31:24 and 14:12.</summary>
    public const ulong ReservedMask = (0xfful << 24) | (7ul << 12);

    /// <summary>Position of the destination, 32 bits.</summary>
    public const int DestinationShift = 32;

    /// <summary>What of the destination is reserved without extended interrupt mode: all but bits 47:40.</summary>
    public const ulong XapicReservedMask = 0xffff_00fful << 32;

    /// <summary><c>SID</c>, 16 bits at 0.</summary>
    public const ulong HighSourceIdMask = 0xffff;

    /// <summary>Position of <c>SQ</c>, 2 bits: which bits of the function number do not count.</summary>
    public const int HighQualifierShift = 16;

    /// <summary>Position of <c>SVT</c>, 2 bits: a <see cref="SourceValidation"/>.</summary>
    public const int HighValidationShift = 18;

    /// <summary>Reserved: 127:84.</summary>
    public const ulong HighReservedMask = ~0xf_fffful;
}

/// <summary><c>SVT</c> of an interrupt remapping table entry (section 9.9).</summary>
internal enum SourceValidation
{
    /// <summary>Any requester.</summary>
    None = 0,

    /// <summary>The requester of <c>SID</c>, but for what <c>SQ</c> leaves out.</summary>
    Requester = 1,

    /// <summary>A requester on a bus from <c>SID</c> 15:8 to 7:0.</summary>
    Bus = 2,

    /// <summary>Reserved.</summary>
    Reserved = 3,
}
