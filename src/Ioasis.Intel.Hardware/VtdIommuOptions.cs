using Ioasis.Hardware;
using Ioasis.Intel.Architecture;

namespace Ioasis.Intel.Hardware;

/// <summary>What an embedder chooses when it makes a <see cref="VtdIommu"/>: capabilities, and what the specification leaves to implementations.</summary>
public sealed record VtdIommuOptions
{
    /// <summary>
    /// Everything that the model has in <c>CAP_REG</c> but <c>CM</c>: second stages of 3, 4 and 5 levels, first stages of 4 and 5, pages of 2 MiB and
    /// 1 GiB, 16-bit domain-IDs, a guest address width of 57 bits, 8 fault recording registers at 0x220.
    /// </summary>
    public static Capability AllCapabilities { get; } = new(
        6 | (0xeul << Capability.AddressWidthsShift) | (56ul << Capability.GuestAddressWidthShift) | Capability.ZeroLengthReadBit
        | (0x22ul << Capability.FaultRecordOffsetShift) | Capability.SecondStage2MiBBit | Capability.SecondStage1GiBBit
        | Capability.PageSelectiveBit | (7ul << Capability.FaultRecordCountShift) | (18ul << Capability.MaxAddressMaskShift)
        | Capability.DrainWritesBit | Capability.DrainReadsBit | Capability.FirstStage1GiBBit | Capability.FirstStage5LevelBit
        | Capability.SetInterruptTableInvalidatesBit | Capability.SetRootTableInvalidatesBit);

    /// <summary>
    /// Everything that the model has in <c>ECAP_REG</c> but what takes something away (<c>DIT</c>, <c>EIMER</c>, <c>IRREQ</c>): scalable mode with
    /// nesting, 20-bit PASIDs, ATS, page requests, interrupt remapping; IOTLB registers at 0x0f0.
    /// </summary>
    public static ExtendedCapability AllExtendedCapabilities { get; } = new(
        ExtendedCapability.CoherentBit | ExtendedCapability.QueuedInvalidationBit | ExtendedCapability.DeviceTlbBit
        | ExtendedCapability.InterruptRemappingBit | ExtendedCapability.ExtendedInterruptModeBit | ExtendedCapability.PassThroughBit
        | ExtendedCapability.SnoopControlBit | (0xful << ExtendedCapability.IotlbOffsetShift) | (0xful << ExtendedCapability.MaxHandleMaskShift)
        | ExtendedCapability.NestedBit | ExtendedCapability.PageRequestBit | ExtendedCapability.SupervisorRequestBit
        | ExtendedCapability.NoWriteFlagBit | ExtendedCapability.ExtendedAccessedBit | (19ul << ExtendedCapability.PasidSizeShift)
        | ExtendedCapability.PasidBit | ExtendedCapability.PageRequestDrainBit | ExtendedCapability.ScalableModeBit
        | ExtendedCapability.SecondStageDirtyBit | ExtendedCapability.SecondStageBit | ExtendedCapability.FirstStageBit
        | ExtendedCapability.PageWalkCoherencyBit | ExtendedCapability.RidPasidBit | ExtendedCapability.AbortDmaBit
        | ExtendedCapability.RidPrivilegeBit | ExtendedCapability.StopMarkerBit);

    /// <summary><c>CAP_REG</c> (section 11.4.2).</summary>
    public Capability Capabilities { get; init; } = AllCapabilities;

    /// <summary><c>ECAP_REG</c> (section 11.4.3).</summary>
    public ExtendedCapability ExtendedCapabilities { get; init; } = AllExtendedCapabilities;

    /// <summary>
    /// <c>VER_REG</c>: major version in 7:4, minor in 3:0 (section 11.4.1). From major version 6 on there is no register-based invalidation; from
    /// 8 on requests for execute permission fault.
    /// </summary>
    public byte Version { get; init; } = 0x50;

    /// <summary>HAW: bits of a host physical address, 36 to 52 (the platform tells it in the DMAR table, section 8.1). At most MGAW.</summary>
    public int HostAddressWidth { get; init; } = 52;

    /// <summary>The PCI segment whose devices it serves (section 3.3); requests of others are unsupported.</summary>
    public int Segment { get; init; }

    /// <summary>Whether a fault is dropped while a recording register holds one of the same requester (section 7.2.1, "compression").</summary>
    public bool CollapsesFaults { get; init; }

