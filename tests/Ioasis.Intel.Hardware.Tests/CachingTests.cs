using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Hardware.Tests;

/// <summary>The hostile caches hold what chapter 6 lets them hold, and give it up for exactly the invalidations that name it (Tables 17, 23, 24).</summary>
public sealed class CachingTests
{
    private const ushort Rid = 0x0010;
    private const ushort Did = 9;
    private const uint P = 300;
    private const ulong Old = 0x10_0000;
    private const ulong New = 0x20_0000;

    private static VtdBench Make(PasidTranslationType type, out ulong first, out ulong second, bool cachingMode = false, ulong word0 = 0)
    {
        VtdBench bench = new(VtdBench.With(CachingMode.Hostile, addCap: cachingMode ? Capability.CachingModeBit : 0));
        first = bench.Page();
        second = bench.Page();
        bench.SetScalable(Rid, VtdBench.AllContextFlags);
        bench.SetPasid(Rid, P, type, Did, first, 4, second, 4, word0);
        bench.SetPasid(Rid, 0, type, Did, first, 4, second, 4, word0);
        bench.Enable();
        bench.EnableQueue(wide: true);
        return bench;
    }

    private static DmaRequest Dma(ulong address, bool write = false) => VtdBench.Dma(address, Rid, write, P);

    // Whether an invalidation makes a changed leaf of first or second stage seen.
    [Theory]
    [InlineData(PasidTranslationType.SecondStage, "global", true)]
    [InlineData(PasidTranslationType.SecondStage, "domain", true)]
    [InlineData(PasidTranslationType.SecondStage, "other domain", false)]
    [InlineData(PasidTranslationType.SecondStage, "page", true)]
    [InlineData(PasidTranslationType.SecondStage, "page, leaves only", true)]
    [InlineData(PasidTranslationType.SecondStage, "other page", false)]
    [InlineData(PasidTranslationType.SecondStage, "pasid", true)]
    [InlineData(PasidTranslationType.SecondStage, "pasid page", false)]
    [InlineData(PasidTranslationType.SecondStage, "contexts", false)]
    [InlineData(PasidTranslationType.SecondStage, "pasids", false)]
    [InlineData(PasidTranslationType.FirstStage, "global", true)]
    [InlineData(PasidTranslationType.FirstStage, "domain", true)]
    [InlineData(PasidTranslationType.FirstStage, "other page", true)]
    [InlineData(PasidTranslationType.FirstStage, "pasid", true)]
    [InlineData(PasidTranslationType.FirstStage, "other pasid", false)]
    [InlineData(PasidTranslationType.FirstStage, "pasid page", true)]
    [InlineData(PasidTranslationType.FirstStage, "pasid page, leaves only", true)]
    [InlineData(PasidTranslationType.FirstStage, "other pasid page", false)]
    [InlineData(PasidTranslationType.FirstStage, "pasid pages around", true)]
    [InlineData(PasidTranslationType.FirstStage, "contexts", false)]
    [InlineData(PasidTranslationType.FirstStage, "pasids", false)]
    internal void A_changed_leaf_is_seen_after_an_invalidation_that_names_it(PasidTranslationType type, string what, bool seen)
    {
        using VtdBench bench = Make(type, out ulong first, out ulong second);
        const ulong Iova = 0x4000_5000;
        ulong leaf = type == PasidTranslationType.FirstStage ? bench.MapFirst(first, 4, Iova, Old) : bench.MapSecond(second, 4, Iova, Old);
        bench.ShouldTranslate(Dma(Iova), Old);
        bench.Store(leaf, (bench.Read(leaf) & 0xfff) | New);
        bench.ShouldTranslate(Dma(Iova), Old);
        Invalidate(bench, what, Iova);
        bench.Wait().ShouldBeTrue();
        bench.ShouldTranslate(Dma(Iova), seen ? New : Old);
    }

