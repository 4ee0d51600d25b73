namespace Ioasis.Intel.Architecture;

/// <summary>Fault reasons: of address translation (section 7.1.3, Table 30) and of interrupt remapping (section 5.1.4.1, Table 15).</summary>
internal enum FaultReason
{
    /// <summary>No fault.</summary>
    None = 0,

    /// <summary>LRT.2: root entry not present.</summary>
    RootNotPresent = 0x01,

    /// <summary>LCT.2: context entry not present.</summary>
    ContextNotPresent = 0x02,

    /// <summary>LCT.4: invalid programming of a context entry, or its page table cannot be read.</summary>
    ContextInvalid = 0x03,

    /// <summary>LGN.1: address beyond the width of the second stage, or of the host.</summary>
    AddressBeyondWidth = 0x04,

    /// <summary>LGN.2: no write permission.</summary>
    WriteDenied = 0x05,

    /// <summary>LGN.3: no read permission.</summary>
    ReadDenied = 0x06,

    /// <summary>LSS.1: a second-stage entry below the first cannot be read.</summary>
    PagingEntryAccess = 0x07,

    /// <summary>LRT.1: the root entry cannot be read.</summary>
    RootAccess = 0x08,

    /// <summary>LCT.1: the context entry cannot be read.</summary>
    ContextAccess = 0x09,

    /// <summary>LRT.3: reserved field in a root entry.</summary>
    RootReserved = 0x0a,

    /// <summary>LCT.3: reserved field in a context entry.</summary>
    ContextReserved = 0x0b,

    /// <summary>LSS.2: reserved field in a second-stage entry.</summary>
    PagingEntryReserved = 0x0c,

    /// <summary>LCT.5: the context entry blocks translation requests and translated requests.</summary>
    ContextBlocksDeviceTlb = 0x0d,

    /// <summary>LGN.4: the output address is in the interrupt address range.</summary>
    OutputInInterruptRange = 0x0e,

    /// <summary>Interrupt: reserved field in the request.</summary>
    InterruptRequestReserved = 0x20,

    /// <summary>Interrupt: index beyond the table.</summary>
    InterruptIndexBeyondTable = 0x21,

    /// <summary>Interrupt: entry not present.</summary>
    InterruptEntryNotPresent = 0x22,

    /// <summary>Interrupt: the entry cannot be read.</summary>
    InterruptEntryAccess = 0x23,

    /// <summary>Interrupt: reserved field in the entry.</summary>
    InterruptEntryReserved = 0x24,

    /// <summary>Interrupt: compatibility format is blocked.</summary>
    CompatibilityInterruptBlocked = 0x25,

    /// <summary>Interrupt: the requester is not the one that the entry names.</summary>
    InterruptSourceDenied = 0x26,

    /// <summary>Interrupt: a request to the interrupt address range that is no interrupt.</summary>
    InterruptRequestInvalid = 0x29,

    /// <summary>Interrupt: extended interrupt mode is required, and off.</summary>
    ExtendedInterruptModeRequired = 0x2a,

    /// <summary>Interrupt: interrupt remapping is required, and off.</summary>
    InterruptRemappingRequired = 0x2b,

    /// <summary>RTA.1: invalid programming of <c>RTADDR_REG</c>.</summary>
    RootTableModeInvalid = 0x30,

    /// <summary>RTA.2: a request with PASID in legacy mode.</summary>
    PasidInLegacyMode = 0x31,

    /// <summary>RTA.3: a page request in legacy mode.</summary>
    PageRequestInLegacyMode = 0x32,

    /// <summary>RTA.4: abort-DMA mode.</summary>
    AbortDma = 0x33,

    /// <summary>RTA.5: execute is requested, of an implementation of major version 8 or later.</summary>
    ExecuteRequested = 0x34,

    /// <summary>SRT.1: the scalable-mode root entry cannot be read.</summary>
    ScalableRootAccess = 0x38,

    /// <summary>SRT.2: scalable-mode root entry not present.</summary>
    ScalableRootNotPresent = 0x39,

    /// <summary>SRT.3: reserved field in a scalable-mode root entry.</summary>
    ScalableRootReserved = 0x3a,

    /// <summary>SCT.1: the scalable-mode context entry cannot be read.</summary>
    ScalableContextAccess = 0x40,

    /// <summary>SCT.2: scalable-mode context entry not present.</summary>
    ScalableContextNotPresent = 0x41,

    /// <summary>SCT.3: reserved field in a scalable-mode context entry.</summary>
    ScalableContextReserved = 0x42,

    /// <summary>SCT.4: invalid programming of a scalable-mode context entry.</summary>
    ScalableContextInvalid = 0x43,

