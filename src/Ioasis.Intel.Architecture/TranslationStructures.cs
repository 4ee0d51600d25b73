namespace Ioasis.Intel.Architecture;

/// <summary>A legacy root entry, 16 bytes, one a bus (section 9.1).</summary>
internal static class RootEntry
{
    /// <summary>Bytes of an entry.</summary>
    public const int Size = 16;

    /// <summary><c>P</c>.</summary>
    public const ulong PresentBit = 1ul << 0;

    /// <summary>Reserved: 11:1. Bits from the host address width up and the second doubleword are reserved too.</summary>
    public const ulong ReservedMask = 0xffe;
}

/// <summary>A legacy context entry, 16 bytes, one a function (section 9.3). <c>High</c>: in the second doubleword.</summary>
internal static class ContextEntry
{
    /// <summary>Bytes of an entry.</summary>
    public const int Size = 16;

    /// <summary><c>P</c>.</summary>
    public const ulong PresentBit = 1ul << 0;

    /// <summary><c>FPD</c>: qualified faults are not reported.</summary>
    public const ulong FaultDisableBit = 1ul << 1;

    /// <summary>Position of <c>TT</c>, 2 bits: a <see cref="ContextTranslationType"/>.</summary>
    public const int TranslationTypeShift = 2;

    /// <summary>Reserved: 11:4.</summary>
    public const ulong ReservedMask = 0xff0;

    /// <summary><c>AW</c>: 1, 2 and 3 are 3, 4 and 5 levels.</summary>
    public const ulong HighAddressWidthMask = 7;

    /// <summary>Position of <c>DID</c>, 16 bits.</summary>
    public const int HighDomainIdShift = 8;

    /// <summary>Reserved: 71 and 127:88.</summary>
    public const ulong HighReservedMask = (1ul << 7) | ~0xff_fffful;
}

/// <summary><c>TT</c> of a legacy context entry (section 9.3).</summary>
internal enum ContextTranslationType
{
    /// <summary>Untranslated requests are translated; ATS requests are blocked.</summary>
    SecondStage = 0,

    /// <summary>All kinds of requests.</summary>
    SecondStageWithDeviceTlb = 1,

    /// <summary>Untranslated requests pass; ATS requests are blocked.</summary>
    PassThrough = 2,

    /// <summary>Reserved.</summary>
    Reserved = 3,
}

/// <summary>A scalable-mode root entry: two doublewords, for devices 0 to 15 and 16 to 31 of a bus (section 9.2).</summary>
internal static class ScalableRootEntry
{
    /// <summary>Bytes of an entry.</summary>
    public const int Size = 16;

    /// <summary><c>LP</c>, <c>UP</c>.</summary>
    public const ulong PresentBit = 1ul << 0;

    /// <summary>Reserved: 11:1.</summary>
    public const ulong ReservedMask = 0xffe;
}

/// <summary>A scalable-mode context entry, 32 bytes (section 9.4). <c>High</c>: in the second doubleword; the others are reserved.</summary>
internal static class ScalableContextEntry
{
    /// <summary>Bytes of an entry.</summary>
    public const int Size = 32;

    /// <summary><c>P</c>.</summary>
    public const ulong PresentBit = 1ul << 0;

    /// <summary><c>FPD</c>: qualified faults are not reported.</summary>
    public const ulong FaultDisableBit = 1ul << 1;

    /// <summary><c>DTE</c>: ATS requests are allowed.</summary>
    public const ulong DeviceTlbBit = 1ul << 2;

    /// <summary><c>PASIDE</c>: requests with PASID are allowed.</summary>
    public const ulong PasidBit = 1ul << 3;

    /// <summary><c>PRE</c>: page requests are allowed.</summary>
    public const ulong PageRequestBit = 1ul << 4;

    /// <summary><c>HPTE</c>: translated requests are checked in the host permission table.</summary>
    public const ulong HostPermissionBit = 1ul << 5;

