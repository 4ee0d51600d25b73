using Ioasis.Primitives;

namespace Ioasis.Core.Pasids.Tests;

/// <summary>The bitmap of numbers, and what an allocation gets from it.</summary>
public sealed class NumberTests
{
    [Theory]
    [InlineData(2u)]
    [InlineData(63u)]
    [InlineData(64u)]
    [InlineData(65u)]
    [InlineData(4096u)]
    [InlineData(4097u)]
    [InlineData(1u << 18)]
    [InlineData((1u << 20) - 1)]
    [InlineData(1u << 20)]
    public void Every_number_is_given_once_and_then_none(uint count)
    {
        foreach (bool cyclic in (bool[])[false, true])
        {
            PasidNumbers numbers = new(count, 1);
            for (uint i = 0; i < count; i++)
            {
                uint taken = cyclic ? numbers.TakeCyclic() : numbers.TakeLowest(0, uint.MaxValue);
                if (taken != i)
                {
                    taken.ShouldBe(i);
                }
            }

            numbers.TakeLowest(0, uint.MaxValue).ShouldBe(PasidNumbers.None);
            numbers.TakeCyclic().ShouldBe(PasidNumbers.None);
            numbers.CountTaken().ShouldBe((int)count);
            numbers.TryTake(count).ShouldBeFalse();
            numbers.Release(count - 1);
            numbers.IsTaken(count - 1).ShouldBeFalse();
            numbers.TakeCyclic().ShouldBe(count - 1);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Random_takes_and_releases_agree_with_a_sorted_set(int seed)
    {
        const uint Count = 9000;
        Random random = new(seed);
        PasidNumbers numbers = new(Count, 1);
        SortedSet<uint> free = [.. Enumerable.Range(0, (int)Count).Select(static number => (uint)number)];
        List<uint> taken = [];
        for (int i = 0; i < 60_000; i++)
        {
            // Long stretches in one direction, so that words and groups become full and empty.
            if (random.Next(10) < (i / 10_000 % 2 == 0 ? 7 : 3))
            {
                uint first = random.Next(3) == 0 ? (uint)random.Next((int)Count) : 0;
                uint last = random.Next(3) == 0 ? first + (uint)random.Next(300) : Count - 1;
                uint expected = free.GetViewBetween(first, Math.Max(first, last)) is { Count: > 0 } view ? view.Min : PasidNumbers.None;
                uint got = numbers.TakeLowest(first, last);
                got.ShouldBe(expected);
                if (got != PasidNumbers.None)
                {
                    _ = free.Remove(got);
                    taken.Add(got);
                }
            }
            else if (taken.Count > 0)
            {
                int index = random.Next(taken.Count);
                numbers.Release(taken[index]);
                free.Add(taken[index]).ShouldBeTrue();
                taken[index] = taken[^1];
                taken.RemoveAt(taken.Count - 1);
            }
        }

        numbers.CountTaken().ShouldBe(taken.Count);
    }

    [Fact]
    public void Concurrent_threads_never_get_the_same_number_and_leave_no_room_unseen()
    {
        const int Count = 5000;
        PasidNumbers numbers = new(Count, 4);
        int[] owners = new int[Count];
        Parallel.For(0, 4, new() { MaxDegreeOfParallelism = 4 }, thread =>
        {
            Random random = new(thread);
            List<uint> mine = [];
            for (int i = 0; i < 100_000; i++)
            {
                if (mine.Count < 1200 && random.Next(5) < 3)
                {
                    uint number = (thread & 1) == 0 ? numbers.TakeCyclic() : numbers.TakeLowest(0, Count - 1);
                    if (number != PasidNumbers.None)
                    {
                        Interlocked.Exchange(ref owners[number], thread + 1).ShouldBe(0);
                        mine.Add(number);
                    }
                }
                else if (mine.Count > 0)
                {
                    uint number = mine[^1];
                    mine.RemoveAt(mine.Count - 1);
                    Interlocked.Exchange(ref owners[number], 0).ShouldBe(thread + 1);
                    numbers.Release(number);
                }
            }

            foreach (uint number in mine)
            {
                Interlocked.Exchange(ref owners[number], 0).ShouldBe(thread + 1);
                numbers.Release(number);
            }
        });
        numbers.CountTaken().ShouldBe(0);
        for (uint i = 0; i < Count; i++)
        {
            numbers.TakeLowest(0, Count).ShouldBe(i, "a summary bit was left behind");
        }
    }

    [Fact]
    [Trait("Requirement", "S2.6")]
    public void PASID_0_is_never_allocated_and_cannot_be_asked_for()
    {
        PasidAllocator allocator = Support.NewAllocator(8);
        PasidSet set = allocator.NewSet(7);
        set.TryAllocate(new() { Policy = PasidPolicy.Fixed, First = Pasid.None }, out _).ShouldBe(Errno.InvalidArgument);
        set.TryAllocate(new() { First = Pasid.None }, out _).ShouldBe(Errno.InvalidArgument);
        Enumerable.Range(0, 7).Select(_ => set.Allocate().Pasid.Value).Order().ToArray().ShouldBe([1u, 2, 3, 4, 5, 6, 7]);
        allocator.TryReserve(Pasid.None, new(1)).ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    [Trait("Requirement", "S2.4")]
    [Trait("Requirement", "S2.5")]
    public void A_PASID_is_20_unsigned_bits_and_nothing_else_gets_through()
    {
        PasidAllocator allocator = new(new() { Shards = 1 });
        PasidSet set = allocator.NewSet(4);
        Ioasid last = set.Allocate(new() { Policy = PasidPolicy.Fixed, First = new((1u << 20) - 1) });
        last.Pasid.IsPresent.ShouldBeTrue();
        Pasid.Invalid.IsValid.ShouldBeFalse();

        // Bit 31 of the x86 PASID register is "valid" and no part of the number; bit 20 is too much.
        foreach (uint wrong in (uint[])[1u << 20, (1u << 31) | 5, uint.MaxValue])
        {
            set.TryAllocate(new() { Policy = PasidPolicy.Fixed, First = new(wrong) }, out Ioasid none).ShouldBe(Errno.InvalidArgument);
            none.IsNone.ShouldBeTrue();
            set.TryAllocate(new() { Last = new(wrong) }, out _).ShouldBe(Errno.InvalidArgument);
            allocator.Find(new(wrong)).IsNone.ShouldBeTrue();
            allocator.TryGet(new(wrong), out _).ShouldBe(Errno.NoEntry);
        }

        set.TryAllocate(new() { Guest = new(1u << 20) }, out _).ShouldBe(Errno.InvalidArgument);
        set.Count.ShouldBe(1u);
    }

    [Fact]
    public void Policies_give_the_next_the_lowest_and_exactly_the_one()
    {
        PasidAllocator allocator = Support.NewAllocator(16);
        PasidSet set = allocator.NewSet(15);
        Ioasid[] first = [.. Enumerable.Range(0, 4).Select(_ => set.Allocate())];
        first.Select(static ioasid => ioasid.Pasid.Value).ShouldBe([1u, 2, 3, 4]);
        first[1].Free().ShouldBe(Errno.Success);
        set.Allocate().Pasid.Value.ShouldBe(5u, "cyclic does not give 2 again at once");
        set.Allocate(new() { Policy = PasidPolicy.LowestFirst }).Pasid.Value.ShouldBe(2u);
        set.Allocate(new() { Policy = PasidPolicy.Fixed, First = new(9) }).Pasid.Value.ShouldBe(9u);
        set.TryAllocate(new() { Policy = PasidPolicy.Fixed, First = new(9) }, out _).ShouldBe(Errno.Exists);
        set.Allocate(new() { First = new(8), Last = new(9) }).Pasid.Value.ShouldBe(8u);
        set.TryAllocate(new() { First = new(8), Last = new(9) }, out _).ShouldBe(Errno.NoSpace);
        set.Count.ShouldBe(7u);
    }

    [Fact]
    public void Capacity_is_installed_once_and_shrinks_only_to_what_is_unused()
    {
        PasidAllocator allocator = Support.NewAllocator(64);
        allocator.TryInstallCapacity(32).ShouldBe(Errno.Exists);
        PasidSet set = allocator.NewSet(20);
        Ioasid high = set.Allocate(new() { Policy = PasidPolicy.Fixed, First = new(40) });
        allocator.TryShrinkCapacity(40).ShouldBe(Errno.Busy);
        allocator.TryShrinkCapacity(41).ShouldBe(Errno.Success);
        allocator.RootQuota.Max.ShouldBe(40u);
        high.Free().ShouldBe(Errno.Success);
        allocator.TryShrinkCapacity(20).ShouldBe(Errno.Busy, "20 are reserved, 19 would be left");
        allocator.TryShrinkCapacity(21).ShouldBe(Errno.Success);
        allocator.TryShrinkCapacity(22).ShouldBe(Errno.InvalidArgument);
        Enumerable.Range(0, 20).ShouldAllBe(_ => set.TryAllocate() == Errno.Success);
        set.FreeAll(PasidSetDisposition.Destroy).ShouldBe(Errno.Success);
        allocator.Audit.IsEmpty.ShouldBeTrue(allocator.Audit.ToString());
    }

    [Fact]
    public void A_reserved_range_is_nobodys_until_it_is_given_back()
    {
        PasidAllocator allocator = Support.NewAllocator(16);
        allocator.TryReserve(new(4), new(7)).ShouldBe(Errno.Success);
        allocator.TryReserve(new(7), new(8)).ShouldBe(Errno.Busy);
        allocator.TryCreateSet(new() { Quota = 12 }, out _).ShouldBe(Errno.NoSpace);
        PasidSet set = allocator.NewSet(11);
        set.TryAllocate(new() { Policy = PasidPolicy.Fixed, First = new(5) }, out _).ShouldBe(Errno.Exists);
        Enumerable.Range(0, 11).Select(_ => set.Allocate().Pasid.Value).ShouldAllBe(number => number < 4 || number > 7);
        allocator.Unreserve(new(4), new(6)).ShouldBe(Errno.NoEntry);
        allocator.Unreserve(new(4), new(7)).ShouldBe(Errno.Success);
        set.AdjustQuota(15).ShouldBe(Errno.Success);
        Enumerable.Range(0, 4).Select(_ => set.Allocate().Pasid.Value).Order().ToArray().ShouldBe([4u, 5, 6, 7]);
    }
}
