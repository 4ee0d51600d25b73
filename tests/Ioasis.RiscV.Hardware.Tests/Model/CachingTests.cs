using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Hardware.Tests.Fuzz;

namespace Ioasis.RiscV.Hardware.Tests.Model;

/// <summary>What each invalidation removes, and what the hostile caches keep because nothing names it (sections 2.8, 3.1, 8.2, 8.3).</summary>
public sealed class CachingTests
{
    private const uint Device = 3;
    private const uint Pscid = 7;
    private const ulong Iova = 0x4020_0000;
    private const ulong Old = 0x8000_0000;
    private const ulong New = 0x9000_0000;

    [Theory]
    [InlineData(CachingMode.Realistic)]
    [InlineData(CachingMode.Hostile)]
    public void A_cached_page_stays_until_an_invalidation_names_it(CachingMode caching)
    {
        using TestBed bed = new(new() { Caching = caching });
        TestBed.Space space = bed.AddDevice(Device, Pscid, gscid: null);
        ulong entry = space.Map(Iova, Old);
        Translate(bed, Iova).ShouldBe(Old);

        bed.Store(entry, TestBed.Space.LeafTo(New));
        Translate(bed, Iova).ShouldBe(Old);
        bed.Submit(Command.InvalidateFirstStage(null, Pscid + 1, null), Command.Fence());
        Translate(bed, Iova).ShouldBe(Old, "another PSCID");
        bed.Submit(Command.InvalidateFirstStage(null, Pscid, Iova + 0x1000), Command.Fence());
        Translate(bed, Iova).ShouldBe(Old, "another page");
        bed.Submit(Command.InvalidateFirstStage(5, null, null), Command.Fence());
        Translate(bed, Iova).ShouldBe(Old, "a VM");

        bed.Submit(Command.InvalidateFirstStage(null, Pscid, Iova), Command.Fence());
        Translate(bed, Iova).ShouldBe(New);
    }

    [Theory]
    [InlineData(CachingMode.None)]
    [InlineData(CachingMode.Realistic)]
    [InlineData(CachingMode.Hostile)]
    public void A_translated_read_for_execute_needs_both_permissions_whatever_an_untranslated_one_left_in_the_cache(CachingMode caching)
    {
        const ulong Guest = 0x4020_0000;
        using SparsePhysicalMemory memory = new();
        RiscVIommu iommu = new(new() { Caching = caching }, memory);
        ulong context = 0x1000 + (Device * 64);
        memory.Write64(new(context), DeviceTranslationControl.ValidBit | DeviceTranslationControl.EnableAtsBit
            | DeviceTranslationControl.T2gpaBit | DeviceTranslationControl.PdtValidBit);
        memory.Write64(new(context + DeviceContextOffset.Iohgatp), ((ulong)Iohgatp.ModeSv39x4 << TablePointer.ModeShift) | 0x4);
        memory.Write64(new(0x4008), PpnField.FromAddress(0x8000_0000) | PageTableEntry.ValidBit | PageTableEntry.ExecuteBit
            | PageTableEntry.UserBit | PageTableEntry.AccessedBit | PageTableEntry.DirtyBit);
        iommu.Write64(RegisterOffset.DeviceDirectoryTablePointer, PpnField.FromAddress(0x1000) | (ulong)IommuMode.OneLevel);

        DmaRequest request = new(new(Device), new(Guest), DmaFlags.Execute | DmaFlags.PasidValid, DmaKind.Untranslated, new(1));
        for (int i = 0; i < 2; i++)
        {
            iommu.Translate(request, out DmaTranslation untranslated);
            untranslated.Status.ShouldBe(DmaStatus.Success);
            iommu.Translate(request with { Kind = DmaKind.Translated }, out DmaTranslation translated);
            translated.Status.ShouldBe(DmaStatus.UnsupportedRequest);
        }
    }

