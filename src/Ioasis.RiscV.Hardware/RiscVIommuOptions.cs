using Ioasis.Hardware;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <summary>
/// Where the official reference model departs from the text of the specification (docs/conformance.md): for replaying what was recorded from it.
/// </summary>
[Flags]
internal enum ReferenceDeviations
{
    /// <summary>As the text says.</summary>
    None = 0,

    /// <summary>The address of an MRIF loses its bits from 47 up (section 2.3.3 gives it 56 bits).</summary>
    MrifAddress47Bits = 1,

    /// <summary>
    /// An ATS translation request that sets D in a PTE does not get the write permission that it thereby earned (section 2.6 gives it
    /// "the value determined from the page tables").
    /// </summary>
    AtsWriteNeedsOldDirty = 2,

    /// <summary>An address that passes two Bare stages loses its bits from 56 up (section 2.1.3: "No translation").</summary>
    BareAddress56Bits = 4,

    /// <summary>
    /// ATS translation requests leave no page-table leaf and no MSI PTE in a cache. The text lets them (section 2.8), and the recordings change such
    /// entries without an invalidation.
    /// </summary>
    AtsFillsNoCache = 8,

    /// <summary>
    /// Enabling the interrupts of a queue that has an error bit set already does not set its pending bit (section 5.18 sets it while both are there).
    /// </summary>
    InterruptEnableRaisesNothing = 16,

    /// <summary>The address that an IOFENCE.C stores to loses its bits 63:62 (section 3.1.2: <c>ADDR[63:2] * 4</c>).</summary>
    FenceAddress62Bits = 32,

    /// <summary>
    /// Reading a first-stage PTE sets D with A in the second-stage PTE of its page, even where first-stage PTEs are not updated. The Privileged
    /// specification allows it; without this, a page of tables is dirty only if its entries may be updated (<c>SADE</c>).
    /// </summary>
    ImplicitReadSetsDirty = 64,

    /// <summary>All of them.</summary>
    All = MrifAddress47Bits | AtsWriteNeedsOldDirty | BareAddress56Bits | AtsFillsNoCache | InterruptEnableRaisesNothing
        | FenceAddress62Bits | ImplicitReadSetsDirty,
}

/// <summary>What an embedder chooses when it makes a <see cref="RiscVIommu"/>: what the specification leaves to implementations.</summary>
public sealed record RiscVIommuOptions
{
    /// <summary>
    /// What a full implementation supports: all schemes of both stages, MSI page tables, A/D updates, ATS and PRI, both byte
    /// orders, both kinds of interrupts, counters, debug, process directories, QoS IDs, NL and S; 56-bit physical addresses.
    /// </summary>
    public const ulong FullCapabilities = Architecture.Capabilities.Version10
        | Architecture.Capabilities.Sv32Bit | Architecture.Capabilities.Sv39Bit | Architecture.Capabilities.Sv48Bit
        | Architecture.Capabilities.Sv57Bit | Architecture.Capabilities.Svrsw60t59bBit | Architecture.Capabilities.SvpbmtBit
        | Architecture.Capabilities.Sv32x4Bit | Architecture.Capabilities.Sv39x4Bit | Architecture.Capabilities.Sv48x4Bit
        | Architecture.Capabilities.Sv57x4Bit | Architecture.Capabilities.AmoMrifBit | Architecture.Capabilities.MsiFlatBit
        | Architecture.Capabilities.MsiMrifBit | Architecture.Capabilities.AmoHwadBit | Architecture.Capabilities.AtsBit
        | Architecture.Capabilities.T2gpaBit | Architecture.Capabilities.EndBit | (2ul << Architecture.Capabilities.IgsShift)
        | Architecture.Capabilities.HpmBit | Architecture.Capabilities.DbgBit | (56ul << Architecture.Capabilities.PasShift)
        | Architecture.Capabilities.Pd8Bit | Architecture.Capabilities.Pd17Bit | Architecture.Capabilities.Pd20Bit
        | Architecture.Capabilities.QosIdBit | Architecture.Capabilities.NonLeafInvalidationBit
        | Architecture.Capabilities.RangeInvalidationBit;

    /// <summary>The <c>capabilities</c> register (section 5.3).</summary>
    public ulong Capabilities { get; init; } = FullCapabilities;

    /// <summary>Reset value of <c>fctl</c> (section 5.4); null: little-endian, messages unless there are only wires, GXL 0.</summary>
    public uint? FeaturesControl { get; init; }

    /// <summary>Whether <c>fctl.GXL</c> is writable (section 5.4).</summary>
    public bool GxlWritable { get; init; }

