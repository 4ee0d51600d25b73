using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Hardware.Tests;

/// <summary>Interrupt remapping (chapter 5): formats, validation, faults 0x20 to 0x2b, the interrupt entry cache.</summary>
public sealed class InterruptTests
{
    private const ushort Rid = 0x0108;

    private static VtdBench Make(VtdIommuOptions? options = null, bool extended = false, bool enable = true)
    {
        VtdBench bench = new(options);
        bench.EnableQueue(wide: true);
        bench.Iommu.Write64(RegisterOffset.InterruptTableAddress, VtdBench.InterruptTableAddress | (extended ? InterruptTable.ExtendedModeBit : 0) | 7);
        bench.Command(GlobalControl.SetInterruptTableBit, true);
        bench.Command(GlobalControl.InterruptRemappingEnableBit, enable);
        return bench;
    }

    private static ulong Place(uint index) => VtdBench.InterruptTableAddress + (index * 16);

    private static void SetEntry(VtdBench bench, uint index, ulong low, ulong high = 0)
    {
        bench.Store(Place(index) + 8, high);
        bench.Store(Place(index), low);
    }

    private static ulong Message(uint handle, bool subhandle = false) =>
        InterruptAddress.First | InterruptAddress.RemappableBit | ((handle & 0x7fff) << 5) | ((handle >> 15) << 2) | (subhandle ? 8u : 0);

    private static DmaStatus Store(VtdBench bench, ulong address, uint data, ushort rid = Rid) =>
        bench.Iommu.Write(VtdBench.Dma(address, rid), BitConverter.GetBytes(data));

    private static void ShouldFault(VtdBench bench, ulong address, uint data, FaultReason reason, uint? index = null)
    {
        int sent = bench.Interrupts.Count;
        Store(bench, address, data).ShouldBe(DmaStatus.UnsupportedRequest);
        bench.Interrupts.Count.ShouldBe(sent);
        RecordedFault fault = bench.TakeFault().ShouldNotBeNull();
        fault.Reason.ShouldBe(reason);
        fault.SourceId.ShouldBe(Rid);
        if (index is { } expected)
        {
            (fault.Address >> 48).ShouldBe(expected);
        }
    }

    [Fact]
    public void A_remappable_interrupt_becomes_what_its_entry_says()
    {
        using VtdBench bench = Make();

        // Vector 0x51, lowest priority, level, logical, redirection hint, destination 0x7f.
        SetEntry(bench, 9, (0x7ful << 40) | (0x51 << 16) | (1 << 5) | (1 << 4) | (1 << 3) | (1 << 2) | 1);
        Store(bench, Message(9), 0xffff_ffff).ShouldBe(DmaStatus.Success);
        Store(bench, Message(4, subhandle: true), 5).ShouldBe(DmaStatus.Success);
        bench.Interrupts.ShouldBe([(0xfee7_f00cul, 0xc151u), (0xfee7_f00cul, 0xc151u)]);
        bench.Memory.Read64(new(0xfee0_0130), out ulong memory);
        memory.ShouldBe(0ul);
    }

    [Fact]
    public void In_extended_mode_a_destination_has_32_bits()
    {
        using VtdBench bench = Make(extended: true);
        SetEntry(bench, 1, (0x1234_5678ul << 32) | (0x40 << 16) | 1);
        Store(bench, Message(1), 0).ShouldBe(DmaStatus.Success);
        bench.Interrupts.ShouldBe([(0x1234_5600_fee7_8000ul, 0x4040u)]);
    }

