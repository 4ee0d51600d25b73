namespace Ioasis.RiscV.Architecture;

/// <summary>Causes of faults (section 3.2, "Fault record CAUSE field encodings").</summary>
public enum FaultCause
{
    /// <summary>No fault.</summary>
    None = 0,

    /// <summary>Instruction access fault.</summary>
    InstructionAccessFault = 1,

    /// <summary>Read address misaligned.</summary>
    ReadAddressMisaligned = 4,

    /// <summary>Read access fault.</summary>
    ReadAccessFault = 5,

    /// <summary>Write/AMO address misaligned.</summary>
    WriteAddressMisaligned = 6,

    /// <summary>Write/AMO access fault.</summary>
    WriteAccessFault = 7,

    /// <summary>Instruction page fault.</summary>
    InstructionPageFault = 12,

    /// <summary>Read page fault.</summary>
    ReadPageFault = 13,

    /// <summary>Write/AMO page fault.</summary>
    WritePageFault = 15,

    /// <summary>Instruction guest-page fault.</summary>
    InstructionGuestPageFault = 20,

    /// <summary>Read guest-page fault.</summary>
    ReadGuestPageFault = 21,

    /// <summary>Write/AMO guest-page fault.</summary>
    WriteGuestPageFault = 23,

    /// <summary>All inbound transactions disallowed.</summary>
    AllInboundDisallowed = 256,

    /// <summary>DDT entry load access fault.</summary>
    DdtEntryLoadAccessFault = 257,

    /// <summary>DDT entry not valid.</summary>
    DdtEntryNotValid = 258,

    /// <summary>DDT entry misconfigured.</summary>
    DdtEntryMisconfigured = 259,

    /// <summary>Transaction type disallowed.</summary>
    TransactionTypeDisallowed = 260,

    /// <summary>MSI PTE load access fault.</summary>
    MsiPteLoadAccessFault = 261,

    /// <summary>MSI PTE not valid.</summary>
    MsiPteNotValid = 262,

    /// <summary>MSI PTE misconfigured.</summary>
    MsiPteMisconfigured = 263,

    /// <summary>MRIF access fault.</summary>
    MrifAccessFault = 264,

    /// <summary>PDT entry load access fault.</summary>
    PdtEntryLoadAccessFault = 265,

    /// <summary>PDT entry not valid.</summary>
    PdtEntryNotValid = 266,

    /// <summary>PDT entry misconfigured.</summary>
    PdtEntryMisconfigured = 267,

    /// <summary>DDT data corruption.</summary>
    DdtDataCorruption = 268,

    /// <summary>PDT data corruption.</summary>
    PdtDataCorruption = 269,

    /// <summary>MSI PT data corruption.</summary>
    MsiPtDataCorruption = 270,

    /// <summary>MSI MRIF data corruption.</summary>
    MrifDataCorruption = 271,

    /// <summary>Internal data path error.</summary>
    InternalDataPathError = 272,

    /// <summary>IOMMU MSI write access fault.</summary>
    MsiWriteAccessFault = 273,

    /// <summary>First/second-stage PT data corruption.</summary>
    PageTableDataCorruption = 274,
}

/// <summary>Types of inbound transactions in fault records (section 3.2, "Fault record TTYP field encodings").</summary>
public enum TransactionType
{
    /// <summary>Not caused by an inbound transaction.</summary>
    None = 0,

    /// <summary>Untranslated read for execute.</summary>
    UntranslatedExecute = 1,

    /// <summary>Untranslated read.</summary>
    UntranslatedRead = 2,

    /// <summary>Untranslated write or AMO.</summary>
    UntranslatedWrite = 3,

    /// <summary>Translated read for execute.</summary>
    TranslatedExecute = 5,

    /// <summary>Translated read.</summary>
    TranslatedRead = 6,

    /// <summary>Translated write or AMO.</summary>
    TranslatedWrite = 7,

    /// <summary>PCIe ATS translation request.</summary>
    AtsTranslationRequest = 8,

    /// <summary>PCIe message request.</summary>
    MessageRequest = 9,
}

