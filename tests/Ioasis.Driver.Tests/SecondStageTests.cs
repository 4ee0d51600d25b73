using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Driver.Tests;

/// <summary>Second stages of the host, attached by themselves.</summary>
[Trait("Requirement", "S4.17")]
public class SecondStageTests
{
    private const ulong Full = RiscVIommuOptions.FullCapabilities;
    private const ulong Target = 0x8000_0000;

    [Theory]
    [InlineData(PagingMode.Sv39, 41, 0)]
    [InlineData(PagingMode.Sv48, 50, 0)]
    [InlineData(PagingMode.Sv57, 59, 0)]
    [InlineData(PagingMode.Sv48, 50, 20)]
    public void A_device_reaches_what_a_second_stage_maps_up_to_its_last_page(PagingMode mode, int bits, int pasidBits)
    {
        using Rig rig = new(new() { Driver = new() { PreferredMode = mode } });
        IommuDevice device = rig.AddDevice(0x10, pasidBits);
        RiscVPagingDomain domain = rig.NewSecondStage(device);
        domain.Mode.ShouldBe(mode);
        domain.Aperture.ShouldBe(new AddressRange(0, (1ul << bits) - 1));
        ulong last = (1ul << bits) - 0x1000;
        domain.ShouldMap(0, Target);
        domain.ShouldMap(last, Target + 0x1000);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        rig.ShouldReach(device, 0x123, Target + 0x123, write: true);
        rig.ShouldReach(device, last + 0xfff, Target + 0x1fff);
        rig.ShouldFault(device, 0x5000, FaultCause.ReadGuestPageFault).Reason.ShouldBe(IommuFaultReason.NotMapped);
        domain.ShouldUnmap(last);
        rig.ShouldFault(device, last, FaultCause.WriteGuestPageFault, write: true);
        rig.Driver.Statistics.GscidsInUse.ShouldBe(1);
        rig.Driver.Statistics.PscidsInUse.ShouldBe(0);
        device.Group.Detach().ShouldBe(Errno.Success);
        rig.ShouldFault(device, 0, pasidBits == 0 ? FaultCause.DdtEntryNotValid : FaultCause.PdtEntryNotValid);
        rig.Driver.Statistics.GscidsInUse.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S4.4")]
    [Trait("Requirement", "S4.13")]
    public void An_unmap_is_one_invalidation_of_the_second_stage_however_many_devices_share_it()
    {
        using Rig rig = new();
        IommuDevice[] devices = [rig.AddDevice(1), rig.AddDevice(2), rig.AddDevice(3, pasidBits: 8)];
        RiscVPagingDomain domain = rig.NewSecondStage(devices[0]);
        domain.ShouldMap(0x4000_0000, Target, 1ul << 30);
        foreach (IommuDevice device in devices)
        {
            device.Group.Attach(domain).ShouldBe(Errno.Success);
            rig.ShouldReach(device, 0x4000_5000, Target + 0x5000);
        }

        domain.BondCount.ShouldBe(1);
        RiscVDriverStatistics before = rig.Driver.Statistics;
        domain.ShouldUnmap(0x4000_0000, 1ul << 30);
        RiscVDriverStatistics after = rig.Driver.Statistics;
        (after.SecondStageInvalidations - before.SecondStageInvalidations).ShouldBe(1);
        after.FirstStageInvalidations.ShouldBe(before.FirstStageInvalidations);
        devices.ShouldAllBe(device => rig.Dma(device, 0x4000_5000, false, default).Status != Platform.DmaStatus.Success);
    }

    [Fact]
    [Trait("Requirement", "S4.8")]
    public void A_GSCID_that_comes_back_is_clean()
    {
        using Rig rig = new(new() { Driver = new() { GscidBits = 1 } });
        IommuDevice first = rig.AddDevice(1);
        IommuDevice second = rig.AddDevice(2);
        RiscVPagingDomain one = rig.NewSecondStage(first);
        RiscVPagingDomain two = rig.NewSecondStage(first);
        one.ShouldMap(0x1000, Target);
        two.ShouldMap(0x1000, Target + 0x1000);
        first.Group.Attach(one).ShouldBe(Errno.Success);
        rig.ShouldReach(first, 0x1000, Target);
        second.Group.Attach(two).ShouldBe(Errno.NoSpace);
        first.Group.Detach().ShouldBe(Errno.Success);
        second.Group.Attach(two).ShouldBe(Errno.Success);
        rig.ShouldReach(second, 0x1000, Target + 0x1000);
    }

    [Fact]
    public void What_an_earlier_owner_left_under_a_GSCID_is_gone_when_it_is_first_given()
    {
        using Rig rig = new(new() { Driver = new() { GscidBits = 1 } });
        IommuDevice device = rig.AddDevice(1);
        RiscVPagingDomain old = rig.NewSecondStage(device);
        using Guest before = new(rig.Memory, old);
        before.Map(0x5000, Guest.Data);
        device.Group.Attach(before.Nest(device, pscid: 7)).ShouldBe(Errno.Success);
        rig.ShouldReach(device, 0x5000, before.ToHost(Guest.Data));

        // Somebody else takes the IOMMU over while all that is cached.
        RiscVIommuInstance.TryProbe(rig.Hardware, rig.Memory, rig.Pages, new() { GscidBits = 1 }, out RiscVIommuInstance? next)
            .ShouldBe(Errno.Success);
        IommuSubsystem core = new();
        core.TryAddDevice(next!, new(1), "again", null, new(), out IommuDevice? again).ShouldBe(Errno.Success);
        next!.TryAllocatePagingDomain(again!, new() { NestParent = true }, out PagingDomain? domain).ShouldBe(Errno.Success);
        using Guest after = new(rig.Memory, domain!, 0x7000_0000);
        after.Map(0x5000, Guest.Data + 0x1000);
        again!.Group.Attach(after.Nest(again, pscid: 7)).ShouldBe(Errno.Success);
        rig.Hardware.Translate(new(again.Id, new(0x5000)), out Platform.DmaTranslation translation);
        translation.Address.Value.ShouldBe(after.ToHost(Guest.Data + 0x1000));
        next.Dispose();
    }

    [Fact]
    public void A_second_stage_is_for_the_device_as_a_whole()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10, pasidBits: 8);
        RiscVPagingDomain second = rig.NewSecondStage(device);
        RiscVPagingDomain first = rig.NewDomain(device);
        first.ShouldMap(0x1000, Target);
        second.ShouldMap(0x1000, Target + 0x1000);
        device.Group.AttachPasid(new(5), second).ShouldBe(Errno.InvalidArgument);
        device.Group.AttachPasid(new(5), first).ShouldBe(Errno.Success);
        device.Group.Attach(second).ShouldBe(Errno.Busy);
        rig.ShouldReach(device, 0x1000, Target, pasid: new(5));
        device.Group.DetachPasid(new(5)).ShouldBe(Errno.Success);
        device.Group.Attach(second).ShouldBe(Errno.Success);
        device.Group.AttachPasid(new(5), first).ShouldBe(Errno.Busy);
        rig.ShouldReach(device, 0x1000, Target + 0x1000);
        device.Group.Attach(first).ShouldBe(Errno.Success);
        device.Group.AttachPasid(new(5), first).ShouldBe(Errno.Success);
        rig.ShouldReach(device, 0x1000, Target, pasid: new(5));
    }

    [Fact]
    [Trait("Requirement", "S4.2")]
    public void IOMMUs_that_cannot_walk_a_second_stage_refuse_it_and_nothing_changes()
    {
        const ulong wide = Capabilities.Sv57x4Bit | Capabilities.Sv48x4Bit;
        using Rig able = new(new() { Driver = new() { Name = "able" } });
        using Rig narrow = new(new() { Capabilities = Full & ~wide, Driver = new() { Name = "narrow" } }, able);
        using Rig without = new(
            new()
            {
                Capabilities = Full & ~(wide | Capabilities.Sv39x4Bit | Capabilities.Sv32x4Bit | Capabilities.MsiFlatBit
                    | Capabilities.MsiMrifBit | Capabilities.AmoMrifBit | Capabilities.T2gpaBit),
                Driver = new() { Name = "without" },
            },
            able);
        IommuDevice device = narrow.AddDevice(1);
        RiscVPagingDomain first = narrow.NewDomain(device);
        device.Group.Attach(first).ShouldBe(Errno.Success);
        RiscVPagingDomain second = able.NewSecondStage(able.AddDevice(1));
        device.Group.Attach(second).ShouldBe(Errno.InvalidArgument);
        device.Group.Domain.ShouldBeSameAs(first);
        second.BondCount.ShouldBe(0);
        narrow.Driver.Statistics.GscidsInUse.ShouldBe(0);
        RiscVPagingDomain both = narrow.NewSecondStage(device);
        both.Mode.ShouldBe(PagingMode.Sv39);
        device.Group.Attach(both).ShouldBe(Errno.Success);
        without.Driver.Capabilities.Nesting.ShouldBeFalse();
        without.Driver.TryAllocatePagingDomain(without.AddDevice(1), new() { NestParent = true }, out _)
            .ShouldBe(Errno.NotSupported);
    }

    [Fact]
    [Trait("Requirement", "S4.5")]
    public void A_device_that_caches_a_second_stage_forgets_what_is_unmapped()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10, ats: true);
        PagingDomain domain = rig.NewSecondStage(device);
        domain.ShouldMap(0x1000, Target, 0x3000);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        DeviceCache cache = rig.CacheOf(device);
        cache.Fetch(0x1000, Pasid.None).ShouldBeTrue();
        cache.Fetch(0x3000, Pasid.None).ShouldBeTrue();
        domain.ShouldUnmap(0x1000);
        cache.Knows(0x1000, Pasid.None).ShouldBeFalse();
        cache.Knows(0x3000, Pasid.None).ShouldBeTrue();
        device.Group.Attach(IdentityDomain.Instance).ShouldBe(Errno.Success);
        cache.Knows(0x3000, Pasid.None).ShouldBeFalse();
        cache.Fetch(0xdead_b000, Pasid.None).ShouldBeTrue();
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        cache.Knows(0xdead_b000, Pasid.None).ShouldBeFalse();
        cache.Fetch(0x3000, Pasid.None).ShouldBeTrue();
        cache.Access(0x3000, Pasid.None).Status.ShouldBe(Platform.DmaStatus.Success);
    }
}