    /// <summary><c>EPTR</c>: translated requests may have a PASID.</summary>
    public const ulong TranslatedPasidBit = 1ul << 6;

    /// <summary>Reserved: 8:7.</summary>
    public const ulong ReservedMask = 3ul << 7;

    /// <summary>Position of <c>PDTS</c>, 3 bits: the PASID directory has 2^(PDTS+7) entries.</summary>
    public const int DirectorySizeShift = 9;

    /// <summary><c>RID_PASID</c>: the PASID of requests that have none.</summary>
    public const ulong HighRidPasidMask = 0xf_ffff;

    /// <summary><c>RID_PRIV</c>: the privilege of requests that have no PASID.</summary>
    public const ulong HighRidPrivilegeBit = 1ul << 20;

    /// <summary>Reserved: 127:85.</summary>
    public const ulong HighReservedMask = ~0x1f_fffful;
}

/// <summary>A scalable-mode PASID directory entry, 8 bytes, one for 64 PASIDs (section 9.5).</summary>
internal static class PasidDirectoryEntry
{
    /// <summary>Bytes of an entry.</summary>
    public const int Size = 8;

    /// <summary>How many PASIDs an entry is for, as log2.</summary>
    public const int PasidShift = 6;

    /// <summary><c>P</c>.</summary>
    public const ulong PresentBit = 1ul << 0;

    /// <summary><c>FPD</c>: qualified faults are not reported.</summary>
    public const ulong FaultDisableBit = 1ul << 1;

    /// <summary>Reserved: 11:2.</summary>
    public const ulong ReservedMask = 0xffc;
}

/// <summary>A scalable-mode PASID table entry, 64 bytes (section 9.6). Constants are named after their doubleword, <c>Word0</c> to <c>Word2</c>.</summary>
internal static class PasidTableEntry
{
    /// <summary>Bytes of an entry.</summary>
    public const int Size = 64;

    /// <summary><c>P</c>.</summary>
    public const ulong Word0PresentBit = 1ul << 0;

    /// <summary><c>FPD</c>: qualified faults are not reported.</summary>
    public const ulong Word0FaultDisableBit = 1ul << 1;

    /// <summary>Position of <c>AW</c>, 3 bits: 1, 2 and 3 are 3, 4 and 5 levels of second stage.</summary>
    public const int Word0AddressWidthShift = 2;

    /// <summary>Position of <c>PGTT</c>, 3 bits: a <see cref="PasidTranslationType"/>.</summary>
    public const int Word0TranslationTypeShift = 6;

    /// <summary><c>SSADE</c>: accessed and dirty bits in the second stage.</summary>
    public const ulong Word0SecondStageDirtyBit = 1ul << 9;

    /// <summary>Reserved: 11:10 and 5.</summary>
    public const ulong Word0ReservedMask = (3ul << 10) | (1ul << 5);

    /// <summary><c>DID</c>, bits 79:64.</summary>
    public const ulong Word1DomainIdMask = 0xffff;

    /// <summary><c>PWSNP</c>, bit 87: page walks snoop.</summary>
    public const ulong Word1PageWalkSnoopBit = 1ul << 23;

    /// <summary><c>PGSNP</c>, bit 88: accesses snoop.</summary>
    public const ulong Word1PageSnoopBit = 1ul << 24;

    /// <summary>Bits for memory types, 127:96, 90 (<c>EMTE</c>) and 89 (<c>CD</c>): reserved without <c>ECAP_REG.MTS</c>.</summary>
    public const ulong Word1MemoryTypeMask = (0xffff_fffful << 32) | (3ul << 25);

    /// <summary>Reserved: 95:91 and 86:80.</summary>
    public const ulong Word1ReservedMask = (0x1ful << 27) | (0x7ful << 16);

    /// <summary><c>SRE</c>, bit 128: supervisor requests are allowed.</summary>
    public const ulong Word2SupervisorBit = 1ul << 0;