/// <summary>Names of causes, and which of them <c>DC.tc.DTF</c> leaves reported (section 3.2).</summary>
internal static class FaultCauses
{
    /// <summary>The usual name of a fault of a device's request; null for other causes.</summary>
    public static string? NameOf(FaultCause cause) => cause switch
    {
        FaultCause.InstructionAccessFault => "instruction access fault",
        FaultCause.ReadAccessFault => "read access fault",
        FaultCause.WriteAccessFault => "write access fault",
        FaultCause.InstructionPageFault => "instruction page fault",
        FaultCause.ReadPageFault => "read page fault",
        FaultCause.WritePageFault => "write page fault",
        FaultCause.InstructionGuestPageFault => "instruction guest page fault",
        FaultCause.ReadGuestPageFault => "read guest page fault",
        FaultCause.WriteGuestPageFault => "write guest page fault",
        FaultCause.AllInboundDisallowed => "all inbound transactions disallowed",
        FaultCause.DdtEntryLoadAccessFault => "DDT entry load access fault",
        FaultCause.DdtEntryNotValid => "DDT entry not valid",
        FaultCause.DdtEntryMisconfigured => "DDT entry misconfigured",
        FaultCause.TransactionTypeDisallowed => "transaction type disallowed",
        _ => null,
    };

    /// <summary>Whether a fault is reported even if DTF is 1.</summary>
    public static bool IsReportedWithDtf(this FaultCause cause) => cause is FaultCause.AllInboundDisallowed
        or FaultCause.DdtEntryLoadAccessFault or FaultCause.DdtEntryNotValid or FaultCause.DdtEntryMisconfigured
        or FaultCause.DdtDataCorruption or FaultCause.InternalDataPathError or FaultCause.MsiWriteAccessFault;
}

/// <summary>A record of the fault queue (section 3.2): 32 bytes, four doublewords in the byte order of <c>fctl.BE</c>.</summary>
/// <param name="Header">Doubleword 0: cause, process, type, device.</param>
/// <param name="Reserved">Doubleword 1: 31:0 for custom use, the rest reserved.</param>
/// <param name="Iotval">Doubleword 2: the IOVA, or the code of the message.</param>
/// <param name="Iotval2">Doubleword 3: of guest-page faults, the guest physical address and the bits below.</param>
public readonly record struct FaultRecord(ulong Header, ulong Reserved, ulong Iotval, ulong Iotval2)
{
    /// <summary><c>CAUSE</c>, 12 bits at 0.</summary>
    public const ulong CauseMask = 0xfff;

    /// <summary>Position of <c>PID</c>, 20 bits.</summary>
    public const int PidShift = 12;

    /// <summary><c>PV</c>: the PID is valid.</summary>
    public const ulong PidValidBit = 1ul << 32;

    /// <summary><c>PRIV</c>: supervisor.</summary>
    public const ulong PrivilegedBit = 1ul << 33;

    /// <summary>Position of <c>TTYP</c>, 6 bits.</summary>
    public const int TypeShift = 34;

    /// <summary>Position of <c>DID</c>, 24 bits.</summary>
    public const int DeviceShift = 40;

    /// <summary>Bit 0 of <c>iotval2</c>: an implicit access of the first stage faulted.</summary>
    public const ulong ImplicitBit = 1ul << 0;

    /// <summary>Bit 1 of <c>iotval2</c>: that access was a write.</summary>
    public const ulong ImplicitWriteBit = 1ul << 1;

    /// <summary>The cause.</summary>
    public FaultCause Cause => (FaultCause)(Header & CauseMask);

    /// <summary>The process, if <see cref="HasProcess"/>.</summary>
    public uint ProcessId => (uint)(Header >> PidShift) & 0xf_ffff;

    /// <summary>Whether there is a process.</summary>
    public bool HasProcess => (Header & PidValidBit) != 0;

    /// <summary>Whether the transaction was a supervisor's.</summary>
    public bool IsPrivileged => (Header & PrivilegedBit) != 0;

    /// <summary>The type of the transaction.</summary>
    public TransactionType Type => (TransactionType)((Header >> TypeShift) & 0x3f);

    /// <summary>The device, 24 bits.</summary>
    public uint DeviceId => (uint)(Header >> DeviceShift);
}

