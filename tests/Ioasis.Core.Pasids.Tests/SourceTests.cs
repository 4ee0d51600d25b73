using Ioasis.Primitives;

namespace Ioasis.Core.Pasids.Tests;

/// <summary>Custom sources of numbers, such as a guest's that asks its host (S0.16).</summary>
[Trait("Requirement", "S0.16")]
public sealed class SourceTests
{
    [Fact]
    public void A_custom_source_gives_and_gets_back_every_number()
    {
        PasidAllocator allocator = Support.NewAllocator();
        PasidSet set = allocator.NewSet(4);
        Host host = new(40);
        allocator.TryRegisterSource(host).ShouldBe(Errno.Success);
        Ioasid a = set.Allocate();
        a.Pasid.Value.ShouldBe(40u);
        a.Free().ShouldBe(Errno.Success);
        host.Given.ShouldBeEmpty();
        host.Answer = Errno.NoSpace;
        set.TryAllocate().ShouldBe(Errno.NoSpace);
        set.Count.ShouldBe(0u);
        set.Statistics.Allocations.ShouldBe(1);
    }

    [Fact]
    [Trait("Requirement", "S0.3")]
    public void A_source_that_gives_nothing_costs_the_set_nothing_of_its_quota()
    {
        PasidAllocator allocator = Support.NewAllocator();
        PasidSet set = allocator.NewSet(1);
        Host host = new(40) { Answer = Errno.NoSpace };
        allocator.TryRegisterSource(host).ShouldBe(Errno.Success);
        set.TryAllocate().ShouldBe(Errno.NoSpace);
        set.TryAllocate().ShouldBe(Errno.NoSpace);
        host.Answer = Errno.Success;
        set.TryAllocate().ShouldBe(Errno.Success, "the one that the quota has");
    }

    [Fact]
    [Trait("Requirement", "S0.14")]
    public void A_source_and_an_observer_may_wait_for_another_thread_that_uses_the_same_set()
    {
        // Another thread, because the lock would let its own holder in.
        PasidAllocator allocator = Support.NewAllocator();
        PasidSet set = allocator.NewSet(4);
        int calls = 0;
        Action ask = () =>
        {
            calls++;
            Thread other = new(() => _ = set.Statistics) { IsBackground = true };
            other.Start();
            other.Join(TimeSpan.FromSeconds(20)).ShouldBeTrue("the set's lock is held while others are called");
        };
        Host host = new(40) { Asked = ask };
        allocator.TryRegisterSource(host).ShouldBe(Errno.Success);
        set.Subscribe(new Log { Also = (_, _) => ask() });
        Ioasid made = set.Allocate();
        made.Free().ShouldBe(Errno.Success);
        calls.ShouldBeGreaterThan(3);
    }

    [Fact]
    public void A_hand_over_is_refused_while_an_IOASID_is_live_or_parked()
    {
        PasidAllocator allocator = Support.NewAllocator();
        PasidSet set = allocator.NewSet(4);
        Ioasid own = set.Allocate();
        Host host = new(40);
        allocator.TryRegisterSource(host).ShouldBe(Errno.Busy);
        _ = own.TryGet();
        own.Free().ShouldBe(Errno.Success);
        allocator.TryRegisterSource(host).ShouldBe(Errno.Busy, "parked");
        own.Put();
        allocator.TryRegisterSource(host).ShouldBe(Errno.Success);
        Ioasid theirs = set.Allocate();
        allocator.TryUnregisterSource(host).ShouldBe(Errno.Busy);
        set.Allocate().Pasid.Value.ShouldBe(41u, "it is still registered");
        set.FreeAll(PasidSetDisposition.Keep).ShouldBe(Errno.Success);
        theirs.State.ShouldBe(IoasidState.Free);
        allocator.TryUnregisterSource(host).ShouldBe(Errno.Success);
        allocator.TryUnregisterSource(host).ShouldBe(Errno.NoEntry);
        set.Allocate().Pasid.Value.ShouldBeLessThan(40u);
    }

    [Fact]
    public void A_destroyed_set_with_a_held_number_also_bars_the_hand_over()
    {
        PasidAllocator allocator = Support.NewAllocator();
        PasidSet set = allocator.NewSet(4);
        Ioasid held = set.Allocate();
        _ = held.TryGet();
        set.FreeAll(PasidSetDisposition.Destroy).ShouldBe(Errno.Success);
        allocator.TryRegisterSource(new Host(40)).ShouldBe(Errno.Busy);
        held.Put();
        allocator.TryRegisterSource(new Host(40)).ShouldBe(Errno.Success);
    }

    [Fact]
    public void Sources_stand_by_in_order_and_one_source_may_be_registered_by_several()
    {
        PasidAllocator allocator = Support.NewAllocator();
        PasidSet set = allocator.NewSet(4);
        Host first = new(20), second = new(40);
        allocator.TryRegisterSource(first).ShouldBe(Errno.Success);
        allocator.TryRegisterSource(first).ShouldBe(Errno.Success);
        allocator.TryRegisterSource(second).ShouldBe(Errno.Success);
        Ioasid a = set.Allocate();
        a.Pasid.Value.ShouldBe(20u);
        allocator.TryUnregisterSource(first).ShouldBe(Errno.Success, "one registration is left");
        allocator.TryUnregisterSource(first).ShouldBe(Errno.Busy);
        a.Free().ShouldBe(Errno.Success);
        allocator.TryUnregisterSource(first).ShouldBe(Errno.Success);
        Ioasid b = set.Allocate();
        b.Pasid.Value.ShouldBe(40u);
        b.Free().ShouldBe(Errno.Success);
        allocator.TryUnregisterSource(second).ShouldBe(Errno.Success);
        set.Allocate().Pasid.Value.ShouldBeLessThan(20u);
    }

    [Fact]
    [Trait("Requirement", "S2.8")]
    public void A_number_that_lives_and_is_given_twice_is_refused_and_not_given_back()
    {
        PasidAllocator allocator = Support.NewAllocator();
        PasidSet set = allocator.NewSet(4);
        Host host = new(40);
        allocator.TryRegisterSource(host).ShouldBe(Errno.Success);
        Ioasid a = set.Allocate();
        host.Repeat = true;
        set.TryAllocate(new(), out _).ShouldBe(Errno.IoError);
        (allocator.Find(a.Pasid), host.Frees, set.Count).ShouldBe((a, 0, 1u));
        host.Repeat = false;

        // One that does not suit was given to us alone: it goes back.
        set.TryAllocate(new() { Last = new(30) }, out _).ShouldBe(Errno.IoError);
        host.Frees.ShouldBe(1);
        a.Free().ShouldBe(Errno.Success);
        host.Given.ShouldBeEmpty();
        allocator.Audit.Numbers.ShouldBe(0);
    }

    private sealed class Host : IPasidSource
    {
        private readonly uint _first;
        private uint _last;

        public Host(uint first) => _first = _last = first;

        public HashSet<Pasid> Given { get; } = [];

        public Errno Answer { get; set; }

        public bool Repeat { get; set; }

        public int Frees { get; private set; }

        public string Name => "host";

        /// <summary>Called in the middle of each request.</summary>
        public Action Asked { get; set; } = static () => { };

        public Errno TryAllocate(in PasidRequest request, out Pasid pasid)
        {
            Asked();
            pasid = Repeat ? new(_first) : new(_last);
            if (Answer == Errno.Success && !Repeat)
            {
                Given.Add(new(_last++)).ShouldBeTrue();
            }

            return Answer;
        }

        public void Free(Pasid pasid)
        {
            Frees++;
            Given.Remove(pasid).ShouldBeTrue();
        }
    }
}