    private static void Invalidate(VtdBench bench, string what, ulong iova)
    {
        switch (what)
        {
            case "global":
                bench.InvalidateIotlb(InvalidationGranularity.Global);
                break;
            case "domain":
                bench.InvalidateIotlb(InvalidationGranularity.Domain, Did);
                break;
            case "other domain":
                bench.InvalidateIotlb(InvalidationGranularity.Domain, Did + 1);
                break;
            case "page":
                bench.InvalidateIotlb(InvalidationGranularity.Selective, Did, iova);
                break;
            case "page, leaves only":
                bench.InvalidateIotlb(InvalidationGranularity.Selective, Did, iova, leavesOnly: true);
                break;
            case "other page":
                bench.InvalidateIotlb(InvalidationGranularity.Selective, Did, iova + 4096);
                break;
            case "pasid":
                bench.InvalidatePasidIotlb(PasidIotlbGranularity.Pasid, Did, P);
                break;
            case "other pasid":
                bench.InvalidatePasidIotlb(PasidIotlbGranularity.Pasid, Did, P + 1);
                break;
            case "pasid page":
                bench.InvalidatePasidIotlb(PasidIotlbGranularity.Pages, Did, P, iova);
                break;
            case "pasid page, leaves only":
                bench.InvalidatePasidIotlb(PasidIotlbGranularity.Pages, Did, P, iova, leavesOnly: true);
                break;
            case "other pasid page":
                bench.InvalidatePasidIotlb(PasidIotlbGranularity.Pages, Did, P, iova + 4096);
                break;
            case "pasid pages around":
                bench.InvalidatePasidIotlb(PasidIotlbGranularity.Pages, Did, P, iova & ~0xffffful, mask: 8);
                break;
            case "contexts":
                bench.InvalidateContexts(InvalidationGranularity.Global);
                break;
            case "pasids":
                bench.InvalidatePasids(PasidCacheGranularity.Global);
                break;
        }
    }

    [Theory]
    [InlineData(PasidTranslationType.FirstStage, true, false)]
    [InlineData(PasidTranslationType.FirstStage, false, true)]
    [InlineData(PasidTranslationType.SecondStage, true, false)]
    [InlineData(PasidTranslationType.SecondStage, false, true)]
    internal void Paging_structures_stay_with_the_hint_and_go_without(PasidTranslationType type, bool leavesOnly, bool seen)
    {
        using VtdBench bench = Make(type, out ulong first, out ulong second);
        const ulong Iova = 0x4000_5000;
        bool isFirst = type == PasidTranslationType.FirstStage;
        ulong root = isFirst ? first : second;
        _ = isFirst ? bench.MapFirst(first, 4, Iova, Old) : bench.MapSecond(second, 4, Iova, Old);
        bench.ShouldTranslate(Dma(Iova), Old);

        // Another table in the place of the upper one, with another page.
        ulong other = bench.Page();
        bench.Store(root, other | 7);
        _ = isFirst ? bench.MapFirst(root, 4, Iova, New) : bench.MapSecond(root, 4, Iova, New);
        if (isFirst)
        {
            bench.InvalidatePasidIotlb(PasidIotlbGranularity.Pages, Did, P, Iova, leavesOnly: leavesOnly);
        }
        else
        {
            bench.InvalidateIotlb(InvalidationGranularity.Selective, Did, Iova, leavesOnly: leavesOnly);
        }

        bench.ShouldTranslate(Dma(Iova), seen ? New : Old);
    }

