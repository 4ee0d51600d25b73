using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Core.Pasids.Tests;

/// <summary>What all explored schedules have: an allocator without a clock, and no promise above the capacity at any time.</summary>
internal abstract class PasidScenario(uint capacity) : Scenario
{
    // The clock stands still, so that patience never ends: a drain that does not end is a deadlock, which the explorer finds.
    protected PasidAllocator Allocator { get; } =
        Support.NewAllocator(capacity, patience: TimeSpan.FromSeconds(1), time: new ManualTime());

    public override void CheckAlways() => Allocator.RootQuota.Current.ShouldBeLessThanOrEqualTo(Allocator.RootQuota.Max);

    public override bool MaySwitch(InjectionKind kind, ulong detail) => kind != InjectionKind.LockRelease;

    protected void ShouldBeConsistent(params PasidSet[] sets)
    {
        PasidAudit audit = Allocator.Audit;
        audit.Numbers.ShouldBe(audit.Live + audit.Parked);
        foreach (PasidSet set in sets)
        {
            PasidSetStatistics statistics = set.Statistics;
            statistics.Quota.ShouldBeGreaterThanOrEqualTo(statistics.Count + statistics.Parked);
            foreach (Ioasid ioasid in set.Snapshot())
            {
                Allocator.Find(ioasid.Pasid).ShouldBe(ioasid);
                ioasid.State.ShouldNotBe(IoasidState.Free);
            }
        }

        audit.Reserved.ShouldBe((uint)sets.Sum(static set => set.Statistics.Quota));
    }
}

/// <summary>A set is destroyed while one allocates in it and another waits for the quota.</summary>
internal sealed class FreeSetAgainstAllocate : PasidScenario
{
    private readonly PasidSet _set;
    private readonly bool _observed;
    private PasidSet? _next;
    private Ioasid _made;

    public FreeSetAgainstAllocate(bool observed, bool held)
        : base(5)
    {
        _set = Allocator.NewSet(4);
        _observed = observed;
        Ioasid first = _set.Allocate();
        if (held)
        {
            _ = first.TryGet();
        }

        if (observed)
        {
            _set.Subscribe(new Log());
        }

        AddThread("destroy", () => _set.FreeAll(PasidSetDisposition.Destroy).ShouldBe(Errno.Success));
        AddThread("allocate", () => _set.TryAllocate(new(), out _made).ShouldBeOneOf(Errno.Success, Errno.NoEntry));
        AddThread("next", () =>
        {
            if (Allocator.TryCreateSet(new() { Quota = 4 }, out _next) == Errno.Success)
            {
                // What was promised is there.
                for (int i = 0; i < 4; i++)
                {
                    _next!.TryAllocate().ShouldBe(Errno.Success);
                }
            }
        });
    }

    public override void CheckAtEnd()
    {
        _set.Snapshot().ShouldBeEmpty();
        (_made.State == IoasidState.Free).ShouldBeTrue("an IOASID outlived its set");
        _set.TryAllocate().ShouldBe(Errno.NoEntry);
        ShouldBeConsistent(_next is null ? [_set] : [_set, _next]);
        _ = _observed;
    }
}

/// <summary>A quota is made smaller while two allocate.</summary>
internal sealed class QuotaAgainstAllocate : PasidScenario
{
    private readonly PasidSet _set;

    public QuotaAgainstAllocate()
        : base(8)
    {
        _set = Allocator.NewSet(2);
        _ = _set.Allocate();
        AddThread("shrink", () => _set.AdjustQuota(1).ShouldBeOneOf(Errno.Success, Errno.Busy));
        AddThread("allocate 1", () => _set.TryAllocate().ShouldBeOneOf(Errno.Success, Errno.NoSpace));
        AddThread("allocate 2", () => _set.TryAllocate().ShouldBeOneOf(Errno.Success, Errno.NoSpace));
    }

    public override void CheckAtEnd() => ShouldBeConsistent(_set);
}

/// <summary>Two sets are made where there is room for one.</summary>
internal sealed class TwoReservations : PasidScenario
{
    private readonly PasidSet?[] _made = new PasidSet?[2];

