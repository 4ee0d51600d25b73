namespace Ioasis.RiscV.Architecture;

/// <summary>The <c>fctl</c> register (section 5.4).</summary>
internal static class FeaturesControl
{
    /// <summary><c>BE</c>: tables under the IOMMU's control, commands, queues and MSIs are big-endian.</summary>
    public const uint BigEndianBit = 1u << 0;

    /// <summary><c>WSI</c>: interrupts are wires, not messages.</summary>
    public const uint WiredInterruptsBit = 1u << 1;

    /// <summary><c>GXL</c>: second-stage schemes are those of 32-bit guests.</summary>
    public const uint GxlBit = 1u << 2;
}

/// <summary><c>ddtp.iommu_mode</c> (section 5.5).</summary>
public enum IommuMode
{
    /// <summary>No inbound transaction is allowed.</summary>
    Off = 0,

    /// <summary>Everything untranslated passes through.</summary>
    Bare = 1,

    /// <summary>One-level device directory.</summary>
    OneLevel = 2,

    /// <summary>Two-level device directory.</summary>
    TwoLevel = 3,

    /// <summary>Three-level device directory.</summary>
    ThreeLevel = 4,
}

/// <summary>Page numbers as registers and directory entries hold them: 44 bits at bit 10 (sections 2.1.1, 5.5, 5.6).</summary>
internal static class PpnField
{
    /// <summary>Position of the field.</summary>
    public const int Shift = 10;

    /// <summary>How many bits a PPN has everywhere in the specification.</summary>
    public const int Bits = 44;

    /// <summary>The field in place.</summary>
    public const ulong Mask = ((1ul << Bits) - 1) << Shift;

    /// <summary>The byte address that a value with such a field points to.</summary>
    public static ulong ToAddress(ulong value) => (value & Mask) << (12 - Shift);

    /// <summary>The field for a page-aligned byte address below 2^56.</summary>
    public static ulong FromAddress(ulong address) => (address >> (12 - Shift)) & Mask;
}

/// <summary>The <c>ddtp</c> register (section 5.5); its PPN is a <see cref="PpnField"/>.</summary>
internal static class DeviceDirectoryTablePointer
{
    /// <summary><c>iommu_mode</c>: see <see cref="IommuMode"/>.</summary>
    public const ulong ModeMask = 0xf;

    /// <summary><c>busy</c>.</summary>
    public const ulong BusyBit = 1ul << 4;
}

/// <summary><c>cqb</c>, <c>fqb</c> and <c>pqb</c> (sections 5.6, 5.9, 5.12); their PPN is a <see cref="PpnField"/>.</summary>
internal static class QueueBase
{
    /// <summary><c>LOG2SZ-1</c>: log2 of the number of entries, minus 1.</summary>
    public const ulong Log2SizeMinus1Mask = 0x1f;

    /// <summary>Bytes of a command (section 3.1).</summary>
    public const int CommandSize = 16;

    /// <summary>Bytes of a fault record (section 3.2).</summary>
    public const int FaultRecordSize = 32;

    /// <summary>Bytes of a page-request record (section 3.3).</summary>
    public const int PageRequestSize = 16;
}

/// <summary>What <c>cqcsr</c>, <c>fqcsr</c> and <c>pqcsr</c> have in common, and what each has of its own (sections 5.15 to 5.17).</summary>
public static class QueueCsr
{
    /// <summary><c>cqen</c>, <c>fqen</c>, <c>pqen</c>: software wants the queue on.</summary>
    public const uint EnableBit = 1u << 0;

    /// <summary><c>cie</c>, <c>fie</c>, <c>pie</c>: interrupts from the queue are enabled.</summary>
    public const uint InterruptEnableBit = 1u << 1;

    /// <summary><c>cqmf</c>, <c>fqmf</c>, <c>pqmf</c>, RW1C: an access to memory failed.</summary>
    public const uint MemoryFaultBit = 1u << 8;

    /// <summary><c>cmd_to</c> of <c>cqcsr</c>, RW1C: an IOFENCE.C found an ATS invalidation that timed out.</summary>
    public const uint CommandTimeoutBit = 1u << 9;

    /// <summary><c>fqof</c> and <c>pqof</c>, RW1C: the queue was full.</summary>
    public const uint OverflowBit = 1u << 9;

    /// <summary><c>cmd_ill</c> of <c>cqcsr</c>, RW1C: illegal or unsupported command.</summary>
    public const uint CommandIllegalBit = 1u << 10;

    /// <summary><c>fence_w_ip</c> of <c>cqcsr</c>, RW1C: an IOFENCE.C with WSI completed.</summary>
    public const uint FenceWiredInterruptBit = 1u << 11;

    /// <summary><c>cqon</c>, <c>fqon</c>, <c>pqon</c>, read-only: the queue is on.</summary>
    public const uint OnBit = 1u << 16;

    /// <summary><c>busy</c>, read-only.</summary>
    public const uint BusyBit = 1u << 17;
}

/// <summary>The <c>ipsr</c> register, RW1C (section 5.18).</summary>
[Flags]
internal enum InterruptPending : uint
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary><c>cip</c>: command queue.</summary>
    CommandQueue = 1u << 0,

    /// <summary><c>fip</c>: fault queue.</summary>
    FaultQueue = 1u << 1,

    /// <summary><c>pmip</c>: a counter overflowed.</summary>
    PerformanceMonitor = 1u << 2,

    /// <summary><c>pip</c>: page-request queue.</summary>
    PageRequestQueue = 1u << 3,

    /// <summary>All of them.</summary>
    All = CommandQueue | FaultQueue | PerformanceMonitor | PageRequestQueue,
}

/// <summary>The <c>icvec</c> register (section 5.28): 4-bit vectors by cause.</summary>
internal static class InterruptCauseToVector
{
    /// <summary>Position of <c>civ</c>, the vector of the command queue.</summary>
    public const int CommandQueueShift = 0;

    /// <summary>Position of <c>fiv</c>, the vector of the fault queue.</summary>
    public const int FaultQueueShift = 4;

    /// <summary>Position of <c>pmiv</c>, the vector of the performance monitor.</summary>
    public const int PerformanceMonitorShift = 8;

    /// <summary>Position of <c>piv</c>, the vector of the page-request queue.</summary>
    public const int PageRequestQueueShift = 12;

    /// <summary>A vector, shifted down.</summary>
    public const ulong VectorMask = 0xf;
}

/// <summary><c>iommu_qosid</c> (section 5.27).</summary>
internal static class QosId
{
    /// <summary><c>RCID</c> in place.</summary>
    public const uint RcidMask = 0xfff;

    /// <summary>Position of <c>MCID</c>.</summary>
    public const int McidShift = 16;

    /// <summary><c>MCID</c> in place.</summary>
    public const uint McidMask = 0xfffu << McidShift;
}