    [Fact]
    public void Context_and_PASID_entries_serve_until_their_own_invalidations()
    {
        using VtdBench bench = Make(PasidTranslationType.SecondStage, out _, out ulong second);
        bench.MapSecond(second, 4, 0x1000, Old);
        bench.MapSecond(second, 4, 0x40_0000, New);
        bench.ShouldTranslate(Dma(0x1000), Old);
        bench.Store(bench.ScalableContext(Rid), 0);
        bench.Store(VtdBench.Root, 0);
        bench.ShouldTranslate(Dma(0x40_0000), New);
        bench.InvalidateContexts(InvalidationGranularity.Selective, rid: 0x0011);
        bench.ShouldTranslate(Dma(0x40_1000 - 0x1000), New);
        bench.InvalidateContexts(InvalidationGranularity.Selective, rid: 0x0014, functionMask: 1);

        // The IOTLB is not tagged with contexts: it goes on serving, and other pages fault.
        bench.ShouldTranslate(Dma(0x1000), Old);
        bench.ShouldFault(Dma(0x80_0000), FaultReason.ScalableRootNotPresent);

        using VtdBench pasids = Make(PasidTranslationType.SecondStage, out _, out second);
        pasids.MapSecond(second, 4, 0x1000, Old);
        pasids.MapSecond(second, 4, 0x40_0000, New);
        pasids.ShouldTranslate(Dma(0x1000), Old);
        pasids.Store(pasids.PasidEntry(Rid, P), 0);
        pasids.InvalidatePasids(PasidCacheGranularity.Pasid, Did, P + 1);
        pasids.InvalidatePasids(PasidCacheGranularity.Domain, Did + 1);
        pasids.ShouldTranslate(Dma(0x40_0000), New);
        pasids.InvalidatePasids(PasidCacheGranularity.Pasid, Did, P);
        pasids.ShouldTranslate(Dma(0x1000), Old);
        pasids.ShouldFault(Dma(0x80_0000), FaultReason.PasidEntryNotPresent);
    }