    [Fact]
    public void Each_fault_of_Table_15_is_recorded_with_the_index()
    {
        using VtdBench bench = Make(new() { Caching = CachingMode.Hostile });
        ShouldFault(bench, Message(1, subhandle: true), 0x1_0000, FaultReason.InterruptRequestReserved);
        ShouldFault(bench, Message(256), 0, FaultReason.InterruptIndexBeyondTable, 256);
        ShouldFault(bench, Message(0xffff, subhandle: true), 1, FaultReason.InterruptIndexBeyondTable, 0);
        ShouldFault(bench, Message(3), 0, FaultReason.InterruptEntryNotPresent, 3);
        foreach (ulong low in (ulong[])[1ul << 12, 1ul << 15, 1ul << 24, 1ul << 32, 1ul << 48, 3ul << 5, 6ul << 5])
        {
            SetEntry(bench, 4, low | 1);
            ShouldFault(bench, Message(4), 0, FaultReason.InterruptEntryReserved, 4);
        }

        SetEntry(bench, 4, 1, 3ul << 18);
        ShouldFault(bench, Message(4), 0, FaultReason.InterruptEntryReserved, 4);
        SetEntry(bench, 4, 1, 1ul << 20);
        ShouldFault(bench, Message(4), 0, FaultReason.InterruptEntryReserved, 4);
        ShouldFault(bench, 0xfee0_0000, 0x40, FaultReason.CompatibilityInterruptBlocked);
        SetEntry(bench, 5, 1, (1ul << 18) | 0x0109);
        ShouldFault(bench, Message(5), 0, FaultReason.InterruptSourceDenied, 5);
        bench.Break(VtdBench.InterruptTableAddress);
        ShouldFault(bench, Message(6), 0, FaultReason.InterruptEntryAccess, 6);
    }

    [Fact]
    public void FPD_of_an_entry_hides_the_qualified_faults()
    {
        using VtdBench bench = Make();
        SetEntry(bench, 3, 2);
        Store(bench, Message(3), 0).ShouldBe(DmaStatus.UnsupportedRequest);
        SetEntry(bench, 3, 3, (1ul << 18) | 0x7777);
        Store(bench, Message(3), 0).ShouldBe(DmaStatus.UnsupportedRequest);
        bench.TakeFault().ShouldBeNull();
    }

    [Theory]
    [InlineData(0, 0x0108, true)]
    [InlineData(0, 0x010c, false)]
    [InlineData(1, 0x010c, true)]
    [InlineData(1, 0x010a, false)]
    [InlineData(2, 0x010e, true)]
    [InlineData(2, 0x0109, false)]
    [InlineData(3, 0x010f, true)]
    [InlineData(3, 0x0110, false)]
    public void SQ_says_which_bits_of_the_function_do_not_count(int qualifier, ushort rid, bool allowed)
    {
        using VtdBench bench = Make();
        SetEntry(bench, 1, 1, (1ul << 18) | ((ulong)qualifier << 16) | 0x0108);
        Store(bench, Message(1), 0, rid).ShouldBe(allowed ? DmaStatus.Success : DmaStatus.UnsupportedRequest);
    }

    [Fact]
    public void SVT_can_allow_a_range_of_buses()
    {
        using VtdBench bench = Make();
        SetEntry(bench, 1, 1, (2ul << 18) | 0x0203);
        ((ushort[])[0x01ff, 0x0200, 0x03ff, 0x0400]).Select(rid => Store(bench, Message(1), 0, rid) == DmaStatus.Success)
            .ShouldBe([false, true, true, false]);
    }

    [Fact]
    public void Compatibility_interrupts_pass_with_CFI_or_without_remapping_and_never_in_extended_mode()
    {
        using VtdBench off = Make(enable: false);
        Store(off, 0xfee0_1000, 0x33).ShouldBe(DmaStatus.Success);
        off.Interrupts.ShouldBe([(0xfee0_1000ul, 0x33u)]);

        using VtdBench on = Make();
        on.Command(GlobalControl.CompatibilityInterruptBit, true);
        Store(on, 0xfee0_1000, 0x33).ShouldBe(DmaStatus.Success);

        using VtdBench extended = Make(extended: true);
        extended.Command(GlobalControl.CompatibilityInterruptBit, true);
        ShouldFault(extended, 0xfee0_1000, 0x33, FaultReason.CompatibilityInterruptBlocked);
    }

    [Fact]
    public void An_implementation_may_require_remapping_and_extended_mode()
    {
        VtdIommuOptions options = VtdBench.With(
            addExtended: ExtendedCapability.InterruptRemappingRequiredBit | ExtendedCapability.ExtendedInterruptModeRequiredBit);
        using VtdBench off = Make(options, enable: false);
        ShouldFault(off, 0xfee0_1000, 0x33, FaultReason.InterruptRemappingRequired);
        using VtdBench narrow = Make(options);
        ShouldFault(narrow, Message(0), 0, FaultReason.ExtendedInterruptModeRequired);
    }

