namespace Ioasis.Intel.Architecture;

// Sections and tables are those of "Intel Virtualization Technology for Directed I/O, Architecture Specification", revision 5.10 (November 2025).

/// <summary>
/// Offsets of registers in bytes (section 11.4). Registers of 64 and 128 bits may be reached by aligned accesses of 4 bytes (section 11.2).
/// </summary>
internal static class RegisterOffset
{
    /// <summary><c>VER_REG</c>, 32 bits (section 11.4.1): <see cref="Version"/>.</summary>
    public const uint Version = 0x000;

    /// <summary><c>CAP_REG</c>, 64 bits (section 11.4.2): <see cref="Architecture.Capability"/>.</summary>
    public const uint Capability = 0x008;

    /// <summary><c>ECAP_REG</c>, 64 bits (section 11.4.3): <see cref="Architecture.ExtendedCapability"/>.</summary>
    public const uint ExtendedCapability = 0x010;

    /// <summary><c>GCMD_REG</c>, 32 bits (section 11.4.4.1): <see cref="GlobalControl"/>.</summary>
    public const uint GlobalCommand = 0x018;

    /// <summary><c>GSTS_REG</c>, 32 bits (section 11.4.4.2): <see cref="GlobalControl"/>.</summary>
    public const uint GlobalStatus = 0x01c;

    /// <summary><c>RTADDR_REG</c>, 64 bits (section 11.4.5): <see cref="RootTable"/>.</summary>
    public const uint RootTableAddress = 0x020;

    /// <summary><c>CCMD_REG</c>, 64 bits (section 11.4.6.1): <see cref="Architecture.ContextCommand"/>.</summary>
    public const uint ContextCommand = 0x028;

    /// <summary><c>FSTS_REG</c>, 32 bits (section 11.4.7.1): <see cref="Architecture.FaultStatus"/>.</summary>
    public const uint FaultStatus = 0x034;

    /// <summary><c>FECTL_REG</c>, 32 bits (section 11.4.7.2): <see cref="EventControl"/>.</summary>
    public const uint FaultEventControl = 0x038;

    /// <summary><c>FEDATA_REG</c>, 32 bits (section 11.4.7.3).</summary>
    public const uint FaultEventData = 0x03c;

    /// <summary><c>FEADDR_REG</c>, 32 bits (section 11.4.7.4).</summary>
    public const uint FaultEventAddress = 0x040;

    /// <summary><c>FEUADDR_REG</c>, 32 bits (section 11.4.7.5).</summary>
    public const uint FaultEventUpperAddress = 0x044;

    /// <summary><c>IQH_REG</c>, 64 bits (section 11.4.9.1): <see cref="InvalidationQueue"/>.</summary>
    public const uint InvalidationQueueHead = 0x080;

    /// <summary><c>IQT_REG</c>, 64 bits (section 11.4.9.2): <see cref="InvalidationQueue"/>.</summary>
    public const uint InvalidationQueueTail = 0x088;

    /// <summary><c>IQA_REG</c>, 64 bits (section 11.4.9.3): <see cref="InvalidationQueue"/>.</summary>
    public const uint InvalidationQueueAddress = 0x090;

    /// <summary><c>ICS_REG</c>, 32 bits (section 11.4.9.4): bit 0, <c>IWC</c>.</summary>
    public const uint InvalidationCompletionStatus = 0x09c;

    /// <summary><c>IECTL_REG</c>, 32 bits (section 11.4.9.5): <see cref="EventControl"/>.</summary>
    public const uint InvalidationEventControl = 0x0a0;

    /// <summary><c>IEDATA_REG</c>, 32 bits (section 11.4.9.6).</summary>
    public const uint InvalidationEventData = 0x0a4;

    /// <summary><c>IEADDR_REG</c>, 32 bits (section 11.4.9.7).</summary>
    public const uint InvalidationEventAddress = 0x0a8;

