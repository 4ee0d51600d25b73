using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Hardware.Tests;

/// <summary>
/// Every fault reason of Table 30, by the structure that it is about, in each way of caching: what an untranslated request records, how a translation
/// request ends, and whether FPD hides it.
/// </summary>
public sealed class FaultTests
{
    private const ushort Rid = 0x0108;
    private const ulong Iova = 0x1234_5000;
    private const ulong Physical = 0x7654_3000;
    private const uint P = 5;

    private sealed record Case(
        string Name,
        FaultReason Reason,
        Action<VtdBench, Tables> Spoil,
        TranslationTableMode Mode = TranslationTableMode.Legacy,
        PasidTranslationType Type = PasidTranslationType.SecondStage,
        bool Write = false,
        uint? Pasid = null,
        ulong Address = Iova,
        DmaFlags Flags = DmaFlags.None,
        VtdIommuOptions? Options = null,
        bool OnlyUntranslated = false);

    /// <summary>Where everything is, in host memory; places of entries from the root down.</summary>
    private sealed class Tables
    {
        public ulong Context;
        public ulong Directory;
        public ulong PasidEntry;
        public ulong[] First = [];
        public ulong[] Second = [];

        /// <summary>Second-stage leaves of the pages of first-stage tables, from the root down.</summary>
        public ulong[] FirstTablePages = [];
    }

    private static readonly Case[] s_cases = [.. LegacyCases(), .. ScalableCases(), .. StageCases()];

    public static TheoryData<string, CachingMode> Cases
    {
        get
        {
            TheoryData<string, CachingMode> data = [];
            foreach (Case one in s_cases)
            {
                foreach (CachingMode caching in Enum.GetValues<CachingMode>())
                {
                    data.Add(one.Name, caching);
                }
            }

            return data;
        }
    }

    [Fact]
    public void Every_reason_has_a_name_and_a_number_that_the_text_does_not_have_has_none()
    {
        for (int number = 1; number < 256; number++)
        {
            (FaultReasons.NameOf((FaultReason)number) is not null).ShouldBe(Enum.IsDefined((FaultReason)number), $"0x{number:x2}");
        }

        FaultReasons.NameOf(FaultReason.None).ShouldBeNull();
        FaultReasons.NameOf(FaultReason.RootNotPresent).ShouldBe(FaultReasons.NameOf(FaultReason.ScalableRootNotPresent));
    }

