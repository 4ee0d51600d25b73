using Ioasis.Intel.Architecture;
using static System.FormattableString;

namespace Ioasis.Explain.Walks;

/// <summary>
/// The way of an address through the tables of VT-d, legacy and scalable (specification, section 3): slow, and made to be read. It shares no
/// code with the model's walkers.
/// </summary>
internal sealed class IntelWalker(MemoryImage memory, RegisterSnapshot registers, WalkRequest request) : Walker(memory, registers, request)
{
    private const ulong AddressMask = 0x000f_ffff_ffff_f000;
    private const int PageBits = 12;
    private const int IndexBits = 9;
    private ulong _secondStage;
    private int _secondLevels;
    private bool _isScalable;

    private uint Bus => (Request.Requester >> 8) & 0xff;

    private uint Function => Request.Requester & 0xff;

    /// <inheritdoc/>
    protected override ulong? Go()
    {
        ulong status = Register("GSTS", "11.4.4.2", static v => (
            [Bit("TES", v, GlobalControl.TranslationEnableBit), Bit("RTPS", v, GlobalControl.SetRootTableBit), Bit("QIES", v, GlobalControl.QueuedInvalidationEnableBit)],
            (v & GlobalControl.TranslationEnableBit) != 0 ? "DMA is translated." : "DMA is not translated."), absent: GlobalControl.TranslationEnableBit) ?? 0;
        if ((status & GlobalControl.TranslationEnableBit) == 0)
        {
            PassThrough("GSTS_REG.TES is 0: addresses are not translated.");
            return null;
        }

        ulong? root = Register("RTADDR", "11.4.5", static v => (
            [new("TTM", RootTable.Mode(v).ToString()), Field("root table", v & AddressMask)], "Where the root table is."));
        return root is not { } register ? null : RootTable.Mode(register) switch
        {
            TranslationTableMode.Legacy => Legacy(register & AddressMask),
            TranslationTableMode.Scalable => Scalable(register & AddressMask),
            TranslationTableMode.AbortDma => Refuse(register, $"TTM is 11b: all DMA is aborted ({Reason(FaultReason.AbortDma)})."),
            _ => Refuse(register, $"TTM is reserved ({Reason(FaultReason.RootTableModeInvalid)})."),
        };
    }

    private ulong? Refuse(ulong register, string why)
    {
        Fail("RTADDR_REG", "11.4.5", null, [register], [], why);
        return null;
    }

    private ulong? Legacy(ulong rootTable)
    {
        if (Request.Pasid is not null)
        {
            Fail("request", "7.1.3", null, [], [], $"The request has a PASID, and the tables are legacy ones ({Reason(FaultReason.PasidInLegacyMode)}).");
            return null;
        }

        ulong at = rootTable + (Bus * RootEntry.Size);
        string name = Invariant($"root entry of bus 0x{Bus:x2}");
        if (!TryRead(name, "9.1", at, 2, out ulong[] root))
        {
            return null;
        }

        FaultField[] fields = [Bit("P", root[0], RootEntry.PresentBit), Field("context table", root[0] & AddressMask)];
        if ((root[0] & RootEntry.PresentBit) == 0)
        {
            Fail(name, "9.1", at, root, fields, $"P is 0: the IOMMU has no table for the bus ({Reason(FaultReason.RootNotPresent)}).");
            return null;
        }

        Pass(name, "9.1", at, root, fields, "Leads to the bus's context table.");
        at = (root[0] & AddressMask) + (Function * ContextEntry.Size);
        name = Invariant($"context entry of function {Function >> 3:x2}.{Function & 7}");
        if (!TryRead(name, "9.3", at, 2, out ulong[] context))
        {
            return null;
        }

        var type = (ContextTranslationType)((context[0] >> ContextEntry.TranslationTypeShift) & 3);
        int levels = (int)(context[1] & ContextEntry.HighAddressWidthMask) + 2;
        fields =
        [
            Bit("P", context[0], ContextEntry.PresentBit), Bit("FPD", context[0], ContextEntry.FaultDisableBit), new("TT", type.ToString()), Field("AW", context[1] & ContextEntry.HighAddressWidthMask),
            Field("DID", (context[1] >> ContextEntry.HighDomainIdShift) & 0xffff), Field("table", context[0] & AddressMask),
        ];
        string? problem = (context[0] & ContextEntry.PresentBit) == 0 ? $"P is 0: the IOMMU has no entry for the function ({Reason(FaultReason.ContextNotPresent)})."
            : type == ContextTranslationType.Reserved || levels is < 3 or > 5 ? $"TT or AW is reserved: the entry is invalid ({Reason(FaultReason.ContextInvalid)})."
            : (context[0] & ContextEntry.ReservedMask) != 0 || (context[1] & ContextEntry.HighReservedMask) != 0 ? $"Reserved bits are set ({Reason(FaultReason.ContextReserved)})."
            : null;
        if (problem is not null)
        {
            Fail(name, "9.3", at, context, fields, problem);
            return null;
        }

        Pass(name, "9.3", at, context, fields, Invariant($"The function's domain has tables of {levels} levels."));
        if (type == ContextTranslationType.PassThrough)
        {
            PassThrough("TT is 10b: the function's addresses are not translated.");
            return null;
        }

        (_secondStage, _secondLevels) = (context[0] & AddressMask, levels);
        return SecondStage(Request.Address, null, Request.IsWrite);
    }