    /// <summary>How many device-TLB invalidations may be outstanding (section 4.3, ITags), 1 to 32.</summary>
    public int DeviceTlbTags { get; init; } = 32;

    /// <summary>How much it caches (chapter 6).</summary>
    public CachingMode Caching { get; init; } = CachingMode.Realistic;

    /// <summary>Entries of the IOTLB in realistic caching; 0 for none.</summary>
    public int IotlbEntries { get; init; } = 1024;

    /// <summary>Ways of the IOTLB.</summary>
    public int IotlbWays { get; init; } = 8;

    /// <summary>Which entry of a full set goes.</summary>
    internal ReplacementPolicy IotlbReplacement { get; init; } = ReplacementPolicy.FirstInFirstOut;

    /// <summary>Entries of the context cache and the PASID cache together, in realistic caching: one a device and PASID; 0 for none.</summary>
    public int ContextCacheEntries { get; init; } = 1024;

    /// <summary>Whether hits, misses, evictions and walks are counted by device: costs a little on each request.</summary>
    public bool CollectStatistics { get; init; }

    // Bits that the model does not have, or that the text reserves.
    private const ulong KnownCapabilities = 7 | Capability.WriteBufferFlushBit | Capability.CachingModeBit | (0xeul << 8) | (0x3ful << 16)
        | Capability.ZeroLengthReadBit | (0x3fful << 24) | (3ul << 34) | Capability.PageSelectiveBit | (0xfful << 40) | (0x3ful << 48)
        | Capability.DrainWritesBit | Capability.DrainReadsBit | Capability.FirstStage1GiBBit | Capability.FirstStage5LevelBit
        | Capability.SetInterruptTableInvalidatesBit | Capability.SetRootTableInvalidatesBit;

