using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Driver.Tests;

/// <summary>A guest's first stage on a second stage of the host.</summary>
[Trait("Requirement", "S4.17")]
public class NestedTests
{
    private const ulong Gva = 0x40_0000;
    private const uint Pscid = 7;

    [Theory]
    [InlineData(0)]
    [InlineData(8)]
    public void A_device_reaches_through_both_stages_and_never_beyond_the_second(int pasidBits)
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10, pasidBits);
        using Guest guest = new(rig.Memory, rig.NewSecondStage(device));
        guest.Map(Gva, Guest.Data + 0x3000);
        guest.Map(Gva + 0x1000, 0xdead_0000);
        device.Group.Attach(guest.Nest(device, Pscid)).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Gva + 0x10, guest.ToHost(Guest.Data + 0x3010), write: true);
        rig.ShouldFault(device, Gva + 0x5000, FaultCause.ReadPageFault);
        rig.ShouldFault(device, Gva + 0x1000, FaultCause.ReadGuestPageFault);
        device.Group.Detach().ShouldBe(Errno.Success);
        rig.ShouldFault(device, Gva, pasidBits == 0 ? FaultCause.DdtEntryNotValid : FaultCause.PdtEntryNotValid);
        rig.Driver.Statistics.GscidsInUse.ShouldBe(0);
    }

    [Fact]
    public void What_the_guest_invalidates_is_gone_and_what_it_does_not_may_stay()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10);
        using Guest guest = new(rig.Memory, rig.NewSecondStage(device));
        RiscVNestedDomain nested = guest.Nest(device, Pscid);
        guest.Map(Gva, Guest.Data);
        guest.Map(Gva + 0x1000, Guest.Data + 0x1000);
        device.Group.Attach(nested).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Gva, guest.ToHost(Guest.Data));
        rig.ShouldReach(device, Gva + 0x1000, guest.ToHost(Guest.Data + 0x1000));
        guest.Unmap(Gva);
        guest.Unmap(Gva + 0x1000);

        // The wrong process, then the wrong address: the hostile hardware keeps all that it may.
        Guest.ShouldInvalidate(nested, Command.InvalidateFirstStage(null, Pscid + 1, null));
        Guest.ShouldInvalidate(nested, Command.InvalidateFirstStage(null, Pscid, Gva + 0x8000));
        rig.ShouldReach(device, Gva, guest.ToHost(Guest.Data));
        Guest.ShouldInvalidate(nested, Command.InvalidateFirstStage(null, Pscid, Gva));
        rig.ShouldFault(device, Gva, FaultCause.ReadPageFault);
        rig.ShouldReach(device, Gva + 0x1000, guest.ToHost(Guest.Data + 0x1000));
        Guest.ShouldInvalidate(nested, Command.InvalidateFirstStage(null, null, null));
        rig.ShouldFault(device, Gva + 0x1000, FaultCause.ReadPageFault);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Ranges_and_non_leaf_entries_are_invalidated_whatever_the_hardware_has(bool extensions)
    {
        using Rig rig = new(new()
        {
            Capabilities = extensions
                ? RiscVIommuOptions.FullCapabilities
                : RiscVIommuOptions.FullCapabilities & ~(Capabilities.NonLeafInvalidationBit | Capabilities.RangeInvalidationBit),
        });
        IommuDevice device = rig.AddDevice(0x10);
        using Guest guest = new(rig.Memory, rig.NewSecondStage(device));
        RiscVNestedDomain nested = guest.Nest(device, Pscid);
        for (ulong page = 0; page < 4; page++)
        {
            guest.Map(Gva + (page * 0x1000), Guest.Data + (page * 0x1000));
        }

        device.Group.Attach(nested).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Gva + 0x3000, guest.ToHost(Guest.Data + 0x3000));
        for (ulong page = 0; page < 4; page++)
        {
            guest.Unmap(Gva + (page * 0x1000));
        }

        guest.Map(Gva + 0x3000, Guest.Data + 0x8000);
        Guest.ShouldInvalidate(nested, Command.InvalidateFirstStage(null, Pscid, Gva, 14, nonLeaf: true));
        rig.ShouldFault(device, Gva, FaultCause.ReadPageFault);
        rig.ShouldReach(device, Gva + 0x3000, guest.ToHost(Guest.Data + 0x8000));
    }

    [Theory]
    [InlineData(RiscVQuirks.None, true)]
    [InlineData(RiscVQuirks.SuperpagesInPieces, false)]
    internal void Where_superpages_are_cached_in_pieces_a_guests_address_means_its_process(RiscVQuirks quirks, bool mayStay)
    {
        using Rig rig = new(new() { Driver = new() { Quirks = quirks } });
        IommuDevice device = rig.AddDevice(0x10);
        using Guest guest = new(rig.Memory, rig.NewSecondStage(device));
        RiscVNestedDomain nested = guest.Nest(device, Pscid);
        guest.Map(Gva, Guest.Data);
        device.Group.Attach(nested).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Gva, guest.ToHost(Guest.Data));
        guest.Unmap(Gva);
        Guest.ShouldInvalidate(nested, Command.InvalidateFirstStage(null, Pscid, Gva + 0x5000));
        (rig.Dma(device, Gva).Status == DmaStatus.Success).ShouldBe(mayStay);
    }

    [Fact]
    [Trait("Requirement", "S4.14")]
    public void What_the_host_takes_from_the_guest_is_out_of_reach_through_both_stages()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10);
        using Guest guest = new(rig.Memory, rig.NewSecondStage(device));
        guest.Map(Gva, Guest.Data);
        device.Group.Attach(guest.Nest(device, Pscid)).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Gva, guest.ToHost(Guest.Data));
        guest.Parent.ShouldUnmap(Guest.Data);
        rig.ShouldFault(device, Gva, FaultCause.ReadGuestPageFault);
        guest.Parent.ShouldMap(Guest.Data, 0x9000_0000);
        rig.ShouldReach(device, Gva, 0x9000_0000);

        // Also where the guest keeps its tables.
        guest.Parent.ShouldUnmap(guest.Table.Root.Value);
        Guest.ShouldInvalidate(guest.Nest(device, Pscid), Command.InvalidateFirstStage(null, null, null));
        rig.ShouldFault(device, Gva, FaultCause.ReadGuestPageFault);
    }

    [Fact]
    [Trait("Requirement", "S4.1")]
    public void Two_guests_may_use_the_same_PSCIDs()
    {
        using Rig rig = new();
        IommuDevice one = rig.AddDevice(1);
        IommuDevice two = rig.AddDevice(2);
        using Guest first = new(rig.Memory, rig.NewSecondStage(one), 0x6000_0000);
        using Guest second = new(rig.Memory, rig.NewSecondStage(two), 0x7000_0000);
        first.Map(Gva, Guest.Data);
        second.Map(Gva, Guest.Data);
        RiscVNestedDomain inFirst = first.Nest(one, Pscid);
        one.Group.Attach(inFirst).ShouldBe(Errno.Success);
        two.Group.Attach(second.Nest(two, Pscid)).ShouldBe(Errno.Success);
        rig.ShouldReach(one, Gva, first.ToHost(Guest.Data));
        rig.ShouldReach(two, Gva, second.ToHost(Guest.Data));
        second.Unmap(Gva);
        Guest.ShouldInvalidate(inFirst, Command.InvalidateFirstStage(null, Pscid, null));

        // One guest's invalidation is none of the other's.
        rig.ShouldReach(two, Gva, second.ToHost(Guest.Data));
    }

    [Fact]
    public void A_guest_has_processes_of_its_own()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10, pasidBits: 8);
        using Guest guest = new(rig.Memory, rig.NewSecondStage(device));
        IoPageTable other = guest.NewTable();
        guest.Map(Gva, Guest.Data);
        guest.Map(Gva, Guest.Data + 0x1000, other);
        ulong pointer = guest.NewDirectory(out ulong directory);
        guest.SetProcess(directory, 0, guest.Table, 1);
        guest.SetProcess(directory, 9, other, 2);
        const ulong control = DeviceTranslationControl.PdtValidBit | DeviceTranslationControl.DefaultProcessBit;
        RiscVNestedDomain nested = guest.Nest(device, Guest.Describe(control, 0, pointer));
        device.Group.Attach(nested).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Gva, guest.ToHost(Guest.Data));
        rig.ShouldReach(device, Gva, guest.ToHost(Guest.Data + 0x1000), pasid: new(9));
        rig.ShouldFault(device, Gva, FaultCause.PdtEntryNotValid, pasid: new(10));

        // The guest ends a process: its context, then what was cached for it.
        guest.SetProcess(directory, 9, null);
        rig.ShouldReach(device, Gva, guest.ToHost(Guest.Data + 0x1000), pasid: new(9));
        Guest.ShouldInvalidate(
            nested, Command.InvalidateProcessDirectory(0x77, 9), Command.InvalidateFirstStage(null, 2, null));
        rig.ShouldFault(device, Gva, FaultCause.PdtEntryNotValid, pasid: new(9));
        rig.ShouldReach(device, Gva, guest.ToHost(Guest.Data));
        guest.SetProcess(directory, 0, null);
        Guest.ShouldInvalidate(nested, Command.InvalidateDeviceDirectory(0x77));
        rig.ShouldFault(device, Gva, FaultCause.PdtEntryNotValid);
        device.Group.Detach().ShouldBe(Errno.Success);
        device.Group.AttachPasid(new(9), rig.NewDomain(device)).ShouldBe(Errno.Success);
    }

    [Theory]
    [InlineData(DeviceTranslationControl.ValidBit, 0ul, 8ul << 60, 0ul, "tc")]
    [InlineData(DeviceTranslationControl.EnableAtsBit, 0ul, 8ul << 60, 0ul, "tc")]
    [InlineData(DeviceTranslationControl.SecondStageAdUpdateBit, 0ul, 8ul << 60, 0ul, "tc")]
    [InlineData(DeviceTranslationControl.SxlBit, 0ul, 8ul << 60, 0ul, "tc")]
    [InlineData(DeviceTranslationControl.DefaultProcessBit, 0ul, 8ul << 60, 0ul, "DPE")]
    [InlineData(0ul, 1ul, 8ul << 60, 0ul, "ta")]
    [InlineData(0ul, 1ul << 40, 8ul << 60, 0ul, "ta")]
    [InlineData(DeviceTranslationControl.PdtValidBit, 1ul << 12, 1ul << 60, 0ul, "ta")]
    [InlineData(0ul, 0ul, 7ul << 60, 0ul, "fsc")]
    [InlineData(0ul, 0ul, (8ul << 60) | (1ul << 44), 0ul, "fsc")]
    [InlineData(DeviceTranslationControl.PdtValidBit, 0ul, 4ul << 60, 0ul, "fsc")]
    [InlineData(0ul, 0ul, 8ul << 60, 1ul, "reserved")]
    public void What_is_not_the_guests_to_choose_is_refused_and_named(
        ulong control, ulong attributes, ulong firstStage, ulong reserved, string named)
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10);
        RiscVPagingDomain parent = rig.NewSecondStage(device);
        rig.Driver.TryAllocateNestedDomain(
            device, parent, NestedTranslation.Type, Guest.Describe(control, attributes, firstStage, reserved), out NestedDomain? domain)
            .ShouldBe(Errno.InvalidArgument);
        domain.ShouldBeNull();
        rig.Log.ToString().ShouldContain(named);
    }

    [Fact]
    public void Only_a_second_stage_of_this_driver_carries_nested_domains()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10);
        byte[] data = Guest.Describe(0, 0, 0);
        Allocate(rig.NewDomain(device), NestedTranslation.Type, data).ShouldBe(Errno.InvalidArgument);
        RiscVPagingDomain parent = rig.NewSecondStage(device);
        Allocate(parent, 1, data).ShouldBe(Errno.NotSupported);
        Allocate(parent, NestedTranslation.Type, data.AsSpan(1)).ShouldBe(Errno.InvalidArgument);
        Allocate(parent, NestedTranslation.Type, [.. data, 0, 0]).ShouldBe(Errno.Success);
        Allocate(parent, NestedTranslation.Type, [.. data, 0, 1]).ShouldBe(Errno.InvalidArgument);
        Errno Allocate(PagingDomain domain, uint type, ReadOnlySpan<byte> bytes) =>
            rig.Driver.TryAllocateNestedDomain(device, domain, type, bytes, out _);
    }

    [Fact]
    public void An_invalidation_that_is_not_the_guests_stops_the_array_after_those_before_it()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10);
        using Guest guest = new(rig.Memory, rig.NewSecondStage(device));
        RiscVNestedDomain nested = guest.Nest(device, Pscid);
        guest.Map(Gva, Guest.Data);
        device.Group.Attach(nested).ShouldBe(Errno.Success);
        Command good = Command.InvalidateFirstStage(null, Pscid, Gva);
        foreach (Command bad in (Command[])
            [
                Command.InvalidateSecondStage(null, null), Command.InvalidateFirstStage(1, Pscid, null), Command.Fence(),
                good with { High = good.High | 1 }, new(0x7f, 0), Command.AtsPageResponse(1, null, null, 0),
                Command.InvalidateDeviceDirectory(1) with { High = 1 },
            ])
        {
            rig.ShouldReach(device, Gva, guest.ToHost(Guest.Data));
            guest.Unmap(Gva);
            Guest.Invalidate(nested, out uint done, good, bad, good).ShouldBe(Errno.InvalidArgument);
            done.ShouldBe(1u);
            rig.ShouldFault(device, Gva, FaultCause.ReadPageFault);
            guest.Map(Gva, Guest.Data);
        }

        uint count = 1;
        nested.Invalidate(3, new byte[16], 16, ref count).ShouldBe(Errno.NotSupported);
        count.ShouldBe(0u);
        count = 2;
        nested.Invalidate(NestedTranslation.Type, new byte[16], 16, ref count).ShouldBe(Errno.InvalidArgument);
        rig.Driver.Statistics.QueueRecoveries.ShouldBe(0);
    }

    [Fact]
    public void A_long_array_is_carried_out_whole()
    {
        using Rig rig = new(new() { Driver = new() { CommandQueueSizeLog2 = 5, InvalidationCommandLimit = 3 } });
        IommuDevice device = rig.AddDevice(0x10);
        using Guest guest = new(rig.Memory, rig.NewSecondStage(device));
        RiscVNestedDomain nested = guest.Nest(device, Pscid);
        device.Group.Attach(nested).ShouldBe(Errno.Success);
        Command[] commands = new Command[100];
        for (int i = 0; i < commands.Length; i++)
        {
            commands[i] = Command.InvalidateFirstStage(null, Pscid, Gva + ((ulong)i << 12));
        }

        guest.Map(Gva, Guest.Data);
        guest.Map(Gva + (99ul << 12), Guest.Data);
        rig.ShouldReach(device, Gva, guest.ToHost(Guest.Data));
        rig.ShouldReach(device, Gva + (99ul << 12), guest.ToHost(Guest.Data));
        guest.Unmap(Gva);
        guest.Unmap(Gva + (99ul << 12));
        Guest.ShouldInvalidate(nested, commands);
        rig.ShouldFault(device, Gva, FaultCause.ReadPageFault);
        rig.ShouldFault(device, Gva + (99ul << 12), FaultCause.ReadPageFault);
    }

    [Fact]
    [Trait("Requirement", "S4.8")]
    public void A_guest_that_changes_its_root_loses_no_DMA_in_between()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10);
        using Guest guest = new(rig.Memory, rig.NewSecondStage(device));
        IoPageTable other = guest.NewTable();
        guest.Map(Gva, Guest.Data);
        guest.Map(Gva, Guest.Data + 0x1000, other);
        RiscVNestedDomain one = guest.Nest(device, Pscid);
        RiscVNestedDomain two = guest.Nest(device, Pscid, other);
        device.Group.Attach(one).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Gva, guest.ToHost(Guest.Data));
        long refused = 0;
        long done = 0;
        bool stop = false;
        Thread reader = new(() =>
        {
            while (!Volatile.Read(ref stop))
            {
                rig.Hardware.Translate(new(device.Id, new(Gva)), out DmaTranslation translation);
                refused += translation.Status == DmaStatus.Success ? 0 : 1;
                Volatile.Write(ref done, done + 1);
            }
        });
        reader.Start();
        for (int i = 0; i < 500 || Volatile.Read(ref done) < 500 || i % 2 != 0; i++)
        {
            device.Group.Attach(i % 2 == 0 ? two : one).ShouldBe(Errno.Success);
        }

        Volatile.Write(ref stop, true);
        reader.Join();
        refused.ShouldBe(0, "a DMA was refused during a switch");
        rig.ShouldReach(device, Gva, guest.ToHost(Guest.Data));
        device.Group.Attach(two).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Gva, guest.ToHost(Guest.Data + 0x1000));
        rig.Driver.Statistics.GscidsInUse.ShouldBe(1);
    }

    [Fact]
    [Trait("Requirement", "S4.5")]
    public void A_device_that_caches_for_a_guest_forgets_with_the_guest_and_with_the_host()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10, pasidBits: 8, ats: true);
        using Guest guest = new(rig.Memory, rig.NewSecondStage(device));
        guest.Map(Gva, Guest.Data);
        guest.Map(Gva + 0x1000, Guest.Data + 0x1000);
        ulong pointer = guest.NewDirectory(out ulong directory);
        guest.SetProcess(directory, 0, guest.Table, 1);
        guest.SetProcess(directory, 9, guest.Table, 2);
        const ulong control = DeviceTranslationControl.PdtValidBit | DeviceTranslationControl.DefaultProcessBit;
        RiscVNestedDomain nested = guest.Nest(device, Guest.Describe(control, 0, pointer));
        device.Group.Attach(nested).ShouldBe(Errno.Success);
        DeviceCache cache = rig.CacheOf(device);
        Fetch();
        Guest.ShouldInvalidate(nested, Command.InvalidateFirstStage(null, 1, Gva));
        cache.Knows(Gva, Pasid.None).ShouldBeFalse();
        cache.Knows(Gva, new(9)).ShouldBeFalse();
        cache.Knows(Gva + 0x1000, new(9)).ShouldBeTrue();
        Fetch();

        // What the host unmaps says nothing of the guest's addresses: everything goes.
        guest.Parent.ShouldUnmap(Guest.Data + 0x7000);
        cache.Knows(Gva, Pasid.None).ShouldBeFalse();
        cache.Knows(Gva + 0x1000, new(9)).ShouldBeFalse();
        Fetch();
        Guest.ShouldInvalidate(nested, Command.AtsInvalidate(0x55, null, 9, PcieInvalidation.PayloadFor(new(Gva, Gva + 0xfff))));
        cache.Knows(Gva, new(9)).ShouldBeFalse();
        cache.Knows(Gva + 0x1000, new(9)).ShouldBeTrue();
        Fetch();
        device.Group.Detach().ShouldBe(Errno.Success);
        cache.Knows(Gva, Pasid.None).ShouldBeFalse();
        cache.Knows(Gva + 0x1000, new(9)).ShouldBeFalse();
        void Fetch()
        {
            cache.Fetch(Gva, Pasid.None).ShouldBeTrue();
            cache.Fetch(Gva, new(9)).ShouldBeTrue();
            cache.Fetch(Gva + 0x1000, new(9)).ShouldBeTrue();
        }
    }

    [Theory]
    [InlineData(16)]
    [InlineData(5)]
    [InlineData(40)]
    public void The_hardware_is_described_in_as_many_bytes_as_there_are(int length)
    {
        using Rig rig = new();
        byte[] data = new byte[length];
        data.AsSpan().Fill(0xcc);
        rig.Driver.GetHardwareInfo(out uint type, data, out int needed).ShouldBe(Errno.Success);
        type.ShouldBe(NestedTranslation.Type);
        needed.ShouldBe(NestedTranslation.HardwareSize);
        byte[] whole = new byte[16];
        rig.Driver.GetHardwareInfo(out _, whole, out _).ShouldBe(Errno.Success);
        Capabilities capabilities = new(BitConverter.ToUInt64(whole));
        capabilities.Sv48.ShouldBeTrue();
        capabilities.AmoHwad.ShouldBeTrue();
        capabilities.PhysicalAddressSize.ShouldBe(56);
        capabilities.Sv39x4.ShouldBeFalse("a guest has no second stage of its own");
        capabilities.MsiFlat.ShouldBeFalse();
        data.AsSpan(0, Math.Min(16, length)).SequenceEqual(whole.AsSpan(0, Math.Min(16, length))).ShouldBeTrue();
        data.AsSpan(Math.Min(16, length)).ContainsAnyExcept((byte)0xcc).ShouldBeFalse();
    }
}