    private ulong? Scalable(ulong rootTable)
    {
        _isScalable = true;
        ulong at = rootTable + (Bus * ScalableRootEntry.Size);
        string half = Function >= 0x80 ? "upper" : "lower";
        string name = Invariant($"{half} half of the root entry of bus 0x{Bus:x2}");
        if (!TryRead(name, "9.2", at += Function >= 0x80 ? 8u : 0, 1, out ulong[] root))
        {
            return null;
        }

        FaultField[] fields = [Bit(Function >= 0x80 ? "UP" : "LP", root[0], ScalableRootEntry.PresentBit), Field("context table", root[0] & AddressMask)];
        if ((root[0] & ScalableRootEntry.PresentBit) == 0)
        {
            Fail(name, "9.2", at, root, fields, $"It is not present: the IOMMU has no table for these functions of the bus ({Reason(FaultReason.ScalableRootNotPresent)}).");
            return null;
        }

        Pass(name, "9.2", at, root, fields, "Leads to a context table.");
        at = (root[0] & AddressMask) + ((Function & 0x7f) * ScalableContextEntry.Size);
        name = Invariant($"context entry of function {Function >> 3:x2}.{Function & 7}");
        if (!TryRead(name, "9.4", at, 4, out ulong[] context))
        {
            return null;
        }

        ulong directorySize = 1ul << (int)(((context[0] >> ScalableContextEntry.DirectorySizeShift) & 7) + 7);
        fields =
        [
            Bit("P", context[0], ScalableContextEntry.PresentBit), Bit("FPD", context[0], ScalableContextEntry.FaultDisableBit), Bit("DTE", context[0], ScalableContextEntry.DeviceTlbBit),
            Bit("PASIDE", context[0], ScalableContextEntry.PasidBit), Bit("PRE", context[0], ScalableContextEntry.PageRequestBit), Field("RID_PASID", context[1] & ScalableContextEntry.HighRidPasidMask),
            Field("directory", context[0] & AddressMask), Field("its entries", directorySize),
        ];
        string? problem = (context[0] & ScalableContextEntry.PresentBit) == 0 ? $"P is 0: the IOMMU has no entry for the function ({Reason(FaultReason.ScalableContextNotPresent)})."
            : Request.Pasid is not null && (context[0] & ScalableContextEntry.PasidBit) == 0 ? $"PASIDE is 0, and the request has a PASID ({Reason(FaultReason.PasidDisabled)})."
            : null;
        if (problem is not null)
        {
            Fail(name, "9.4", at, context, fields, problem);
            return null;
        }

        Pass(name, "9.4", at, context, fields, "Leads to the PASID directory.");
        ulong pasid = Request.Pasid ?? (context[1] & ScalableContextEntry.HighRidPasidMask);
        return FindPasid(context[0] & AddressMask, directorySize, pasid) is { } entry ? Translate(entry) : null;
    }