    /// <summary><c>IEUADDR_REG</c>, 32 bits (section 11.4.9.8).</summary>
    public const uint InvalidationEventUpperAddress = 0x0ac;

    /// <summary><c>IQERCD_REG</c>, 64 bits (section 11.4.9.9): <see cref="InvalidationQueueErrorRecord"/>.</summary>
    public const uint InvalidationQueueErrorRecord = 0x0b0;

    /// <summary><c>IRTA_REG</c>, 64 bits (section 11.4.10): <see cref="InterruptTable"/>.</summary>
    public const uint InterruptTableAddress = 0x0b8;

    /// <summary><c>PQH_REG</c>, 64 bits (section 11.4.11.1): <see cref="PageRequestQueue"/>.</summary>
    public const uint PageRequestQueueHead = 0x0c0;

    /// <summary><c>PQT_REG</c>, 64 bits (section 11.4.11.2): <see cref="PageRequestQueue"/>.</summary>
    public const uint PageRequestQueueTail = 0x0c8;

    /// <summary><c>PQA_REG</c>, 64 bits (section 11.4.11.3): <see cref="PageRequestQueue"/>.</summary>
    public const uint PageRequestQueueAddress = 0x0d0;

    /// <summary><c>PRS_REG</c>, 32 bits (section 11.4.11.4): <see cref="Architecture.PageRequestStatus"/>.</summary>
    public const uint PageRequestStatus = 0x0dc;

    /// <summary><c>PECTL_REG</c>, 32 bits (section 11.4.11.5): <see cref="EventControl"/>.</summary>
    public const uint PageRequestEventControl = 0x0e0;

    /// <summary><c>PEDATA_REG</c>, 32 bits (section 11.4.11.6).</summary>
    public const uint PageRequestEventData = 0x0e4;

    /// <summary><c>PEADDR_REG</c>, 32 bits (section 11.4.11.7).</summary>
    public const uint PageRequestEventAddress = 0x0e8;

    /// <summary><c>PEUADDR_REG</c>, 32 bits (section 11.4.11.8).</summary>
    public const uint PageRequestEventUpperAddress = 0x0ec;

    /// <summary><c>IVA_REG</c>, from the offset that <c>ECAP_REG.IRO</c> tells (section 11.4.6.4): <see cref="InvalidateAddress"/>.</summary>
    public const uint InvalidateAddressFromIro = 0x0;

    /// <summary><c>IOTLB_REG</c>, from the offset that <c>ECAP_REG.IRO</c> tells (section 11.4.6.3): <see cref="IotlbInvalidate"/>.</summary>
    public const uint IotlbInvalidateFromIro = 0x8;
}

/// <summary>Bits of <c>GCMD_REG</c> and of <c>GSTS_REG</c>, which has them at the same places (sections 11.4.4.1, 11.4.4.2).</summary>
internal static class GlobalControl
{
    /// <summary><c>TE</c>, <c>TES</c>: DMA remapping.</summary>
    public const uint TranslationEnableBit = 1u << 31;

    /// <summary><c>SRTP</c>, <c>RTPS</c>: the root table pointer takes effect. One-shot.</summary>
    public const uint SetRootTableBit = 1u << 30;

    /// <summary><c>WBF</c>, <c>WBFS</c>: write buffers are flushed. One-shot.</summary>
    public const uint WriteBufferFlushBit = 1u << 27;

    /// <summary><c>QIE</c>, <c>QIES</c>: queued invalidation.</summary>
    public const uint QueuedInvalidationEnableBit = 1u << 26;

    /// <summary><c>IRE</c>, <c>IRES</c>: interrupt remapping.</summary>
    public const uint InterruptRemappingEnableBit = 1u << 25;

    /// <summary><c>SIRTP</c>, <c>IRTPS</c>: the interrupt remapping table pointer takes effect. One-shot.</summary>
    public const uint SetInterruptTableBit = 1u << 24;

    /// <summary><c>CFI</c>, <c>CFIS</c>: interrupts in compatibility format pass.</summary>
    public const uint CompatibilityInterruptBit = 1u << 23;

