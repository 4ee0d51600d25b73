namespace Ioasis.RiscV.Architecture;

// This project holds the layouts of the RISC-V IOMMU specification (riscv-non-isa/riscv-iommu, version 1.0.1 with the
// extensions QOSID, NL, S and Svrsw60t59b) and nothing else: no behaviour, no policy. Files follow the specification's order. Constants name
// bits in place (`...Mask`, `...Bit`) or positions (`...Shift`); section numbers are those of the specification.

/// <summary>
/// Offsets in bytes of the memory-mapped registers (section 5.1, "Register layout"). Registers are little-endian; the
/// page has <see cref="PageSize"/> bytes.
/// </summary>
public static class RegisterOffset
{
    /// <summary>Size in bytes of the register page (section 5).</summary>
    public const uint PageSize = 4096;

    /// <summary><c>capabilities</c>, 8 bytes, read-only (section 5.3).</summary>
    public const uint Capabilities = 0;

    /// <summary><c>fctl</c>, 4 bytes (section 5.4).</summary>
    public const uint FeaturesControl = 8;

    /// <summary><c>ddtp</c>, 8 bytes (section 5.5).</summary>
    public const uint DeviceDirectoryTablePointer = 16;

    /// <summary><c>cqb</c>, 8 bytes (section 5.6).</summary>
    public const uint CommandQueueBase = 24;

    /// <summary><c>cqh</c>, 4 bytes, read-only (section 5.7).</summary>
    public const uint CommandQueueHead = 32;

    /// <summary><c>cqt</c>, 4 bytes (section 5.8).</summary>
    public const uint CommandQueueTail = 36;

    /// <summary><c>fqb</c>, 8 bytes (section 5.9).</summary>
    public const uint FaultQueueBase = 40;

    /// <summary><c>fqh</c>, 4 bytes (section 5.10).</summary>
    public const uint FaultQueueHead = 48;

    /// <summary><c>fqt</c>, 4 bytes, read-only (section 5.11).</summary>
    public const uint FaultQueueTail = 52;

    /// <summary><c>pqb</c>, 8 bytes (section 5.12).</summary>
    public const uint PageRequestQueueBase = 56;

    /// <summary><c>pqh</c>, 4 bytes (section 5.13).</summary>
    public const uint PageRequestQueueHead = 64;

    /// <summary><c>pqt</c>, 4 bytes, read-only (section 5.14).</summary>
    public const uint PageRequestQueueTail = 68;

    /// <summary><c>cqcsr</c>, 4 bytes (section 5.15).</summary>
    public const uint CommandQueueCsr = 72;

    /// <summary><c>fqcsr</c>, 4 bytes (section 5.16).</summary>
    public const uint FaultQueueCsr = 76;

    /// <summary><c>pqcsr</c>, 4 bytes (section 5.17).</summary>
    public const uint PageRequestQueueCsr = 80;

    /// <summary><c>ipsr</c>, 4 bytes (section 5.18).</summary>
    public const uint InterruptPendingStatus = 84;

    /// <summary><c>iocountovf</c>, 4 bytes, read-only (section 5.19).</summary>
    public const uint CounterOverflow = 88;

    /// <summary><c>iocountinh</c>, 4 bytes (section 5.20).</summary>
    public const uint CounterInhibit = 92;

    /// <summary><c>iohpmcycles</c>, 8 bytes (section 5.21).</summary>
    public const uint CyclesCounter = 96;

    /// <summary><c>iohpmctr1</c>, 8 bytes, the first of 31 (section 5.22).</summary>
    public const uint EventCounter1 = 104;

    /// <summary><c>iohpmevt1</c>, 8 bytes, the first of 31 (section 5.23).</summary>
    public const uint EventSelector1 = 352;

    /// <summary>How many <c>iohpmctr</c> and <c>iohpmevt</c> registers the page has room for (section 5.1).</summary>
    public const int EventCounterCount = 31;

    /// <summary><c>tr_req_iova</c>, 8 bytes (section 5.24).</summary>
    public const uint TranslationRequestIova = 600;

    /// <summary><c>tr_req_ctl</c>, 8 bytes (section 5.25).</summary>
    public const uint TranslationRequestControl = 608;

    /// <summary><c>tr_response</c>, 8 bytes, read-only (section 5.26).</summary>
    public const uint TranslationResponse = 616;

    /// <summary><c>iommu_qosid</c>, 4 bytes (section 5.27).</summary>
    public const uint QosId = 624;

    /// <summary><c>icvec</c>, 8 bytes (section 5.28).</summary>
    public const uint InterruptCauseToVector = 760;

    /// <summary><c>msi_cfg_tbl</c>, 16 entries of 16 bytes (section 5.29).</summary>
    public const uint MsiConfigurationTable = 768;
}

/// <summary>One entry of <c>msi_cfg_tbl</c> (section 5.29).</summary>
internal static class MsiConfiguration
{
    /// <summary>Bytes of an entry.</summary>
    public const uint EntrySize = 16;

    /// <summary>Entries of the table.</summary>
    public const int EntryCount = 16;

    /// <summary>Offset in an entry of <c>msi_addr</c>, 8 bytes.</summary>
    public const uint AddressOffset = 0;

    /// <summary>Offset in an entry of <c>msi_data</c>, 4 bytes.</summary>
    public const uint DataOffset = 8;

    /// <summary>Offset in an entry of <c>msi_vec_ctl</c>, 4 bytes.</summary>
    public const uint VectorControlOffset = 12;

    /// <summary>The bits of <c>msi_addr</c> that exist: 55:2.</summary>
    public const ulong AddressMask = 0x00ff_ffff_ffff_fffc;

    /// <summary><c>msi_vec_ctl.M</c>: the vector is masked.</summary>
    public const uint MaskedBit = 1u << 0;
}
