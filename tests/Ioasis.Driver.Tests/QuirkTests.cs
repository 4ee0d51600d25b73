using Ioasis.Core;
using Ioasis.RiscV.Driver;

namespace Ioasis.Driver.Tests;

/// <summary>What the driver does about hardware that departs from the specification; the lab shows such hardware.</summary>
[Trait("Requirement", "S4.6")]
public class QuirkTests
{
    private const ulong Iova = 0x4000_0000;
    private const ulong Target = 0x8000_0000;

    [Theory]
    [InlineData(RiscVQuirks.None, 1ul << 21, 0)]
    [InlineData(RiscVQuirks.SuperpagesInPieces, 1ul << 21, 1)]
    [InlineData(RiscVQuirks.SuperpagesInPieces, 1ul << 30, 1)]
    [InlineData(RiscVQuirks.SuperpagesInPieces, 1ul << 12, 0)]
    [InlineData(RiscVQuirks.SuperpagesInPieces, 1ul << 16, 0)]
    [InlineData(RiscVQuirks.GuestAddressesUnknown, 1ul << 21, 0)]
    internal void A_first_stage_is_invalidated_whole_where_superpages_are_cached_in_pieces(RiscVQuirks quirks, ulong size, long flushes)
    {
        using Rig rig = new(new() { Driver = new() { Quirks = quirks } });
        IommuDevice device = rig.AddDevice(1);
        RiscVPagingDomain domain = rig.NewDomain(device);
        domain.ShouldMap(Iova, Target, size);
        device.Group.Attach(domain).ShouldBe(Primitives.Errno.Success);
        rig.ShouldReach(device, Iova, Target);
        long before = rig.Driver.Statistics.AddressSpaceFlushes;
        domain.ShouldUnmap(Iova, size);
        (rig.Driver.Statistics.AddressSpaceFlushes - before).ShouldBe(flushes);
        rig.ShouldFault(device, Iova, RiscV.Architecture.FaultCause.ReadPageFault);
    }

    [Theory]
    [InlineData(RiscVQuirks.None, 0)]
    [InlineData(RiscVQuirks.SuperpagesInPieces, 0)]
    [InlineData(RiscVQuirks.GuestAddressesUnknown, 1)]
    internal void A_second_stage_is_invalidated_whole_where_guest_addresses_are_not_known(RiscVQuirks quirks, long flushes)
    {
        using Rig rig = new(new() { Driver = new() { Quirks = quirks } });
        IommuDevice device = rig.AddDevice(1);
        RiscVPagingDomain domain = rig.NewSecondStage(device);
        domain.ShouldMap(Iova, Target);
        domain.ShouldMap(Iova + 0x1000, Target);
        device.Group.Attach(domain).ShouldBe(Primitives.Errno.Success);
        rig.ShouldReach(device, Iova, Target);
        long before = rig.Driver.Statistics.AddressSpaceFlushes;
        domain.ShouldUnmap(Iova);
        (rig.Driver.Statistics.AddressSpaceFlushes - before).ShouldBe(flushes);
        rig.ShouldFault(device, Iova, RiscV.Architecture.FaultCause.ReadGuestPageFault);
    }
}
