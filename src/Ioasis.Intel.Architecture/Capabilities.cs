namespace Ioasis.Intel.Architecture;

/// <summary><c>CAP_REG</c> (section 11.4.2).</summary>
/// <param name="Value">The register.</param>
public readonly record struct Capability(ulong Value)
{
    /// <summary><c>CM</c>: entries that are not present or wrong may be cached (section 6.1).</summary>
    public const ulong CachingModeBit = 1ul << 7;

    /// <summary><c>RWBF</c>: write buffers have to be flushed (section 6.8).</summary>
    public const ulong WriteBufferFlushBit = 1ul << 4;

    /// <summary>Position of <c>SAGAW</c>, 5 bits: bit 1 is 3 levels, bit 2 is 4, bit 3 is 5.</summary>
    public const int AddressWidthsShift = 8;

    /// <summary>Position of <c>MGAW</c>, 6 bits: the width less 1.</summary>
    public const int GuestAddressWidthShift = 16;

    /// <summary><c>ZLR</c>: reads of 0 bytes may go to pages that can only be written.</summary>
    public const ulong ZeroLengthReadBit = 1ul << 22;

    /// <summary>Position of <c>FRO</c>, 10 bits: offset of the fault recording registers in units of 16 bytes.</summary>
    public const int FaultRecordOffsetShift = 24;

    /// <summary><c>SSLPS</c> bit 0: second-stage pages of 2 MiB.</summary>
    public const ulong SecondStage2MiBBit = 1ul << 34;

    /// <summary><c>SSLPS</c> bit 1: second-stage pages of 1 GiB.</summary>
    public const ulong SecondStage1GiBBit = 1ul << 35;

    /// <summary><c>PSI</c>: page-selective invalidation.</summary>
    public const ulong PageSelectiveBit = 1ul << 39;

    /// <summary>Position of <c>NFR</c>, 8 bits: fault recording registers, less 1.</summary>
    public const int FaultRecordCountShift = 40;

    /// <summary>Position of <c>MAMV</c>, 6 bits: the largest address mask.</summary>
    public const int MaxAddressMaskShift = 48;

    /// <summary><c>DWD</c>: writes can be drained.</summary>
    public const ulong DrainWritesBit = 1ul << 54;

    /// <summary><c>DRD</c>: reads can be drained.</summary>
    public const ulong DrainReadsBit = 1ul << 55;

    /// <summary><c>FS1GP</c>: first-stage pages of 1 GiB.</summary>
    public const ulong FirstStage1GiBBit = 1ul << 56;

    /// <summary><c>FS5LP</c>: first-stage tables of 5 levels.</summary>
    public const ulong FirstStage5LevelBit = 1ul << 60;

    /// <summary><c>ESIRTPS</c>: setting the interrupt table invalidates all of its caches.</summary>
    public const ulong SetInterruptTableInvalidatesBit = 1ul << 62;

    /// <summary><c>ESRTPS</c>: setting the root table invalidates all DMA remapping caches.</summary>
    public const ulong SetRootTableInvalidatesBit = 1ul << 63;

    /// <summary>Bits of a domain-ID: <c>4 + 2 * ND</c>.</summary>
    public int DomainIdBits => 4 + (2 * (int)(Value & 7));

    /// <summary>See <see cref="CachingModeBit"/>.</summary>
    public bool CachingMode => (Value & CachingModeBit) != 0;

    /// <summary>Whether second-stage tables of that many levels are supported: 3, 4 or 5.</summary>
    public bool SupportsLevels(int levels) => levels is >= 3 and <= 5 && (Value >> (AddressWidthsShift + levels - 2) & 1) != 0;

    /// <summary>The widest adjusted guest address width that is supported: 57, 48 or 39 bits; 0 without any.</summary>
    public int LargestAddressWidth => SupportsLevels(5) ? 57 : SupportsLevels(4) ? 48 : SupportsLevels(3) ? 39 : 0;

    /// <summary><c>MGAW</c>, in bits.</summary>
    public int MaxGuestAddressWidth => (int)((Value >> GuestAddressWidthShift) & 0x3f) + 1;

    /// <summary>See <see cref="ZeroLengthReadBit"/>.</summary>
    public bool ZeroLengthRead => (Value & ZeroLengthReadBit) != 0;

    /// <summary>Offset of the fault recording registers, in bytes.</summary>
    public uint FaultRecordOffset => (uint)((Value >> FaultRecordOffsetShift) & 0x3ff) * 16;

    /// <summary>See <see cref="SecondStage2MiBBit"/>.</summary>
    public bool SecondStage2MiB => (Value & SecondStage2MiBBit) != 0;

    /// <summary>See <see cref="SecondStage1GiBBit"/>.</summary>
    public bool SecondStage1GiB => (Value & SecondStage1GiBBit) != 0;

    /// <summary>See <see cref="PageSelectiveBit"/>.</summary>
    public bool PageSelective => (Value & PageSelectiveBit) != 0;

    /// <summary>How many fault recording registers there are, 1 to 256.</summary>
    public int FaultRecordCount => (int)((Value >> FaultRecordCountShift) & 0xff) + 1;

    /// <summary><c>MAMV</c>.</summary>
    public int MaxAddressMask => (int)((Value >> MaxAddressMaskShift) & 0x3f);

    /// <summary>See <see cref="FirstStage1GiBBit"/>.</summary>
    public bool FirstStage1GiB => (Value & FirstStage1GiBBit) != 0;

    /// <summary>See <see cref="FirstStage5LevelBit"/>.</summary>
    public bool FirstStage5Level => (Value & FirstStage5LevelBit) != 0;

    /// <summary>See <see cref="SetInterruptTableInvalidatesBit"/>.</summary>
    public bool SetInterruptTableInvalidates => (Value & SetInterruptTableInvalidatesBit) != 0;

    /// <summary>See <see cref="SetRootTableInvalidatesBit"/>.</summary>
    public bool SetRootTableInvalidates => (Value & SetRootTableInvalidatesBit) != 0;
}

