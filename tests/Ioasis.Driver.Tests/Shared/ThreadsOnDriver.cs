using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Driver.Tests.Shared;

/// <summary>
/// Real threads on a driver and its hardware at once: what the exploration of schedules cannot see, because it never truly runs in
/// parallel. The same for every kind of IOMMU.
/// </summary>
/// <param name="hardware">Where devices' DMA goes in.</param>
/// <param name="handleInterrupts">The driver's interrupt handlers.</param>
/// <param name="cancellation">The end of the test.</param>
internal sealed class ThreadsOnDriver(IDmaPort hardware, Action handleInterrupts, CancellationToken cancellation)
{
    private const ulong Page = 4096;
    private const ulong Window = 1ul << 24;
    private const ulong Memory = 1ul << 34;

    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(300);

    /// <summary>
    /// Two threads map and unmap in one domain, a device is attached and detached again and again, and DMA goes on: no page is reached
    /// after its unmap.
    /// </summary>
    /// <param name="steady">A device that is attached to <paramref name="domain"/>.</param>
    /// <param name="restless">A device that changes between both.</param>
    /// <param name="domain">The domain in which is mapped.</param>
    /// <param name="other">Another.</param>
    /// <param name="rounds">Maps of each thread.</param>
    public void MapUnmapAndAttach(IommuDevice steady, IommuDevice restless, PagingDomain domain, PagingDomain other, uint rounds = 3000)
    {
        ArgumentNullException.ThrowIfNull(steady);
        ArgumentNullException.ThrowIfNull(restless);
        ArgumentNullException.ThrowIfNull(domain);
        using CancellationTokenSource done = CancellationTokenSource.CreateLinkedTokenSource(cancellation);

        // Each mapper owns a window of IOVAs; a page leads to an address that says which round mapped it.
        Task[] mappers = [.. Enumerable.Range(0, 2).Select(index => Run(() =>
        {
            ulong start = (ulong)(index + 1) * Window;
            for (uint round = 1; round <= rounds; round++)
            {
                ulong iova = start + (round % 7 * Page);
                domain.Map(new(iova), new(Address(round)), Page, Access.ReadWrite).ShouldBe(Errno.Success);
                ShouldReach(steady, iova, Address(round), round);
                Unmap(domain, iova);
                ShouldNotReach(steady, iova, round);
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
                _ = Translate(restless, Window + (i % 7 * Page));
                handleInterrupts();
            }
        });
        Finish(done, mappers, attacher, device);
        restless.Group.Detach().ShouldBe(Errno.Success);
        steady.Group.Detach().ShouldBe(Errno.Success);
    }

    /// <summary>
    /// A guest maps and unmaps in its first stage, the host in the second below it, and a device is switched between domains: what either
    /// has taken away is not reached.
    /// </summary>
    /// <param name="steady">A device that is attached to a nested domain on <paramref name="parent"/>.</param>
    /// <param name="restless">A device that is switched between <paramref name="others"/>.</param>
    /// <param name="parent">The second stage.</param>
    /// <param name="guest">What the guest does.</param>
    /// <param name="others">Domains for the restless device.</param>
    /// <param name="rounds">Maps of each.</param>
    public void GuestAndHost(
        IommuDevice steady, IommuDevice restless, PagingDomain parent, GuestSide guest, IReadOnlyList<Domain> others, uint rounds = 2000)
    {
        ArgumentNullException.ThrowIfNull(steady);
        ArgumentNullException.ThrowIfNull(restless);
        ArgumentNullException.ThrowIfNull(guest);
        ArgumentNullException.ThrowIfNull(others);
        using CancellationTokenSource done = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        Task guestThread = Run(() =>
        {
            for (uint round = 1; round <= rounds; round++)
            {
                ulong page = guest.FirstPage + (round % 8 * Page);
                guest.Map(guest.Address, page);
                ShouldReach(steady, guest.Address, guest.ToHost(page), round);
                guest.UnmapAndInvalidate(guest.Address);
                ShouldNotReach(steady, guest.Address, round);
            }
        });
        Task hostThread = Run(() =>
        {
            for (uint round = 1; round <= rounds; round++)
            {
                Unmap(parent, guest.HostsPage);
                ShouldNotReach(steady, guest.AddressOfHostsPage, round);
                parent.Map(new(guest.HostsPage), new(Address(round)), Page, Access.ReadWrite).ShouldBe(Errno.Success);
                ShouldReach(steady, guest.AddressOfHostsPage, Address(round), round);
            }
        });
        Task switcher = Run(() =>
        {
            for (int round = 0; !done.IsCancellationRequested; round++)
            {
                restless.Group.Attach(others[round % others.Count]).ShouldBe(Errno.Success);
                _ = Translate(restless, guest.AddressOfHostsPage);
                handleInterrupts();
            }
        });
        Finish(done, [guestThread, hostThread], switcher);
        restless.Group.Detach().ShouldBe(Errno.Success);
        steady.Group.Detach().ShouldBe(Errno.Success);
    }

    /// <summary>
    /// Three threads unmap while the queue of commands fails again and again: an unmap that says that it is done is done, and one that
    /// says that it is not can be repeated until it is (S4.15).
    /// </summary>
    /// <param name="places">For each thread a domain and a device that is attached to it.</param>
    /// <param name="rounds">Unmaps of each thread.</param>
    /// <param name="before">Called before each round with the thread and the round.</param>
    /// <param name="tick">Called while an unmap cannot be confirmed: time passes.</param>
    /// <returns>How many unmaps were not confirmed at once.</returns>
    public long UnmapInTrouble(
        IReadOnlyList<(PagingDomain Domain, IommuDevice Device)> places, uint rounds, Action<int, uint> before, Action tick)
    {
        ArgumentNullException.ThrowIfNull(places);
        ArgumentNullException.ThrowIfNull(before);
        long unconfirmed = 0;

        // Each thread has its own window.
        Task[] threads = [.. places.Select((place, index) => Run(() =>
        {
            for (uint round = 0; round < rounds; round++)
            {
                ulong iova = ((ulong)(index + 1) * Window) + (round % 5 * Page);
                before(index, round);
                place.Domain.Map(new(iova), new(Address(round)), Page, Access.ReadWrite).ShouldBe(Errno.Success);
                ShouldReach(place.Device, iova, Address(round), round);
                InvalidationGather gather = default;
                place.Domain.Unmap(new(iova), Page, ref gather, out ulong unmapped).ShouldBe(Errno.Success);
                unmapped.ShouldBe(Page);
                Errno error = place.Domain.Sync(ref gather);
                _ = Interlocked.Add(ref unconfirmed, error == Errno.Success ? 0 : 1);
                while (error != Errno.Success)
                {
                    // The queue was given up; it is tried again after a while, and until then the page stays taken.
                    error.ShouldBe(Errno.IoError);
                    tick();
                    error = place.Domain.Sync(ref gather);
                }

                ShouldNotReach(place.Device, iova, round);
            }
        }))];
        WaitFor(threads);
        return unconfirmed;
    }

    private static ulong Address(uint round) => Memory + ((ulong)round << 12);

    private static void Unmap(PagingDomain domain, ulong iova)
    {
        InvalidationGather gather = default;
        domain.Unmap(new(iova), Page, ref gather, out ulong unmapped).ShouldBe(Errno.Success);
        unmapped.ShouldBe(Page);
        domain.Sync(ref gather).ShouldBe(Errno.Success);
    }

    private void ShouldReach(IommuDevice device, ulong iova, ulong address, uint round)
    {
        DmaTranslation reached = Translate(device, iova);
        reached.Status.ShouldBe(DmaStatus.Success, $"round {round}: 0x{iova:x} is not reached");
        reached.Address.Value.ShouldBe(address, $"round {round}");
    }

    private void ShouldNotReach(IommuDevice device, ulong iova, uint round) =>
        Translate(device, iova).Status.ShouldNotBe(DmaStatus.Success, $"round {round}: 0x{iova:x} is stale");

    private DmaTranslation Translate(IommuDevice device, ulong iova)
    {
        hardware.Translate(new(device.Id, new(iova)), out DmaTranslation translation);
        return translation;
    }

    private void Finish(CancellationTokenSource done, Task[] work, params Task[] endless)
    {
        try
        {
            WaitFor(work);
        }
        finally
        {
            done.Cancel();
            WaitFor(endless);
        }
    }

    private Task Run(Action body) => Task.Factory.StartNew(body, cancellation, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    private void WaitFor(params Task[] tasks) =>
        Task.WaitAll(tasks, (int)s_limit.TotalMilliseconds, cancellation).ShouldBeTrue("a thread waits for ever");

    /// <summary>What a guest does, whatever its tables look like.</summary>
    /// <param name="Address">The address that the guest maps and unmaps.</param>
    /// <param name="FirstPage">Guest-physical: the first of the eight pages to which it leads in turn.</param>
    /// <param name="AddressOfHostsPage">An address that the guest mapped once for all.</param>
    /// <param name="HostsPage">Guest-physical: the page to which it leads, which the host takes and gives.</param>
    /// <param name="ToHost">Where a guest-physical page is.</param>
    /// <param name="Map">Has an address of the guest lead to a guest-physical page.</param>
    /// <param name="UnmapAndInvalidate">Takes it away and has the IOMMU forget it.</param>
    public sealed record GuestSide(
        ulong Address, ulong FirstPage, ulong AddressOfHostsPage, ulong HostsPage, Func<ulong, ulong> ToHost, Action<ulong, ulong> Map,
        Action<ulong> UnmapAndInvalidate);
}
