using Ioasis.Intel.Architecture;

namespace Ioasis.Lab.Qemu.Tests.Vtd.Model;

/// <summary>The ways in which QEMU's unit departs from the text, or from our model where the text leaves a choice (docs/conformance.md).</summary>
[Flags]
internal enum Difference
{
    None = 0,

    /// <summary>The address in a record has bits that no table could have (section 11.4.7.6, FI); ours cuts them off.</summary>
    WholeAddress = 1 << 0,

    /// <summary>In scalable mode a reason of legacy mode (section 7.1.3, Table 30).</summary>
    LegacyReason = 1 << 1,

    /// <summary>Lack of a right is found on the way, before what is wrong below or beside; ours judges rights at the end.</summary>
    RightsFirst = 1 << 2,

    /// <summary>
    /// FPD does not count in a directory entry, nor in a PASID-table entry that is itself at fault, nor for reserved fields of contexts
    /// (sections 9.3 to 9.6; Table 30).
    /// </summary>
    ReportedDespiteFpd = 1 << 3,

    /// <summary>Addresses that pass unchanged are not looked at (LGN.1, SGN.4).</summary>
    PassThroughUnchecked = 1 << 4,

    /// <summary>Reserved fields of directories and PASID-table entries do not count, nor those of contexts that capabilities make (SCT.3, SPD.3, SPT.3).</summary>
    ReservedUnchecked = 1 << 5,

    /// <summary>SNP in scalable mode is no reserved bit, without snoop control (section 9.8).</summary>
    SnoopIgnored = 1 << 6,

    /// <summary>The half of a root entry that is for the other devices counts too (SRT.3).</summary>
    BothRootHalves = 1 << 7,

    /// <summary>The type of a PASID-table entry counts that is not present (SPT.2).</summary>
    TypeBeforePresence = 1 << 8,

    /// <summary>Both went through, but what is there now is not the same: to be seen with what else was written.</summary>
    OtherData = 1 << 9,

    /// <summary>Nothing of these.</summary>
    Unexplained = 1 << 30,
}

/// <summary>Compares outcomes, and says of each difference which it is.</summary>
internal static class Differences
{
    /// <summary>Differences in what is reported: both ended at the same place.</summary>
    public const Difference OfRecordsOnly = Difference.WholeAddress | Difference.LegacyReason;

    private const ulong ReasonMask = 0xfful << FaultRecord.HighReasonShift;
    private const ulong Flags = FirstStageEntry.AccessedBit | FirstStageEntry.DirtyBit;

    // DTE, PASIDE, PRE: none of these has QEMU here. RID_PASID, RID_PRIV: neither RPS nor RPRIVS.
    private const ulong ByCapability = ScalableContextEntry.DeviceTlbBit | ScalableContextEntry.PasidBit | ScalableContextEntry.PageRequestBit;
    private const ulong HighByCapability = ScalableContextEntry.HighRidPasidMask | ScalableContextEntry.HighRidPrivilegeBit;

    public static Difference Find(VtdTables kind, TablePath path, ModelResult result)
    {
        (ModelOutcome ours, ModelOutcome theirs) = (result.Ours, result.Theirs);
        if (!ours.IsRefused && !theirs.IsRefused)
        {
            return ours.Data == theirs.Data ? Difference.None : Difference.OtherData;
        }

        // Ours without a record: FPD. Then QEMU has none either, however its DMA ended.
        if (ours.IsRefused && ours.Reason == FaultReason.None)
        {
            bool isAtFault = theirs.Reason is FaultReason.PasidEntryInvalid or FaultReason.PasidEntryNotPresent
                && (path.Pasid & PasidTableEntry.Word0FaultDisableBit) != 0;
            return !theirs.IsRefused ? Difference.None
                : theirs.Reason == FaultReason.PasidEntryAccess && path.Directory >> 48 != 0 ? Difference.ReservedUnchecked
                : (path.Directory & PasidDirectoryEntry.FaultDisableBit) != 0 || theirs.Reason == FaultReason.ContextReserved || isAtFault
                    ? Difference.ReportedDespiteFpd
                : ByEntries(kind, path, ours, theirs);
        }

        if (!ours.IsRefused || !theirs.IsRefused)
        {
            return ByEntries(kind, path, ours, theirs);
        }

        Difference found = Difference.None;
        if (ours.Low != theirs.Low)
        {
            found |= theirs.Low == (result.Request.Iova & FaultRecord.AddressMask) && ours.Low == (theirs.Low & (kind == VtdTables.Legacy3 ? (1ul << 39) - 1 : (1ul << 48) - 1))
                ? Difference.WholeAddress
                : Difference.Unexplained;
        }

        found |= (ours.High & ~ReasonMask) == (theirs.High & ~ReasonMask) ? Difference.None : Difference.Unexplained;
        return found | (ours.Reason == theirs.Reason ? Difference.None
            : InLegacy(ours.Reason, result.Request.IsWrite) == theirs.Reason ? Difference.LegacyReason
            : ByEntries(kind, path, ours, theirs));
    }