    [Theory]
    [InlineData(CachingMode.None)]
    [InlineData(CachingMode.Realistic)]
    [InlineData(CachingMode.Hostile)]
    public void Devices_of_one_VM_with_and_without_an_MSI_page_table_each_keep_their_own_view_of_an_interrupt_file(CachingMode caching)
    {
        const ulong Guest = 0x4020_3000;
        const ulong InterruptFile = 0x2800_0000;
        using SparsePhysicalMemory memory = new();
        RiscVIommu iommu = new(new() { Caching = caching }, memory);
        foreach (uint device in (ReadOnlySpan<uint>)[1, 2])
        {
            ulong context = 0x1000 + (device * 64);
            memory.Write64(new(context), DeviceTranslationControl.ValidBit);
            memory.Write64(new(context + DeviceContextOffset.Iohgatp), ((ulong)Iohgatp.ModeSv39x4 << TablePointer.ModeShift) | (9ul << Iohgatp.GscidShift) | 0x4);
        }

        memory.Write64(new(0x1000 + 128 + DeviceContextOffset.MsiPageTablePointer), ((ulong)Msiptp.ModeFlat << TablePointer.ModeShift) | 0x9);
        memory.Write64(new(0x1000 + 128 + DeviceContextOffset.MsiAddressPattern), Guest >> 12);
        memory.Write64(new(0x9000), PpnField.FromAddress(InterruptFile) | MsiPageTableEntry.ValidBit | ((ulong)MsiPageTableEntry.ModeBasic << MsiPageTableEntry.ModeShift));
        memory.Write64(new(0x4008), TestBed.Space.LeafTo(Old));
        iommu.Write64(RegisterOffset.DeviceDirectoryTablePointer, PpnField.FromAddress(0x1000) | (ulong)IommuMode.OneLevel);

        for (int i = 0; i < 3; i++)
        {
            iommu.Translate(new(new(1), new(Guest), DmaFlags.Write), out DmaTranslation plain);
            plain.Address.Value.ShouldBe(Old + (Guest & 0x3fff_ffff));
            iommu.Translate(new(new(2), new(Guest), DmaFlags.Write), out DmaTranslation interrupt);
            interrupt.Address.Value.ShouldBe(InterruptFile);
        }
    }

    [Theory]
    [InlineData(CachingMode.Realistic, 0, false)]
    [InlineData(CachingMode.Realistic, 0, true)]
    [InlineData(CachingMode.Realistic, 16, true)]
    [InlineData(CachingMode.Realistic, 30, true)]
    [InlineData(CachingMode.Hostile, 0, false)]
    [InlineData(CachingMode.Hostile, 0, true)]
    [InlineData(CachingMode.Hostile, 16, true)]
    [InlineData(CachingMode.Hostile, 30, true)]
    public void All_or_a_range_of_a_process_or_of_the_host_goes_at_once(CachingMode caching, int sizeLog2, bool byProcess)
    {
        using TestBed bed = new(new() { Caching = caching });
        TestBed.Space space = bed.AddDevice(Device, Pscid, gscid: null);
        for (ulong page = 0; page < 16; page++)
        {
            ulong entry = space.Map(Iova + (page << 12), Old + (page << 12));
            Translate(bed, Iova + (page << 12)).ShouldBe(Old + (page << 12));
            bed.Store(entry, TestBed.Space.LeafTo(New + (page << 12)));
        }

        ulong? address = sizeLog2 == 0 ? null : Iova;
        bed.Submit(Command.InvalidateFirstStage(null, byProcess ? Pscid : null, address, Math.Max(12, sizeLog2)), Command.Fence());
        for (ulong page = 0; page < 16; page++)
        {
            Translate(bed, Iova + (page << 12)).ShouldBe(New + (page << 12));
        }
    }

    [Theory]
    [InlineData(CachingMode.None)]
    [InlineData(CachingMode.Realistic)]
    [InlineData(CachingMode.Hostile)]
    public void An_entry_that_is_not_valid_is_never_cached(CachingMode caching)
    {
        using TestBed bed = new(new() { Caching = caching });
        TestBed.Space space = bed.AddDevice(Device, Pscid, gscid: null);
        ulong entry = space.Map(Iova, Old);
        bed.Store(entry, 0);
        bed.Iommu.Translate(new(new(Device), new(Iova)), out DmaTranslation refused);
        refused.Status.ShouldBe(DmaStatus.UnsupportedRequest);

        bed.Store(entry, TestBed.Space.LeafTo(Old));
        Translate(bed, Iova).ShouldBe(Old);
        bed.Iommu.Translate(new(new(Device + 1), new(Iova)), out refused);
        refused.Status.ShouldBe(DmaStatus.UnsupportedRequest);
        bed.AddDevice(Device + 1, Pscid + 1, gscid: null).Map(Iova, New);
        Translate(bed, Iova, Device + 1).ShouldBe(New);
    }

    [Fact]
    public void Hostile_caches_keep_pointers_unless_NL_names_them()
    {
        using TestBed bed = new(new() { Caching = CachingMode.Hostile });
        TestBed.Space space = bed.AddDevice(Device, Pscid, gscid: null);
        space.Map(Iova, Old);
        ulong inNewTable = space.Map(Iova + 0x20_0000, New);
        Translate(bed, Iova).ShouldBe(Old);

        // The 2 MiB of Iova get the table that maps New for its first page.
        ulong second = SecondLevelEntry(bed, space, Iova);
        bed.Store(second, PpnField.FromAddress(inNewTable & ~0xffful) | PageTableEntry.ValidBit);
        bed.Submit(Command.InvalidateFirstStage(null, Pscid, Iova), Command.Fence());
        Translate(bed, Iova).ShouldBe(Old, "the leaf went, and the old table is still found");
        bed.Submit(Command.InvalidateFirstStage(null, Pscid, Iova, nonLeaf: true), Command.Fence());
        Translate(bed, Iova).ShouldBe(New);
    }