    [Fact]
    public void In_legacy_mode_contexts_are_tagged_with_their_domain()
    {
        using VtdBench bench = new(new() { Caching = CachingMode.Hostile });
        ulong table = bench.Page();
        bench.SetLegacy(Rid, table, 3, Did);
        bench.MapSecond(table, 3, 0x1000, Old);
        bench.MapSecond(table, 3, 0x40_0000, New);
        bench.Enable(TranslationTableMode.Legacy);
        bench.EnableQueue(wide: false);
        bench.ShouldTranslate(VtdBench.Dma(0x1000, Rid), Old);
        bench.Store(bench.LegacyContext(Rid), 0);
        bench.InvalidateContexts(InvalidationGranularity.Domain, Did + 1);
        bench.ShouldTranslate(VtdBench.Dma(0x40_0000, Rid), New);
        bench.InvalidateContexts(InvalidationGranularity.Domain, Did);
        bench.ShouldFault(VtdBench.Dma(0x80_0000, Rid), FaultReason.ContextNotPresent);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_faults_is_cached_in_caching_mode_alone(bool cachingMode)
    {
        using VtdBench bench = Make(PasidTranslationType.SecondStage, out _, out ulong second, cachingMode);
        bench.ShouldFault(Dma(0x1000), FaultReason.SecondStageNotPresent);
        bench.MapSecond(second, 4, 0x1000, New);
        if (cachingMode)
        {
            bench.ShouldFault(Dma(0x1000), FaultReason.SecondStageNotPresent);
            bench.InvalidateIotlb(InvalidationGranularity.Selective, Did, 0x1000);
        }

        bench.ShouldTranslate(Dma(0x1000), New);

        // A PASID entry that was not present, tagged with domain 0.
        bench.ShouldFault(VtdBench.Dma(0x1000, Rid, pasid: P + 1), FaultReason.PasidEntryNotPresent);
        bench.SetPasid(Rid, P + 1, PasidTranslationType.SecondStage, Did, 0, 4, second, 4);
        if (cachingMode)
        {
            bench.InvalidatePasids(PasidCacheGranularity.Pasid, Did, P + 1);
            bench.ShouldFault(VtdBench.Dma(0x1000, Rid, pasid: P + 1), FaultReason.PasidEntryNotPresent);
            bench.InvalidatePasids(PasidCacheGranularity.Pasid, 0, P + 1);
        }

        bench.ShouldTranslate(VtdBench.Dma(0x1000, Rid, pasid: P + 1), New);
    }

    [Fact]
    public void First_stage_entries_that_were_not_present_are_never_cached()
    {
        using VtdBench bench = Make(PasidTranslationType.FirstStage, out ulong first, out _, cachingMode: true);
        bench.ShouldFault(Dma(0x1000), FaultReason.FirstStageNotPresent);
        bench.MapFirst(first, 4, 0x1000, New);
        bench.ShouldTranslate(Dma(0x1000), New);
    }

    [Fact]
    public void Neighbours_in_the_cache_line_are_held_though_nobody_asked_for_them()
    {
        using VtdBench bench = Make(PasidTranslationType.SecondStage, out _, out ulong second);
        ulong asked = bench.MapSecond(second, 4, 0x1000, Old);
        bench.MapSecond(second, 4, 0x2000, New);
        bench.ShouldTranslate(Dma(0x1000), Old);
        bench.Store(asked + 8, 0);
        bench.ShouldTranslate(Dma(0x2000), New);
        bench.InvalidateIotlb(InvalidationGranularity.Selective, Did, 0x2000);
        bench.ShouldFault(Dma(0x2000), FaultReason.SecondStageNotPresent);
    }

    [Fact]
    public void A_write_after_a_read_sets_D_though_the_translation_is_cached()
    {
        using VtdBench bench = Make(PasidTranslationType.SecondStage, out _, out ulong second, word0: PasidTableEntry.Word0SecondStageDirtyBit);
        ulong leaf = bench.MapSecond(second, 4, 0x1000, Old);
        bench.ShouldTranslate(Dma(0x1000), Old);
        (bench.Read(leaf) & 0x300).ShouldBe(0x100ul);
        bench.ShouldTranslate(Dma(0x1000, write: true), Old);
        (bench.Read(leaf) & 0x300).ShouldBe(0x300ul);

        // D that software cleared is not set again before an invalidation.
        bench.Store(leaf, bench.Read(leaf) & ~0x200ul);
        bench.ShouldTranslate(Dma(0x1000, write: true), Old);
        (bench.Read(leaf) & 0x200).ShouldBe(0ul);
        bench.InvalidateIotlb(InvalidationGranularity.Selective, Did, 0x1000);
        bench.ShouldTranslate(Dma(0x1000, write: true), Old);
        (bench.Read(leaf) & 0x200).ShouldBe(0x200ul);
    }

    [Theory]
    [InlineData(CachingMode.Realistic)]
    [InlineData(CachingMode.Hostile)]
    public void A_page_request_takes_a_read_only_translation_out_of_the_caches(CachingMode caching)
    {
        using VtdBench bench = new(new() { Caching = caching });
        ulong first = bench.Page();
        bench.SetScalable(Rid, VtdBench.AllContextFlags);
        bench.SetPasid(Rid, P, PasidTranslationType.FirstStage, Did, first);
        bench.Enable();
        bench.Iommu.Write64(RegisterOffset.PageRequestQueueAddress, VtdBench.PageQueue);
        ulong leaf = bench.MapFirst(first, 4, 0x1000, Old, rights: 5);
        bench.ShouldTranslate(Dma(0x1000), Old);
        bench.ShouldFault(Dma(0x1000, write: true), FaultReason.ScalableWriteDenied);
        bench.Store(leaf, bench.Read(leaf) | 2);
        bench.Iommu.HandlePageRequest(new(4, Rid, null, new Pasid(P), 0x1000 | 7));
        bench.ShouldTranslate(Dma(0x1000, write: true), Old);
    }

    [Theory]
    [InlineData(true, true)]
    [InlineData(false, false)]
    public void Setting_the_root_table_invalidates_where_the_capability_says_so(bool capability, bool seen)
    {
        using VtdBench bench = new(VtdBench.With(CachingMode.Hostile, removeCap: capability ? 0 : Capability.SetRootTableInvalidatesBit));
        ulong table = bench.Page();
        bench.SetLegacy(Rid, table, 3, Did);
        ulong leaf = bench.MapSecond(table, 3, 0x1000, Old);
        bench.Enable(TranslationTableMode.Legacy);
        bench.ShouldTranslate(VtdBench.Dma(0x1000, Rid), Old);
        bench.Store(leaf, New | 3);
        bench.Command(GlobalControl.SetRootTableBit, true);
        bench.ShouldTranslate(VtdBench.Dma(0x1000, Rid), seen ? New : Old);

        // Disabling and enabling again invalidates with scalable-mode hardware.
        bench.Command(GlobalControl.TranslationEnableBit, false);
        bench.ShouldTranslate(VtdBench.Dma(0x1000, Rid), 0x1000);
        bench.Command(GlobalControl.TranslationEnableBit, true);
        bench.ShouldTranslate(VtdBench.Dma(0x1000, Rid), New);
    }
}