    private ulong[]? FindPasid(ulong directory, ulong directorySize, ulong pasid)
    {
        ulong index = pasid >> PasidDirectoryEntry.PasidShift;
        if (index >= directorySize)
        {
            Fail("PASID", "9.4", null, [pasid], [], Invariant($"The directory has {directorySize} entries, and the PASID's would be {index} ({Reason(FaultReason.PasidBeyondDirectory)})."));
            return null;
        }

        ulong at = directory + (index * PasidDirectoryEntry.Size);
        string name = Invariant($"PASID directory, entry {index}");
        if (!TryRead(name, "9.5", at, 1, out ulong[] entry))
        {
            return null;
        }

        FaultField[] fields = [Bit("P", entry[0], PasidDirectoryEntry.PresentBit), Field("PASID table", entry[0] & AddressMask)];
        if ((entry[0] & PasidDirectoryEntry.PresentBit) == 0)
        {
            Fail(name, "9.5", at, entry, fields, $"P is 0: the PASID is not one that the device has been given ({Reason(FaultReason.PasidDirectoryNotPresent)}).");
            return null;
        }

        Pass(name, "9.5", at, entry, fields, "Leads to a PASID table.");
        at = (entry[0] & AddressMask) + ((pasid & 0x3f) * PasidTableEntry.Size);
        name = Invariant($"PASID table, entry {pasid & 0x3f}");
        if (!TryRead(name, "9.6", at, 8, out ulong[] table))
        {
            return null;
        }

        fields =
        [
            Bit("P", table[0], PasidTableEntry.Word0PresentBit), new("PGTT", ((PasidTranslationType)((table[0] >> PasidTableEntry.Word0TranslationTypeShift) & 7)).ToString()),
            Field("AW", (table[0] >> PasidTableEntry.Word0AddressWidthShift) & 7), Field("second-stage table", table[0] & AddressMask), Field("DID", table[1] & PasidTableEntry.Word1DomainIdMask),
            Field("FSPM", (table[2] >> PasidTableEntry.Word2PagingModeShift) & 3), Bit("SRE", table[2], PasidTableEntry.Word2SupervisorBit), Field("first-stage table", table[2] & AddressMask),
        ];
        if ((table[0] & PasidTableEntry.Word0PresentBit) == 0)
        {
            Fail(name, "9.6", at, table, fields, $"P is 0: the PASID is not one that the device has been given ({Reason(FaultReason.PasidEntryNotPresent)}).");
            return null;
        }

        Pass(name, "9.6", at, table, fields, "Says which stages translate.");
        return table;
    }

    private ulong? Translate(ulong[] entry)
    {
        var type = (PasidTranslationType)((entry[0] >> PasidTableEntry.Word0TranslationTypeShift) & 7);
        int levels = (int)((entry[0] >> PasidTableEntry.Word0AddressWidthShift) & 7) + 2;
        if (type is PasidTranslationType.SecondStage or PasidTranslationType.Nested)
        {
            if (levels is < 3 or > 5)
            {
                Fail("AW", "9.6", null, [entry[0]], [], $"AW is reserved: the entry is invalid ({Reason(FaultReason.PasidEntryInvalid)}).");
                return null;
            }

            (_secondStage, _secondLevels) = (entry[0] & AddressMask, levels);
        }

        switch (type)
        {
            case PasidTranslationType.FirstStage or PasidTranslationType.Nested:
                int firstLevels = 4 + (int)((entry[2] >> PasidTableEntry.Word2PagingModeShift) & 1);
                return FirstStage(entry[2] & AddressMask, firstLevels) is { } guest ? SecondStage(guest, "the page", Request.IsWrite) : null;

            case PasidTranslationType.SecondStage:
                return SecondStage(Request.Address, null, Request.IsWrite);

            case PasidTranslationType.PassThrough:
                PassThrough("PGTT is 100b: addresses are not translated.");
                return null;

            default:
                Fail("PGTT", "9.6", null, [entry[0]], [], $"PGTT is reserved: the entry is invalid ({Reason(FaultReason.PasidEntryInvalid)}).");
                return null;
        }
    }

    private ulong? FirstStage(ulong table, int levels)
    {
        int bits = PageBits + (levels * IndexBits);
        if ((long)Request.Address >> (bits - 1) is not (0 or -1))
        {
            Fail("address", "3.6", null, [Request.Address], [], Invariant($"Bits 63 to {bits - 1} of the address are not all alike: it is not canonical ({Reason(FaultReason.NotCanonical)})."));
            return null;
        }

        for (int level = levels - 1; level >= 0; level--)
        {
            string name = EntryName("first stage", level, Request.Address, out ulong offset);
            if (SecondStage(table + offset, name, false) is not { } at || !TryRead(name, "9.7", at, 1, out ulong[] words))
            {
                return null;
            }

            ulong value = words[0];
            FaultField[] fields =
            [
                Bit("P", value, FirstStageEntry.PresentBit), Bit("R/W", value, FirstStageEntry.WriteBit), Bit("U/S", value, FirstStageEntry.UserBit), Bit("A", value, FirstStageEntry.AccessedBit),
                Bit("D", value, FirstStageEntry.DirtyBit), Bit("PS", value, FirstStageEntry.PageSizeBit), Field("address", value & AddressMask),
            ];
            string? problem = (value & FirstStageEntry.PresentBit) == 0 ? $"P is 0: nothing is mapped here ({Reason(FaultReason.FirstStageNotPresent)})."
                : Request.IsWrite && (value & FirstStageEntry.WriteBit) == 0 ? $"R/W is 0: the page may only be read ({Reason(FaultReason.ScalableWriteDenied)})."
                : (value & FirstStageEntry.UserBit) == 0 ? $"U/S is 0: the page is the kernel's, and the request has a user's privilege ({Reason(FaultReason.UserDenied)})."
                : null;
            bool isLeaf = level == 0 || (level <= 2 && (value & FirstStageEntry.PageSizeBit) != 0);
            if (Step(name, "9.7", at, words, fields, problem, isLeaf, level, Request.Address, out ulong next) is not { } done)
            {
                return null;
            }

            if (done)
            {
                return next;
            }

            table = next;
        }

        return null;
    }