    /// <summary>The one-shot bits: software leaves them out of the status when it makes a command of it.</summary>
    public const uint OneShotMask = SetRootTableBit | WriteBufferFlushBit | SetInterruptTableBit;
}

/// <summary>What the tables are that the root table pointer leads to (section 11.4.5, <c>TTM</c>).</summary>
internal enum TranslationTableMode
{
    /// <summary>Root and context tables.</summary>
    Legacy = 0,

    /// <summary>Scalable-mode root and context tables.</summary>
    Scalable = 1,

    /// <summary>Reserved.</summary>
    Reserved = 2,

    /// <summary>All DMA is aborted (section 3.4.4).</summary>
    AbortDma = 3,
}

/// <summary>Fields of <c>RTADDR_REG</c> (section 11.4.5).</summary>
internal static class RootTable
{
    /// <summary>Position of <c>TTM</c>, 2 bits.</summary>
    public const int ModeShift = 10;

    /// <summary><c>SSIRWE</c>: I/O read and write bits in second-stage entries.</summary>
    public const ulong SecondStageIoPermissionsBit = 1ul << 7;

    /// <summary>The bits that software can write.</summary>
    public const ulong WritableMask = ~0xffful | (3ul << ModeShift);

    /// <summary>The mode.</summary>
    public static TranslationTableMode Mode(ulong register) => (TranslationTableMode)((register >> ModeShift) & 3);

    /// <summary>The address of the table.</summary>
    public static ulong Address(ulong register) => register & ~0xffful;
}

/// <summary>Fields of <c>CCMD_REG</c> (section 11.4.6.1).</summary>
internal static class ContextCommand
{
    /// <summary><c>ICC</c>: run the command; 0 when it is done.</summary>
    public const ulong InvalidateBit = 1ul << 63;

    /// <summary>Position of <c>CIRG</c>, 2 bits: an <see cref="InvalidationGranularity"/>.</summary>
    public const int GranularityShift = 61;

    /// <summary>Position of <c>CAIG</c>, 2 bits: what was done, 0 for an error.</summary>
    public const int ActualGranularityShift = 59;

    /// <summary>Position of <c>FM</c>, 2 bits (Table 21).</summary>
    public const int FunctionMaskShift = 32;

    /// <summary>Position of <c>SID</c>, 16 bits.</summary>
    public const int SourceIdShift = 16;
}

/// <summary>Fields of <c>IOTLB_REG</c> (section 11.4.6.3).</summary>
internal static class IotlbInvalidate
{
    /// <summary><c>IVT</c>: run the command; 0 when it is done.</summary>
    public const ulong InvalidateBit = 1ul << 63;

    /// <summary>Position of <c>IIRG</c>, 2 bits: an <see cref="InvalidationGranularity"/>.</summary>
    public const int GranularityShift = 60;

    /// <summary>Position of <c>IAIG</c>, 2 bits: what was done, 0 for an error.</summary>
    public const int ActualGranularityShift = 57;

    /// <summary>Position of <c>DID</c>, 16 bits.</summary>
    public const int DomainIdShift = 32;
}

/// <summary>Fields of <c>IVA_REG</c> (section 11.4.6.4), and of the second doubleword of IOTLB invalidation descriptors.</summary>
internal static class InvalidateAddress
{
    /// <summary><c>AM</c>: log2 of the 4 KiB pages (Table 22).</summary>
    public const ulong AddressMaskMask = 0x3f;

    /// <summary><c>IH</c>: no entry but leaves was changed.</summary>
    public const ulong HintBit = 1ul << 6;

    /// <summary>Reserved: 11:7.</summary>
    public const ulong ReservedMask = 0xf80;
}

/// <summary>What an invalidation of the context cache or of the IOTLB is about (sections 11.4.6.1, 11.4.6.3).</summary>
internal enum InvalidationGranularity
{
    /// <summary>Reserved; as a result, an error.</summary>
    Reserved = 0,