    /// <summary>Says what is wrong with the options: an option out of its range, or capabilities that contradict each other or the model.</summary>
    internal string? FindFault()
    {
        string? fault = null;
        Capability cap = Capabilities;
        ExtendedCapability ecap = ExtendedCapabilities;
        void Check(bool holds, string what) => fault ??= holds ? null : what;

        void Needs(ulong bit, ulong others, string what) => Check(!ecap.Has(bit) || ecap.Has(others), what);

        const ulong extra = ExtendedCapability.InvalidationThrottleBit | ExtendedCapability.ExtendedInterruptModeRequiredBit
            | ExtendedCapability.InterruptRemappingRequiredBit | (0x3fful << ExtendedCapability.IotlbOffsetShift);
        Check((cap.Value & ~KnownCapabilities) == 0, $"CAP_REG has bits that the model does not have: 0x{cap.Value & ~KnownCapabilities:x}.");
        ulong unknown = ecap.Value & ~(AllExtendedCapabilities.Value | extra | (0xful << 20) | (0x1ful << 35));
        Check(unknown == 0, $"ECAP_REG has bits that the model does not have: 0x{unknown:x}.");
        Check((cap.Value & 7) != 7, "CAP_REG.ND is reserved.");
        Check(!cap.SecondStage1GiB || cap.SecondStage2MiB, "CAP_REG.SSLPS has 1 GiB without 2 MiB.");
        Check(HostAddressWidth is >= 36 and <= 52, "The host address width is 36 to 52.");
        Check(cap.MaxGuestAddressWidth >= HostAddressWidth, "CAP_REG.MGAW is at least the host address width (section 11.4.2).");
        Needs(ExtendedCapability.DeviceTlbBit, ExtendedCapability.QueuedInvalidationBit, "ECAP_REG.DT needs QI.");
        Needs(ExtendedCapability.InterruptRemappingBit, ExtendedCapability.QueuedInvalidationBit, "ECAP_REG.IR needs QI.");
        Needs(ExtendedCapability.ExtendedInterruptModeBit, ExtendedCapability.InterruptRemappingBit, "ECAP_REG.EIM needs IR.");
        Needs(ExtendedCapability.ExtendedInterruptModeRequiredBit, ExtendedCapability.ExtendedInterruptModeBit, "ECAP_REG.EIMER needs EIM.");
        Needs(ExtendedCapability.InterruptRemappingRequiredBit, ExtendedCapability.InterruptRemappingBit, "ECAP_REG.IRREQ needs IR.");
        Needs(ExtendedCapability.ScalableModeBit, ExtendedCapability.QueuedInvalidationBit, "ECAP_REG.SMTS needs QI.");
        Check(
            !ecap.Has(ExtendedCapability.ScalableModeBit)
                || (ecap.Value & (ExtendedCapability.FirstStageBit | ExtendedCapability.SecondStageBit | ExtendedCapability.PassThroughBit)) != 0,
            "ECAP_REG.SMTS needs FSTS, SSTS or PT.");
        foreach (ulong bit in (ReadOnlySpan<ulong>)[
            ExtendedCapability.SupervisorRequestBit, ExtendedCapability.PasidBit, ExtendedCapability.FirstStageBit,
            ExtendedCapability.PageWalkCoherencyBit, ExtendedCapability.RidPasidBit])
        {
            Needs(bit, ExtendedCapability.ScalableModeBit, $"ECAP_REG bit {ulong.Log2(bit)} needs SMTS.");
        }

        Needs(
            ExtendedCapability.NestedBit,
            ExtendedCapability.ScalableModeBit | ExtendedCapability.FirstStageBit | ExtendedCapability.SecondStageBit,
            "ECAP_REG.NEST needs SMTS, FSTS and SSTS.");
        Needs(ExtendedCapability.PageRequestBit, ExtendedCapability.DeviceTlbBit | ExtendedCapability.ScalableModeBit, "ECAP_REG.PRS needs DT and SMTS.");
        Needs(ExtendedCapability.StopMarkerBit, ExtendedCapability.PageRequestBit, "ECAP_REG.SMS needs PRS.");
        Needs(ExtendedCapability.PageRequestDrainBit, ExtendedCapability.DeviceTlbBit, "ECAP_REG.PDS needs DT.");
        Needs(ExtendedCapability.NoWriteFlagBit, ExtendedCapability.DeviceTlbBit, "ECAP_REG.NWFS needs DT.");
        Needs(ExtendedCapability.InvalidationThrottleBit, ExtendedCapability.DeviceTlbBit, "ECAP_REG.DIT needs DT.");
        Needs(ExtendedCapability.RidPrivilegeBit, ExtendedCapability.SupervisorRequestBit, "ECAP_REG.RPRIVS needs SRS.");
        Needs(ExtendedCapability.SecondStageDirtyBit, ExtendedCapability.PageWalkCoherencyBit, "ECAP_REG.SSADS needs SMPWCS.");
        Needs(ExtendedCapability.ExtendedAccessedBit, ExtendedCapability.FirstStageBit | ExtendedCapability.PageWalkCoherencyBit, "ECAP_REG.EAFS needs FSTS and SMPWCS.");
        Check((!cap.FirstStage1GiB && !cap.FirstStage5Level) || ecap.Has(ExtendedCapability.FirstStageBit), "CAP_REG.FS1GP and FS5LP need ECAP_REG.FSTS.");
        Check((cap.Value & Capability.WriteBufferFlushBit) == 0 || !ecap.Has(ExtendedCapability.ScalableModeBit), "CAP_REG.RWBF excludes ECAP_REG.SMTS.");
        Check(ecap.PasidBits <= 20, "ECAP_REG.PSS is at most 19: a PASID has 20 bits.");
        Check(Segment is >= 0 and <= 0xffff, "A PCI segment has 16 bits.");
        Check(DeviceTlbTags is >= 1 and <= 32, "DeviceTlbTags must be 1 to 32.");
        Check(IotlbEntries >= 0 && IotlbWays >= 1 && ContextCacheEntries >= 0, "A cache's size is negative.");
        uint faults = cap.FaultRecordOffset;
        uint last = faults + ((uint)cap.FaultRecordCount * FaultRecord.Size) - 1;
        uint iotlb = ecap.IotlbOffset;
        Check(faults >= 0xf0 && iotlb >= 0xf0, "CAP_REG.FRO or ECAP_REG.IRO lies on other registers.");
        Check(last < iotlb || faults > iotlb + 15, "CAP_REG.FRO and ECAP_REG.IRO overlap.");
        return fault;
    }

    /// <summary>Bytes of the register window: whole pages of 4 KiB.</summary>
    public uint RegisterBytes
    {
        get
        {
            uint end = Math.Max(
                Capabilities.FaultRecordOffset + ((uint)Capabilities.FaultRecordCount * FaultRecord.Size),
                ExtendedCapabilities.IotlbOffset + 16);
            return (end + 0xfff) & ~0xfffu;
        }
    }
}