/// <summary>A record of the page-request queue (section 3.3): 16 bytes, two doublewords in the byte order of <c>fctl.BE</c>.</summary>
/// <param name="Header">Doubleword 0: process, privilege, execute, device.</param>
/// <param name="Payload">Doubleword 1: body of the message, see <see cref="PageRequestPayload"/>.</param>
internal readonly record struct PageRequestRecord(ulong Header, ulong Payload)
{
    /// <summary>Position of <c>PID</c>, 20 bits.</summary>
    public const int PidShift = 12;

    /// <summary><c>PV</c>: the PID is valid.</summary>
    public const ulong PidValidBit = 1ul << 32;

    /// <summary><c>PRIV</c>: supervisor.</summary>
    public const ulong PrivilegedBit = 1ul << 33;

    /// <summary><c>EXEC</c>: execute requested.</summary>
    public const ulong ExecuteBit = 1ul << 34;

    /// <summary>Position of <c>DID</c>, 24 bits.</summary>
    public const int DeviceShift = 40;

    /// <summary>The process, if <see cref="HasProcess"/>.</summary>
    public uint ProcessId => (uint)(Header >> PidShift) & 0xf_ffff;

    /// <summary>Whether there is a process.</summary>
    public bool HasProcess => (Header & PidValidBit) != 0;

    /// <summary>Whether privileged access is requested.</summary>
    public bool IsPrivileged => (Header & PrivilegedBit) != 0;

    /// <summary>Whether execution is requested.</summary>
    public bool IsExecute => (Header & ExecuteBit) != 0;

    /// <summary>The device, 24 bits.</summary>
    public uint DeviceId => (uint)(Header >> DeviceShift);
}

/// <summary>Bodies of PCIe messages about pages (section 3.3, "PAYLOAD of a Page request message"; section 5.1.4).</summary>
internal static class PageRequestPayload
{
    /// <summary><c>R</c>: read access is wanted.</summary>
    public const ulong ReadBit = 1ul << 0;

    /// <summary><c>W</c>: write access is wanted.</summary>
    public const ulong WriteBit = 1ul << 1;

    /// <summary><c>L</c>: the last request of its group.</summary>
    public const ulong LastBit = 1ul << 2;

    /// <summary>Position of the page request group index, 9 bits.</summary>
    public const int GroupShift = 3;

    /// <summary>The group index, shifted down.</summary>
    public const ulong GroupMask = 0x1ff;

    /// <summary>The page address in place.</summary>
    public const ulong AddressMask = ~0xffful;

    /// <summary>In a group response: position of the group index.</summary>
    public const int ResponseGroupShift = 32;

    /// <summary>In a group response: position of the response code, see <see cref="PageResponseCode"/>.</summary>
    public const int ResponseCodeShift = 44;
}

/// <summary>Codes of page request group responses (PCIe; section 2.7).</summary>
internal enum PageResponseCode
{
    /// <summary>All pages of the group are there.</summary>
    Success = 0,

    /// <summary>At least one page does not exist or may not be accessed.</summary>
    InvalidRequest = 1,

    /// <summary>Catastrophic: the device must stop making page requests.</summary>
    ResponseFailure = 15,
}

/// <summary>PCIe message codes as fault records and messages carry them.</summary>
internal static class PcieMessageCode
{
    /// <summary>ATS Invalidation Request.</summary>
    public const int InvalidationRequest = 0x01;

    /// <summary>ATS Invalidation Completion.</summary>
    public const int InvalidationCompletion = 0x02;

    /// <summary>Page Request.</summary>
    public const int PageRequest = 0x04;

    /// <summary>Page Request Group Response.</summary>
    public const int PageRequestGroupResponse = 0x05;
}

/// <summary>Bodies of ATS invalidation requests (section 3.1.4).</summary>
internal static class AtsInvalidatePayload
{
    /// <summary><c>G</c>: in all PASIDs.</summary>
    public const ulong GlobalBit = 1ul << 0;

    /// <summary><c>S</c>: the address is a NAPOT range.</summary>
    public const ulong RangeBit = 1ul << 11;

    /// <summary>The untranslated address in place.</summary>
    public const ulong AddressMask = ~0xffful;
}
