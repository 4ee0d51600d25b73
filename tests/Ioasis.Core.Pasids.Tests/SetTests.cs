using Ioasis.Primitives;

namespace Ioasis.Core.Pasids.Tests;

/// <summary>Sets: identity, private numbers, freeing as a whole, events.</summary>
public sealed class SetTests
{
    [Fact]
    [Trait("Requirement", "S0.6")]
    public void Set_numbers_private_numbers_and_PASIDs_are_types_that_do_not_convert()
    {
        Type[] types = [typeof(PasidSetId), typeof(Pasid), typeof(GuestPasid)];
        foreach (Type from in types)
        {
            from.GetMethods().ShouldNotContain(static method => method.Name == "op_Implicit");
            types.ShouldAllBe(to => to == from || !to.IsAssignableFrom(from));
        }

        typeof(PasidAllocator).GetMethod(nameof(PasidAllocator.FindSet), [typeof(PasidSetId)]).ShouldNotBeNull();
        typeof(PasidAllocator).GetMethod(nameof(PasidAllocator.Find))!.GetParameters()[0].ParameterType.ShouldBe(typeof(Pasid));
    }

    [Fact]
    [Trait("Requirement", "S0.7")]
    public void What_the_allocator_manages_cannot_be_written_and_the_token_is_not_the_set()
    {
        object token = new();
        PasidSet set = Support.NewAllocator().NewSet(2, token);
        set.Token.ShouldBeSameAs(token);
        token.ShouldNotBeSameAs(set);
        foreach (Type type in (Type[])[typeof(PasidSet), typeof(PasidQuota), typeof(Ioasid), typeof(PasidAllocator)])
        {
            type.GetProperties().ShouldAllBe(static property => property.SetMethod == null || !property.SetMethod.IsPublic);
            type.GetFields().ShouldAllBe(static field => field.IsLiteral);
            type.GetConstructors().Length.ShouldBe(type == typeof(PasidAllocator) ? 1 : 0);
        }
    }

    [Fact]
    [Trait("Requirement", "S0.8")]
    public void A_set_is_found_by_token_and_by_number_and_a_token_has_one()
    {
        PasidAllocator allocator = Support.NewAllocator();
        object token = new();
        PasidSet set = allocator.NewSet(2, token);
        PasidSet nameless = allocator.NewSet(2);
        allocator.FindSet(token).ShouldBeSameAs(set);
        allocator.FindSet(set.Id).ShouldBeSameAs(set);
        allocator.FindSet(nameless.Id).ShouldBeSameAs(nameless);
        allocator.FindSet(new object()).ShouldBeNull();
        allocator.FindSet(new PasidSetId(0)).ShouldBeNull();
        allocator.FindSet(new PasidSetId(uint.MaxValue)).ShouldBeNull();
        allocator.TryCreateSet(new() { Token = token }, out _).ShouldBe(Errno.Exists);
        set.FreeAll(PasidSetDisposition.Destroy).ShouldBe(Errno.Success);
        allocator.FindSet(token).ShouldBeNull();
        allocator.FindSet(set.Id).ShouldBeNull();
        allocator.NewSet(1, token).ShouldNotBeSameAs(set);
    }

