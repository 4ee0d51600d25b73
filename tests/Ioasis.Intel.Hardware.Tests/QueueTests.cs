using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Hardware.Tests;

/// <summary>The invalidation queue (section 6.5.2): waits, errors, widths, device-TLBs, responses.</summary>
public sealed class QueueTests
{
    private static InvalidationQueueError ErrorOf(VtdBench bench)
    {
        bool isSet = (bench.Iommu.Read32(RegisterOffset.FaultStatus) & FaultStatus.QueueErrorBit) != 0;
        return isSet ? (InvalidationQueueError)(bench.Iommu.Read64(RegisterOffset.InvalidationQueueErrorRecord) & 0xf) : InvalidationQueueError.None;
    }

    private static VtdBench Scalable(VtdIommuOptions? options = null)
    {
        VtdBench bench = new(options);
        bench.Enable();
        bench.EnableQueue(wide: true);
        return bench;
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_wait_writes_its_status_and_the_head_follows_the_tail_around_the_ring(bool wide)
    {
        using VtdBench bench = new();
        bench.Enable(wide ? TranslationTableMode.Scalable : TranslationTableMode.Legacy);
        bench.EnableQueue(wide);
        for (uint i = 1; i <= 600; i++)
        {
            bench.Wait(i).ShouldBeTrue();
            bench.Head.ShouldBe(bench.Iommu.Read64(RegisterOffset.InvalidationQueueTail));
        }

        bench.Command(GlobalControl.QueuedInvalidationEnableBit, false);
        bench.Head.ShouldBe(0ul);
    }

    [Fact]
    public void A_wait_with_IF_sets_IWC_and_sends_its_event_once_until_software_serves_it()
    {
        using VtdBench bench = Scalable();
        ulong wait = VtdBench.Low(DescriptorType.Wait) | Descriptor.WaitInterruptBit;
        bench.Iommu.Write32(RegisterOffset.InvalidationEventData, 0x1_0031);
        bench.Iommu.Write32(RegisterOffset.InvalidationEventAddress, 0xfee0_1003);
        bench.Iommu.Write32(RegisterOffset.InvalidationEventUpperAddress, 0x55);
        bench.Submit(wait);
        bench.Interrupts.ShouldBeEmpty();
        bench.Iommu.Read32(RegisterOffset.InvalidationEventControl).ShouldBe(EventControl.MaskBit | EventControl.PendingBit);
        bench.Iommu.Write32(RegisterOffset.InvalidationEventControl, 0);
        bench.Interrupts.ShouldBe([(0x55_fee0_1000ul, 0x31u)]);
        bench.Submit(wait);
        bench.Interrupts.Count.ShouldBe(1);
        bench.Iommu.Read32(RegisterOffset.InvalidationCompletionStatus).ShouldBe(1u);
        bench.Iommu.Write32(RegisterOffset.InvalidationCompletionStatus, 1);
        bench.Submit(wait);
        bench.Interrupts.Count.ShouldBe(2);

        // Served while masked: the pending message is withdrawn.
        bench.Iommu.Write32(RegisterOffset.InvalidationCompletionStatus, 1);
        bench.Iommu.Write32(RegisterOffset.InvalidationEventControl, EventControl.MaskBit);
        bench.Submit(wait);
        bench.Iommu.Write32(RegisterOffset.InvalidationCompletionStatus, 1);
        bench.Iommu.Write32(RegisterOffset.InvalidationEventControl, 0);
        bench.Interrupts.Count.ShouldBe(2);
    }

    public static TheoryData<string, int, int> ReservedBits
    {
        get
        {
            // From the figures of section 6.5.2: first and last bit of each reserved field, with DIT and PDS.
            (DescriptorType, (int, int)[])[] fields =
            [
                (DescriptorType.ContextCache, [(6, 8), (12, 15), (50, 255)]),
                (DescriptorType.Iotlb, [(8, 8), (12, 15), (32, 63), (71, 75), (128, 255)]),
                (DescriptorType.DeviceTlb, [(4, 8), (21, 31), (48, 51), (65, 75), (128, 255)]),
                (DescriptorType.InterruptEntryCache, [(5, 8), (12, 26), (48, 255)]),
                (DescriptorType.Wait, [(8, 8), (12, 31), (64, 65), (128, 255)]),
                (DescriptorType.PasidIotlb, [(6, 8), (12, 15), (52, 63), (71, 75), (128, 255)]),
                (DescriptorType.PasidCache, [(6, 8), (12, 15), (52, 255)]),
                (DescriptorType.PasidDeviceTlb, [(65, 74), (128, 255)]),
                (DescriptorType.PageGroupResponse, [(5, 8), (52, 63), (64, 65), (76, 255)]),
            ];
            TheoryData<string, int, int> data = [];
            foreach ((DescriptorType type, (int First, int Last)[] ranges) in fields)
            {
                foreach ((int first, int last) in ranges)
                {
                    data.Add(type.ToString(), first, last);
                }
            }

            return data;
        }
    }

    // A descriptor of each type that is valid as it stands.
    private static ulong ValidLow(DescriptorType type) => VtdBench.Low(type) | type switch
    {
        DescriptorType.ContextCache or DescriptorType.Iotlb => 1ul << 4,
        DescriptorType.PasidIotlb => 2ul << 4,
        _ => 0ul,
    };

    [Theory]
    [MemberData(nameof(ReservedBits))]
    public void A_reserved_bit_stops_the_queue_at_its_descriptor_until_software_clears_the_error(string descriptor, int first, int last)
    {
        DescriptorType type = Enum.Parse<DescriptorType>(descriptor);
        for (int bit = first; bit <= last; bit++)
        {
            using VtdBench bench = Scalable(VtdBench.With(addExtended: ExtendedCapability.InvalidationThrottleBit));
            ulong[] words = [ValidLow(type), 0, 0, 0];
            words[bit / 64] |= 1ul << (bit % 64);
            bench.Wait().ShouldBeTrue();
            ulong head = bench.Head;
            bench.Submit(words[0], words[1], words[2], words[3]);
            ErrorOf(bench).ShouldBe(InvalidationQueueError.ReservedField, $"bit {bit}");
            bench.Head.ShouldBe(head);
            bench.Wait().ShouldBeFalse();

            // Mended and cleared, it goes on.
            bench.Store(VtdBench.Queue + head + (ulong)(bit / 64 * 8), bit < 64 ? ValidLow(type) : 0);
            bench.Iommu.Write32(RegisterOffset.FaultStatus, FaultStatus.QueueErrorBit);
            ErrorOf(bench).ShouldBe(InvalidationQueueError.None);
            bench.Read(VtdBench.StatusAddress).ShouldBe(0x5a5aul);
        }
    }

    [Theory]
    [InlineData(DescriptorType.ContextCache, 0)]
    [InlineData(DescriptorType.Iotlb, 0)]
    [InlineData(DescriptorType.PasidIotlb, 0)]
    [InlineData(DescriptorType.PasidIotlb, 1)]
    [InlineData(DescriptorType.PasidCache, 2)]
    internal void A_reserved_granularity_is_an_invalid_descriptor(DescriptorType type, int granularity)
    {
        using VtdBench bench = Scalable();
        bench.Submit(VtdBench.Low(type, granularity));
        ErrorOf(bench).ShouldBe(InvalidationQueueError.ReservedField);
    }

    [Fact]
    public void An_address_mask_beyond_MAMV_is_refused_for_domains_and_not_for_PASIDs()
    {
        using VtdBench bench = Scalable();
        bench.InvalidatePasidIotlb(PasidIotlbGranularity.Pages, 1, 1, 0, mask: 63);
        ErrorOf(bench).ShouldBe(InvalidationQueueError.None);
        bench.InvalidateIotlb(InvalidationGranularity.Selective, 1, 0, mask: 19);
        ErrorOf(bench).ShouldBe(InvalidationQueueError.ReservedField);
    }

    [Theory]
    [InlineData(TranslationTableMode.Legacy, true, 5)]
    [InlineData(TranslationTableMode.Legacy, false, 5)]
    [InlineData(TranslationTableMode.Scalable, true, 9)]
    [InlineData(TranslationTableMode.AbortDma, true, 9)]
    internal void Table_26_says_which_types_are_valid_in_a_mode(TranslationTableMode mode, bool wide, int last)
    {
        for (int type = 0; type < 128; type++)
        {
            using VtdBench bench = new();
            bench.Enable(mode);
            bench.EnableQueue(wide);
            bench.Submit(ValidLow((DescriptorType)type));
            ErrorOf(bench).ShouldBe(type >= 1 && type <= last ? InvalidationQueueError.None : InvalidationQueueError.InvalidType, $"type {type}");
        }
    }

    [Theory]
    [InlineData(TranslationTableMode.Scalable)]
    [InlineData(TranslationTableMode.AbortDma)]
    internal void Narrow_descriptors_are_refused_outside_of_legacy_mode(TranslationTableMode mode)
    {
        using VtdBench bench = new();
        bench.Enable(mode);
        bench.EnableQueue(wide: false);
        bench.Wait().ShouldBeFalse();
        ErrorOf(bench).ShouldBe(InvalidationQueueError.InvalidWidth);
    }

    [Fact]
    public void The_queue_tells_a_reserved_mode_a_tail_off_its_end_a_tail_off_its_grid_and_a_fetch_that_fails()
    {
        using VtdBench bench = new();
        bench.Enable(TranslationTableMode.Reserved);
        bench.EnableQueue(wide: true);
        bench.Wait();
        ErrorOf(bench).ShouldBe(InvalidationQueueError.InvalidTableMode);

        using VtdBench off = Scalable();
        off.Iommu.Write64(RegisterOffset.InvalidationQueueTail, 4096);
        ErrorOf(off).ShouldBe(InvalidationQueueError.InvalidTail);

        using VtdBench grid = Scalable();
        grid.Iommu.Write64(RegisterOffset.InvalidationQueueTail, 16);
        ErrorOf(grid).ShouldBe(InvalidationQueueError.MisalignedTail);

        using VtdBench fetch = Scalable();
        fetch.Break(VtdBench.Queue);
        fetch.Iommu.Write64(RegisterOffset.InvalidationQueueTail, 32);
        ErrorOf(fetch).ShouldBe(InvalidationQueueError.FetchError);
    }

    [Fact]
    public void A_device_TLB_invalidation_goes_to_its_device_and_a_wait_behind_it_waits_for_the_answer()
    {
        using VtdBench bench = Scalable();
        bench.AnswersInvalidations = false;
        bench.Submit(VtdBench.Low(DescriptorType.DeviceTlb) | (0x0108ul << 32), 0x7000 | 1);
        bench.Submit(VtdBench.Low(DescriptorType.PasidDeviceTlb) | (0x0208ul << 16) | (5ul << 32), 0x9000 | 0x800 | 1);
        bench.Invalidations.Select(m => (m.RequesterId, m.Pasid, m.Payload, m.Tag)).ShouldBe(
            [((ushort)0x0108, Pasid.Invalid, 0x7800ul, (byte)0), ((ushort)0x0208, new Pasid(5), 0x9801ul, (byte)1)]);
        bench.Wait().ShouldBeFalse();

        // The second device sends two completions for its tag.
        bench.Iommu.HandleInvalidationCompletion(new(2, 0x0108, null, Pasid.Invalid, 1 | (1ul << 32))).ShouldBeTrue();
        bench.Iommu.HandleInvalidationCompletion(new(2, 0x0208, null, Pasid.Invalid, 2 | (2ul << 32))).ShouldBeTrue();
        bench.Read(VtdBench.StatusAddress).ShouldBe(0ul);
        bench.Iommu.HandleInvalidationCompletion(new(2, 0x0208, null, Pasid.Invalid, 2 | (2ul << 32))).ShouldBeTrue();
        bench.Read(VtdBench.StatusAddress).ShouldBe(0x5a5aul);
    }

    [Fact]
    public void A_completion_of_another_device_sets_ICE_and_a_time_out_sets_ITE_and_stops_the_queue()
    {
        using VtdBench bench = Scalable();
        bench.AnswersInvalidations = false;
        bench.Submit(VtdBench.Low(DescriptorType.DeviceTlb) | (0x0108ul << 32));
        bench.Wait().ShouldBeFalse();
        bench.Iommu.HandleInvalidationCompletion(new(2, 0x0777, null, Pasid.Invalid, 1 | (1ul << 32))).ShouldBeFalse();
        bench.Iommu.Read32(RegisterOffset.FaultStatus).ShouldBe(FaultStatus.CompletionErrorBit);
        (bench.Iommu.Read64(RegisterOffset.InvalidationQueueErrorRecord) >> InvalidationQueueErrorRecord.CompletionSourceShift).ShouldBe(0x0777ul);
        bench.Iommu.Write32(RegisterOffset.FaultStatus, FaultStatus.CompletionErrorBit);

        bench.Iommu.HandleInvalidationTimeout(0b11);
        bench.Iommu.Read32(RegisterOffset.FaultStatus).ShouldBe(FaultStatus.TimeoutErrorBit);
        ((bench.Iommu.Read64(RegisterOffset.InvalidationQueueErrorRecord) >> InvalidationQueueErrorRecord.TimeoutSourceShift) & 0xffff).ShouldBe(0x0108ul);
        bench.Read(VtdBench.StatusAddress).ShouldBe(0ul);

        // The head is still on the wait: with ITE cleared it is fetched again.
        bench.Iommu.Write32(RegisterOffset.FaultStatus, FaultStatus.TimeoutErrorBit);
        bench.Read(VtdBench.StatusAddress).ShouldBe(0x5a5aul);
    }

    [Fact]
    public void Invalidations_beyond_the_tags_wait_for_a_free_one()
    {
        using VtdBench bench = Scalable(new() { DeviceTlbTags = 2 });
        bench.AnswersInvalidations = false;
        for (ushort rid = 1; rid <= 3; rid++)
        {
            bench.Submit(VtdBench.Low(DescriptorType.DeviceTlb) | ((ulong)rid << 32));
        }

        bench.Invalidations.Count.ShouldBe(2);
        bench.Iommu.HandleInvalidationCompletion(new(2, 1, null, Pasid.Invalid, 1 | (1ul << 32)));
        bench.Invalidations.Select(m => m.RequesterId).ShouldBe([1, 2, 3]);
        bench.Invalidations[2].Tag.ShouldBe((byte)0);
    }

    [Fact]
    public void A_page_group_response_goes_to_its_device()
    {
        using VtdBench bench = Scalable();
        bench.Submit(
            VtdBench.Low(DescriptorType.PageGroupResponse) | Descriptor.ResponsePasidBit | (1ul << 12) | (0x0108ul << 16) | (0x54321ul << 32), 0x1fful << 3);
        PcieMessage message = bench.Responses.ShouldHaveSingleItem();
        message.RequesterId.ShouldBe((ushort)0x0108);
        message.Pasid.ShouldBe(new Pasid(0x54321));
        message.Payload.ShouldBe((0x0108ul << 48) | (1ul << 44) | (0x1fful << 32));
    }

    [Fact]
    public void Queue_errors_and_faults_send_one_event_until_all_are_served()
    {
        using VtdBench bench = Scalable();
        bench.Iommu.Write32(RegisterOffset.FaultEventData, 0x44);
        bench.Iommu.Write32(RegisterOffset.FaultEventAddress, 0xfee0_0000);
        bench.Iommu.Write32(RegisterOffset.FaultEventControl, 0);
        bench.Submit(0);
        bench.Translate(VtdBench.Dma(0x1000)).Status.ShouldBe(DmaStatus.UnsupportedRequest);
        bench.Interrupts.ShouldBe([(0xfee0_0000ul, 0x44u)]);
        bench.Iommu.Write32(RegisterOffset.FaultStatus, FaultStatus.QueueErrorBit);
        bench.TakeFault().ShouldNotBeNull().Reason.ShouldBe(FaultReason.ScalableRootNotPresent);

        // The queue stands on the same descriptor: its error comes again.
        bench.Interrupts.Count.ShouldBe(1);
        bench.Iommu.Read32(RegisterOffset.FaultStatus).ShouldBe(FaultStatus.QueueErrorBit);
    }

    [Theory]
    [InlineData(0x50, false, InvalidationGranularity.Selective)]
    [InlineData(0x60, false, InvalidationGranularity.Reserved)]
    [InlineData(0x50, true, InvalidationGranularity.Reserved)]
    internal void Register_based_invalidation_is_for_legacy_mode_without_queue_up_to_version_5(int version, bool queue, InvalidationGranularity expected)
    {
        using VtdBench bench = new(new() { Caching = CachingMode.Hostile, Version = (byte)version });
        ulong table = bench.Page();
        bench.SetLegacy(8, table, 3, 1);
        ulong leaf = bench.MapSecond(table, 3, 0x5000, 0x10_0000);
        bench.Enable(TranslationTableMode.Legacy);
        bench.ShouldTranslate(VtdBench.Dma(0x5000), 0x10_0000);
        bench.Store(leaf, 0);
        bench.ShouldTranslate(VtdBench.Dma(0x5000), 0x10_0000);
        if (queue)
        {
            bench.EnableQueue(wide: false);
        }

        uint iotlb = bench.Iommu.Options.ExtendedCapabilities.IotlbOffset;
        bench.Iommu.Write64(iotlb, 0x5000);
        bench.Iommu.Write64(iotlb + 8, IotlbInvalidate.InvalidateBit | (3ul << IotlbInvalidate.GranularityShift) | (1ul << IotlbInvalidate.DomainIdShift));
        ulong done = bench.Iommu.Read64(iotlb + 8);
        (done & IotlbInvalidate.InvalidateBit).ShouldBe(0ul);
        ((InvalidationGranularity)((done >> IotlbInvalidate.ActualGranularityShift) & 3)).ShouldBe(expected);
        if (expected == InvalidationGranularity.Selective)
        {
            bench.ShouldFault(VtdBench.Dma(0x5000), FaultReason.ReadDenied);
            bench.Iommu.Write64(RegisterOffset.ContextCommand, ContextCommand.InvalidateBit | (1ul << ContextCommand.GranularityShift));
            ((bench.Iommu.Read64(RegisterOffset.ContextCommand) >> ContextCommand.ActualGranularityShift) & 3).ShouldBe(1ul);
        }
        else
        {
            bench.ShouldTranslate(VtdBench.Dma(0x5000), 0x10_0000);
        }
    }
}
