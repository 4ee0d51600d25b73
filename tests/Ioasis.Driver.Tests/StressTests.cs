using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Driver.Tests;

/// <summary>Real threads at once: what the exploration of schedules cannot see, because it never truly runs in parallel.</summary>
[Collection("schedules")]
public class StressTests
{
    private const ulong Window = 1ul << 24;

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
        using CancellationTokenSource done = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);

        // Each mapper owns a window of IOVAs; a page leads to an address that says which round mapped it.
        Task[] mappers = [.. Enumerable.Range(0, 2).Select(index => Run(() =>
        {
            ulong start = (ulong)(index + 1) * Window;
            for (uint round = 1; round <= 3000; round++)
            {
                ulong iova = start + (round % 7 * Rig.Page);
                ulong address = (1ul << 34) + ((ulong)round << 12);
                domain.Map(new(iova), new(address), Rig.Page, Access.ReadWrite).ShouldBe(Errno.Success);
                rig.Hardware.Translate(new(steady.Id, new(iova)), out DmaTranslation reached);
                reached.Status.ShouldBe(DmaStatus.Success);
                reached.Address.Value.ShouldBe(address);
                domain.ShouldUnmap(iova);
                rig.Hardware.Translate(new(steady.Id, new(iova)), out reached);
                reached.Status.ShouldNotBe(DmaStatus.Success, $"round {round}: {iova:x} is stale");
            }
        }))];
        Task attacher = Run(() =>
        {
            for (int round = 0; !done.IsCancellationRequested; round++)
            {
                restless.Group.Attach(round % 2 == 0 ? domain : other).ShouldBe(Errno.Success);
                if (round % 3 == 0)
                {
                    restless.Group.Detach().ShouldBe(Errno.Success);
                }
            }
        });
        Task device = Run(() =>
        {
            for (ulong i = 0; !done.IsCancellationRequested; i++)
            {
                rig.Hardware.Translate(new(restless.Id, new(Window + (i % 7 * Rig.Page))), out _);
                rig.Driver.HandleInterrupt(1);
            }
        });
        try
        {
            WaitFor(mappers);
        }
        finally
        {
            done.Cancel();
            WaitFor(attacher, device);
        }

        restless.Group.Detach().ShouldBe(Errno.Success);
        steady.Group.Detach().ShouldBe(Errno.Success);
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
        using CancellationTokenSource done = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        Task guestThread = Run(() =>
        {
            for (uint round = 1; round <= 2000; round++)
            {
                ulong page = Guest.Data + (round % 8 * Rig.Page);
                guest.Map(gva, page);
                rig.Hardware.Translate(new(steady.Id, new(gva)), out DmaTranslation reached);
                reached.Address.Value.ShouldBe(guest.ToHost(page), $"round {round}");
                guest.Unmap(gva);
                Guest.ShouldInvalidate(nested, Command.InvalidateFirstStage(null, 3, gva));
                rig.Hardware.Translate(new(steady.Id, new(gva)), out reached);
                reached.Status.ShouldNotBe(DmaStatus.Success, $"round {round}: the guest's page is stale");
            }
        });
        Task hostThread = Run(() =>
        {
            for (uint round = 1; round <= 2000; round++)
            {
                parent.ShouldUnmap(ofHost);
                rig.Hardware.Translate(new(steady.Id, new(gva + 0x10_0000)), out DmaTranslation reached);
                reached.Status.ShouldNotBe(DmaStatus.Success, $"round {round}: the host's page is stale");
                parent.ShouldMap(ofHost, (1ul << 34) + ((ulong)round << 12));
                rig.Hardware.Translate(new(steady.Id, new(gva + 0x10_0000)), out reached);
                reached.Address.Value.ShouldBe((1ul << 34) + ((ulong)round << 12));
            }
        });
        Task switcher = Run(() =>
        {
            for (int round = 0; !done.IsCancellationRequested; round++)
            {
                Domain next = (round % 4) switch { 0 => other, 1 => parent, 2 => nested, _ => BlockedDomain.Instance };
                restless.Group.Attach(next).ShouldBe(Errno.Success);
                rig.Hardware.Translate(new(restless.Id, new(gva + 0x10_0000)), out _);
                rig.Driver.HandleInterrupt(1);
            }
        });
        try
        {
            WaitFor(guestThread, hostThread);
        }
        finally
        {
            done.Cancel();
            WaitFor(switcher);
        }

        restless.Group.Detach().ShouldBe(Errno.Success);
        steady.Group.Detach().ShouldBe(Errno.Success);
        rig.Driver.Statistics.GscidsInUse.ShouldBe(0);
        rig.Driver.Statistics.QueueRecoveries.ShouldBe(0);
        parent.BondCount.ShouldBe(0);
    }

    private static Task Run(Action body) => Task.Factory.StartNew(
        body, TestContext.Current.CancellationToken, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    private static void WaitFor(params Task[] tasks) =>
        Task.WaitAll(tasks, (int)TimeSpan.FromSeconds(100).TotalMilliseconds, TestContext.Current.CancellationToken)
            .ShouldBeTrue("a thread waits for ever");
}