    [Fact]
    public void What_is_no_interrupt_in_the_interrupt_range_is_blocked_and_reads_of_no_bytes_pass()
    {
        using VtdBench bench = Make();
        bench.Enable();
        bench.Iommu.Write(VtdBench.Dma(0xfee0_0010, Rid), new byte[8]).ShouldBe(DmaStatus.UnsupportedRequest);
        bench.TakeFault().ShouldNotBeNull().Reason.ShouldBe(FaultReason.InterruptRequestInvalid);
        bench.Iommu.Read(VtdBench.Dma(0xfee0_0010, Rid), new byte[4]).ShouldBe(DmaStatus.UnsupportedRequest);
        bench.TakeFault().ShouldNotBeNull().Reason.ShouldBe(FaultReason.InterruptRequestInvalid);
        bench.Iommu.Read(VtdBench.Dma(0xfee0_0010, Rid), []).ShouldBe(DmaStatus.Success);
        bench.TakeFault().ShouldBeNull();
    }

    [Fact]
    public void An_access_that_runs_into_the_interrupt_range_ends_there_although_one_leaf_maps_both_sides()
    {
        const ulong Physical = 0x4000_0000;
        const ulong Leaf = 0xc000_0000;
        const ulong Start = 0xfedf_d800;
        using VtdBench bench = new();
        ulong table = bench.Page();
        bench.MapSecond(table, 4, Leaf, Physical, sizeLog2: 30);
        bench.SetLegacy(Rid, table, 4, domain: 1);
        bench.Enable(TranslationTableMode.Legacy);
        byte[] data = [.. Enumerable.Repeat((byte)0x5a, 0x4000)];

        // Twice: what translates the second time is cached.
        for (int i = 0; i < 2; i++)
        {
            bench.Iommu.Write(VtdBench.Dma(Start, Rid), data).ShouldBe(DmaStatus.UnsupportedRequest);
            bench.Read(Physical + (InterruptAddress.First - 8 - Leaf)).ShouldBe(0x5a5a_5a5a_5a5a_5a5aul);
            bench.Read(Physical + (InterruptAddress.First - Leaf)).ShouldBe(0ul);
            bench.Iommu.Read(VtdBench.Dma(Start, Rid), data).ShouldBe(DmaStatus.UnsupportedRequest);
        }
    }

    [Theory]
    [InlineData(CachingMode.Realistic)]
    [InlineData(CachingMode.Hostile)]
    public void A_cached_entry_serves_until_its_index_is_invalidated(CachingMode caching)
    {
        using VtdBench bench = Make(new() { Caching = caching });
        for (uint i = 8; i < 12; i++)
        {
            SetEntry(bench, i, (0x40 << 16) | 1);
            Store(bench, Message(i), 0).ShouldBe(DmaStatus.Success);
            bench.Store(Place(i), 0);
            Store(bench, Message(i), 0).ShouldBe(DmaStatus.Success);
        }

        // Indexes 10 and 11.
        bench.Submit(VtdBench.Low(DescriptorType.InterruptEntryCache) | Descriptor.InterruptSelectiveBit | (1ul << 27) | (10ul << 32));
        bench.Wait().ShouldBeTrue();
        Store(bench, Message(9), 0).ShouldBe(DmaStatus.Success);
        ShouldFault(bench, Message(10), 0, FaultReason.InterruptEntryNotPresent, 10);
        ShouldFault(bench, Message(11), 0, FaultReason.InterruptEntryNotPresent, 11);
        bench.Submit(VtdBench.Low(DescriptorType.InterruptEntryCache));
        ShouldFault(bench, Message(8), 0, FaultReason.InterruptEntryNotPresent, 8);
    }

    [Fact]
    public void Entries_that_fault_are_cached_in_caching_mode_only()
    {
        foreach (bool cachingMode in (bool[])[false, true])
        {
            using VtdBench bench = Make(VtdBench.With(CachingMode.Hostile, addCap: cachingMode ? Capability.CachingModeBit : 0));
            ShouldFault(bench, Message(2), 0, FaultReason.InterruptEntryNotPresent);
            SetEntry(bench, 2, 1);
            Store(bench, Message(2), 0).ShouldBe(cachingMode ? DmaStatus.UnsupportedRequest : DmaStatus.Success);
        }
    }
}