    /// <summary>SCT.5: DTE is 0, for a translation request or a translated request.</summary>
    DeviceTlbDisabled = 0x44,

    /// <summary>SCT.6: PASIDE is 0, for a request with PASID.</summary>
    PasidDisabled = 0x45,

    /// <summary>SCT.7: PASID beyond the directory.</summary>
    PasidBeyondDirectory = 0x46,

    /// <summary>SCT.8: PRE is 0, for a page request.</summary>
    PageRequestDisabled = 0x47,

    /// <summary>SCT.9: the PASID of the request is RID_PASID.</summary>
    PasidIsRidPasid = 0x48,

    /// <summary>SCT.10: EPTR is 0, for a translated request with PASID.</summary>
    TranslatedPasidDisabled = 0x49,

    /// <summary>SPD.1: the PASID directory entry cannot be read.</summary>
    PasidDirectoryAccess = 0x50,

    /// <summary>SPD.2: PASID directory entry not present.</summary>
    PasidDirectoryNotPresent = 0x51,

    /// <summary>SPD.3: reserved field in a PASID directory entry.</summary>
    PasidDirectoryReserved = 0x52,

    /// <summary>SPT.1: the PASID table entry cannot be read.</summary>
    PasidEntryAccess = 0x58,

    /// <summary>SPT.2: PASID table entry not present.</summary>
    PasidEntryNotPresent = 0x59,

    /// <summary>SPT.3: reserved field in a PASID table entry.</summary>
    PasidEntryReserved = 0x5a,

    /// <summary>SPT.4: invalid programming of a PASID table entry.</summary>
    PasidEntryInvalid = 0x5b,

    /// <summary>SPT.5: execute is requested without support.</summary>
    ExecuteUnsupported = 0x5c,

    /// <summary>SPT.6: SRE is 0, for a request with supervisor privilege.</summary>
    SupervisorDisabled = 0x5d,

    /// <summary>SFS.1: a first-stage entry below the first cannot be read.</summary>
    FirstStageAccess = 0x70,

    /// <summary>SFS.2: first-stage entry not present.</summary>
    FirstStageNotPresent = 0x71,

    /// <summary>SFS.3: reserved field in a first-stage entry.</summary>
    FirstStageReserved = 0x72,

    /// <summary>SFS.4: the first first-stage entry cannot be read.</summary>
    FirstStageRootAccess = 0x73,

    /// <summary>SFS.5: the address in a first-stage entry is beyond the width of the second stage.</summary>
    FirstStageAddressBeyondWidth = 0x74,

    /// <summary>SFS.6: the second stage does not let the first first-stage entry be read.</summary>
    FirstStageRootReadDenied = 0x75,

    /// <summary>SFS.7: the second stage does not let a first-stage entry be read.</summary>
    FirstStageReadDenied = 0x76,

    /// <summary>SFS.8: the second stage does not let flags of a first-stage entry be set.</summary>
    FirstStageUpdateDenied = 0x77,

    /// <summary>SSS.1: a second-stage entry below the first cannot be read.</summary>
    SecondStageAccess = 0x78,

    /// <summary>SSS.2: no permission at all in the second stage.</summary>
    SecondStageNotPresent = 0x79,

    /// <summary>SSS.3: reserved field in a second-stage entry.</summary>
    SecondStageReserved = 0x7a,

    /// <summary>SSS.4: the first second-stage entry cannot be read.</summary>
    SecondStageRootAccess = 0x7b,

    /// <summary>SSS.5: a flag of a second-stage entry has to be set, and page walks do not snoop.</summary>
    SecondStageUpdateNotSnooped = 0x7c,

    /// <summary>SSS.6: a flag of a second-stage entry could not be set.</summary>
    SecondStageUpdateFailed = 0x7d,

    /// <summary>SGN.1: the address is not canonical.</summary>
    NotCanonical = 0x80,

    /// <summary>SGN.2: a supervisor's page, for a user's request.</summary>
    UserDenied = 0x81,

    /// <summary>SGN.4: address beyond the width of the host.</summary>
    AddressBeyondHost = 0x83,

    /// <summary>SGN.5: address beyond the width of the second stage.</summary>
    AddressBeyondSecondStage = 0x84,

    /// <summary>SGN.6: no write permission.</summary>
    ScalableWriteDenied = 0x85,

    /// <summary>SGN.7: no read permission.</summary>
    ScalableReadDenied = 0x86,

    /// <summary>SGN.8: the output address is in the interrupt address range.</summary>
    ScalableOutputInInterruptRange = 0x87,

    /// <summary>SGN.10: PASID beyond <c>ECAP_REG.PSS</c>.</summary>
    PasidBeyondSize = 0x89,