    /// <summary>Whether <c>DC.tc.SBE</c> may differ from <c>fctl.BE</c> (section 2.1.3.1); null: as <c>capabilities.END</c> says.</summary>
    public bool? BigEndianWritable { get; init; }

    /// <summary>Reset value of <c>ddtp.iommu_mode</c>: Off or Bare (section 5.2).</summary>
    public IommuMode ResetMode { get; init; } = IommuMode.Off;

    /// <summary>The deepest device directory that <c>ddtp.iommu_mode</c> takes (section 5.5).</summary>
    public IommuMode MaxMode { get; init; } = IommuMode.ThreeLevel;

    /// <summary>Device-ID bits that the <c>DID</c> operand of commands may have (section 3.1.3).</summary>
    public uint DeviceIdMask { get; init; } = 0xff_ffff;

    /// <summary>How many counters there are, <c>iohpmcycles</c> included: 0 to 32 (sections 5.20 to 5.23). Ignored without <c>HPM</c>.</summary>
    public int HpmCounters { get; init; } = 8;

    /// <summary>Width in bits of <c>iohpmctr</c>, 1 to 64; <c>iohpmcycles</c> has at most 63.</summary>
    public int HpmCounterBits { get; init; } = 64;

    /// <summary>The largest event that <c>iohpmevt</c> takes.</summary>
    public int MaxEventId { get; init; } = (int)HpmEvent.SecondStageWalk;

    /// <summary>
    /// Where <c>iohpmcycles</c> comes from: a count of cycles that only grows; null: it stands still. It is looked at, and its overflow found, when
    /// software accesses it, <c>iocountovf</c>, <c>iocountinh</c> or <c>ipsr</c>.
    /// </summary>
    public Func<ulong>? CycleSource { get; init; }

    /// <summary>Bits of a vector in <c>icvec</c>, 0 to 4; <c>msi_cfg_tbl</c> has 2 to that many entries (sections 5.28, 5.29).</summary>
    public int VectorBits { get; init; } = 4;

    /// <summary>Writable bits of <c>iommu_qosid</c>: RCID in the low half, MCID in the high one (section 5.27).</summary>
    public uint QosIdMask { get; init; } = 0x0fff_0fff;

    /// <summary>Bytes that a Bare first stage contributes to the size of a translation: a power of two, from 4096 (section 2.6).</summary>
    public ulong BareFirstStageSize { get; init; } = 1ul << 30;

    /// <summary>The same where Sv32 is the only scheme; null: as <see cref="BareFirstStageSize"/>.</summary>
    public ulong? BareFirstStageSizeSv32 { get; init; }

    /// <summary>Bytes that a Bare second stage contributes to the size of a translation: a power of two, from 4096 (section 2.6).</summary>
    public ulong BareSecondStageSize { get; init; } = 1ul << 30;

    /// <summary>The same where Sv32x4 is the only scheme; null: as <see cref="BareSecondStageSize"/>.</summary>
    public ulong? BareSecondStageSizeSv32 { get; init; }

    /// <summary>How many ATS invalidation requests may be outstanding, 1 to 32; the lowest free tag is taken first (section 3.1.4).</summary>
    public int AtsInvalidationTags { get; init; } = 32;

    /// <summary>Departures from the text, to agree with recordings of the reference model.</summary>
    internal ReferenceDeviations Deviations { get; init; }

    /// <summary>What is cached.</summary>
    public CachingMode Caching { get; init; } = CachingMode.Realistic;

    /// <summary>Entries of the IOTLB in <see cref="CachingMode.Realistic"/>; 0 for none.</summary>
    public int IotlbEntries { get; init; } = 1024;

    /// <summary>Ways of a set of the IOTLB; sets times ways is rounded up to a power of two of sets.</summary>
    public int IotlbWays { get; init; } = 16;

    /// <summary>How the IOTLB makes room.</summary>
    internal ReplacementPolicy IotlbReplacement { get; init; } = ReplacementPolicy.FirstInFirstOut;

    /// <summary>
    /// Device contexts held in <see cref="CachingMode.Realistic"/>, rounded up to a power of two; 0 for none. Entries of the IOTLB
    /// are found through the context that they belong to: with 0, the IOTLB holds nothing either.
    /// </summary>
    public int DdtCacheEntries { get; init; } = 256;

    /// <summary>Process contexts held in <see cref="CachingMode.Realistic"/>, rounded up to a power of two; 0 for none.</summary>
    public int PdtCacheEntries { get; init; } = 1024;

    /// <summary>Who sees commands and fault records, and can make them fail; null for nobody.</summary>
    public IRiscVIommuTap? Tap { get; init; }

    /// <summary>Whether statistics are counted. They cost about a nanosecond a translation.</summary>
    public bool CollectStatistics { get; init; }
}