    [Fact]
    [Trait("Requirement", "S0.9")]
    public void Private_numbers_map_one_to_one_and_a_duplicate_is_refused()
    {
        PasidAllocator allocator = Support.NewAllocator();
        PasidSet set = allocator.NewSet(4), other = allocator.NewSet(4);
        Ioasid a = set.Allocate(new() { Guest = new(7) });
        Ioasid b = set.Allocate();
        (a.Guest, set.FindGuest(new(7))).ShouldBe((new GuestPasid(7), a));
        set.TryAllocate(new() { Guest = new(7) }, out _).ShouldBe(Errno.Exists);
        set.TryMapGuest(new(7), b).ShouldBe(Errno.Exists);
        set.TryMapGuest(new(8), a).ShouldBe(Errno.Exists);
        set.TryMapGuest(new(1u << 20), b).ShouldBe(Errno.InvalidArgument);
        other.TryMapGuest(new(7), b).ShouldBe(Errno.NoEntry);
        set.TryMapGuest(new(0), b).ShouldBe(Errno.Success);
        other.Allocate(new() { Guest = new(7) }).ShouldNotBe(a);

        set.TryGetGuest(new(0), out Ioasid found).ShouldBe(Errno.Success);
        found.ShouldBe(b);
        b.Put();
        set.UnmapGuest(b).ShouldBe(Errno.Success);
        set.UnmapGuest(b).ShouldBe(Errno.NoEntry);
        set.TryGetGuest(new(0), out _).ShouldBe(Errno.NoEntry);
        a.Free().ShouldBe(Errno.Success);
        a.Guest.ShouldBeNull();
        set.TryMapGuest(new(7), b).ShouldBe(Errno.Success);
        set.TryMapGuest(new(9), a).ShouldBe(Errno.NoEntry);
    }

    [Fact]
    [Trait("Requirement", "S0.10")]
    public void Freeing_a_set_frees_each_before_it_returns_and_parks_what_is_held()
    {
        PasidAllocator allocator = Support.NewAllocator(8);
        PasidSet set = allocator.NewSet(7);
        Ioasid[] all = [.. Enumerable.Range(0, 6).Select(_ => set.Allocate())];
        FakeUser device = new();
        all[0].TryAddUser(device).ShouldBe(Errno.Success);
        all[1].TryGet().ShouldBeTrue();
        set.FreeAll(PasidSetDisposition.Keep).ShouldBe(Errno.Success);
        device.IsStopped.ShouldBeTrue();
        all.Select(static ioasid => ioasid.State).ShouldBe(
            [IoasidState.Parked, IoasidState.Parked, IoasidState.Free, IoasidState.Free, IoasidState.Free, IoasidState.Free]);
        set.Snapshot().ShouldBeEmpty();

        // Not the numbers that somebody holds.
        Enumerable.Range(0, 5).Select(_ => set.Allocate().Pasid).ShouldAllBe(pasid => pasid != all[0].Pasid && pasid != all[1].Pasid);
        set.TryAllocate().ShouldBe(Errno.NoSpace);
        all[0].RemoveUser(device).ShouldBe(Errno.Success);
        set.Allocate().Pasid.ShouldBe(all[0].Pasid);
        all[1].Put();
        set.Allocate().Pasid.ShouldBe(all[1].Pasid);
    }

    [Fact]
    [Trait("Requirement", "S0.11")]
    public void Keep_leaves_the_quota_and_destroy_returns_it_exactly_once()
    {
        PasidAllocator allocator = Support.NewAllocator(32);
        PasidSet set = allocator.NewSet(10);
        Ioasid parked = set.Allocate();
        _ = set.Allocate();
        _ = parked.TryGet();
        set.FreeAll(PasidSetDisposition.Keep).ShouldBe(Errno.Success);
        (set.Quota, allocator.RootQuota.Current).ShouldBe((10u, 10u));

        set.FreeAll(PasidSetDisposition.Destroy).ShouldBe(Errno.Success);
        allocator.RootQuota.Current.ShouldBe(1u, "the number that is held cannot be promised to anybody else");
        set.FreeAll(PasidSetDisposition.Destroy).ShouldBe(Errno.Success);
        allocator.FreeSet(set.Id, PasidSetDisposition.Destroy).ShouldBe(Errno.NoEntry);
        allocator.RootQuota.Current.ShouldBe(1u);
        allocator.Audit.ShouldBe(new(1, 0, 1, 1, 1));
        allocator.NewSet(30).Id.ShouldNotBe(set.Id, "the number of a set is not reused while something of it is held");
        parked.Put();
        allocator.RootQuota.Current.ShouldBe(30u);
        set.TryAllocate().ShouldBe(Errno.NoEntry);
        set.AdjustQuota(1).ShouldBe(Errno.NoEntry);
        allocator.RootQuota.Current.ShouldBe(30u);
    }