    [Fact]
    public void Every_reason_of_address_translation_that_the_model_can_give_has_a_case()
    {
        FaultReason[] elsewhere =
        [
            // Page requests, translated requests, abort mode, and interrupts have tests of their own; EPTR is not supported.
            FaultReason.None, FaultReason.PageRequestInLegacyMode, FaultReason.PageRequestDisabled, FaultReason.DeviceTlbDisabled,
            FaultReason.ContextBlocksDeviceTlb, FaultReason.TranslatedPasidDisabled,
        ];
        FaultReason[] expected =
        [
            .. Enum.GetValues<FaultReason>().Where(r => r is < FaultReason.InterruptRequestReserved or > FaultReason.InterruptRemappingRequired).Except(elsewhere),
        ];
        s_cases.Select(c => c.Reason).Distinct().Order().ShouldBe(expected.Order());
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void A_fault_is_recorded_with_its_reason_and_ends_a_translation_request_as_Table_30_says(string name, CachingMode caching)
    {
        Case one = s_cases.Single(c => c.Name == name);
        using VtdBench bench = Make(one, caching, out Tables tables);
        one.Spoil(bench, tables);
        DmaRequest request = VtdBench.Dma(one.Address, Rid, one.Write, one.Pasid, flags: one.Flags);
        RecordedFault fault = bench.ShouldFault(request, one.Reason);
        fault.SourceId.ShouldBe(Rid);
        fault.Address.ShouldBe(one.Address & ~0xffful & ((1ul << 57) - 1));
        fault.IsRead.ShouldBe(!one.Write);
        fault.Pasid.ShouldBe(one.Pasid);
        fault.AddressType.ShouldBe(0);
        bench.TakeFault().ShouldBeNull();

        // Again: nothing of it may be cached as something else.
        bench.ShouldFault(request, one.Reason);
        if (one.OnlyUntranslated)
        {
            return;
        }

        DmaTranslation completion = bench.Translate(request with { Kind = DmaKind.TranslationRequest, Flags = request.Flags & ~DmaFlags.Write });
        RecordedFault? reported = bench.TakeFault();
        switch (FaultReasons.ForTranslationRequest(one.Reason))
        {
            case TranslationRequestOutcome.UnsupportedRequest:
                completion.Status.ShouldBe(DmaStatus.UnsupportedRequest);
                reported.ShouldNotBeNull().Reason.ShouldBe(one.Reason);
                reported.AddressType.ShouldBe(1);
                break;
            case TranslationRequestOutcome.CompleterAbort:
                completion.Status.ShouldBe(DmaStatus.CompleterAbort);
                reported.ShouldNotBeNull().Reason.ShouldBe(one.Reason);
                break;
            case TranslationRequestOutcome.NoPermissionReported:
                completion.Status.ShouldBe(DmaStatus.Success);
                reported.ShouldNotBeNull().Reason.ShouldBe(one.Reason);
                break;
            default:
                // "Success with effective permission": the right that is lacking is not there.
                completion.Status.ShouldBe(DmaStatus.Success);
                (completion.Flags & (one.Write ? DmaTranslationFlags.Write : DmaTranslationFlags.Read)).ShouldBe(DmaTranslationFlags.None);
                reported.ShouldBeNull();
                break;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void FPD_on_the_way_hides_exactly_the_qualified_faults(string name, CachingMode caching)
    {
        Case one = s_cases.Single(c => c.Name == name);
        if (one.Reason is FaultReason.PasidInLegacyMode or FaultReason.ExecuteRequested or FaultReason.AbortDma or FaultReason.RootTableModeInvalid)
        {
            return;
        }

        // FPD counts whether an entry is present or not.
        using VtdBench bench = Make(one, caching, out Tables tables);
        one.Spoil(bench, tables);
        bench.Store(tables.Context, bench.Read(tables.Context) | ContextEntry.FaultDisableBit);
        bench.Translate(VtdBench.Dma(one.Address, Rid, one.Write, one.Pasid, flags: one.Flags)).Status.ShouldBe(DmaStatus.UnsupportedRequest);
        RecordedFault? fault = bench.TakeFault();
        (fault is null).ShouldBe(FaultReasons.IsQualified(one.Reason), fault?.ToString());
    }

    private static VtdBench Make(Case one, CachingMode caching, out Tables tables)
    {
        VtdBench bench = new((one.Options ?? new VtdIommuOptions()) with { Caching = caching });
        tables = new();
        ulong second = bench.Page();
        ulong first = 0;
        if (one.Mode == TranslationTableMode.Legacy)
        {
            // With ATS, so that translation requests meet the same.
            ContextTranslationType type = one.Type == PasidTranslationType.PassThrough
                ? ContextTranslationType.PassThrough
                : ContextTranslationType.SecondStageWithDeviceTlb;
            bench.SetLegacy(Rid, second, 4, 7, type);
            tables.Context = bench.LegacyContext(Rid);
        }
        else
        {
            first = bench.Page();
            bench.SetScalable(Rid, VtdBench.AllContextFlags);
            uint pasid = one.Pasid is P or null ? one.Pasid ?? 0 : P;
            ulong word1 = PasidTableEntry.Word1PageWalkSnoopBit;
            bench.SetPasid(Rid, pasid, one.Type, 7, first, 4, second, 4, word1: word1);
            tables.Context = bench.ScalableContext(Rid);
            tables.Directory = bench.DirectoryEntry(Rid, pasid);
            tables.PasidEntry = bench.PasidEntry(Rid, pasid);
        }

        ulong address = one.Address >= 1ul << 48 ? Iova : one.Address;
        if (one.Type is PasidTranslationType.FirstStage or PasidTranslationType.Nested)
        {
            bench.MapFirst(first, 4, address, Physical);
            tables.First = Places(bench, first, 4, address);
        }

        if (one.Type == PasidTranslationType.Nested)
        {
            // First-stage tables and the page are where they seem to be.
            List<ulong> pages = [];
            foreach (ulong place in (ReadOnlySpan<ulong>)[.. tables.First, Physical])
            {
                pages.Add(bench.MapSecond(second, 4, place & ~0xffful, place & ~0xffful));
            }

            tables.FirstTablePages = [.. pages[..4]];
            tables.Second = Places(bench, second, 4, Physical);
        }
        else if (one.Type == PasidTranslationType.SecondStage)
        {
            bench.MapSecond(second, 4, address, Physical);
            tables.Second = Places(bench, second, 4, address);
        }

        bench.Enable(one.Mode);
        return bench;
    }

    private static ulong[] Places(VtdBench bench, ulong root, int levels, ulong address)
    {
        ulong[] places = new ulong[levels];
        ulong table = root;
        for (int level = levels; level >= 1; level--)
        {
            places[levels - level] = table + (((address >> (12 + (9 * (level - 1)))) & 0x1ff) * 8);
            table = bench.Read(places[levels - level]) & SecondStageEntry.AddressMask;
        }

        return places;
    }

    private static Action<VtdBench, Tables> Set(Func<Tables, ulong> place, ulong bits) =>
        (bench, tables) => bench.Store(place(tables), bench.Read(place(tables)) | bits);

    private static Action<VtdBench, Tables> Clear(Func<Tables, ulong> place, ulong bits) =>
        (bench, tables) => bench.Store(place(tables), bench.Read(place(tables)) & ~bits);

    private static ulong RootOf() => VtdBench.Root + ((Rid >> 8) * 16ul);

    private static IEnumerable<Case> LegacyCases()
    {
        VtdIommuOptions narrow = new() { HostAddressWidth = 46 };
        yield return new("LRT.1", FaultReason.RootAccess, (b, _) => b.Break(VtdBench.Root));
        yield return new("LRT.2", FaultReason.RootNotPresent, (b, _) => b.Store(RootOf(), b.Read(RootOf()) & ~1ul));
        yield return new("LRT.3 low", FaultReason.RootReserved, (b, _) => b.Store(RootOf(), b.Read(RootOf()) | 0x800));
        yield return new("LRT.3 high", FaultReason.RootReserved, (b, _) => b.Store(RootOf() + 8, 1ul << 63));
        yield return new("LRT.3 beyond", FaultReason.RootReserved, (b, _) => b.Store(RootOf(), b.Read(RootOf()) | (1ul << 46)), Options: narrow);
        yield return new("LCT.1", FaultReason.ContextAccess, (b, _) => b.Break(b.LegacyContext(Rid)), OnlyUntranslated: false);
        yield return new("LCT.2", FaultReason.ContextNotPresent, Clear(t => t.Context, 1));
        yield return new("LCT.3 low", FaultReason.ContextReserved, Set(t => t.Context, 0x10));
        yield return new("LCT.3 bit 71", FaultReason.ContextReserved, Set(t => t.Context + 8, 0x80));
        yield return new("LCT.3 high", FaultReason.ContextReserved, Set(t => t.Context + 8, 1ul << 24));
        yield return new("LCT.3 domain", FaultReason.ContextReserved, Set(t => t.Context + 8, 0x100ul << 8), Options: VtdBench.With(removeCap: 7, addCap: 2));
        yield return new("LCT.3 beyond", FaultReason.ContextReserved, Set(t => t.Context, 1ul << 46), Options: narrow);
        yield return new("LCT.4.1", FaultReason.ContextInvalid, (b, t) => b.Store(t.Context + 8, 4 | (7 << 8)));
        yield return new("LCT.4.2", FaultReason.ContextInvalid, Set(t => t.Context, 0xc));
        yield return new("LCT.4.3", FaultReason.ContextInvalid, (b, t) => b.Break(t.Second[0]));
        yield return new("LSS.1 PDPE", FaultReason.PagingEntryAccess, (b, t) => b.Break(t.Second[1]));
        yield return new("LSS.1 PTE", FaultReason.PagingEntryAccess, (b, t) => b.Break(t.Second[3]));
        yield return new("LSS.2 PML4E PS", FaultReason.PagingEntryReserved, Set(t => t.Second[0], 0x80));
        yield return new("LSS.2 SNP above", FaultReason.PagingEntryReserved, Set(t => t.Second[2], 0x800));
        yield return new("LSS.2 bit 62", FaultReason.PagingEntryReserved, Set(t => t.Second[3], 1ul << 62));
        yield return new("LSS.2 2 MiB misaligned", FaultReason.PagingEntryReserved, Set(t => t.Second[2], 0x80 | 0x1000));
        yield return new("LSS.2 no 1 GiB", FaultReason.PagingEntryReserved, Set(t => t.Second[1], 0x80), Options: VtdBench.With(removeCap: Capability.SecondStage1GiBBit));
        yield return new(
            "LSS.2 no snoop control", FaultReason.PagingEntryReserved, Set(t => t.Second[3], 0x800), Options: VtdBench.With(removeExtended: ExtendedCapability.SnoopControlBit));
        yield return new("LSS.2 beyond", FaultReason.PagingEntryReserved, Set(t => t.Second[3], 1ul << 46), Options: narrow);
        yield return new("LGN.1.1", FaultReason.AddressBeyondWidth, (_, _) => { }, Address: (1ul << 48) | Iova);
        yield return new("LGN.1.3", FaultReason.AddressBeyondWidth, (_, _) => { }, Type: PasidTranslationType.PassThrough, Address: 1ul << 52, OnlyUntranslated: true);
        yield return new("LGN.2", FaultReason.WriteDenied, Clear(t => t.Second[3], 2), Write: true);
        yield return new("LGN.2 above", FaultReason.WriteDenied, Clear(t => t.Second[0], 2), Write: true);
        yield return new("LGN.2 not present", FaultReason.WriteDenied, (b, t) => b.Store(t.Second[1], 0), Write: true);
        yield return new("LGN.3", FaultReason.ReadDenied, Clear(t => t.Second[3], 1));
        yield return new("LGN.3 not present", FaultReason.ReadDenied, (b, t) => b.Store(t.Second[3], 0));
        yield return new("LGN.4", FaultReason.OutputInInterruptRange, (b, t) => b.Store(t.Second[3], 0xfee1_2000 | 3));
        yield return new("RTA.2", FaultReason.PasidInLegacyMode, (_, _) => { }, Pasid: P);
        yield return new("RTA.1", FaultReason.RootTableModeInvalid, (b, _) => b.Enable(TranslationTableMode.Reserved));
        yield return new(
            "RTA.1 no abort mode", FaultReason.RootTableModeInvalid, (b, _) => b.Enable(TranslationTableMode.AbortDma), Options: VtdBench.With(removeExtended: ExtendedCapability.AbortDmaBit));
        yield return new("RTA.4", FaultReason.AbortDma, (b, _) => b.Enable(TranslationTableMode.AbortDma));
    }

    private static IEnumerable<Case> ScalableCases()
    {
        const TranslationTableMode Mode = TranslationTableMode.Scalable;
        static Case Sm(string name, FaultReason reason, Action<VtdBench, Tables> spoil, uint? pasid = null) => new(name, reason, spoil, Mode, Pasid: pasid);

        yield return new("RTA.5", FaultReason.ExecuteRequested, (_, _) => { }, Mode, Pasid: P, Flags: DmaFlags.Execute, Options: new() { Version = 0x80 });
        yield return Sm("SRT.1", FaultReason.ScalableRootAccess, (b, _) => b.Break(VtdBench.Root));
        yield return Sm("SRT.2", FaultReason.ScalableRootNotPresent, (b, _) => b.Store(RootOf(), b.Read(RootOf()) & ~1ul));
        yield return Sm("SRT.3", FaultReason.ScalableRootReserved, (b, _) => b.Store(RootOf(), b.Read(RootOf()) | 2));
        yield return Sm("SCT.1", FaultReason.ScalableContextAccess, (b, t) => b.Break(t.Context));
        yield return Sm("SCT.2", FaultReason.ScalableContextNotPresent, Clear(t => t.Context, 1));
        yield return Sm("SCT.3 low", FaultReason.ScalableContextReserved, Set(t => t.Context, 0x80));
        yield return Sm("SCT.3 HPTE", FaultReason.ScalableContextReserved, Set(t => t.Context, 0x20));
        yield return Sm("SCT.3 high", FaultReason.ScalableContextReserved, Set(t => t.Context + 8, 1ul << 21));
        yield return Sm("SCT.3 fourth", FaultReason.ScalableContextReserved, Set(t => t.Context + 24, 1));
        yield return Sm("SCT.4.1", FaultReason.ScalableContextInvalid, Clear(t => t.Context, ScalableContextEntry.DeviceTlbBit));
        yield return Sm("SCT.4.2", FaultReason.ScalableContextInvalid, Set(t => t.Context + 8, 128 * 64));
        yield return Sm("SCT.6", FaultReason.PasidDisabled, Clear(t => t.Context, ScalableContextEntry.PasidBit), P);
        yield return Sm("SCT.7", FaultReason.PasidBeyondDirectory, (_, _) => { }, 128 * 64);
        yield return Sm("SCT.9", FaultReason.PasidIsRidPasid, Set(t => t.Context + 8, P), P);
        yield return Sm("SPD.1", FaultReason.PasidDirectoryAccess, (b, t) => b.Break(t.Directory));
        yield return Sm("SPD.2", FaultReason.PasidDirectoryNotPresent, Clear(t => t.Directory, 1), P);
        yield return Sm("SPD.3", FaultReason.PasidDirectoryReserved, Set(t => t.Directory, 4));
        yield return Sm("SPT.1", FaultReason.PasidEntryAccess, (b, t) => b.Break(t.PasidEntry), P);
        yield return Sm("SPT.2", FaultReason.PasidEntryNotPresent, Clear(t => t.PasidEntry, 1));
        for (int bit = 0; bit < 512; bit++)
        {
            bool reserved = bit is 5 or 10 or 11 or (>= 52 and < 64) or (>= 80 and <= 86) or 89 or 90 or (>= 91 and <= 127) or 129
                or (>= 136 and <= 139) or >= 180;
            if (reserved && bit is not (64 or 65))
            {
                int place = bit;
                yield return Sm($"SPT.3 bit {bit}", FaultReason.PasidEntryReserved, Set(t => t.PasidEntry + ((ulong)(place / 64) * 8), 1ul << (place % 64)));
            }
        }

        yield return Sm("SPT.4.1", FaultReason.PasidEntryInvalid, (b, t) => b.Store(t.PasidEntry, (b.Read(t.PasidEntry) & ~(7ul << 2)) | (4ul << 2)));
        foreach (int type in (int[])[0, 5, 6, 7])
        {
            yield return Sm(
                $"SPT.4.2 PGTT {type}", FaultReason.PasidEntryInvalid, (b, t) => b.Store(t.PasidEntry, (b.Read(t.PasidEntry) & ~(7ul << 6)) | ((ulong)type << 6)), P);
        }

        yield return new("SPT.4.3", FaultReason.PasidEntryInvalid, Set(t => t.PasidEntry + 16, 2ul << 2), Mode, PasidTranslationType.FirstStage);
        yield return new(
            "SPT.4.3 no 5 levels", FaultReason.PasidEntryInvalid, Set(t => t.PasidEntry + 16, 1ul << 2), Mode, PasidTranslationType.FirstStage,
            Options: VtdBench.With(removeCap: Capability.FirstStage5LevelBit));
        yield return new("SPT.4.4", FaultReason.PasidEntryInvalid, Set(t => t.PasidEntry + 16, 1ul << 48), Mode, PasidTranslationType.Nested);
        yield return new("SPT.5", FaultReason.ExecuteUnsupported, (_, _) => { }, Mode, Pasid: P, Flags: DmaFlags.Execute);
        yield return new("SPT.6", FaultReason.SupervisorDisabled, (_, _) => { }, Mode, Pasid: P, Flags: DmaFlags.Privileged);
        yield return new("SPT.6 RID_PRIV", FaultReason.SupervisorDisabled, Set(t => t.Context + 8, ScalableContextEntry.HighRidPrivilegeBit), Mode);
        yield return new(
            "SGN.10", FaultReason.PasidBeyondSize, (_, _) => { }, Mode, Pasid: 0x40,
            Options: VtdBench.With(removeExtended: 0x1ful << 35, addExtended: 5ul << 35));
    }

    private static IEnumerable<Case> StageCases()
    {
        static Case Sm(
            string name, FaultReason reason, Action<VtdBench, Tables> spoil, PasidTranslationType type, bool write = false, uint? pasid = P, ulong address = Iova,
            VtdIommuOptions? options = null) =>
            new(name, reason, spoil, TranslationTableMode.Scalable, type, write, pasid, address, Options: options);

        const PasidTranslationType Fs = PasidTranslationType.FirstStage;
        const PasidTranslationType Ss = PasidTranslationType.SecondStage;
        const PasidTranslationType Nested = PasidTranslationType.Nested;
        VtdIommuOptions narrow = new() { HostAddressWidth = 46 };

        yield return Sm("SFS.1", FaultReason.FirstStageAccess, (b, t) => b.Break(t.First[2]), Fs);
        yield return Sm("SFS.2 PML4E", FaultReason.FirstStageNotPresent, Clear(t => t.First[0], 1), Fs);
        yield return Sm("SFS.2 PTE", FaultReason.FirstStageNotPresent, Clear(t => t.First[3], 1), Fs, write: true);
        yield return Sm("SFS.3 PML4E PS", FaultReason.FirstStageReserved, Set(t => t.First[0], 0x80), Fs);
        yield return Sm("SFS.3 2 MiB misaligned", FaultReason.FirstStageReserved, Set(t => t.First[2], 0x80 | 0x2000), Fs);
        yield return Sm(
            "SFS.3 no 1 GiB", FaultReason.FirstStageReserved, Set(t => t.First[1], 0x80), Fs, options: VtdBench.With(removeCap: Capability.FirstStage1GiBBit));
        yield return Sm("SFS.3 beyond", FaultReason.FirstStageReserved, Set(t => t.First[3], 1ul << 46), Fs, options: narrow);
        yield return Sm("SFS.4", FaultReason.FirstStageRootAccess, (b, t) => b.Break(t.First[0]), Fs, pasid: null);
        yield return Sm("SFS.5", FaultReason.FirstStageAddressBeyondWidth, Set(t => t.First[1], 1ul << 48), Nested);
        yield return Sm("SFS.5 leaf", FaultReason.FirstStageAddressBeyondWidth, Set(t => t.First[3], 1ul << 50), Nested);
        yield return Sm("SFS.6", FaultReason.FirstStageRootReadDenied, Clear(t => t.FirstTablePages[0], 1), Nested);
        yield return Sm("SFS.7", FaultReason.FirstStageReadDenied, Clear(t => t.FirstTablePages[2], 1), Nested);
        yield return Sm("SFS.8", FaultReason.FirstStageUpdateDenied, Clear(t => t.FirstTablePages[3], 2), Nested);
        yield return Sm("SFS.9", FaultReason.FirstStageUpdateNotSnooped, Clear(t => t.PasidEntry + 8, PasidTableEntry.Word1PageWalkSnoopBit), Fs);
        yield return Sm("SFS.10", FaultReason.FirstStageUpdateFailed, (b, t) => b.MakeReadOnly(t.First[3]), Fs);
        yield return Sm("SSS.1", FaultReason.SecondStageAccess, (b, t) => b.Break(t.Second[3]), Ss);
        yield return Sm("SSS.1 nested", FaultReason.SecondStageAccess, (b, t) => b.Break(t.Second[3]), Nested);
        yield return Sm("SSS.2", FaultReason.SecondStageNotPresent, (b, t) => b.Store(t.Second[2], 0), Ss);
        yield return Sm("SSS.2 accumulated", FaultReason.SecondStageNotPresent, Only(t => t.Second[1], 1, t => t.Second[3], 2), Ss);
        yield return Sm("SSS.2 nested, table", FaultReason.SecondStageNotPresent, (b, t) => b.Store(t.FirstTablePages[1], 0), Nested);
        yield return Sm("SSS.3", FaultReason.SecondStageReserved, Set(t => t.Second[0], 0x800), Ss, pasid: null);
        yield return Sm("SSS.3 nested", FaultReason.SecondStageReserved, Set(t => t.Second[3], 1ul << 62), Nested);
        yield return Sm("SSS.4", FaultReason.SecondStageRootAccess, (b, t) => b.Break(t.Second[0]), Ss);
        yield return Sm("SSS.5", FaultReason.SecondStageUpdateNotSnooped, Both(Set(t => t.PasidEntry, PasidTableEntry.Word0SecondStageDirtyBit), Clear(t => t.PasidEntry + 8, PasidTableEntry.Word1PageWalkSnoopBit)), Ss);
        yield return Sm("SSS.6", FaultReason.SecondStageUpdateFailed, Both(Set(t => t.PasidEntry, PasidTableEntry.Word0SecondStageDirtyBit), (b, t) => b.MakeReadOnly(t.Second[1])), Ss);
        yield return Sm("SGN.1", FaultReason.NotCanonical, (_, _) => { }, Fs, address: 0x0000_8000_0000_0000);
        yield return Sm("SGN.1 high", FaultReason.NotCanonical, (_, _) => { }, Nested, address: 0x0001_0000_0000_0000);
        yield return Sm("SGN.2", FaultReason.UserDenied, Clear(t => t.First[3], 4), Fs);
        yield return Sm("SGN.2 above", FaultReason.UserDenied, Clear(t => t.First[0], 4), Fs, pasid: null);
        yield return new("SGN.4.2", FaultReason.AddressBeyondHost, (_, _) => { }, TranslationTableMode.Scalable, PasidTranslationType.PassThrough, Pasid: P, Address: 1ul << 52);
        yield return Sm("SGN.5", FaultReason.AddressBeyondSecondStage, (_, _) => { }, Ss, address: (1ul << 48) | Iova);
        yield return Sm("SGN.6 second stage", FaultReason.ScalableWriteDenied, Clear(t => t.Second[2], 2), Ss, write: true);
        yield return Sm("SGN.6 first stage", FaultReason.ScalableWriteDenied, Clear(t => t.First[1], 2), Fs, write: true);
        yield return Sm("SGN.6 nested", FaultReason.ScalableWriteDenied, Clear(t => t.Second[3], 2), Nested, write: true);
        yield return Sm("SGN.7", FaultReason.ScalableReadDenied, Clear(t => t.Second[3], 1), Ss);
        yield return Sm("SGN.7 nested", FaultReason.ScalableReadDenied, Clear(t => t.Second[3], 1), Nested);
        yield return Sm("SGN.8", FaultReason.ScalableOutputInInterruptRange, (b, t) => b.Store(t.Second[3], 0xfeef_f000 | 3), Ss);
        yield return Sm("SGN.8 first stage", FaultReason.ScalableOutputInInterruptRange, (b, t) => b.Store(t.First[3], 0xfee0_0000 | 7), Fs);
        yield return new("SGN.8 pass-through", FaultReason.ScalableOutputInInterruptRange, (_, _) => { }, TranslationTableMode.Scalable, PasidTranslationType.PassThrough, Pasid: P, Address: 0xfee0_1000);
    }

    private static Action<VtdBench, Tables> Both(Action<VtdBench, Tables> one, Action<VtdBench, Tables> other) => (bench, tables) =>
    {
        one(bench, tables);
        other(bench, tables);
    };

    private static Action<VtdBench, Tables> Only(Func<Tables, ulong> one, ulong oneRight, Func<Tables, ulong> other, ulong otherRight) => (bench, tables) =>
    {
        bench.Store(one(tables), (bench.Read(one(tables)) & ~3ul) | oneRight);
        bench.Store(other(tables), (bench.Read(other(tables)) & ~3ul) | otherRight);
    };
}
