using Ioasis.Client;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Kind = Ioasis.Uapi.IoasidSetEventKind;
using PasidSet = Ioasis.Client.PasidSet;

namespace Ioasis.Kernel.Tests.Ioasids;

/// <summary>What a descriptor tells of a set.</summary>
public sealed class IoasidEventTests
{
    [Fact]
    [Trait("Requirement", "S0.10")]
    [Trait("Requirement", "S1.7")]
    public void A_subscriber_reads_the_life_of_each_IOASID_in_order()
    {
        using IoasidRig rig = new();
        using PasidSetEvents events = rig.Set.Subscribe();
        using PasidSetEvents second = rig.Set.Subscribe();
        events.ReadErrno(TimeSpan.Zero, out _, TestContext.Current.CancellationToken).ShouldBe(Errno.TimedOut);
        rig.Rig.Kernel.Read(events.Descriptor.Number, new byte[23]).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Rig.Kernel.Read(events.Descriptor.Number, new byte[24]).ShouldBe(0);

        PasidHandle a = rig.Set.Allocate(new() { Guest = new GuestPasid(5) });
        a.Bind(rig.Space);
        rig.Devices[0].Allow(a);
        a.UnbindErrno().ShouldBe(Errno.Success);
        a.Bind(rig.Space);
        Read(events).ShouldBe([(Kind.Allocated, a.Pasid, 5u), (Kind.Bound, a.Pasid, 5u), (Kind.Unbound, a.Pasid, 5u), (Kind.Bound, a.Pasid, 5u)]);

        // Freed while a device holds it: it is parked, and recycled when the device has let go.
        a.Dispose();
        List<(Kind, Pasid, uint)> ended = Read(events);
        ended.ShouldBe([(Kind.Unbound, a.Pasid, IoasidSetEvent.NoGuest), (Kind.Freed, a.Pasid, IoasidSetEvent.NoGuest)], ignoreOrder: true);
        rig.Devices[0].DisallowErrno(a.Pasid).ShouldBe(Errno.Success);
        Read(events).ShouldBe([(Kind.Recycled, a.Pasid, IoasidSetEvent.NoGuest)]);
        Read(second).Count.ShouldBe(7);
    }

    [Fact]
    [Trait("Requirement", "S0.11")]
    [Trait("Requirement", "S1.15")]
    public void A_subscription_hears_its_own_set_only_and_outlives_it()
    {
        using IoasidRig rig = new();
        using PasidSet other = rig.Pasids.CreateSet(2);
        PasidSet gone = rig.Pasids.CreateSet(2);
        using PasidSetEvents events = gone.Subscribe();
        _ = other.Allocate();
        PasidHandle one = gone.Allocate();
        gone.Dispose();
        Read(events).Select(static item => (item.Kind, item.Pasid)).ShouldBe(
            [(Kind.Allocated, one.Pasid), (Kind.Freed, one.Pasid), (Kind.Recycled, one.Pasid)]);
        one.Dispose();
        gone.SubscribeErrno(out PasidSetEvents? none).ShouldBe(Errno.NoEntry);
        none.ShouldBeNull();

        // Another set with its number is not what was subscribed to.
        using PasidSet next = rig.Pasids.CreateSet(2);
        next.Id.ShouldBe(gone.Id);
        _ = next.Allocate();
        events.ReadErrno(TimeSpan.Zero, out _, TestContext.Current.CancellationToken).ShouldBe(Errno.TimedOut);
    }

    [Fact]
    public void A_subscriber_that_does_not_read_loses_events_which_are_counted_and_holds_nobody_up()
    {
        using IoasidRig rig = new();
        using PasidSetEvents events = rig.Set.Subscribe();
        for (int i = 0; i < 400; i++)
        {
            rig.Set.Allocate().Dispose();
        }

        for (int i = 0; i < 1024; i++)
        {
            events.ReadErrno(TimeSpan.Zero, out IoasidSetEvent one, TestContext.Current.CancellationToken).ShouldBe(Errno.Success);
            one.Lost.ShouldBe(0u);
        }

        events.ReadErrno(TimeSpan.Zero, out _, TestContext.Current.CancellationToken).ShouldBe(Errno.TimedOut);
        using PasidHandle next = rig.Set.Allocate();
        events.ReadErrno(TimeSpan.Zero, out IoasidSetEvent after, TestContext.Current.CancellationToken).ShouldBe(Errno.Success);
        (after.Kind, after.Ioasid, after.SetId, after.Lost).ShouldBe((Kind.Allocated, next.Pasid.Value, rig.Set.Id.Value, 176u));
    }

    [Fact]
    public void A_reader_that_waits_is_woken_and_a_close_takes_the_subscription_along()
    {
        using IoasidRig rig = new();
        PasidSetEvents events = rig.Set.Subscribe();
        Errno read = Errno.TryAgain;
        IoasidSetEvent seen = default;
        Thread reader = new(() => read = events.ReadErrno(TimeSpan.FromSeconds(20), out seen, TestContext.Current.CancellationToken));
        reader.Start();
        using PasidHandle a = rig.Set.Allocate();
        reader.Join();
        (read, seen.Kind, seen.Ioasid).ShouldBe((Errno.Success, Kind.Allocated, a.Pasid.Value));
        events.Dispose();
        using PasidHandle b = rig.Set.Allocate();
        rig.Raw(rig.Fd, new IoasidSetEvents { SetId = 77 }).ShouldBe(-(int)Errno.NoEntry);
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void A_subscription_that_gets_no_descriptor_or_is_closed_leaves_the_set_without_observers()
    {
        Rig rig = new(null, null, descriptorLimit: 5);
        int pasids = rig.Kernel.Open("/dev/ioasid", OpenFlags.ReadWrite);
        IoasidSetCreate create = new() { Quota = 1 };
        rig.Call(pasids, ref create).ShouldBe(0);
        Core.PasidSet set = rig.KernelSide.Pasids.FindSet(new PasidSetId(create.OutSetId)).ShouldNotBeNull();
        IoasidSetEvents events = new() { SetId = create.OutSetId };
        int first = rig.Call(pasids, ref events);
        first.ShouldBeGreaterThan(pasids);
        set.ObserverCount.ShouldBe(1);
        rig.Call(pasids, ref events).ShouldBe(-(int)Errno.TooManyOpenFiles);
        set.ObserverCount.ShouldBe(1);
        rig.Kernel.Close(first).ShouldBe(0);
        set.ObserverCount.ShouldBe(0);
        rig.Kernel.CloseAll();
        rig.KernelSide.Pasids.Audit.IsEmpty.ShouldBeTrue();
    }

    private static List<(Kind Kind, Pasid Pasid, uint Guest)> Read(PasidSetEvents events)
    {
        List<(Kind, Pasid, uint)> all = [];
        while (events.ReadErrno(TimeSpan.Zero, out IoasidSetEvent next, TestContext.Current.CancellationToken) == Errno.Success)
        {
            all.Add((next.Kind, new(next.Ioasid), next.Guest));
        }

        return all;
    }
}