    /// <summary>
    /// Whether an entry of a first stage has A and D in ours, and one of them in QEMU's, which sets neither where the other is (section 3.6.2).
    /// </summary>
    public static bool IsOneFlagOnly(ulong ours, ulong theirs) =>
        (ours & Flags) == Flags && (theirs & Flags) != 0 && (ours | Flags) == (theirs | Flags);

    /// <summary>Whether an entry of a first stage has flags in ours that it does not have in QEMU's.</summary>
    public static bool IsFlaggedByOursAlone(ulong ours, ulong theirs) => (ours & ~Flags) == (theirs & ~Flags) && (theirs & Flags & ~ours) == 0;

    // What explains that one goes through and the other does not, or that the reasons differ.
    private static Difference ByEntries(VtdTables kind, TablePath path, ModelOutcome ours, ModelOutcome theirs)
    {
        if (IsReservedUnchecked(ours, path))
        {
            return Difference.ReservedUnchecked;
        }

        if (theirs.Reason == FaultReason.RootReserved && (path.OtherRoot & ScalableRootEntry.ReservedMask) != 0 | path.OtherRoot >> 48 != 0)
        {
            return Difference.BothRootHalves;
        }

        // The right that QEMU missed.
        ulong right = theirs.Reason switch
        {
            FaultReason.WriteDenied => SecondStageEntry.WriteBit,
            FaultReason.ReadDenied => SecondStageEntry.ReadBit,
            FaultReason.ScalableWriteDenied => FirstStageEntry.WriteBit,
            FaultReason.UserDenied => FirstStageEntry.UserBit,
            _ => 0,
        };
        return ours.Reason switch
        {
            FaultReason.AddressBeyondWidth or FaultReason.AddressBeyondHost when path.IsUnchanged && !theirs.IsRefused =>
                Difference.PassThroughUnchecked,
            FaultReason.PasidEntryNotPresent when theirs.Reason == FaultReason.PasidEntryInvalid => Difference.TypeBeforePresence,
            FaultReason.SecondStageReserved when kind == VtdTables.SecondStage && path.Entries.Exists(static e => (e & SecondStageEntry.SnoopBit) != 0) =>
                Difference.SnoopIgnored,
            FaultReason.PagingEntryReserved or FaultReason.SecondStageReserved or FaultReason.PagingEntryAccess or FaultReason.SecondStageAccess
                or FaultReason.FirstStageReserved or FaultReason.FirstStageAccess or FaultReason.FirstStageNotPresent or FaultReason.UserDenied
                when right != 0 && path.Entries.Exists(entry => (entry & right) == 0) => Difference.RightsFirst,
            _ => Difference.Unexplained,
        };
    }

    private static bool IsReservedUnchecked(ModelOutcome ours, TablePath path) => ours.Reason
        is FaultReason.PasidEntryReserved or FaultReason.PasidDirectoryReserved
        || (ours.Reason == FaultReason.ScalableContextReserved
            && ((path.Context & ByCapability) != 0 || (path.ContextHigh & HighByCapability) != 0));

    private static FaultReason InLegacy(FaultReason reason, bool isWrite) => reason switch
    {
        FaultReason.ScalableRootNotPresent => FaultReason.RootNotPresent,
        FaultReason.ScalableRootReserved => FaultReason.RootReserved,
        FaultReason.ScalableContextNotPresent => FaultReason.ContextNotPresent,
        FaultReason.ScalableContextReserved => FaultReason.ContextReserved,
        FaultReason.SecondStageNotPresent => isWrite ? FaultReason.WriteDenied : FaultReason.ReadDenied,
        FaultReason.ScalableWriteDenied => FaultReason.WriteDenied,
        FaultReason.ScalableReadDenied => FaultReason.ReadDenied,
        FaultReason.AddressBeyondSecondStage => FaultReason.AddressBeyondWidth,
        FaultReason.SecondStageReserved => FaultReason.PagingEntryReserved,
        FaultReason.SecondStageAccess => FaultReason.PagingEntryAccess,
        _ => FaultReason.None,
    };
}
