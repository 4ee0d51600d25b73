using Ioasis.Primitives;

namespace Ioasis.Core.Pasids.Tests;

/// <summary>Quotas of sets and the hierarchy above them.</summary>
public sealed class QuotaTests
{
    [Fact]
    [Trait("Requirement", "S0.2")]
    public void A_set_over_the_remaining_capacity_is_refused_and_changes_nothing()
    {
        PasidAllocator allocator = Support.NewAllocator(64);
        PasidSet first = allocator.NewSet(40);
        object token = new();
        PasidAudit before = allocator.Audit;
        allocator.TryCreateSet(new() { Quota = 24, Token = token }, out PasidSet? set).ShouldBe(Errno.NoSpace);
        set.ShouldBeNull();
        allocator.Audit.ShouldBe(before);
        allocator.FindSet(token).ShouldBeNull();
        PasidSet second = allocator.NewSet(23, token);
        second.Id.Value.ShouldBe(first.Id.Value + 1, "the number of the set that was refused is free again");
    }

    [Fact]
    [Trait("Requirement", "S0.4")]
    public void The_sum_of_the_quotas_is_the_charge_and_never_exceeds_the_capacity()
    {
        PasidAllocator allocator = Support.NewAllocator(64);
        PasidSet a = allocator.NewSet(30), b = allocator.NewSet(30);
        allocator.RootQuota.Current.ShouldBe(60u);
        a.AdjustQuota(34).ShouldBe(Errno.NoSpace);
        a.AdjustQuota(33).ShouldBe(Errno.Success);
        b.AdjustQuota(31).ShouldBe(Errno.NoSpace);
        allocator.RootQuota.Read().ShouldBe(new(63, 63, 63, 2));

        // What is reserved is there: both can use all of it.
        Enumerable.Range(0, 33).ShouldAllBe(_ => a.TryAllocate() == Errno.Success);
        Enumerable.Range(0, 30).ShouldAllBe(_ => b.TryAllocate() == Errno.Success);
    }

    [Fact]
    [Trait("Requirement", "S0.3")]
    public void Allocation_stops_at_the_quota_though_the_system_has_free_ones()
    {
        PasidAllocator allocator = Support.NewAllocator(64);
        PasidSet set = allocator.NewSet(3);
        Ioasid[] all = [set.Allocate(), set.Allocate(), set.Allocate()];
        set.TryAllocate(new(), out Ioasid none).ShouldBe(Errno.NoSpace);
        none.IsNone.ShouldBeTrue();
        set.Statistics.ShouldBe(new(3, 3, 0, 3, 3, 1, 0));
        all[0].Free().ShouldBe(Errno.Success);
        set.Count.ShouldBe(2u);
        set.TryAllocate().ShouldBe(Errno.Success);
        set.Snapshot().Length.ShouldBe(3);
    }

    [Fact]
    [Trait("Requirement", "S0.3")]
    public void A_parked_one_is_not_live_but_still_counts_against_the_quota()
    {
        PasidSet set = Support.NewAllocator().NewSet(1);
        Ioasid held = set.Allocate();
        held.TryGet().ShouldBeTrue();
        held.Free().ShouldBe(Errno.Success);
        (set.Count, set.Statistics.Parked).ShouldBe((0u, 1u));
        set.TryAllocate().ShouldBe(Errno.NoSpace);
        held.Put();
        set.TryAllocate().ShouldBe(Errno.Success);
    }

    [Fact]
    [Trait("Requirement", "S0.4")]
    public void A_quota_is_adjusted_at_run_time_but_never_below_use()
    {
        PasidAllocator allocator = Support.NewAllocator();
        PasidSet set = allocator.NewSet(4);
        Ioasid a = set.Allocate(), b = set.Allocate();
        _ = b.TryGet();
        b.Free().ShouldBe(Errno.Success);
        set.AdjustQuota(1).ShouldBe(Errno.Busy);
        set.AdjustQuota(2).ShouldBe(Errno.Success);
        set.TryAllocate().ShouldBe(Errno.NoSpace);
        allocator.RootQuota.Current.ShouldBe(2u);
        b.Put();
        a.Free().ShouldBe(Errno.Success);
        set.AdjustQuota(0).ShouldBe(Errno.Success);
        allocator.RootQuota.Current.ShouldBe(0u);
    }