    /// <summary>Position of <c>FSPM</c>, bits 131:130: 0 is 4 levels of first stage, 1 is 5.</summary>
    public const int Word2PagingModeShift = 2;

    /// <summary><c>WPE</c>, bit 132: supervisors cannot write pages that are read-only.</summary>
    public const ulong Word2WriteProtectBit = 1ul << 4;

    /// <summary><c>EAFE</c>, bit 135: extended accessed flags.</summary>
    public const ulong Word2ExtendedAccessedBit = 1ul << 7;

    /// <summary>Reserved: 139:136 and 129.</summary>
    public const ulong Word2ReservedMask = (0xful << 8) | (1ul << 1);
}

/// <summary><c>PGTT</c> of a PASID table entry (section 9.6).</summary>
internal enum PasidTranslationType
{
    /// <summary>Reserved.</summary>
    Reserved = 0,

    /// <summary>First stage only.</summary>
    FirstStage = 1,

    /// <summary>Second stage only.</summary>
    SecondStage = 2,

    /// <summary>First stage, with its tables and pages behind the second stage.</summary>
    Nested = 3,

    /// <summary>No translation.</summary>
    PassThrough = 4,
}

/// <summary>Bits of first-stage paging entries (section 9.7, Tables 34 to 40).</summary>
internal static class FirstStageEntry
{
    /// <summary><c>P</c>.</summary>
    public const ulong PresentBit = 1ul << 0;

    /// <summary><c>R/W</c>.</summary>
    public const ulong WriteBit = 1ul << 1;

    /// <summary><c>U/S</c>.</summary>
    public const ulong UserBit = 1ul << 2;

    /// <summary><c>A</c>.</summary>
    public const ulong AccessedBit = 1ul << 5;

    /// <summary><c>D</c>, of an entry that maps a page.</summary>
    public const ulong DirtyBit = 1ul << 6;

    /// <summary><c>PS</c>: the entry maps a page of 2 MiB or 1 GiB. Reserved in PML5 and PML4 entries; PAT in page-table entries.</summary>
    public const ulong PageSizeBit = 1ul << 7;

    /// <summary><c>EA</c>, with <c>EAFE</c>.</summary>
    public const ulong ExtendedAccessedBit = 1ul << 10;

    /// <summary>The address of a table or of a page of 4 KiB, 51:12.</summary>
    public const ulong AddressMask = 0x000f_ffff_ffff_f000;

    /// <summary>PAT of an entry that maps a large page; bits between it and the page's address are reserved.</summary>
    public const ulong LargePagePatBit = 1ul << 12;
}

/// <summary>Bits of second-stage paging entries (section 9.8, Tables 41 to 47).</summary>
internal static class SecondStageEntry
{
    /// <summary><c>R</c>.</summary>
    public const ulong ReadBit = 1ul << 0;

    /// <summary><c>W</c>.</summary>
    public const ulong WriteBit = 1ul << 1;

    /// <summary><c>PS</c>: the entry maps a page of 2 MiB or 1 GiB. Reserved in PML5 and PML4 entries; ignored in page-table entries.</summary>
    public const ulong PageSizeBit = 1ul << 7;

    /// <summary><c>A</c>, with <c>SSADE</c>.</summary>
    public const ulong AccessedBit = 1ul << 8;

    /// <summary><c>D</c>, with <c>SSADE</c>, of an entry that maps a page.</summary>
    public const ulong DirtyBit = 1ul << 9;

    /// <summary><c>SNP</c>: accesses to the page snoop. Reserved in entries that lead to tables, and without <c>ECAP_REG.SC</c>.</summary>
    public const ulong SnoopBit = 1ul << 11;

    /// <summary>The address of a table or of a page of 4 KiB, 51:12.</summary>
    public const ulong AddressMask = 0x000f_ffff_ffff_f000;

    /// <summary><c>IW</c>: reserved unless I/O permissions are enabled (<c>RTADDR_REG.SSIRWE</c>).</summary>
    public const ulong IoWriteBit = 1ul << 62;
}