    /// <summary>SFS.9: a flag of a first-stage entry has to be set, and page walks do not snoop.</summary>
    FirstStageUpdateNotSnooped = 0x90,

    /// <summary>SFS.10: a flag of a first-stage entry could not be set.</summary>
    FirstStageUpdateFailed = 0x91,
}

/// <summary>What Table 30 says of each <see cref="FaultReason"/>.</summary>
internal static class FaultReasons
{
    /// <summary>A short name; reasons that legacy and scalable mode share have one name.</summary>
    /// <returns>The name, or null for a reason that the specification does not have.</returns>
    public static string? NameOf(FaultReason reason) => reason switch
    {
        FaultReason.RootNotPresent or FaultReason.ScalableRootNotPresent => "root entry not present",
        FaultReason.RootAccess or FaultReason.ScalableRootAccess => "root entry cannot be read",
        FaultReason.RootReserved or FaultReason.ScalableRootReserved => "reserved bits in a root entry",
        FaultReason.ContextNotPresent or FaultReason.ScalableContextNotPresent => "context entry not present",
        FaultReason.ContextAccess or FaultReason.ScalableContextAccess => "context entry cannot be read",
        FaultReason.ContextReserved or FaultReason.ScalableContextReserved => "reserved bits in a context entry",
        FaultReason.ContextInvalid or FaultReason.ScalableContextInvalid => "context entry invalid",
        FaultReason.ContextBlocksDeviceTlb => "requests of a device TLB blocked",
        FaultReason.AddressBeyondWidth or FaultReason.FirstStageAddressBeyondWidth or FaultReason.AddressBeyondHost or FaultReason.AddressBeyondSecondStage =>
            "address beyond the width",
        FaultReason.WriteDenied or FaultReason.ScalableWriteDenied => "no write permission",
        FaultReason.ReadDenied or FaultReason.ScalableReadDenied => "no read permission",
        FaultReason.PagingEntryAccess or FaultReason.SecondStageAccess or FaultReason.SecondStageRootAccess => "second-stage entry cannot be read",
        FaultReason.PagingEntryReserved or FaultReason.SecondStageReserved => "reserved bits in a second-stage entry",
        FaultReason.OutputInInterruptRange or FaultReason.ScalableOutputInInterruptRange => "output in the interrupt range",
        FaultReason.InterruptRequestReserved => "reserved bits in an interrupt request",
        FaultReason.InterruptIndexBeyondTable => "index beyond the table",
        FaultReason.InterruptEntryNotPresent => "interrupt entry not present",
        FaultReason.InterruptEntryAccess => "interrupt entry cannot be read",
        FaultReason.InterruptEntryReserved => "reserved bits in an interrupt entry",
        FaultReason.CompatibilityInterruptBlocked => "compatibility format blocked",
        FaultReason.InterruptSourceDenied => "wrong source",
        FaultReason.InterruptRequestInvalid => "no interrupt request",
        FaultReason.ExtendedInterruptModeRequired => "extended interrupt mode required",
        FaultReason.InterruptRemappingRequired => "interrupt remapping required",
        FaultReason.RootTableModeInvalid => "root table address invalid",
        FaultReason.PasidInLegacyMode => "PASID in legacy mode",
        FaultReason.PageRequestInLegacyMode => "page request in legacy mode",
        FaultReason.AbortDma => "DMA aborted",
        FaultReason.ExecuteRequested => "execute requested",
        FaultReason.DeviceTlbDisabled => "device TLB disabled",
        FaultReason.PasidDisabled => "PASIDs disabled",
        FaultReason.PasidBeyondDirectory => "PASID beyond the directory",
        FaultReason.PageRequestDisabled => "page requests disabled",
        FaultReason.PasidIsRidPasid => "PASID is the one of requests without PASID",
        FaultReason.TranslatedPasidDisabled => "translated requests with PASID disabled",
        FaultReason.PasidDirectoryAccess => "PASID directory entry cannot be read",
        FaultReason.PasidDirectoryNotPresent => "PASID directory entry not present",
        FaultReason.PasidDirectoryReserved => "reserved bits in a PASID directory entry",
        FaultReason.PasidEntryAccess => "PASID entry cannot be read",
        FaultReason.PasidEntryNotPresent => "PASID entry not present",
        FaultReason.PasidEntryReserved => "reserved bits in a PASID entry",
        FaultReason.PasidEntryInvalid => "PASID entry invalid",
        FaultReason.ExecuteUnsupported => "execute not supported",
        FaultReason.SupervisorDisabled => "supervisor requests disabled",
        FaultReason.FirstStageAccess or FaultReason.FirstStageRootAccess => "first-stage entry cannot be read",
        FaultReason.FirstStageNotPresent => "first-stage entry not present",
        FaultReason.FirstStageReserved => "reserved bits in a first-stage entry",
        FaultReason.FirstStageRootReadDenied or FaultReason.FirstStageReadDenied => "first-stage entry not readable through the second stage",
        FaultReason.FirstStageUpdateDenied => "first-stage flags not writable through the second stage",
        FaultReason.FirstStageUpdateNotSnooped or FaultReason.SecondStageUpdateNotSnooped => "accessed or dirty flag without snooped walks",
        FaultReason.FirstStageUpdateFailed or FaultReason.SecondStageUpdateFailed => "accessed or dirty flag not written",
        FaultReason.SecondStageNotPresent => "second-stage entry without permission",
        FaultReason.NotCanonical => "address not canonical",
        FaultReason.UserDenied => "supervisor's page",
        FaultReason.PasidBeyondSize => "PASID too wide",
        _ => null,
    };

