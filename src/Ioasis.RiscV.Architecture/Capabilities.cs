namespace Ioasis.RiscV.Architecture;

/// <summary>How the IOMMU can signal its own interrupts: <c>capabilities.IGS</c> (section 5.3).</summary>
internal enum InterruptGeneration
{
    /// <summary>Messages only.</summary>
    Msi = 0,

    /// <summary>Wires only.</summary>
    Wsi = 1,

    /// <summary>Both; <c>fctl.WSI</c> chooses.</summary>
    Both = 2,

    /// <summary>Reserved for standard use.</summary>
    Reserved = 3,
}

/// <summary>The <c>capabilities</c> register (section 5.3): what an IOMMU supports.</summary>
/// <param name="Value">The register, 64 bits.</param>
internal readonly record struct Capabilities(ulong Value)
{
    /// <summary>Bits 7:0, <c>version</c>: major in the high, minor in the low nibble.</summary>
    public const ulong VersionMask = 0xff;

    /// <summary>The value of <c>version</c> for specification 1.0.</summary>
    public const ulong Version10 = 0x10;

    /// <summary><c>Sv32</c>: 32-bit virtual addresses in the first stage.</summary>
    public const ulong Sv32Bit = 1ul << 8;

    /// <summary><c>Sv39</c>: 39-bit virtual addresses in the first stage.</summary>
    public const ulong Sv39Bit = 1ul << 9;

    /// <summary><c>Sv48</c>: 48-bit virtual addresses in the first stage; implies <see cref="Sv39Bit"/>.</summary>
    public const ulong Sv48Bit = 1ul << 10;

    /// <summary><c>Sv57</c>: 57-bit virtual addresses in the first stage; implies <see cref="Sv48Bit"/>.</summary>
    public const ulong Sv57Bit = 1ul << 11;

    /// <summary><c>Svrsw60t59b</c>: PTE bits 60:59 are for software (section 8.4).</summary>
    public const ulong Svrsw60t59bBit = 1ul << 14;

    /// <summary><c>Svpbmt</c>: page-based memory types.</summary>
    public const ulong SvpbmtBit = 1ul << 15;

    /// <summary><c>Sv32x4</c>: 34-bit guest physical addresses in the second stage.</summary>
    public const ulong Sv32x4Bit = 1ul << 16;

    /// <summary><c>Sv39x4</c>: 41-bit guest physical addresses in the second stage.</summary>
    public const ulong Sv39x4Bit = 1ul << 17;

    /// <summary><c>Sv48x4</c>: 50-bit guest physical addresses in the second stage.</summary>
    public const ulong Sv48x4Bit = 1ul << 18;

    /// <summary><c>Sv57x4</c>: 59-bit guest physical addresses in the second stage.</summary>
    public const ulong Sv57x4Bit = 1ul << 19;

    /// <summary><c>AMO_MRIF</c>: atomic updates of memory-resident interrupt files.</summary>
    public const ulong AmoMrifBit = 1ul << 21;

    /// <summary><c>MSI_FLAT</c>: MSI page tables with basic-mode PTEs; device contexts have the extended format.</summary>
    public const ulong MsiFlatBit = 1ul << 22;

    /// <summary><c>MSI_MRIF</c>: MSI PTEs in MRIF mode.</summary>
    public const ulong MsiMrifBit = 1ul << 23;

    /// <summary><c>AMO_HWAD</c>: hardware updates of the accessed and dirty bits.</summary>
    public const ulong AmoHwadBit = 1ul << 24;

    /// <summary><c>ATS</c>: PCIe address translation services and page requests.</summary>
    public const ulong AtsBit = 1ul << 25;

    /// <summary><c>T2GPA</c>: ATS completions may carry guest physical addresses.</summary>
    public const ulong T2gpaBit = 1ul << 26;

    /// <summary><c>END</c>: both byte orders.</summary>
    public const ulong EndBit = 1ul << 27;

    /// <summary>Position of <c>IGS</c>, 2 bits.</summary>
    public const int IgsShift = 28;

    /// <summary><c>HPM</c>: performance counters.</summary>
    public const ulong HpmBit = 1ul << 30;

    /// <summary><c>DBG</c>: the translation-request interface (section 4).</summary>
    public const ulong DbgBit = 1ul << 31;

    /// <summary>Position of <c>PAS</c>, 6 bits.</summary>
    public const int PasShift = 32;

    /// <summary><c>PD8</c>: one-level process directories.</summary>
    public const ulong Pd8Bit = 1ul << 38;

    /// <summary><c>PD17</c>: two-level process directories.</summary>
    public const ulong Pd17Bit = 1ul << 39;

    /// <summary><c>PD20</c>: three-level process directories.</summary>
    public const ulong Pd20Bit = 1ul << 40;

    /// <summary><c>QOSID</c>: quality-of-service identifiers (section 8.1).</summary>
    public const ulong QosIdBit = 1ul << 41;

    /// <summary><c>NL</c>: invalidation of non-leaf PTEs (section 8.2).</summary>
    public const ulong NonLeafInvalidationBit = 1ul << 42;

    /// <summary><c>S</c>: invalidation of address ranges (section 8.3).</summary>
    public const ulong RangeInvalidationBit = 1ul << 43;

    /// <summary>Whether any of the bits of <paramref name="mask"/> is set.</summary>
    public bool Has(ulong mask) => (Value & mask) != 0;

    /// <summary><c>version</c>.</summary>
    public int Version => (int)(Value & VersionMask);

    /// <summary><c>Sv32</c>.</summary>
    public bool Sv32 => Has(Sv32Bit);

    /// <summary><c>Sv39</c>.</summary>
    public bool Sv39 => Has(Sv39Bit);

    /// <summary><c>Sv48</c>.</summary>
    public bool Sv48 => Has(Sv48Bit);

    /// <summary><c>Sv57</c>.</summary>
    public bool Sv57 => Has(Sv57Bit);

    /// <summary><c>Svrsw60t59b</c>.</summary>
    public bool Svrsw60t59b => Has(Svrsw60t59bBit);

    /// <summary><c>Svpbmt</c>.</summary>
    public bool Svpbmt => Has(SvpbmtBit);

    /// <summary><c>Sv32x4</c>.</summary>
    public bool Sv32x4 => Has(Sv32x4Bit);

    /// <summary><c>Sv39x4</c>.</summary>
    public bool Sv39x4 => Has(Sv39x4Bit);

    /// <summary><c>Sv48x4</c>.</summary>
    public bool Sv48x4 => Has(Sv48x4Bit);

    /// <summary><c>Sv57x4</c>.</summary>
    public bool Sv57x4 => Has(Sv57x4Bit);

    /// <summary><c>AMO_MRIF</c>.</summary>
    public bool AmoMrif => Has(AmoMrifBit);

    /// <summary><c>MSI_FLAT</c>.</summary>
    public bool MsiFlat => Has(MsiFlatBit);

    /// <summary><c>MSI_MRIF</c>.</summary>
    public bool MsiMrif => Has(MsiMrifBit);

    /// <summary><c>AMO_HWAD</c>.</summary>
    public bool AmoHwad => Has(AmoHwadBit);

    /// <summary><c>ATS</c>.</summary>
    public bool Ats => Has(AtsBit);

    /// <summary><c>T2GPA</c>.</summary>
    public bool T2gpa => Has(T2gpaBit);

    /// <summary><c>END</c>.</summary>
    public bool End => Has(EndBit);

    /// <summary><c>IGS</c>.</summary>
    public InterruptGeneration Igs => (InterruptGeneration)((Value >> IgsShift) & 3);

    /// <summary><c>HPM</c>.</summary>
    public bool Hpm => Has(HpmBit);

    /// <summary><c>DBG</c>.</summary>
    public bool Dbg => Has(DbgBit);

    /// <summary><c>PAS</c>: width in bits of a physical address.</summary>
    public int PhysicalAddressSize => (int)(Value >> PasShift) & 0x3f;

    /// <summary><c>PD8</c>.</summary>
    public bool Pd8 => Has(Pd8Bit);

    /// <summary><c>PD17</c>.</summary>
    public bool Pd17 => Has(Pd17Bit);

    /// <summary><c>PD20</c>.</summary>
    public bool Pd20 => Has(Pd20Bit);

    /// <summary><c>QOSID</c>.</summary>
    public bool QosId => Has(QosIdBit);

    /// <summary><c>NL</c>.</summary>
    public bool NonLeafInvalidation => Has(NonLeafInvalidationBit);

    /// <summary><c>S</c>.</summary>
    public bool RangeInvalidation => Has(RangeInvalidationBit);

    /// <summary>Bytes of a device context: 64 (extended format) with <c>MSI_FLAT</c>, else 32 (section 2, "Data structures").</summary>
    public int DeviceContextSize => MsiFlat ? 64 : 32;
}