/// <summary><c>ECAP_REG</c> (section 11.4.3).</summary>
/// <param name="Value">The register.</param>
public readonly record struct ExtendedCapability(ulong Value)
{
    /// <summary><c>C</c>: accesses to root, context, PASID and interrupt tables and to legacy page tables are coherent.</summary>
    public const ulong CoherentBit = 1ul << 0;

    /// <summary><c>QI</c>: queued invalidation.</summary>
    public const ulong QueuedInvalidationBit = 1ul << 1;

    /// <summary><c>DT</c>: device-TLBs (ATS).</summary>
    public const ulong DeviceTlbBit = 1ul << 2;

    /// <summary><c>IR</c>: interrupt remapping.</summary>
    public const ulong InterruptRemappingBit = 1ul << 3;

    /// <summary><c>EIM</c>: x2APIC destinations.</summary>
    public const ulong ExtendedInterruptModeBit = 1ul << 4;

    /// <summary><c>PT</c>: pass-through.</summary>
    public const ulong PassThroughBit = 1ul << 6;

    /// <summary><c>SC</c>: snoop control.</summary>
    public const ulong SnoopControlBit = 1ul << 7;

    /// <summary>Position of <c>IRO</c>, 10 bits: offset of the IOTLB registers in units of 16 bytes.</summary>
    public const int IotlbOffsetShift = 8;

    /// <summary>Position of <c>MHMV</c>, 4 bits: the largest index mask.</summary>
    public const int MaxHandleMaskShift = 20;

    /// <summary><c>NEST</c>: nested translation.</summary>
    public const ulong NestedBit = 1ul << 26;

    /// <summary><c>PRS</c>: page requests.</summary>
    public const ulong PageRequestBit = 1ul << 29;

    /// <summary><c>SRS</c>: requests with supervisor privilege.</summary>
    public const ulong SupervisorRequestBit = 1ul << 31;

    /// <summary><c>NWFS</c>: the "no write" flag of translation requests counts.</summary>
    public const ulong NoWriteFlagBit = 1ul << 33;

    /// <summary><c>EAFS</c>: extended accessed flag.</summary>
    public const ulong ExtendedAccessedBit = 1ul << 34;

    /// <summary>Position of <c>PSS</c>, 5 bits: the bits of a PASID, less 1.</summary>
    public const int PasidSizeShift = 35;

    /// <summary><c>PASID</c>: requests with PASID.</summary>
    public const ulong PasidBit = 1ul << 40;

    /// <summary><c>DIT</c>: device-TLB invalidations are throttled.</summary>
    public const ulong InvalidationThrottleBit = 1ul << 41;

    /// <summary><c>PDS</c>: page requests can be drained.</summary>
    public const ulong PageRequestDrainBit = 1ul << 42;

    /// <summary><c>SMTS</c>: scalable mode.</summary>
    public const ulong ScalableModeBit = 1ul << 43;

    /// <summary><c>SSADS</c>: accessed and dirty bits in the second stage.</summary>
    public const ulong SecondStageDirtyBit = 1ul << 45;

    /// <summary><c>SSTS</c>: second-stage translation in scalable mode.</summary>
    public const ulong SecondStageBit = 1ul << 46;

    /// <summary><c>FSTS</c>: first-stage translation.</summary>
    public const ulong FirstStageBit = 1ul << 47;

    /// <summary><c>SMPWCS</c>: page walks in scalable mode may snoop.</summary>
    public const ulong PageWalkCoherencyBit = 1ul << 48;

    /// <summary><c>RPS</c>: <c>RID_PASID</c> counts; else requests without PASID use PASID 0.</summary>
    public const ulong RidPasidBit = 1ul << 49;

    /// <summary><c>ADMS</c>: abort-DMA mode.</summary>
    public const ulong AbortDmaBit = 1ul << 52;

    /// <summary><c>RPRIVS</c>: <c>RID_PRIV</c> counts.</summary>
    public const ulong RidPrivilegeBit = 1ul << 53;

    /// <summary><c>SMS</c>: stop markers.</summary>
    public const ulong StopMarkerBit = 1ul << 58;

    /// <summary><c>EIMER</c>: interrupts are blocked unless x2APIC destinations are enabled.</summary>
    public const ulong ExtendedInterruptModeRequiredBit = 1ul << 61;

    /// <summary><c>IRREQ</c>: interrupts are blocked unless interrupt remapping is enabled.</summary>
    public const ulong InterruptRemappingRequiredBit = 1ul << 62;

    /// <summary>Whether every bit of a mask is set.</summary>
    public bool Has(ulong bits) => (Value & bits) == bits;

    /// <summary>Offset of the IOTLB registers, in bytes.</summary>
    public uint IotlbOffset => (uint)((Value >> IotlbOffsetShift) & 0x3ff) * 16;

    /// <summary><c>MHMV</c>.</summary>
    public int MaxHandleMask => (int)((Value >> MaxHandleMaskShift) & 0xf);

    /// <summary>The bits of a PASID, 1 to 32.</summary>
    public int PasidBits => (int)((Value >> PasidSizeShift) & 0x1f) + 1;
}
