using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Hardware.Tests;

/// <summary>Translation requests, translated requests and page requests (chapter 4, sections 7.4 to 7.6).</summary>
public sealed class AtsTests
{
    private const ushort Rid = 0x0088;
    private const uint P = 77;

    private static VtdBench Make(PasidTranslationType type, out ulong first, out ulong second, VtdIommuOptions? options = null, ulong word0 = 0, ulong word1 = 0, ulong word2 = 0)
    {
        VtdBench bench = new(options);
        first = bench.Page();
        second = bench.Page();
        bench.SetScalable(Rid, VtdBench.AllContextFlags);
        foreach (uint pasid in (uint[])[0, P])
        {
            bench.SetPasid(Rid, pasid, type, 3, first, 4, second, 4, word0, word1 | PasidTableEntry.Word1PageWalkSnoopBit, word2);
        }

        bench.Enable();
        bench.EnableQueue(wide: true);
        return bench;
    }

    private static DmaRequest Ask(ulong address, uint? pasid = P, DmaFlags flags = DmaFlags.None) =>
        VtdBench.Dma(address, Rid, pasid: pasid, kind: DmaKind.TranslationRequest, flags: flags);

    [Fact]
    public void A_completion_has_the_effective_rights_the_size_and_N()
    {
        using VtdBench bench = Make(PasidTranslationType.SecondStage, out _, out ulong second);
        bench.MapSecond(second, 4, 0x1000, 0x10_0000, rights: 1);
        bench.MapSecond(second, 4, 0x20_0000, 0x40_0000, 21, rights: 3 | SecondStageEntry.SnoopBit);
        DmaTranslation readOnly = bench.Translate(Ask(0x1234));
        (readOnly.Flags, readOnly.SizeLog2, readOnly.Address).ShouldBe((DmaTranslationFlags.Read, (byte)12, new PhysicalAddress(0x10_0234)));
        DmaTranslation both = bench.Translate(Ask(0x20_5678, pasid: null));
        (both.Flags, both.SizeLog2).ShouldBe((DmaTranslationFlags.Read | DmaTranslationFlags.Write | DmaTranslationFlags.NoSnoop, (byte)21));
        bench.Translate(Ask(0x20_5678, flags: DmaFlags.NoWrite)).Flags.ShouldBe(DmaTranslationFlags.Read | DmaTranslationFlags.NoSnoop);
        bench.Translate(Ask(0x9000)).ShouldBe(new DmaTranslation(default, DmaStatus.Success));
        bench.TakeFault().ShouldBeNull();
    }

    [Fact]
    public void A_request_without_NW_sets_D_and_one_with_NW_does_not()
    {
        using VtdBench bench = Make(PasidTranslationType.FirstStage, out ulong first, out _);
        ulong leaf = bench.MapFirst(first, 4, 0x1000, 0x10_0000);
        bench.Translate(Ask(0x1000, flags: DmaFlags.NoWrite)).Flags.ShouldBe(DmaTranslationFlags.Read);
        (bench.Read(leaf) & 0x60).ShouldBe(0x20ul);
        bench.Translate(Ask(0x1000)).Flags.ShouldBe(DmaTranslationFlags.Read | DmaTranslationFlags.Write);
        (bench.Read(leaf) & 0x60).ShouldBe(0x60ul);
    }

    [Fact]
    public void Supervisors_get_PRIV_and_their_own_rights()
    {
        using VtdBench bench = Make(PasidTranslationType.FirstStage, out ulong first, out _, word2: PasidTableEntry.Word2SupervisorBit);
        bench.MapFirst(first, 4, 0x1000, 0x10_0000, rights: 1);
        bench.Translate(Ask(0x1000)).Flags.ShouldBe(DmaTranslationFlags.None);

        // WPE is 0: a supervisor may write what is read-only.
        bench.Translate(Ask(0x1000, flags: DmaFlags.Privileged)).Flags
            .ShouldBe(DmaTranslationFlags.Read | DmaTranslationFlags.Write | DmaTranslationFlags.Privileged);

        using VtdBench without = Make(PasidTranslationType.FirstStage, out first, out _);
        without.MapFirst(first, 4, 0x1000, 0x10_0000);
        without.Translate(Ask(0x1000, flags: DmaFlags.Privileged)).ShouldBe(
            new DmaTranslation(default, DmaStatus.Success, 12, 0, DmaTranslationFlags.Privileged));
    }

