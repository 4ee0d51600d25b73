using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Core.Pasids.Tests;

/// <summary>The life of an IOASID: states, references, drains.</summary>
public sealed class LifeTests
{
    [Fact]
    [Trait("Requirement", "S1.3")]
    [Trait("Requirement", "S1.9")]
    public void The_last_put_recycles_without_any_free_and_none_before_does()
    {
        PasidAllocator allocator = Support.NewAllocator(3);
        PasidSet set = allocator.NewSet(2);
        Ioasid a = set.Allocate();
        a.TryGet().ShouldBeTrue();
        a.TryGet().ShouldBeTrue();
        a.Disown().ShouldBe(Errno.Success);
        a.Disown().ShouldBe(Errno.NoEntry);
        a.Put();
        (a.State, a.References).ShouldBe((IoasidState.Allocated, 1));
        set.Allocate().Pasid.ShouldNotBe(a.Pasid);
        a.Put();
        a.State.ShouldBe(IoasidState.Free);
        a.TryGet().ShouldBeFalse();
        set.Allocate().Pasid.ShouldBe(a.Pasid);

        // One put too many does not touch the successor.
        a.Put();
        allocator.Find(a.Pasid).State.ShouldBe(IoasidState.Allocated);
    }

    [Fact]
    [Trait("Requirement", "S1.7")]
    public void A_free_stops_the_users_and_parks_the_number_until_each_is_gone()
    {
        PasidAllocator allocator = Support.NewAllocator(2);
        PasidSet set = allocator.NewSet(1);
        Ioasid a = set.Allocate();
        FakeUser device = new();
        a.TryAddUser(device).ShouldBe(Errno.Success);
        a.TryAddUser(device).ShouldBe(Errno.Exists);
        a.State.ShouldBe(IoasidState.Active);
        a.FreeIfUnused().ShouldBe(Errno.Busy);
        device.IsStopped.ShouldBeFalse();
        a.Free().ShouldBe(Errno.Success);
        (device.IsStopped, a.State, a.References).ShouldBe((true, IoasidState.Parked, 1));
        a.Free().ShouldBe(Errno.NoEntry);
        a.TryGet().ShouldBeFalse();
        a.TryAddUser(new FakeUser()).ShouldBe(Errno.NoEntry);
        set.TryAllocate().ShouldBe(Errno.NoSpace);
        a.RemoveUser(device).ShouldBe(Errno.Success);
        a.State.ShouldBe(IoasidState.Free);
        a.RemoveUser(device).ShouldBe(Errno.NoEntry);
        set.TryAllocate().ShouldBe(Errno.Success);
    }

    [Fact]
    [Trait("Requirement", "S1.7")]
    public void Free_if_unused_frees_only_what_nobody_holds()
    {
        PasidSet set = Support.NewAllocator().NewSet(2);
        Ioasid a = set.Allocate();
        _ = a.TryGet();
        a.FreeIfUnused().ShouldBe(Errno.Busy);
        a.IsLive.ShouldBeTrue();
        a.Put();
        a.FreeIfUnused().ShouldBe(Errno.Success);
        a.FreeIfUnused().ShouldBe(Errno.NoEntry);
    }

    [Fact]
    [Trait("Requirement", "S1.8")]
    public void Removing_a_user_stops_it_first_then_drains_and_only_then_drops_the_reference()
    {
        PasidAllocator allocator = Support.NewAllocator();
        Ioasid a = allocator.NewSet(1).Allocate();
        FakeUser device = new("accelerator", drained: false);
        a.TryAddUser(device).ShouldBe(Errno.Success);
        a.RemoveUser(device).ShouldBe(Errno.TimedOut);
        (device.Stops, a.References, a.State).ShouldBe((1, 2, IoasidState.Active));
        PasidDrainReport report = allocator.GetDrainReports().ShouldHaveSingleItem();
        (report.Participant, report.Holds, report.Ioasid).ShouldBe(("accelerator", "3 descriptors", a));
        device.Drained = true;
        a.RemoveUser(device).ShouldBe(Errno.Success);
        (a.References, a.State).ShouldBe((1, IoasidState.Allocated));
        allocator.GetDrainReports().ShouldBeEmpty();
    }