    /// <summary>Everything.</summary>
    Global = 1,

    /// <summary>One domain.</summary>
    Domain = 2,

    /// <summary>One device (context cache), or a range of pages of one domain (IOTLB).</summary>
    Selective = 3,
}

/// <summary>Bits of <c>FSTS_REG</c> (section 11.4.7.1).</summary>
internal static class FaultStatus
{
    /// <summary><c>PFO</c>: faults were lost. Write 1 to clear.</summary>
    public const uint OverflowBit = 1u << 0;

    /// <summary><c>PPF</c>: some fault recording register has F. Read only.</summary>
    public const uint PendingBit = 1u << 1;

    /// <summary><c>IQE</c>: invalidation queue error. Write 1 to clear.</summary>
    public const uint QueueErrorBit = 1u << 4;

    /// <summary><c>ICE</c>: invalidation completion error. Write 1 to clear.</summary>
    public const uint CompletionErrorBit = 1u << 5;

    /// <summary><c>ITE</c>: invalidation time-out error. Write 1 to clear.</summary>
    public const uint TimeoutErrorBit = 1u << 6;

    /// <summary>Position of <c>FRI</c>, 8 bits: the recording register of the first pending fault.</summary>
    public const int RecordIndexShift = 8;
}

/// <summary>Bits of the control registers of the three events (sections 11.4.7.2, 11.4.9.5, 11.4.11.5).</summary>
internal static class EventControl
{
    /// <summary><c>IM</c>: no message is sent. 1 after reset.</summary>
    public const uint MaskBit = 1u << 31;

    /// <summary><c>IP</c>: a message waits. Read only.</summary>
    public const uint PendingBit = 1u << 30;
}

/// <summary>Fields of <c>IQH_REG</c>, <c>IQT_REG</c> and <c>IQA_REG</c> (sections 11.4.9.1 to 11.4.9.3).</summary>
internal static class InvalidationQueue
{
    /// <summary>Head and tail: the offset in the queue, in bytes.</summary>
    public const ulong OffsetMask = 0x7_fff0;

    /// <summary>Bit 4 of an offset, which has no place in it with descriptors of 256 bits.</summary>
    public const ulong HalfDescriptorBit = 1ul << 4;

    /// <summary>Address: <c>QS</c>, log2 of the 4 KiB pages of the queue.</summary>
    public const ulong SizeMask = 7;

    /// <summary>Address: <c>DW</c>, descriptors have 256 bits.</summary>
    public const ulong WideDescriptorsBit = 1ul << 11;

    /// <summary>The bits of the address register that software can write.</summary>
    public const ulong AddressWritableMask = ~0xffful | WideDescriptorsBit | SizeMask;
}

/// <summary>Fields of <c>IQERCD_REG</c> (section 11.4.9.9).</summary>
internal static class InvalidationQueueErrorRecord
{
    /// <summary><c>IQEI</c>: an <see cref="InvalidationQueueError"/>.</summary>
    public const ulong ErrorMask = 0xf;

    /// <summary>Position of <c>ITESID</c>, 16 bits: the requester whose invalidation timed out.</summary>
    public const int TimeoutSourceShift = 32;

    /// <summary>Position of <c>ICESID</c>, 16 bits: the requester of a wrong completion.</summary>
    public const int CompletionSourceShift = 48;
}

/// <summary>Why the invalidation queue stopped (section 11.4.9.9, <c>IQEI</c>).</summary>
internal enum InvalidationQueueError
{
    /// <summary>Nothing is known.</summary>
    None = 0,

    /// <summary>The tail is not in the queue.</summary>
    InvalidTail = 1,

    /// <summary>A descriptor cannot be read.</summary>
    FetchError = 2,

    /// <summary>The type is unknown, or not valid in this mode (Table 26).</summary>
    InvalidType = 3,

    /// <summary>A reserved field is not 0.</summary>
    ReservedField = 4,

    /// <summary>The descriptor width does not go with the mode or the capabilities.</summary>
    InvalidWidth = 5,