    [Fact]
    [Trait("Requirement", "S0.12")]
    public void Freeing_an_unknown_or_empty_set_is_harmless()
    {
        PasidAllocator allocator = Support.NewAllocator();
        allocator.FreeSet(new(0), PasidSetDisposition.Destroy).ShouldBe(Errno.NoEntry);
        allocator.FreeSet(new(77), PasidSetDisposition.Keep).ShouldBe(Errno.NoEntry);
        PasidSet set = allocator.NewSet(5);
        set.FreeAll(PasidSetDisposition.Keep).ShouldBe(Errno.Success);
        set.FreeAll(PasidSetDisposition.Keep).ShouldBe(Errno.Success);
        set.TryAllocate().ShouldBe(Errno.Success);
        set.FreeAll(PasidSetDisposition.Destroy).ShouldBe(Errno.Success);
        set.FreeAll(PasidSetDisposition.Keep).ShouldBe(Errno.Success);
        allocator.Audit.IsEmpty.ShouldBeTrue();
    }

    [Fact]
    [Trait("Requirement", "S0.13")]
    public void From_a_PASID_one_finds_its_set_and_data_and_a_reference_unless_the_token_is_anothers()
    {
        PasidAllocator allocator = Support.NewAllocator();
        object token = new();
        PasidSet set = allocator.NewSet(2, token);
        Ioasid ioasid = set.Allocate(new() { Data = "mine" });
        allocator.TryGetSet(ioasid.Pasid, out PasidSet? found).ShouldBe(Errno.Success);
        found.ShouldBeSameAs(set);
        allocator.TryGetSet(new(9), out _).ShouldBe(Errno.NoEntry);
        allocator.TryGet(ioasid.Pasid, new object(), out Ioasid refused).ShouldBe(Errno.NotPermitted);
        allocator.TryGet(ioasid.Pasid, null, out _).ShouldBe(Errno.NotPermitted);
        refused.IsNone.ShouldBeTrue();
        ioasid.References.ShouldBe(1);
        allocator.TryGet(ioasid.Pasid, token, out Ioasid mine).ShouldBe(Errno.Success);
        (mine!.Data, mine.References).ShouldBe(("mine", 2));
        mine.SetData(new object(), "stolen").ShouldBe(Errno.NotPermitted);
        mine.SetData(token, "new").ShouldBe(Errno.Success);
        ioasid.Data.ShouldBe("new");
        mine.Put();
        ioasid.Free().ShouldBe(Errno.Success);
        allocator.TryGet(ioasid.Pasid, token, out _).ShouldBe(Errno.NoEntry);
        allocator.TryGet(ioasid.Pasid, out _).ShouldBe(Errno.NoEntry);
        allocator.TryGetSet(ioasid.Pasid, out _).ShouldBe(Errno.NoEntry);
    }

    [Fact]
    [Trait("Requirement", "S0.14")]
    public void An_IOASID_is_complete_when_it_is_published_and_nothing_runs_under_a_lock()
    {
        PasidAllocator allocator = Support.NewAllocator();
        PasidSet set = allocator.NewSet(4, "token");
        List<bool> visible = [];
        Log log = new()
        {
            Also = (kind, ioasid) =>
            {
                if (kind == PasidEventKind.Allocated)
                {
                    visible.Add(!allocator.Find(ioasid.Pasid).IsNone || ioasid.TryGet());
                    (ioasid.Data, ioasid.Guest, ioasid.State).ShouldBe(("data", new GuestPasid(3), IoasidState.Free));

                    // No lock is held: the observer may call back.
                    set.Count.ShouldBe(0u);
                    allocator.Audit.Sets.ShouldBe(1);
                }
            },
        };
        set.Subscribe(log);
        Ioasid made = set.Allocate(new() { Data = "data", Guest = new(3) });
        visible.ShouldBe([false]);
        allocator.Find(made.Pasid).ShouldBe(made);
    }