    [Fact]
    [Trait("Requirement", "S2.1")]
    public void A_drain_that_never_ends_is_reported_with_who_holds_it_and_never_frees()
    {
        ManualTime time = new();
        PasidAllocator allocator = Support.NewAllocator(2, time: time);
        PasidSet set = allocator.NewSet(1);
        Ioasid a = set.Allocate();
        FakeUser healthy = new("network card"), stuck = new("accelerator", drained: false);
        a.TryAddUser(healthy).ShouldBe(Errno.Success);
        a.TryAddUser(stuck).ShouldBe(Errno.Success);
        a.Free().ShouldBe(Errno.TimedOut);
        (healthy.IsStopped, stuck.IsStopped, a.State).ShouldBe((true, true, IoasidState.Stopping));
        time.Advance(TimeSpan.FromSeconds(7));
        PasidDrainReport report = allocator.GetDrainReports().ShouldHaveSingleItem();
        report.ShouldBe(new(a, "accelerator", "3 descriptors", TimeSpan.FromSeconds(7)));

        // Its references may go: the number stays.
        healthy.Drained = true;
        a.RemoveUser(healthy).ShouldBe(Errno.Success);
        for (int i = 0; i < 100; i++)
        {
            allocator.Poll();
            a.Free().ShouldBe(Errno.TimedOut);
        }

        set.FreeAll(PasidSetDisposition.Keep).ShouldBe(Errno.TimedOut);
        set.TryAllocate().ShouldBe(Errno.NoSpace);
        set.Count.ShouldBe(1u);
        (healthy.Stops, stuck.Stops).ShouldBe((2, 1));

        stuck.Drained = true;
        allocator.Poll();
        a.State.ShouldBe(IoasidState.Parked);
        allocator.GetDrainReports().ShouldBeEmpty();
        a.RemoveUser(stuck).ShouldBe(Errno.Success);
        a.State.ShouldBe(IoasidState.Free);
    }

    [Fact]
    [Trait("Requirement", "S2.1")]
    public void A_user_that_cannot_be_stopped_holds_the_number_and_is_tried_again()
    {
        PasidAllocator allocator = Support.NewAllocator();
        Ioasid a = allocator.NewSet(1).Allocate();
        FakeUser broken = new("broken queue") { StopAnswer = Errno.IoError };
        a.TryAddUser(broken).ShouldBe(Errno.Success);
        a.RemoveUser(broken).ShouldBe(Errno.IoError);
        a.UserCount.ShouldBe(1);
        a.Free().ShouldBe(Errno.TimedOut);
        allocator.GetDrainReports().ShouldHaveSingleItem().Holds.ShouldContain("IoError");
        broken.StopAnswer = Errno.Success;
        allocator.Poll();
        a.State.ShouldBe(IoasidState.Parked);
    }

    [Fact]
    public void Patience_is_measured_by_the_clock_of_the_allocator()
    {
        AdvancingTime time = new();
        PasidAllocator allocator = Support.NewAllocator(patience: TimeSpan.FromSeconds(5), time: time);
        Ioasid a = allocator.NewSet(1).Allocate();
        a.TryAddUser(new FakeUser(drained: false)).ShouldBe(Errno.Success);
        a.Free().ShouldBe(Errno.TimedOut);
        time.Asked.ShouldBeInRange(5, 20);
    }

    [Fact]
    public void All_users_are_stopped_before_the_first_is_waited_for()
    {
        PasidAllocator allocator = Support.NewAllocator();
        Ioasid a = allocator.NewSet(1).Allocate();
        FakeUser first = new(drained: false), second = new(drained: false);
        a.TryAddUser(first).ShouldBe(Errno.Success);
        a.TryAddUser(second).ShouldBe(Errno.Success);
        a.Free().ShouldBe(Errno.TimedOut);
        (first.IsStopped, second.IsStopped).ShouldBe((true, true));
    }

    [Fact]
    [Trait("Requirement", "S2.7")]
    [Trait("Requirement", "S2.8")]
    public void Each_failure_has_its_own_error_sets_its_result_and_undoes_only_what_it_did()
    {
        PasidAllocator allocator = Support.NewAllocator(8);
        PasidSet set = allocator.NewSet(3);
        Ioasid other = allocator.NewSet(1).Allocate(new() { Policy = PasidPolicy.Fixed, First = new(5) });
        Ioasid mine = set.Allocate(new() { Guest = new(1) });
        foreach ((PasidRequest request, Errno error) in ((PasidRequest, Errno)[])
        [
            (new() { Policy = PasidPolicy.Fixed, First = other.Pasid }, Errno.Exists),
            (new() { Policy = PasidPolicy.Fixed, First = mine.Pasid }, Errno.Exists),
            (new() { Policy = PasidPolicy.Fixed, First = new(8) }, Errno.InvalidArgument),
            (new() { Guest = new(1) }, Errno.Exists),
            (new() { First = other.Pasid, Last = other.Pasid }, Errno.NoSpace),
            (new() { First = new(3), Last = new(2) }, Errno.InvalidArgument),
        ])
        {
            Ioasid result = mine;
            set.TryAllocate(request, out result).ShouldBe(error);
            result.IsNone.ShouldBeTrue();
            allocator.Audit.ShouldBe(new(2, 2, 0, 2, 4));
            allocator.Find(other.Pasid).ShouldBe(other);
            set.TryAllocate(new() { Policy = PasidPolicy.Fixed, First = other.Pasid }, out _).ShouldBe(Errno.Exists);
        }

        _ = set.Allocate();
        _ = set.Allocate();
        set.TryAllocate().ShouldBe(Errno.NoSpace);
    }