    [Fact]
    public void Hostile_caches_keep_global_pages_when_a_process_is_named_and_serve_them_to_all()
    {
        using TestBed bed = new(new() { Caching = CachingMode.Hostile });
        ulong first = bed.AddDevice(Device, Pscid, gscid: null).Map(Iova, Old);
        ulong other = bed.AddDevice(Device + 1, Pscid + 1, gscid: null).Map(Iova, New);
        bed.Store(first, TestBed.Space.LeafTo(Old) | PageTableEntry.GlobalBit);
        Translate(bed, Iova).ShouldBe(Old);
        Translate(bed, Iova, Device + 1).ShouldBe(Old, "a global mapping exists in all address spaces");

        bed.Store(first, TestBed.Space.LeafTo(New));
        bed.Store(other, TestBed.Space.LeafTo(New));
        bed.Submit(Command.InvalidateFirstStage(null, Pscid, null), Command.Fence());
        Translate(bed, Iova).ShouldBe(Old);
        bed.Submit(Command.InvalidateFirstStage(null, null, Iova), Command.Fence());
        Translate(bed, Iova).ShouldBe(New);
    }

    [Theory]
    [InlineData(CachingMode.Realistic)]
    [InlineData(CachingMode.Hostile)]
    public void A_page_of_the_second_stage_goes_with_its_guest_physical_address(CachingMode caching)
    {
        using TestBed bed = new(new() { Caching = caching });
        TestBed.Space space = bed.AddDevice(Device, Pscid, gscid: 4);
        space.Map(Iova, 0x5000);
        ulong entry = space.MapGuest(0x5000, Old);
        Translate(bed, Iova).ShouldBe(Old);

        bed.Store(entry, TestBed.Space.LeafTo(New));
        bed.Submit(Command.InvalidateFirstStage(null, null, null), Command.InvalidateSecondStage(9, null), Command.Fence());
        Translate(bed, Iova).ShouldBe(Old, "the host, and another VM");
        bed.Submit(Command.InvalidateSecondStage(4, 0x5000), Command.Fence());
        Translate(bed, Iova).ShouldBe(New);
    }

    [Theory]
    [InlineData(CachingMode.Realistic)]
    [InlineData(CachingMode.Hostile)]
    public void A_large_page_that_is_cached_in_parts_goes_whole_with_any_address_in_it(CachingMode caching)
    {
        using TestBed bed = new(new() { Caching = caching });
        TestBed.Space space = bed.AddDevice(Device, Pscid, gscid: 4);

        // 2 MiB in the first stage over 4 KiB in the second: the cache holds fragments.
        space.Map(Iova, 0x5000);
        ulong large = SecondLevelEntry(bed, space, Iova);
        bed.Store(large, TestBed.Space.LeafTo(0x1000_0000));
        space.MapGuest(0x1000_3000, Old);
        space.MapGuest(0x1020_3000, New);
        Translate(bed, Iova + 0x3000).ShouldBe(Old);

        bed.Store(large, TestBed.Space.LeafTo(0x1020_0000));
        bed.Submit(Command.InvalidateFirstStage(4, Pscid, Iova + 0x1f_f000), Command.Fence());
        Translate(bed, Iova + 0x3000).ShouldBe(New);
    }

    [Theory]
    [InlineData(CachingMode.Realistic)]
    [InlineData(CachingMode.Hostile)]
    public void A_device_context_stays_until_its_device_is_named(CachingMode caching)
    {
        using TestBed bed = new(new() { Caching = caching });
        bed.AddDevice(Device, Pscid, gscid: null).Map(Iova, Old);
        Translate(bed, Iova).ShouldBe(Old);

        bed.AddDevice(Device, Pscid + 1, gscid: null).Map(Iova, New);
        bed.Submit(Command.InvalidateDeviceDirectory(Device + 1), Command.InvalidateFirstStage(null, null, null), Command.Fence());
        Translate(bed, Iova).ShouldBe(Old, "the old root is still in use");
        bed.Submit(Command.InvalidateDeviceDirectory(Device), Command.Fence());
        Translate(bed, Iova).ShouldBe(New);
    }