    [Fact]
    public void The_interrupt_range_is_untranslated_only_for_requests_without_PASID()
    {
        using VtdBench bench = Make(PasidTranslationType.PassThrough, out _, out _, word1: PasidTableEntry.Word1PageSnoopBit);
        bench.Translate(Ask(0xfee0_0000, pasid: null)).Flags.ShouldBe(DmaTranslationFlags.Write | DmaTranslationFlags.UntranslatedOnly);
        bench.Translate(Ask(0xfee0_0000, pasid: null, flags: DmaFlags.NoWrite)).ShouldBe(new DmaTranslation(default, DmaStatus.Success));
        bench.Translate(Ask(0xfee0_0000)).Status.ShouldBe(DmaStatus.CompleterAbort);
        bench.TakeFault().ShouldNotBeNull().Reason.ShouldBe(FaultReason.ScalableOutputInInterruptRange);
        DmaTranslation pass = bench.Translate(Ask(0x1_2345_6789));
        (pass.Flags, pass.SizeLog2, pass.Address.Value).ShouldBe(
            (DmaTranslationFlags.Read | DmaTranslationFlags.Write | DmaTranslationFlags.NoSnoop, (byte)30, 0x1_2345_6789ul));
    }

    [Fact]
    public void Translated_requests_pass_where_DTE_allows_them_and_nowhere_else()
    {
        using VtdBench bench = Make(PasidTranslationType.SecondStage, out _, out _);
        DmaRequest request = VtdBench.Dma(0x1_0000_0123, Rid, kind: DmaKind.Translated);
        bench.ShouldTranslate(request, 0x1_0000_0123);
        bench.ShouldFault(request with { Address = new(0xfee0_0000) }, FaultReason.ScalableOutputInInterruptRange).AddressType.ShouldBe(2);
        bench.ShouldFault(request with { Address = new(1ul << 52) }, FaultReason.AddressBeyondHost);
        bench.Translate(VtdBench.Dma(0x1000, Rid, pasid: P, kind: DmaKind.Translated)).Status.ShouldBe(DmaStatus.UnsupportedRequest);
        bench.TakeFault().ShouldBeNull();
        bench.SetScalable(Rid, ScalableContextEntry.PasidBit);
        bench.InvalidateContexts(InvalidationGranularity.Global);
        bench.ShouldFault(request, FaultReason.DeviceTlbDisabled);
        bench.ShouldFault(request with { Kind = DmaKind.TranslationRequest }, FaultReason.DeviceTlbDisabled);

        using VtdBench legacy = new();
        legacy.SetLegacy(8, legacy.Page(), 4, 1);
        legacy.Enable(TranslationTableMode.Legacy);
        legacy.ShouldFault(VtdBench.Dma(0x1000, kind: DmaKind.Translated), FaultReason.ContextBlocksDeviceTlb);
        legacy.ShouldFault(VtdBench.Dma(0x1000, kind: DmaKind.TranslationRequest), FaultReason.ContextBlocksDeviceTlb);
        legacy.SetLegacy(8, legacy.Page(), 4, 1, ContextTranslationType.SecondStageWithDeviceTlb);
        legacy.Enable(TranslationTableMode.Legacy);
        legacy.ShouldTranslate(VtdBench.Dma(0x1000, kind: DmaKind.Translated), 0x1000);
        legacy.ShouldFault(VtdBench.Dma(0xfeef_ffff, kind: DmaKind.Translated), FaultReason.OutputInInterruptRange);
        legacy.ShouldFault(VtdBench.Dma(1ul << 60, kind: DmaKind.Translated), FaultReason.AddressBeyondWidth);
    }

    private static PcieMessage PageRequest(ulong address, uint group, bool last, bool read = true, bool write = false, uint? pasid = P) => new(
        4, Rid, null, pasid is { } p ? new(p) : Pasid.Invalid, address | ((ulong)group << 3) | (last ? 4ul : 0) | (write ? 2ul : 0) | (read ? 1ul : 0));

    private static void EnablePageRequests(VtdBench bench)
    {
        bench.Iommu.Write64(RegisterOffset.PageRequestQueueAddress, VtdBench.PageQueue);
        bench.Iommu.Write32(RegisterOffset.PageRequestEventData, 0x77);
        bench.Iommu.Write32(RegisterOffset.PageRequestEventAddress, 0xfee0_2000);
        bench.Iommu.Write32(RegisterOffset.PageRequestEventControl, 0);
    }