    /// <summary>The tail is in the middle of a descriptor of 256 bits.</summary>
    MisalignedTail = 6,

    /// <summary><c>RTADDR_REG.TTM</c> has a value that is not supported.</summary>
    InvalidTableMode = 7,
}

/// <summary>Fields of <c>IRTA_REG</c> (section 11.4.10).</summary>
internal static class InterruptTable
{
    /// <summary><c>S</c>: the table has 2^(S+1) entries.</summary>
    public const ulong SizeMask = 0xf;

    /// <summary><c>EIME</c>: x2APIC destinations.</summary>
    public const ulong ExtendedModeBit = 1ul << 11;

    /// <summary>The address of the table.</summary>
    public static ulong Address(ulong register) => register & ~0xffful;

    /// <summary>How many entries it has.</summary>
    public static uint EntryCount(ulong register) => 2u << (int)(register & SizeMask);
}

/// <summary>Fields of <c>PQH_REG</c>, <c>PQT_REG</c> and <c>PQA_REG</c> (sections 11.4.11.1 to 11.4.11.3).</summary>
internal static class PageRequestQueue
{
    /// <summary>Head and tail: the offset in the queue, in bytes.</summary>
    public const ulong OffsetMask = 0x7_ffe0;

    /// <summary>Address: <c>PQS</c>, log2 of the 4 KiB pages of the queue.</summary>
    public const ulong SizeMask = 7;
}

/// <summary>Bits of <c>PRS_REG</c> (section 11.4.11.4); write 1 to clear.</summary>
internal static class PageRequestStatus
{
    /// <summary><c>PPR</c>: there are page requests.</summary>
    public const uint PendingBit = 1u << 0;

    /// <summary><c>PRO</c>: the queue was full.</summary>
    public const uint OverflowBit = 1u << 1;
}

/// <summary>Fields of a fault recording register, <c>FRCD_REG</c>, 128 bits (section 11.4.7.6). <c>High</c>: in the second doubleword.</summary>
internal static class FaultRecord
{
    /// <summary>Bytes of a register.</summary>
    public const int Size = 16;

    /// <summary><c>FI</c>: the page address; for interrupts the index of the entry, at <see cref="InterruptIndexShift"/>.</summary>
    public const ulong AddressMask = ~0xffful;

    /// <summary>Position of the interrupt index in <c>FI</c>, 16 bits.</summary>
    public const int InterruptIndexShift = 48;

    /// <summary><c>SID</c>, 16 bits at 0.</summary>
    public const ulong HighSourceIdMask = 0xffff;

    /// <summary><c>T2</c>: with <see cref="HighType1Bit"/> the type of request.</summary>
    public const ulong HighType2Bit = 1ul << 28;

    /// <summary><c>PRIV</c>: supervisor privilege was requested.</summary>
    public const ulong HighPrivilegedBit = 1ul << 29;

    /// <summary><c>EXE</c>: execute permission was requested.</summary>
    public const ulong HighExecuteBit = 1ul << 30;

    /// <summary><c>PP</c>: the request had a PASID.</summary>
    public const ulong HighPasidPresentBit = 1ul << 31;

    /// <summary>Position of <c>FR</c>, 8 bits: a <see cref="FaultReason"/>.</summary>
    public const int HighReasonShift = 32;

    /// <summary>Position of <c>PV</c>, 20 bits: the PASID.</summary>
    public const int HighPasidShift = 40;

    /// <summary>Position of <c>AT</c>, 2 bits: 0 untranslated, 1 translation request, 2 translated.</summary>
    public const int HighAddressTypeShift = 60;

    /// <summary><c>T1</c>: a read or an atomic operation (with T2); else a write or a page request (with T2).</summary>
    public const ulong HighType1Bit = 1ul << 62;

    /// <summary><c>F</c>: the register holds a fault. Write 1 to clear.</summary>
    public const ulong HighFaultBit = 1ul << 63;
}