    [Fact]
    [Trait("Requirement", "S0.15")]
    public void Look_ups_run_while_every_lock_is_held()
    {
        PasidAllocator allocator = Support.NewAllocator();
        object token = new();
        PasidSet set = allocator.NewSet(4, token);
        Ioasid a = set.Allocate(new() { Guest = new(3) });
        bool found = false;

        // In another thread, for whom the locks are taken.
        Thread other = new(() => found =
            allocator.Find(a.Pasid) == a && allocator.TryGet(a.Pasid, token, out _) == Errno.Success
            && allocator.TryGetSet(a.Pasid, out _) == Errno.Success && set.FindGuest(new(3)) == a
            && set.TryGetGuest(new(3), out _) == Errno.Success
            && allocator.FindSet(token) == set && allocator.FindSet(set.Id) == set);
        using (allocator.Lock.Acquire())
        using (set.Lock.Acquire())
        {
            other.Start();
            other.Join(TimeSpan.FromMinutes(1)).ShouldBeTrue();
        }

        found.ShouldBeTrue();
    }

    [Fact]
    [Trait("Requirement", "S0.15")]
    public void A_reader_with_a_stale_handle_can_neither_revive_it_nor_see_or_touch_the_successor()
    {
        PasidAllocator allocator = Support.NewAllocator(2);
        PasidSet set = allocator.NewSet(1);
        Ioasid old = set.Allocate(new() { Data = "old", Guest = new(4) });
        object map = new();
        old.Bind(map).ShouldBe(Errno.Success);
        old.Free().ShouldBe(Errno.Success);
        Ioasid next = set.Allocate(new() { Data = "next", Guest = new(5) });
        FakeUser user = new();
        next.TryAddUser(user).ShouldBe(Errno.Success);
        next.Bind(map).ShouldBe(Errno.Success);
        next.Pasid.ShouldBe(old.Pasid);
        next.ShouldNotBe(old);
        old.TryGet().ShouldBeFalse();
        old.TryAddUser(new FakeUser()).ShouldBe(Errno.NoEntry);
        old.Free().ShouldBe(Errno.NoEntry);
        old.Disown().ShouldBe(Errno.NoEntry);
        old.FreeIfUnused().ShouldBe(Errno.NoEntry);
        old.RemoveUser(user).ShouldBe(Errno.NoEntry);
        old.Bind(new object()).ShouldBe(Errno.NoEntry);
        old.Unbind(map).ShouldBe(Errno.NoEntry);
        old.SetData(null, "old").ShouldBe(Errno.NoEntry);
        set.TryMapGuest(new(6), old).ShouldBe(Errno.NoEntry);
        set.UnmapGuest(old).ShouldBe(Errno.NoEntry);
        old.Put();
        (old.Data, old.Guest, old.Binding, old.UserCount, old.State, old.References).ShouldBe((null, null, null, 0, IoasidState.Free, 0));
        old.Set.ShouldBeSameAs(set);
        (next.State, next.References, set.Count, user.IsStopped).ShouldBe((IoasidState.Active, 2, 1u, false));
        (next.Data, next.Guest, next.Binding).ShouldBe(("next", new GuestPasid(5), map));
    }

    [Fact]
    [Trait("Requirement", "S0.15")]
    public void No_IOASID_at_all_answers_every_call()
    {
        Ioasid none = default;
        PasidSet set = Support.NewAllocator().NewSet(1);
        (none.IsNone, none.Pasid, none.State, none.IsLive, none.References, none.UserCount)
            .ShouldBe((true, Pasid.None, IoasidState.Free, false, 0, 0));
        (none.Data, none.Guest, none.Binding).ShouldBe((null, null, null));
        none.TryGet().ShouldBeFalse();
        none.Put();
        foreach (Errno answer in (Errno[])
        [
            none.Disown(), none.Free(), none.FreeIfUnused(), none.TryAddUser(new FakeUser()), none.RemoveUser(new FakeUser()),
            none.Bind(set), none.Unbind(set), none.SetData(null, set), set.TryMapGuest(new(1), none), set.UnmapGuest(none),
            new VmPasidTable().Map(new(1), none),
        ])
        {
            answer.ShouldBe(Errno.NoEntry);
        }

        none.ToString().ShouldContain("Free");
    }

    [Fact]
    public void Nothing_is_allocated_on_the_heap_for_an_IOASID_that_comes_and_goes()
    {
        PasidSet set = Support.NewAllocator().NewSet(8);
        PasidRequest request = new();
        int churns = 0;
        void Churn()
        {
            churns++;
            for (int i = 0; i < 1000; i++)
            {
                _ = set.TryAllocate(request, out Ioasid made);
                _ = made.TryGet();
                made.Put();
                _ = made.Free();
            }
        }

        SteadyState.AllocatedBytes(Churn).ShouldBe(0);
        set.Statistics.Recycled.ShouldBe(churns * 1000);
    }

    // Each look at it lets a second pass.
    private sealed class AdvancingTime : TimeProvider
    {
        public int Asked { get; private set; }

        public override long TimestampFrequency => 1;

        public override long GetTimestamp() => ++Asked;
    }
}