    [Fact]
    public void A_page_request_is_described_in_the_queue_and_raises_its_event()
    {
        using VtdBench bench = Make(PasidTranslationType.FirstStage, out _, out _);
        EnablePageRequests(bench);
        bench.Iommu.HandlePageRequest(PageRequest(0x12_3000, 9, last: true, write: true) with { IsPrivileged = true });
        bench.Iommu.HandlePageRequest(PageRequest(0x12_4000, 10, last: false, pasid: null));
        bench.Read(VtdBench.PageQueue).ShouldBe(
            1 | (1ul << 8) | ((ulong)Rid << 16) | ((ulong)P << 32) | PageRequestDescriptor.PrivilegedBit);
        bench.Read(VtdBench.PageQueue + 8).ShouldBe(0x12_3000ul | (9 << 3) | 7);
        bench.Read(VtdBench.PageQueue + 32).ShouldBe(1 | ((ulong)Rid << 16));
        bench.Read(VtdBench.PageQueue + 40).ShouldBe(0x12_4000ul | (10 << 3) | 1);
        bench.Iommu.Read64(RegisterOffset.PageRequestQueueTail).ShouldBe(64ul);
        bench.Iommu.Read32(RegisterOffset.PageRequestStatus).ShouldBe(PageRequestStatus.PendingBit);
        bench.Interrupts.ShouldBe([(0xfee0_2000ul, 0x77u)]);
        bench.Responses.ShouldBeEmpty();
    }

    [Fact]
    public void A_full_queue_overflows_and_answers_the_last_of_a_group_with_success()
    {
        using VtdBench bench = Make(PasidTranslationType.FirstStage, out _, out _);
        EnablePageRequests(bench);
        for (uint i = 0; i < 127; i++)
        {
            bench.Iommu.HandlePageRequest(PageRequest(0x1000, i, last: true));
        }

        bench.Responses.ShouldBeEmpty();
        bench.Iommu.HandlePageRequest(PageRequest(0x1000, 200, last: false));
        bench.Iommu.HandlePageRequest(PageRequest(0x1000, 201, last: true));
        bench.Iommu.HandlePageRequest(PageRequest(0, 0, last: true, read: false));
        bench.Iommu.Read32(RegisterOffset.PageRequestStatus).ShouldBe(PageRequestStatus.PendingBit | PageRequestStatus.OverflowBit);
        PcieMessage response = bench.Responses.ShouldHaveSingleItem();
        response.Payload.ShouldBe(((ulong)Rid << 48) | (201ul << 32));
        response.Pasid.ShouldBe(new Pasid(P));

        // Room alone does not help while PRO is set.
        bench.Iommu.Write64(RegisterOffset.PageRequestQueueHead, 64);
        bench.Iommu.HandlePageRequest(PageRequest(0x1000, 202, last: true));
        bench.Responses.Count.ShouldBe(2);
        bench.Iommu.Write32(RegisterOffset.PageRequestStatus, 3);
        bench.Iommu.HandlePageRequest(PageRequest(0x1000, 203, last: true));
        bench.Responses.Count.ShouldBe(2);
        bench.Iommu.Read64(RegisterOffset.PageRequestQueueTail).ShouldBe(0ul);
        bench.Interrupts.Count.ShouldBe(2);
    }

    [Fact]
    public void A_page_request_that_meets_a_fault_is_recorded_and_answered_as_invalid()
    {
        using VtdBench bench = Make(PasidTranslationType.FirstStage, out _, out _);
        EnablePageRequests(bench);
        bench.SetScalable(Rid, ScalableContextEntry.DeviceTlbBit | ScalableContextEntry.PasidBit);
        bench.InvalidateContexts(InvalidationGranularity.Global);
        bench.Iommu.HandlePageRequest(PageRequest(0x5000, 1, last: true));
        RecordedFault fault = bench.TakeFault().ShouldNotBeNull();
        (fault.Reason, fault.IsPageRequest, fault.IsRead, fault.Address).ShouldBe((FaultReason.PageRequestDisabled, true, false, 0x5000ul));
        (bench.Responses.ShouldHaveSingleItem().Payload >> 44 & 0xf).ShouldBe(1ul);
        bench.Iommu.HandlePageRequest(PageRequest(0x5000, 1, last: false));
        bench.Responses.Count.ShouldBe(1);
        bench.Iommu.Read64(RegisterOffset.PageRequestQueueTail).ShouldBe(0ul);

        using VtdBench legacy = new();
        legacy.Enable(TranslationTableMode.Legacy);
        legacy.Iommu.HandlePageRequest(PageRequest(0x5000, 1, last: true));
        legacy.TakeFault().ShouldNotBeNull().Reason.ShouldBe(FaultReason.PageRequestInLegacyMode);
    }
}