    [Fact]
    public void Observers_are_told_each_event_in_order_and_once()
    {
        PasidSet set = Support.NewAllocator().NewSet(4);
        Log log = new(), late = new();
        set.Subscribe(log);
        set.Subscribe(log);
        Ioasid a = set.Allocate();
        a.Bind("map").ShouldBe(Errno.Success);
        a.Bind("other").ShouldBe(Errno.Busy);
        a.Unbind("other").ShouldBe(Errno.NoEntry);
        a.Unbind("map").ShouldBe(Errno.Success);
        set.Subscribe(late);
        a.Bind("map").ShouldBe(Errno.Success);
        _ = a.TryGet();
        a.Free().ShouldBe(Errno.Success);
        a.Bind("map").ShouldBe(Errno.NoEntry);
        a.Put();
        log.Events.Select(static e => e.Kind).ShouldBe(
            [
                PasidEventKind.Allocated, PasidEventKind.Bound, PasidEventKind.Unbound, PasidEventKind.Bound,
                PasidEventKind.Unbound, PasidEventKind.Freed, PasidEventKind.Recycled,
            ]);
        late.Events.Count.ShouldBe(4);
        set.Unsubscribe(log);
        set.Allocate().Free().ShouldBe(Errno.Success);
        log.Events.Count.ShouldBe(7);
        late.Events.Count.ShouldBe(7);
    }

    [Fact]
    public void An_observer_of_an_allocation_may_destroy_the_set_under_it()
    {
        PasidAllocator allocator = Support.NewAllocator();
        PasidSet set = allocator.NewSet(4);
        set.Subscribe(new Log
        {
            Also = (kind, _) =>
            {
                if (kind == PasidEventKind.Allocated)
                {
                    set.FreeAll(PasidSetDisposition.Destroy).ShouldBe(Errno.Success);
                }
            },
        });
        set.TryAllocate(new(), out Ioasid none).ShouldBe(Errno.NoEntry);
        none.IsNone.ShouldBeTrue();
        allocator.Audit.IsEmpty.ShouldBeTrue(allocator.Audit.ToString());
    }

    [Fact]
    [Trait("Requirement", "S0.13")]
    [Trait("Requirement", "S0.8")]
    public void An_IOASID_leads_to_its_set_however_many_there_are_and_when_the_set_is_destroyed()
    {
        PasidAllocator allocator = Support.NewAllocator(200);
        List<(PasidSet Set, Ioasid Ioasid)> all = [];
        for (int i = 0; i < 40; i++)
        {
            PasidSet set = allocator.NewSet(1);
            all.Add((set, set.Allocate()));
            all.ShouldAllBe(item => allocator.Find(item.Ioasid.Pasid).Set == item.Set);
        }

        // Parked: the set is gone for everybody but its last IOASID.
        foreach ((PasidSet set, Ioasid ioasid) in all)
        {
            ioasid.TryGet().ShouldBeTrue();
            set.FreeAll(PasidSetDisposition.Destroy).ShouldBe(Errno.Success);
            allocator.FindSet(set.Id).ShouldBeNull();
            allocator.Find(ioasid.Pasid).ShouldBe(ioasid);
            allocator.TryGetSet(ioasid.Pasid, out PasidSet? found).ShouldBe(Errno.Success);
            found.ShouldBeSameAs(set);
            ioasid.Put();
            allocator.Find(ioasid.Pasid).IsNone.ShouldBeTrue();
        }

        allocator.Audit.IsEmpty.ShouldBeTrue(allocator.Audit.ToString());
    }
}