    public TwoReservations()
        : base(8)
    {
        Allocator.RootQuota.TryAdd("a", 5, out PasidQuota? a).ShouldBe(Errno.Success);
        Allocator.RootQuota.TryAdd("b", 5, out PasidQuota? b).ShouldBe(Errno.Success);
        PasidSet first = Allocator.NewSet(1, account: a), second = Allocator.NewSet(1, account: b);
        AddThread("a", () => _made[0] = first.AdjustQuota(4) == Errno.Success ? first : null);
        AddThread("b", () => _made[1] = second.AdjustQuota(4) == Errno.Success ? second : null);
        AddThread("back", () => first.AdjustQuota(1).ShouldBe(Errno.Success));
    }

    public override void CheckAtEnd()
    {
        (_made[0] ?? _made[1]).ShouldNotBeNull("there was room for one");
        Allocator.RootQuota.Peak.ShouldBeLessThanOrEqualTo(7u);
    }
}

/// <summary>The owner lets go while one looks the number up and another waits for it.</summary>
internal sealed class PutAgainstGet : PasidScenario
{
    private readonly Ioasid _old;

    public PutAgainstGet(bool free)
        : base(2)
    {
        PasidSet set = Allocator.NewSet(1);
        _old = set.Allocate();
        bool held = false;
        AddThread("owner", () => (free ? _old.Free() : _old.Disown()).ShouldBe(Errno.Success));
        AddThread("reader", () =>
        {
            Ioasid found = Allocator.Find(new(1));
            if (!found.TryGet())
            {
                return;
            }

            held = found == _old;
            Note("has a reference");
            _ = Injection.Hit(InjectionKind.MemoryRead, 1);
            Allocator.Find(new(1)).ShouldBe(found, "it was recycled under a reference");
            found.State.ShouldNotBe(IoasidState.Free);
            held = false;
            found.Put();
        });
        AddThread("next", () =>
        {
            if (set.TryAllocate(new(), out Ioasid next) == Errno.Success)
            {
                held.ShouldBeFalse("the number was given to another while it was held");
                next.ShouldNotBe(_old);
                next.Disown().ShouldBe(Errno.Success);
            }
        });
    }

    public override void CheckAtEnd()
    {
        _old.State.ShouldBe(IoasidState.Free);
        Allocator.Audit.ShouldBe(new(1, 0, 0, 0, 1));
    }
}

/// <summary>
/// A number goes to another set, with other data, while a reader of the first life looks at it and a second one looks the
/// number up: each sees one life or nothing, never a mixture.
/// </summary>
internal sealed class ReadersAgainstReuse : PasidScenario
{
    private readonly Ioasid _old;
    private readonly PasidSet _first;
    private readonly PasidSet _second;
    private Ioasid _next;

    public ReadersAgainstReuse()
        : base(3)
    {
        _first = Allocator.NewSet(1);
        _second = Allocator.NewSet(1);
        _old = _first.Allocate(new() { Policy = PasidPolicy.LowestFirst, Data = _first, Guest = new(1) });
        AddThread("owner", () =>
        {
            _old.Free().ShouldBe(Errno.Success);
            _second.TryAllocate(
                new() { Policy = PasidPolicy.LowestFirst, Data = _second, Guest = new(2) }, out _next).ShouldBe(Errno.Success);
            _next.Bind(_second).ShouldBe(Errno.Success);
        });
        AddThread("stale", () =>
        {
            _old.Data.ShouldBeOneOf(_first, null);
            _old.Guest.ShouldBeOneOf(new GuestPasid(1), null);
            _old.Binding.ShouldBeNull();
            _old.SetData(null, _first).ShouldBeOneOf(Errno.Success, Errno.NoEntry);
        });
        AddThread("look-up", () =>
        {
            Ioasid found = Allocator.Find(new(1));
            object? data = found.Data;
            data.ShouldBeOneOf(found.Set, null);
            if (found.TryGet())
            {
                found.Data.ShouldBe(found.Set);
                found.Put();
            }
        });
    }

    public override void CheckAtEnd()
    {
        _old.State.ShouldBe(IoasidState.Free);
        Allocator.Find(_next.Pasid).ShouldBe(_next);
        (_next.Set, _next.Data, _next.Guest, _next.References).ShouldBe((_second, _second, new GuestPasid(2), 1));
        ShouldBeConsistent(_first, _second);
    }
}