    // Without a second stage the address is what it is.
    private ulong? SecondStage(ulong address, string? what, bool isWrite)
    {
        if (_secondLevels == 0)
        {
            return address;
        }

        int bits = PageBits + (_secondLevels * IndexBits);
        string stage = what is null ? "second stage" : $"second stage for {what}";
        if (address >> bits != 0)
        {
            Fail("address", "3.7", null, [address], [], Invariant($"0x{address:x} has more than {bits} bits, which is what tables of {_secondLevels} levels translate ({Reason(_isScalable ? FaultReason.AddressBeyondSecondStage : FaultReason.AddressBeyondWidth)})."));
            return null;
        }

        ulong table = _secondStage;
        for (int level = _secondLevels - 1; level >= 0; level--)
        {
            string name = EntryName(stage, level, address, out ulong offset);
            if (!TryRead(name, "9.8", table + offset, 1, out ulong[] words))
            {
                return null;
            }

            ulong value = words[0];
            FaultField[] fields =
            [
                Bit("R", value, SecondStageEntry.ReadBit), Bit("W", value, SecondStageEntry.WriteBit), Bit("PS", value, SecondStageEntry.PageSizeBit), Bit("A", value, SecondStageEntry.AccessedBit),
                Bit("D", value, SecondStageEntry.DirtyBit), Bit("SNP", value, SecondStageEntry.SnoopBit), Field("address", value & AddressMask),
            ];
            string? problem = (value & (SecondStageEntry.ReadBit | SecondStageEntry.WriteBit)) == 0 ? $"R and W are 0: nothing is mapped here ({Reason(_isScalable ? FaultReason.SecondStageNotPresent : Request.IsWrite ? FaultReason.WriteDenied : FaultReason.ReadDenied)})."
                : isWrite && (value & SecondStageEntry.WriteBit) == 0 ? $"W is 0: it may only be read ({Reason(_isScalable ? FaultReason.ScalableWriteDenied : FaultReason.WriteDenied)})."
                : !isWrite && (value & SecondStageEntry.ReadBit) == 0 ? $"R is 0: it may only be written ({Reason(_isScalable ? FaultReason.ScalableReadDenied : FaultReason.ReadDenied)})."
                : null;
            bool isLeaf = level == 0 || (level <= 2 && (value & SecondStageEntry.PageSizeBit) != 0);
            if (Step(name, "9.8", table + offset, words, fields, problem, isLeaf, level, address, out ulong next) is not { } done)
            {
                return null;
            }

            if (done)
            {
                return next;
            }

            table = next;
        }

        return null;
    }

    private static string Reason(FaultReason reason) => Invariant($"fault reason 0x{(int)reason:x2}");

    private static string EntryName(string stage, int level, ulong address, out ulong offset)
    {
        ulong index = (address >> (PageBits + (level * IndexBits))) & 0x1ff;
        offset = index * 8;
        return Invariant($"{stage}, level {level + 1}, entry {index}");
    }

    // Null after a failure; else whether the walk is at its end.
    private bool? Step(
        string name, string section, ulong at, ulong[] words, FaultField[] fields, string? problem, bool isLeaf, int level, ulong address, out ulong next)
    {
        next = words[0] & AddressMask;
        if (problem is not null)
        {
            Fail(name, section, at, words, fields, problem);
            return null;
        }

        int shift = PageBits + (level * IndexBits);
        Pass(name, section, at, words, fields, isLeaf ? $"A page of {SizeName(shift)}." : "Leads to the next table.");
        if (isLeaf)
        {
            ulong mask = (1ul << shift) - 1;
            next = (next & ~mask) | (address & mask);
        }

        return isLeaf;
    }
}
