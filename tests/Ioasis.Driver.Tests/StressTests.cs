using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests;

/// <summary>Real threads at once: what the exploration of schedules cannot see, because it never truly runs in parallel.</summary>
[Collection("schedules")]
public class StressTests
{
    [Theory]
    [InlineData(3)]
    [InlineData(10)]
    [Trait("Requirement", "S4.11")]
    public void Maps_unmaps_attaches_and_DMA_at_once_never_reach_a_revoked_page(int queueLog2)
    {
        using Rig rig = new(new() { Driver = new() { CommandQueueSizeLog2 = queueLog2 } });
        IommuDevice steady = rig.AddDevice(0x10);
        IommuDevice restless = rig.AddDevice(0x18);
        RiscVPagingDomain domain = rig.NewDomain(steady);
        RiscVPagingDomain other = rig.NewDomain(steady);
        steady.Group.Attach(domain).ShouldBe(Errno.Success);
        Threads(rig).MapUnmapAndAttach(steady, restless, domain, other);
        rig.Driver.Statistics.PscidsInUse.ShouldBe(0);
        rig.Driver.Statistics.QueueRecoveries.ShouldBe(0);
        domain.BondCount.ShouldBe(0);
        other.BondCount.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S4.11")]
    [Trait("Requirement", "S4.17")]
    public void A_guest_its_host_and_switches_at_once_never_reach_what_either_has_taken()
    {
        const ulong gva = 0x40_0000;
        const ulong ofHost = Guest.Data + 0x1_0000;
        using Rig rig = new();
        IommuDevice steady = rig.AddDevice(0x10);
        IommuDevice restless = rig.AddDevice(0x18, pasidBits: 8);
        RiscVPagingDomain parent = rig.NewSecondStage(steady);
        using Guest guest = new(rig.Memory, parent);
        guest.Map(gva + 0x10_0000, ofHost);
        RiscVNestedDomain nested = guest.Nest(steady, 3);
        RiscVNestedDomain other = guest.Nest(restless, 3);
        steady.Group.Attach(nested).ShouldBe(Errno.Success);
        Threads(rig).GuestAndHost(
            steady,
            restless,
            parent,
            new(gva, Guest.Data, gva + 0x10_0000, ofHost, guest.ToHost, (address, page) => guest.Map(address, page), address =>
            {
                guest.Unmap(address);
                Guest.ShouldInvalidate(nested, Command.InvalidateFirstStage(null, 3, address));
            }),
            [other, parent, nested, BlockedDomain.Instance]);
        rig.Driver.Statistics.GscidsInUse.ShouldBe(0);
        rig.Driver.Statistics.QueueRecoveries.ShouldBe(0);
        parent.BondCount.ShouldBe(0);
    }

    private static ThreadsOnDriver Threads(Rig rig) =>
        new(rig.Hardware, () => rig.Driver.HandleInterrupt(1), TestContext.Current.CancellationToken);
}
