using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;

namespace Ioasis.Driver.Tests.Dma;

/// <summary>Reserved regions: what firmware wants mapped is mapped before the device is attached, and the rest is never given out.</summary>
public class DefaultDomainTests
{
    private static readonly AddressRange s_direct = new(0x7000_0000, 0x7000_2fff);
    private static readonly AddressRange s_relaxable = new(0x7100_0000, 0x7100_0fff);

    [Fact]
    public void Direct_regions_are_there_from_the_first_moment_and_no_IOVA_comes_from_a_reserved_one()
    {
        using DmaRig rig = new(device: new() { AddressMask = 0x7100_1fff }, regions:
        [
            new(s_direct, ReservedRegionKind.Direct),
            new(s_relaxable, ReservedRegionKind.DirectRelaxable, Access.Read),
            new(new(0x7100_1000, 0x7100_17ff), ReservedRegionKind.Reserved),
            new(new(0x7000_3000, 0x70ff_ffff), ReservedRegionKind.Msi),
        ]);
        rig.Rig.ShouldReach(rig.Device, s_direct.Start, s_direct.Start, write: true);
        rig.Rig.ShouldReach(rig.Device, s_direct.Last, s_direct.Last);
        rig.Rig.ShouldReach(rig.Device, s_relaxable.Start, s_relaxable.Start);
        rig.Rig.ShouldFault(rig.Device, s_relaxable.Start, FaultCause.WritePageFault, write: true);
        rig.Map(0x1000, 4096).Value.ShouldBeLessThan(s_direct.Start);
    }

    [Fact]
    public void A_group_with_direct_regions_refuses_every_domain_that_cannot_have_them()
    {
        using DmaRig rig = new(regions: [new(s_direct, ReservedRegionKind.Direct)]);
        rig.Dma.Dispose();
        rig.Device.Group.RequiresDirectMappings.ShouldBeTrue();
        rig.Device.Group.Attach(BlockedDomain.Instance).ShouldBe(Errno.InvalidArgument);
        rig.Device.Group.ClaimDma(new()).ShouldBe(Errno.InvalidArgument);
        rig.Rig.ShouldReach(rig.Device, s_direct.Start, s_direct.Start);
        rig.Device.Group.SetDefaultDomain(IdentityDomain.Instance).ShouldBe(Errno.Success);
        rig.Rig.ShouldReach(rig.Device, s_direct.Start, s_direct.Start);
    }

    [Fact]
    public void Relaxable_regions_hold_a_user_off_no_longer_than_the_default_domain()
    {
        using DmaRig rig = new(regions: [new(s_relaxable, ReservedRegionKind.DirectRelaxable)]);
        rig.Rig.ShouldReach(rig.Device, s_relaxable.Start, s_relaxable.Start);
        rig.Dma.Dispose();
        object user = new();
        rig.Device.Group.ClaimDma(user).ShouldBe(Errno.Success);
        rig.Rig.ShouldFault(rig.Device, s_relaxable.Start, FaultCause.DdtEntryNotValid);
        rig.Device.Group.ReleaseDma(user);
        rig.Rig.ShouldReach(rig.Device, s_relaxable.Start, s_relaxable.Start);
    }

    [Fact]
    public void Any_paging_domain_gets_the_direct_regions_before_it_is_attached()
    {
        using Rig rig = new();
        rig.Core.TryAddDevice(
            rig.Driver, new(0x10), "device", null,
            new() { ReservedRegions = [new(s_direct, ReservedRegionKind.Direct), new(s_relaxable, ReservedRegionKind.DirectRelaxable)] },
            out IommuDevice? device).ShouldBe(Errno.Success);
        RiscVPagingDomain domain = rig.NewDomain(device!);
        domain.ShouldMap(s_direct.Start + 0x1000, s_direct.Start + 0x1000);
        device!.Group.Attach(domain).ShouldBe(Errno.Success);
        rig.ShouldReach(device, s_direct.Start, s_direct.Start);
        rig.ShouldReach(device, s_direct.Last, s_direct.Last);
        rig.ShouldFault(device, s_relaxable.Start, FaultCause.ReadPageFault);

        // One in which something else is there is refused, and left as it was.
        RiscVPagingDomain other = rig.NewDomain(device);
        other.ShouldMap(s_direct.Start + 0x2000, 0x1000);
        device.Group.Attach(other).ShouldBe(Errno.InvalidArgument);
        other.TryTranslate(new(s_direct.Start), out _, out _, out _).ShouldBeFalse();
        rig.ShouldReach(device, s_direct.Start, s_direct.Start);
    }

    [Fact]
    public void A_device_that_joins_later_gets_its_regions_before_its_first_DMA_or_does_not_join()
    {
        using DmaRig rig = new();
        Iova taken = rig.Map(0x5000, 4096);
        ReservedRegion good = new(s_direct, ReservedRegionKind.Direct);
        ReservedRegion bad = new(new(taken.Value, taken.Value + 0xfff), ReservedRegionKind.Direct);
        rig.Rig.Core.TryAddDevice(
            rig.Rig.Driver, new(0x11), "bad", rig.Device.Group.Id, new() { ReservedRegions = [good, bad] }, out _)
            .ShouldBe(Errno.InvalidArgument);
        rig.Domain.Paging.TryTranslate(new(s_direct.Start), out _, out _, out _).ShouldBeFalse();
        rig.Rig.Core.TryAddDevice(
            rig.Rig.Driver, new(0x11), "good", rig.Device.Group.Id, new() { ReservedRegions = [good] }, out IommuDevice? joined)
            .ShouldBe(Errno.Success);
        rig.Rig.ShouldReach(joined!, s_direct.Start, s_direct.Start);
        rig.Rig.ShouldReach(joined!, taken.Value, 0x5000);
    }

    [Fact]
    public void A_direct_region_outside_of_the_aperture_is_refused()
    {
        using Rig rig = new();
        rig.Core.TryAddDevice(
            rig.Driver, new(0x10), "device", null,
            new() { ReservedRegions = [new(new(1ul << 60, (1ul << 60) + 0xfff), ReservedRegionKind.Direct)] }, out IommuDevice? device)
            .ShouldBe(Errno.Success);
        DmaDomain.TryCreate(device!, new() { UseTimer = false }, out DmaDomain? domain).ShouldBe(Errno.Success);
        device!.Group.SetDefaultDomain(domain!).ShouldBe(Errno.InvalidArgument);
        device.Group.DefaultDomain.ShouldBeSameAs(BlockedDomain.Instance);
        device.Group.DmaDomain.ShouldBeNull();
    }

    [Fact]
    public void Only_blocked_and_identity_are_default_domains_without_drivers_maps()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10);
        device.Group.SetDefaultDomain(rig.NewDomain(device)).ShouldBe(Errno.InvalidArgument);
        device.Group.SetDefaultDomain(BlockedDomain.Instance).ShouldBe(Errno.Success);
    }
}
