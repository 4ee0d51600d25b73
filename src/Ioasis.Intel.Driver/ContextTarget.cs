using Ioasis.Intel.Architecture;
using Ioasis.Primitives;

namespace Ioasis.Intel.Driver;

/// <summary>
/// What a device, or one PASID of it, is attached to, as a PASID-table entry has it (section 9.6); in legacy mode the same is said by a
/// context entry (section 9.3).
/// </summary>
/// <param name="Type">How requests are translated; 0 for not at all: every DMA faults.</param>
/// <param name="Word0">The second stage: its table, levels and A/D; without P.</param>
/// <param name="Word1">The domain-ID and what snoops.</param>
/// <param name="Word2">The first stage: its table and levels.</param>
/// <param name="Bond">The bond, if there is an address space of the host's.</param>
/// <param name="Ats">The bond of the device itself, if it caches translations.</param>
internal readonly record struct ContextTarget(
    PasidTranslationType Type, ulong Word0, ulong Word1, ulong Word2, Bond? Bond, AtsBond? Ats)
{
    /// <summary>Not present: every DMA faults.</summary>
    public static ContextTarget Blocked => default;

    /// <summary>Whether DMA goes through at all.</summary>
    public bool IsValid => Type != 0;

    /// <summary>The domain-ID.</summary>
    public uint DomainId => (uint)(Word1 & PasidTableEntry.Word1DomainIdMask);

    /// <summary>The place in a nested domain, if that is what it is attached to.</summary>
    public GuestAttachment? Guest { get; init; }

    /// <summary>Addresses pass unchanged.</summary>
    /// <param name="domainId">The domain-ID of all that pass.</param>
    /// <param name="levels">The most levels that the hardware has: a legacy context has to name them (section 9.3, "AW").</param>
    public static ContextTarget PassThrough(uint domainId, int levels) => new(
        PasidTranslationType.PassThrough,
        LevelBits(levels) | TypeBits(PasidTranslationType.PassThrough), domainId, 0, null, null);

    /// <summary>A second stage.</summary>
    public static ContextTarget ForSecondStage(
        PhysicalAddress root, int levels, bool tracksDirty, bool snoops, Bond bond, AtsBond? ats) => new(
        PasidTranslationType.SecondStage,
        root.Value | LevelBits(levels) | TypeBits(PasidTranslationType.SecondStage)
            | (tracksDirty ? PasidTableEntry.Word0SecondStageDirtyBit : 0),
        bond.DomainId | bond.Iommu.PageWalkSnoopBit | (snoops ? PasidTableEntry.Word1PageSnoopBit : 0),
        0, bond, ats);

    /// <summary>A first stage.</summary>
    public static ContextTarget ForFirstStage(PhysicalAddress root, int levels, Bond bond, AtsBond? ats) => new(
        PasidTranslationType.FirstStage,
        TypeBits(PasidTranslationType.FirstStage)
            | ((bond.Iommu.Options.Quirks & VtdQuirks.FirstStageHasWidth) != 0 ? LevelBits(levels) : 0),
        bond.DomainId | bond.Iommu.PageWalkSnoopBit | bond.Iommu.PageSnoopBit,
        root.Value | (levels == 5 ? 1ul << PasidTableEntry.Word2PagingModeShift : 0),
        bond, ats);

    /// <summary>The first doubleword of a legacy context.</summary>
    /// <param name="hasDeviceTlb">Whether the device may cache translations.</param>
    public ulong LegacyLow(bool hasDeviceTlb) => !IsValid ? 0
        : (Word0 & ~0xffful) | ContextEntry.PresentBit
            | ((ulong)(Type == PasidTranslationType.PassThrough ? ContextTranslationType.PassThrough
                : hasDeviceTlb ? ContextTranslationType.SecondStageWithDeviceTlb
                : ContextTranslationType.SecondStage) << ContextEntry.TranslationTypeShift);

    /// <summary>The second doubleword of a legacy context.</summary>
    public ulong LegacyHigh => !IsValid ? 0
        : ((ulong)DomainId << ContextEntry.HighDomainIdShift) | ((Word0 >> PasidTableEntry.Word0AddressWidthShift) & 7);

    private static ulong TypeBits(PasidTranslationType type) => (ulong)type << PasidTableEntry.Word0TranslationTypeShift;

    private static ulong LevelBits(int levels) => (ulong)(levels - 2) << PasidTableEntry.Word0AddressWidthShift;
}