/// <summary>
/// A process's IOASID ends while the device works: nobody may get the number while a request that carries it is on its way
/// (S2.1); and the device is taken away by another thread at the same time.
/// </summary>
internal sealed class StopAgainstDrain : PasidScenario
{
    private readonly Ioasid _ioasid;

    public StopAgainstDrain()
        : base(2)
    {
        PasidSet set = Allocator.NewSet(1);
        _ioasid = set.Allocate();
        WorkingDevice device = new();
        _ioasid.TryAddUser(device).ShouldBe(Errno.Success);
        AddThread("device", () =>
        {
            if (device.TryBegin())
            {
                _ = Injection.Hit(InjectionKind.MemoryWrite, 2);
                device.End();
            }
        });
        AddThread("exit", () => _ioasid.Free().ShouldBe(Errno.Success));
        AddThread("disallow", () => _ioasid.RemoveUser(device).ShouldBe(Errno.Success));
        AddThread("next", () =>
        {
            if (set.TryAllocate(new(), out Ioasid next) == Errno.Success)
            {
                device.InFlight.ShouldBe(0, "the number was given to another while a request that carries it is on its way");
                next.Free().ShouldBe(Errno.Success);
            }
        });
    }

    public override void CheckAtEnd()
    {
        _ioasid.State.ShouldBe(IoasidState.Free);
        Allocator.Audit.ShouldBe(new(1, 0, 0, 0, 1));
    }

    private sealed class WorkingDevice : IPasidDrain
    {
        private readonly IoLock _lock = new();
        private bool _stopped;

        public int InFlight { get; private set; }

        public string Name => "device";

        public bool TryBegin()
        {
            using (_lock.Acquire())
            {
                InFlight += _stopped ? 0 : 1;
                return !_stopped;
            }
        }

        public void End() => InFlight--;

        public Errno Stop(Ioasid ioasid)
        {
            using (_lock.Acquire())
            {
                _stopped = true;
                return Errno.Success;
            }
        }

        public bool IsDrained(Ioasid ioasid, out string? holds)
        {
            holds = null;
            return InFlight == 0;
        }
    }
}

/// <summary>A guest's ENQCMD while its monitor takes the entry away and the number goes to another.</summary>
internal sealed class UnmapAgainstSubmit : PasidScenario
{
    public UnmapAgainstSubmit(bool free)
        : base(2)
    {
        PasidSet set = Allocator.NewSet(1);
        Ioasid old = set.Allocate();
        VmPasidTable table = new();
        table.Map(new(7), old).ShouldBe(Errno.Success);
        bool between = false;
        AddThread("processor", () =>
        {
            using (table.Enter())
            {
                between = table.TryTranslate(new(7), out Pasid host) && host == old.Pasid;
                _ = Injection.Hit(InjectionKind.MemoryRead, 1);
                between = false;
            }
        });
        AddThread("monitor", () =>
        {
            if (free)
            {
                old.Free().ShouldBe(Errno.Success);
                table.Unmap(new(7)).ShouldBe(Errno.Success);
            }
            else
            {
                table.Unmap(new(7)).ShouldBe(Errno.Success);
                old.Disown().ShouldBe(Errno.Success);
            }
        });
        AddThread("next", () =>
        {
            if (set.TryAllocate() == Errno.Success)
            {
                between.ShouldBeFalse("a submission with the old number is on its way");
            }
        });
    }
}

/// <summary>Numbers of one word come and go while its summary bit is set and cleared.</summary>
internal sealed class SummaryAgainstRelease : Scenario
{
    private readonly PasidNumbers _numbers = new(64, 1);

    public SummaryAgainstRelease()
    {
        for (uint number = 0; number < 62; number++)
        {
            _numbers.TryTake(number).ShouldBeTrue();
        }

        for (int thread = 0; thread < 3; thread++)
        {
            AddThread($"thread {thread}", () =>
            {
                uint number = _numbers.TakeLowest(0, 63);
                if (number != PasidNumbers.None)
                {
                    _numbers.Release(number);
                }
            });
        }
    }

    public override void CheckAtEnd()
    {
        _numbers.CountTaken().ShouldBe(62);
        _numbers.TakeLowest(0, 63).ShouldBe(62u, "the summary says that the word is full");
    }
}