    [Fact]
    [Trait("Requirement", "S0.5")]
    public void Set_numbers_go_up_to_the_static_capacity_whatever_is_left_of_it()
    {
        PasidAllocator allocator = Support.NewAllocator(16);
        PasidSet big = allocator.NewSet(14);
        PasidSet one = allocator.NewSet(1);
        PasidSet[] rest = [.. Enumerable.Range(0, 13).Select(_ => allocator.NewSet(0))];
        rest[^1].Id.Value.ShouldBe(15u);
        allocator.TryCreateSet(new(), out _).ShouldBe(Errno.NoSpace);

        // The worst case: one PASID for each set.
        big.AdjustQuota(1).ShouldBe(Errno.Success);
        rest.ShouldAllBe(set => set.AdjustQuota(1) == Errno.Success && set.TryAllocate() == Errno.Success);
        one.TryAllocate().ShouldBe(Errno.Success);
        allocator.Audit.ShouldBe(new(15, 14, 0, 14, 15));
    }

    [Fact]
    [Trait("Requirement", "S0.1")]
    public void A_charge_counts_at_every_node_above_or_at_none()
    {
        PasidAllocator allocator = Support.NewAllocator(64);
        allocator.RootQuota.TryAdd("tenant", 20, out PasidQuota? tenant).ShouldBe(Errno.Success);
        tenant!.TryAdd("machine 1", PasidQuota.Unlimited, out PasidQuota? one).ShouldBe(Errno.Success);
        tenant.TryAdd("machine 2", 5, out PasidQuota? two).ShouldBe(Errno.Success);
        PasidSet a = allocator.NewSet(15, account: one);
        PasidSet b = allocator.NewSet(5, account: two);
        allocator.TryCreateSet(new() { Quota = 1, Account = one }, out _).ShouldBe(Errno.NoSpace);
        allocator.TryCreateSet(new() { Quota = 1, Account = two }, out _).ShouldBe(Errno.NoSpace);
        (one!.Current, two!.Current, tenant.Current, allocator.RootQuota.Current).ShouldBe((15u, 5u, 20u, 20u));
        (one.MaxEvents, two.MaxEvents, tenant.MaxEvents, allocator.RootQuota.MaxEvents).ShouldBe((0, 1, 1, 0));
        tenant.SetMax(19).ShouldBe(Errno.Busy);
        two.Remove().ShouldBe(Errno.Busy);
        tenant.Remove().ShouldBe(Errno.Busy);
        b.FreeAll(PasidSetDisposition.Destroy).ShouldBe(Errno.Success);
        a.AdjustQuota(20).ShouldBe(Errno.Success);
        two.Remove().ShouldBe(Errno.Success);
        two.Remove().ShouldBe(Errno.Success);
        allocator.TryCreateSet(new() { Account = two }, out _).ShouldBe(Errno.NoEntry);
        two.TryAdd("below", 1, out _).ShouldBe(Errno.NoEntry);
        allocator.RootQuota.Remove().ShouldBe(Errno.NotPermitted);
        allocator.RootQuota.SetMax(1).ShouldBe(Errno.NotPermitted);
        Support.NewAllocator().TryCreateSet(new() { Account = tenant }, out _).ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    [Trait("Requirement", "S0.1")]
    public void Threads_that_create_and_destroy_never_overbook()
    {
        PasidAllocator allocator = Support.NewAllocator(32);
        allocator.RootQuota.TryAdd("tenant", 20, out PasidQuota? tenant).ShouldBe(Errno.Success);
        Parallel.For(0, 4, thread =>
        {
            Random random = new(thread);
            for (int i = 0; i < 5000; i++)
            {
                if (allocator.TryCreateSet(
                    new() { Quota = (uint)random.Next(12), Account = random.Next(2) == 0 ? tenant : null }, out PasidSet? set) == Errno.Success)
                {
                    _ = set!.AdjustQuota((uint)random.Next(12));
                    tenant!.Read().Current.ShouldBeLessThanOrEqualTo(20u);
                    allocator.RootQuota.Read().Current.ShouldBeLessThanOrEqualTo(31u);
                    set.FreeAll(PasidSetDisposition.Destroy).ShouldBe(Errno.Success);
                }
            }
        });
        (tenant!.Current, allocator.RootQuota.Current).ShouldBe((0u, 0u));
        tenant.Peak.ShouldBeInRange(1u, 20u);
        allocator.Audit.IsEmpty.ShouldBeTrue();
    }
}