    // The larger IDs look like the device, or like the device with a process_id, to whoever drops their upper bits.
    [Theory]
    [InlineData(1ul << 24)]
    [InlineData(1ul << 32)]
    [InlineData(0x3f7aul << 16)]
    [InlineData((1ul << 44) | (1ul << 24))]
    [InlineData(1ul << 47)]
    public void A_requester_with_more_than_24_bits_is_refused_also_when_the_one_below_is_cached(ulong above)
    {
        using TestBed bed = new(new() { Caching = CachingMode.Realistic, CollectStatistics = true });
        bed.AddDevice(Device, Pscid, gscid: null).Map(Iova, Old);
        Translate(bed, Iova).ShouldBe(Old);

        byte[] data = new byte[4];
        foreach (DmaFlags flags in new[] { DmaFlags.None, DmaFlags.PasidValid })
        {
            DmaRequest request = new(new(above | Device), new(Iova), flags, DmaKind.Untranslated, new(1));
            bed.Iommu.Translate(request, out DmaTranslation translation);
            translation.Status.ShouldBe(DmaStatus.UnsupportedRequest);
            bed.Iommu.Read(request, data).ShouldBe(DmaStatus.UnsupportedRequest);
        }

        bed.Iommu.GetStatistics().Faults.ShouldHaveSingleItem().ShouldBe(new(FaultCause.TransactionTypeDisallowed, 4));
    }

    [Fact]
    public void A_full_set_loses_its_oldest_entry_and_the_loss_is_counted()
    {
        using TestBed bed = new(new() { Caching = CachingMode.Realistic, IotlbEntries = 8, IotlbWays = 8, CollectStatistics = true });
        TestBed.Space space = bed.AddDevice(Device, Pscid, gscid: null);
        for (ulong page = 0; page < 9; page++)
        {
            space.Map(Iova + (page << 12), Old + (page << 12));
            Translate(bed, Iova + (page << 12)).ShouldBe(Old + (page << 12));
        }

        Translate(bed, Iova + 0x1000);
        Translate(bed, Iova);
        DeviceStatistics device = bed.Iommu.GetStatistics().Devices.ShouldHaveSingleItem();
        device.Device.ShouldBe(new DeviceId(Device));
        device.Hits.ShouldBe(1);
        device.Misses.ShouldBe(10);
        device.Evictions.ShouldBe(2);
        device.WalkReads.ShouldBeGreaterThanOrEqualTo(30);
    }

    [Fact]
    public void Commands_are_counted_by_kind_with_what_they_removed_and_faults_by_cause()
    {
        using TestBed bed = new(new() { Caching = CachingMode.Realistic, CollectStatistics = true });
        TestBed.Space space = bed.AddDevice(Device, Pscid, gscid: null);
        for (ulong page = 0; page < 5; page++)
        {
            space.Map(Iova + (page << 12), Old + (page << 12));
            Translate(bed, Iova + (page << 12));
        }

        bed.Submit(
            Command.InvalidateFirstStage(null, Pscid, Iova),
            Command.InvalidateFirstStage(null, Pscid, null),
            Command.InvalidateDeviceDirectory(null),
            Command.Fence());
        bed.Iommu.Translate(new(new(Device), new(Iova + 0x10_0000)), out _);
        IommuStatistics statistics = bed.Iommu.GetStatistics();
        statistics.Commands[(int)CommandKind.InvalidateFirstStageAddress].ShouldBe(new(CommandKind.InvalidateFirstStageAddress, 1, 1));
        statistics.Commands[(int)CommandKind.InvalidateFirstStage].ShouldBe(new(CommandKind.InvalidateFirstStage, 1, 4));
        statistics.Commands[(int)CommandKind.InvalidateDeviceDirectory].Executed.ShouldBe(1);
        statistics.Commands[(int)CommandKind.Fence].Executed.ShouldBe(1);
        statistics.Faults.ShouldHaveSingleItem().ShouldBe(new(FaultCause.ReadPageFault, 1));
    }

    private static ulong Translate(TestBed bed, ulong iova, uint device = Device)
    {
        bed.Iommu.Translate(new(new(device), new(iova)), out DmaTranslation result);
        result.Status.ShouldBe(DmaStatus.Success);
        return result.Address.Value;
    }

    // Tables of the first stage lie where their guest addresses say.
    private static ulong SecondLevelEntry(TestBed bed, TestBed.Space space, ulong iova)
    {
        bed.Memory.Read64(new(space.FirstRoot + ((iova >> 30 & 511) * 8)), out ulong root).ShouldBe(MemoryStatus.Success);
        return PpnField.ToAddress(root) + ((iova >> 21 & 511) * 8);
    }
}