    /// <summary>Whether FPD in a structure on the way keeps the fault from being reported.</summary>
    public static bool IsQualified(FaultReason reason) => reason is not (
        FaultReason.RootNotPresent or FaultReason.RootAccess or FaultReason.RootReserved or FaultReason.ContextAccess
        or (>= FaultReason.RootTableModeInvalid and <= FaultReason.ScalableRootReserved)
        or FaultReason.ScalableContextAccess or FaultReason.PasidDirectoryAccess or FaultReason.PasidEntryAccess
        or FaultReason.InterruptRequestReserved or FaultReason.InterruptIndexBeyondTable or FaultReason.InterruptEntryAccess
        or FaultReason.CompatibilityInterruptBlocked
        or (>= FaultReason.InterruptRequestInvalid and <= FaultReason.InterruptRemappingRequired));

    /// <summary>How a translation request ends that meets the fault.</summary>
    public static TranslationRequestOutcome ForTranslationRequest(FaultReason reason) => reason switch
    {
        FaultReason.RootAccess or FaultReason.RootReserved or FaultReason.ContextAccess or FaultReason.ContextReserved
            or FaultReason.ContextInvalid or FaultReason.PagingEntryAccess or FaultReason.PagingEntryReserved
            or FaultReason.OutputInInterruptRange or FaultReason.RootTableModeInvalid or FaultReason.ScalableRootAccess
            or FaultReason.ScalableRootReserved or FaultReason.ScalableContextAccess or FaultReason.ScalableContextReserved
            or FaultReason.ScalableContextInvalid or FaultReason.PasidDirectoryAccess or FaultReason.PasidDirectoryReserved
            or FaultReason.PasidEntryAccess or FaultReason.PasidEntryReserved or FaultReason.PasidEntryInvalid
            or FaultReason.SecondStageAccess or FaultReason.SecondStageReserved or FaultReason.SecondStageRootAccess
            or FaultReason.SecondStageUpdateNotSnooped or FaultReason.SecondStageUpdateFailed
            or FaultReason.ScalableOutputInInterruptRange => TranslationRequestOutcome.CompleterAbort,
        FaultReason.AddressBeyondWidth or FaultReason.WriteDenied or FaultReason.ReadDenied
            or FaultReason.PasidDirectoryNotPresent or FaultReason.PasidEntryNotPresent
            or FaultReason.ExecuteUnsupported or FaultReason.SupervisorDisabled
            or (>= FaultReason.FirstStageAccess and <= FaultReason.FirstStageUpdateDenied)
            or FaultReason.SecondStageNotPresent
            or (>= FaultReason.NotCanonical and <= FaultReason.ScalableReadDenied)
            or FaultReason.FirstStageUpdateNotSnooped => TranslationRequestOutcome.NoPermission,
        FaultReason.FirstStageUpdateFailed => TranslationRequestOutcome.NoPermissionReported,
        _ => TranslationRequestOutcome.UnsupportedRequest,
    };

    /// <summary>Whether a translated request that meets the fault ends as a completer abort; else as an unsupported request.</summary>
    public static bool AbortsTranslatedRequest(FaultReason reason) => reason is FaultReason.PasidDirectoryAccess
        or FaultReason.PasidDirectoryReserved or FaultReason.PasidEntryAccess or FaultReason.PasidEntryReserved
        or FaultReason.PasidEntryInvalid;
}

/// <summary>How a translation request ends (section 4.1.2, Table 30).</summary>
internal enum TranslationRequestOutcome
{
    /// <summary>Unsupported request; the fault is reported.</summary>
    UnsupportedRequest,

    /// <summary>Completer abort; the fault is reported.</summary>
    CompleterAbort,

    /// <summary>Success, with R=W=U=S=0: the device may request the page. Not reported.</summary>
    NoPermission,

    /// <summary>The same, and the fault is reported all the same.</summary>
    NoPermissionReported,
}
