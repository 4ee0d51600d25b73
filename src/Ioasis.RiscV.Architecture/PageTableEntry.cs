namespace Ioasis.RiscV.Architecture;

/// <summary>
/// Page-table entries of both stages, as the Privileged specification defines them (chapter "Supervisor-Level ISA", Sv32 to Sv57,
/// Svnapot, Svpbmt; chapter "Hypervisor Extension", Sv32x4 to Sv57x4). Sv32 entries have 4 bytes and end with the PPN in 31:10.
/// </summary>
internal static class PageTableEntry
{
    /// <summary><c>V</c>.</summary>
    public const ulong ValidBit = 1ul << 0;

    /// <summary><c>R</c>.</summary>
    public const ulong ReadBit = 1ul << 1;

    /// <summary><c>W</c>.</summary>
    public const ulong WriteBit = 1ul << 2;

    /// <summary><c>X</c>.</summary>
    public const ulong ExecuteBit = 1ul << 3;

    /// <summary><c>U</c>: for user mode; the second stage wants it set.</summary>
    public const ulong UserBit = 1ul << 4;

    /// <summary><c>G</c>: in all address spaces (first stage).</summary>
    public const ulong GlobalBit = 1ul << 5;

    /// <summary><c>A</c>: accessed.</summary>
    public const ulong AccessedBit = 1ul << 6;

    /// <summary><c>D</c>: dirty.</summary>
    public const ulong DirtyBit = 1ul << 7;

    /// <summary><c>RSW</c>: for software.</summary>
    public const ulong SoftwareMask = 3ul << 8;

    /// <summary>The bits that make a leaf: R, W or X.</summary>
    public const ulong LeafMask = ReadBit | WriteBit | ExecuteBit;

    /// <summary>Position of the PPN: also that of <see cref="PpnField"/>.</summary>
    public const int PpnShift = 10;

    /// <summary>The PPN of an 8-byte entry, in place.</summary>
    public const ulong PpnMask = PpnField.Mask;

    /// <summary>Reserved always: 58:54.</summary>
    public const ulong ReservedMask = 0x1ful << 54;

    /// <summary>60:59: for software with Svrsw60t59b, else reserved.</summary>
    public const ulong Rsw60t59bMask = 3ul << 59;

    /// <summary>Position of <c>PBMT</c>.</summary>
    public const int PbmtShift = 61;

    /// <summary><c>PBMT</c> in place: reserved without Svpbmt and in non-leaf entries.</summary>
    public const ulong PbmtMask = 3ul << PbmtShift;

    /// <summary><c>N</c>: naturally aligned power of 2 (Svnapot); reserved in non-leaf entries.</summary>
    public const ulong NapotBit = 1ul << 63;

    /// <summary>The low four bits of the PPN of a 64 KiB NAPOT entry.</summary>
    public const ulong Napot64KPpnCode = 0b1000;
}

/// <summary>Page-based memory types (Svpbmt).</summary>
internal enum PageMemoryType
{
    /// <summary>As the PMAs say.</summary>
    Pma = 0,

    /// <summary>Non-cacheable, idempotent.</summary>
    NonCacheable = 1,

    /// <summary>I/O.</summary>
    Io = 2,

    /// <summary>Reserved.</summary>
    Reserved = 3,
}

/// <summary>MSI page-table entries, 16 bytes (section 2.3.3, and the Advanced Interrupt Architecture specification, chapter 8).</summary>
internal static class MsiPageTableEntry
{
    /// <summary>Bytes of an entry.</summary>
    public const int Size = 16;

    /// <summary><c>V</c>, doubleword 0.</summary>
    public const ulong ValidBit = 1ul << 0;

    /// <summary>Position of <c>M</c>, doubleword 0, 2 bits.</summary>
    public const int ModeShift = 1;

    /// <summary><c>M</c>, shifted down.</summary>
    public const ulong ModeMask = 3;

    /// <summary><c>M</c>: memory-resident interrupt file.</summary>
    public const int ModeMrif = 1;

    /// <summary><c>M</c>: basic translate mode.</summary>
    public const int ModeBasic = 3;

    /// <summary><c>C</c>: custom use of the entry, doubleword 0.</summary>
    public const ulong CustomBit = 1ul << 63;

    /// <summary>Basic mode: reserved in doubleword 0 (9:3 and 62:54); doubleword 1 is ignored. The PPN is a <see cref="PpnField"/>.</summary>
    public const ulong BasicReservedMask = 0x7fc0_0000_0000_03f8;

    /// <summary>MRIF mode: position of <c>MRIF_Address[55:9]</c>, doubleword 0, 47 bits.</summary>
    public const int MrifAddressShift = 7;

    /// <summary>MRIF mode: <c>MRIF_Address[55:9]</c>, shifted down.</summary>
    public const ulong MrifAddressMask = (1ul << 47) - 1;

    /// <summary>MRIF mode: reserved in doubleword 0 (6:3 and 62:54).</summary>
    public const ulong MrifReservedMask0 = 0x7fc0_0000_0000_0078;

    /// <summary>MRIF mode: <c>N[9:0]</c>, doubleword 1. The notice's PPN is a <see cref="PpnField"/>.</summary>
    public const ulong NoticeIdLowMask = 0x3ff;

    /// <summary>MRIF mode: position of <c>N10</c>, doubleword 1.</summary>
    public const int NoticeId10Shift = 60;

    /// <summary>MRIF mode: reserved in doubleword 1 (59:54 and 63:61).</summary>
    public const ulong MrifReservedMask1 = 0xefc0_0000_0000_0000;
}
