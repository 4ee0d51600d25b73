using Ioasis.Primitives;

namespace Ioasis.Core.Pasids.Tests;

/// <summary>
/// Random operations on an allocator beside a model of dictionaries that says what each must answer. Every invariant is
/// checked after each step, if asked to, and in any case at the end.
/// </summary>
internal sealed class Model(uint capacity, bool checkAlways)
{
    private readonly PasidAllocator _allocator = Support.NewAllocator(capacity);
    private readonly List<MSet> _sets = [];
    private readonly List<MId> _ids = [];

    public long Steps { get; private set; }

    public long Successes { get; private set; }

    private long Reserved => _sets.Sum(static set => set.Destroyed ? set.Used : (long)set.Quota);

    public void Step(int choice)
    {
        Steps++;
        Random random = new(choice);
        MSet? set = _sets.Count == 0 ? null : _sets[random.Next(_sets.Count)];
        MId? id = _ids.Count == 0 ? null : _ids[random.Next(_ids.Count)];
        switch (random.Next(26))
        {
            case 0 or 1:
                Create((uint)random.Next((int)capacity / 2), random.Next(3) == 0 ? _sets.FirstOrDefault()?.Token : new object());
                break;
            case 2 when set is not null:
                Adjust(set, (uint)random.Next((int)capacity / 2));
                break;
            case 3 when set is not null && random.Next(6) == 0:
                FreeAll(set, random.Next(2) == 0 ? PasidSetDisposition.Keep : PasidSetDisposition.Destroy);
                break;
            case >= 4 and < 12 when set is not null:
                Allocate(set, random);
                break;
            case 12 or 13 when id is not null:
                Get(id);
                break;
            case >= 14 and < 17 when id is { Gets: > 0 }:
                id.Gets--;
                id.Real.Put();
                Settle(id);
                break;
            case 17 or 18 when id is not null:
                Free(id);
                break;
            case 19 when id is not null:
                FreeIfUnused(id);
                break;
            case 20 when id is not null:
                Disown(id);
                break;
            case 21 when id is not null:
                AddUser(id, random.Next(3) > 0);
                break;
            case 22 when id is { Users.Count: > 0 }:
                RemoveUser(id, id.Users[random.Next(id.Users.Count)]);
                break;
            case 23 when id is { Users.Count: > 0 }:
                id.Users[random.Next(id.Users.Count)].Drained = true;
                _allocator.Poll();
                _ids.ToArray().ToList().ForEach(Settle);
                break;
            case 24 when id is not null:
                MapGuest(id, new((uint)random.Next(20)));
                break;
            case 25 when id is not null:
                id.Set.Real.UnmapGuest(id.Real).ShouldBe(id.Guest is null ? Errno.NoEntry : Errno.Success);
                id.Guest = null;
                break;
        }

        if (checkAlways)
        {
            Check();
        }
    }

    /// <summary>Lets everything go, in the order that comes; then nothing may be left.</summary>
    public void End()
    {
        Check();
        foreach (MId id in _ids.ToArray())
        {
            id.Users.ForEach(static user => user.Drained = true);
            Free(id);
            while (id.Users.Count > 0)
            {
                RemoveUser(id, id.Users[0]);
            }

            for (; id.Gets > 0; id.Gets--)
            {
                id.Real.Put();
            }

            Settle(id);
        }

        Check();
        _ids.ShouldBeEmpty();
        _sets.Where(static set => !set.Destroyed).ToList().ForEach(set => FreeAll(set, PasidSetDisposition.Destroy));
        _allocator.Audit.IsEmpty.ShouldBeTrue(_allocator.Audit.ToString());
        _allocator.GetDrainReports().ShouldBeEmpty();
    }

    private void Create(uint quota, object? token)
    {
        bool taken = token is not null && _sets.Exists(set => !set.Destroyed && set.Token == token);
        Errno expected = taken ? Errno.Exists : Reserved + quota > capacity - 1 ? Errno.NoSpace : Errno.Success;
        if (_sets.Count >= 20)
        {
            return;
        }

        _allocator.TryCreateSet(new() { Quota = quota, Token = token }, out PasidSet? made).ShouldBe(expected);
        if (expected == Errno.Success)
        {
            Successes++;
            _sets.Add(new(made!, token) { Quota = quota });
        }
    }

    private void Adjust(MSet set, uint quota)
    {
        Errno expected = set.Destroyed ? Errno.NoEntry
            : quota < set.Used ? Errno.Busy
            : Reserved - set.Quota + quota > capacity - 1 ? Errno.NoSpace
            : Errno.Success;
        set.Real.AdjustQuota(quota).ShouldBe(expected);
        set.Quota = expected == Errno.Success ? quota : set.Quota;
    }

    private void Allocate(MSet set, Random random)
    {
        GuestPasid? guest = random.Next(4) == 0 ? new((uint)random.Next(20)) : null;
        PasidRequest request = new()
        {
            Policy = (PasidPolicy)random.Next(3),
            First = random.Next(3) == 0 ? new((uint)random.Next(1, (int)capacity)) : new(1),
            Guest = guest,
        };
        Errno expected = set.Destroyed ? Errno.NoEntry
            : set.Used >= set.Quota ? Errno.NoSpace
            : guest is not null && set.Ids.Exists(other => other.Guest == guest) ? Errno.Exists
            : Errno.Success;
        bool Taken(uint number) => _ids.Exists(other => other.Real.Pasid.Value == number);
        if (expected == Errno.Success)
        {
            expected = request.Policy == PasidPolicy.Fixed
                ? Taken(request.First.Value) ? Errno.Exists : Errno.Success
                : Enumerable.Range((int)request.First.Value, (int)(capacity - request.First.Value)).All(n => Taken((uint)n))
                    ? Errno.NoSpace : Errno.Success;
        }

        set.Real.TryAllocate(request, out Ioasid made).ShouldBe(expected);
        if (expected != Errno.Success)
        {
            made.IsNone.ShouldBeTrue();
            return;
        }

        // No reuse while held.
        Taken(made.Pasid.Value).ShouldBeFalse();
        made.Pasid.Value.ShouldBeInRange(request.First.Value, capacity - 1);
        if (request.Policy == PasidPolicy.LowestFirst)
        {
            Enumerable.Range((int)request.First.Value, (int)(made.Pasid.Value - request.First.Value)).All(n => Taken((uint)n)).ShouldBeTrue();
        }

        Successes++;
        MId id = new(made, set) { Owned = true, Guest = guest };
        _ids.Add(id);
        set.Ids.Add(id);
    }

    private void Get(MId id)
    {
        bool live = id.Life == Life.Live;
        id.Real.TryGet().ShouldBe(live);
        id.Gets += live ? 1 : 0;
        if (live)
        {
            _allocator.TryGet(id.Real.Pasid, new object(), out _).ShouldBe(Errno.NotPermitted);
            _allocator.TryGet(id.Real.Pasid, id.Set.Token, out Ioasid again).ShouldBe(Errno.Success);
            again.ShouldBe(id.Real);
            again!.Put();
        }
    }

    private void Free(MId id)
    {
        bool wasLive = id.Life == Life.Live;
        Errno expected = id.Life == Life.Parked ? Errno.NoEntry : id.Users.TrueForAll(static user => user.Drained) ? Errno.Success : Errno.TimedOut;
        id.Real.Free().ShouldBe(expected);
        if (wasLive)
        {
            id.Life = Life.Stopping;
            (id.Owned, id.Guest) = (false, null);
            id.Users.ShouldAllBe(static user => user.IsStopped);
        }

        Settle(id);
    }

    private void FreeIfUnused(MId id)
    {
        Errno expected = id.Life != Life.Live || !id.Owned ? Errno.NoEntry
            : id.Gets + id.Users.Count > 0 ? Errno.Busy
            : Errno.Success;
        id.Real.FreeIfUnused().ShouldBe(expected);
        if (expected == Errno.Success)
        {
            id.Owned = false;
            Settle(id);
        }
    }

    private void Disown(MId id)
    {
        id.Real.Disown().ShouldBe(id.Life == Life.Live && id.Owned ? Errno.Success : Errno.NoEntry);
        id.Owned = false;
        Settle(id);
    }

    private void AddUser(MId id, bool drained)
    {
        FakeUser user = new(drained: drained);
        bool live = id.Life == Life.Live;
        id.Real.TryAddUser(user).ShouldBe(live ? Errno.Success : Errno.NoEntry);
        if (live)
        {
            id.Users.Add(user);
        }
    }

    private void RemoveUser(MId id, FakeUser user)
    {
        id.Real.RemoveUser(user).ShouldBe(user.Drained ? Errno.Success : Errno.TimedOut);
        user.IsStopped.ShouldBeTrue();
        if (user.Drained)
        {
            _ = id.Users.Remove(user);
            Settle(id);
        }
    }

    private void MapGuest(MId id, GuestPasid guest)
    {
        Errno expected = id.Life != Life.Live ? Errno.NoEntry
            : id.Guest is not null || id.Set.Ids.Exists(other => other.Guest == guest) ? Errno.Exists
            : Errno.Success;
        id.Set.Real.TryMapGuest(guest, id.Real).ShouldBe(expected);
        id.Guest = expected == Errno.Success ? guest : id.Guest;
    }

    private void FreeAll(MSet set, PasidSetDisposition disposition)
    {
        bool late = set.Ids.Exists(static id => id.Life != Life.Parked && id.Users.Exists(static user => !user.Drained));
        set.Real.FreeAll(disposition).ShouldBe(late ? Errno.TimedOut : Errno.Success);
        set.Destroyed |= disposition == PasidSetDisposition.Destroy;
        foreach (MId id in set.Ids.ToArray())
        {
            if (id.Life == Life.Live)
            {
                id.Life = Life.Stopping;
                (id.Owned, id.Guest) = (false, null);
            }

            Settle(id);
        }
    }

    // A drain that can end has ended; what nobody holds is gone.
    private void Settle(MId id)
    {
        if (id.Life == Life.Stopping && id.Real.State != IoasidState.Stopping)
        {
            id.Users.ShouldAllBe(static user => user.Drained && user.IsStopped);
            id.Life = Life.Parked;
        }

        if (id.Life != Life.Stopping && !id.Owned && id.Gets + id.Users.Count == 0)
        {
            id.Real.State.ShouldBe(IoasidState.Free);
            _ = _ids.Remove(id);
            _ = id.Set.Ids.Remove(id);
        }
    }

    private void Check()
    {
        _allocator.RootQuota.Read().Current.ShouldBe((uint)Reserved);
        Reserved.ShouldBeLessThanOrEqualTo(capacity - 1);
        _ids.Select(static id => id.Real.Pasid).ShouldBeUnique();
        foreach (MId id in _ids)
        {
            id.Real.State.ShouldBe(id.Life switch
            {
                Life.Parked => IoasidState.Parked,
                Life.Stopping => IoasidState.Stopping,
                _ => id.Users.Count > 0 ? IoasidState.Active : IoasidState.Allocated,
            });
            id.Real.References.ShouldBe(id.Gets + id.Users.Count + (id.Owned || id.Life == Life.Stopping ? 1 : 0));
            id.Real.Guest.ShouldBe(id.Guest);
            (id.Guest is not { } guest || id.Set.Real.FindGuest(guest) == id.Real).ShouldBeTrue();
            _allocator.Find(id.Real.Pasid).ShouldBe(id.Real);
        }

        foreach (MSet set in _sets)
        {
            PasidSetStatistics statistics = set.Real.Statistics;
            statistics.Count.ShouldBe((uint)set.Ids.Count(static id => id.Life != Life.Parked));
            statistics.Parked.ShouldBe((uint)set.Ids.Count(static id => id.Life == Life.Parked));
            statistics.Quota.ShouldBe(set.Destroyed ? (uint)set.Used : set.Quota);
            set.Real.Snapshot().ShouldBe(set.Ids.Where(static id => id.Life != Life.Parked).Select(static id => id.Real), ignoreOrder: true);
            for (uint guest = 0; guest < 20; guest++)
            {
                set.Real.FindGuest(new(guest)).ShouldBe(set.Ids.Find(id => id.Guest?.Value == guest)?.Real ?? default);
            }

            (_allocator.FindSet(set.Real.Id) == set.Real).ShouldBe(!set.Destroyed);
        }

        _allocator.Audit.Numbers.ShouldBe(_ids.Count);
        _ = _sets.RemoveAll(static set => set.Destroyed && set.Used == 0);
    }

    private enum Life
    {
        Live,
        Stopping,
        Parked,
    }

    private sealed class MSet(PasidSet real, object? token)
    {
        public PasidSet Real => real;

        public object? Token => token;

        public uint Quota { get; set; }

        public bool Destroyed { get; set; }

        public List<MId> Ids { get; } = [];

        public int Used => Ids.Count;
    }

    private sealed class MId(Ioasid real, MSet set)
    {
        public Ioasid Real => real;

        public MSet Set => set;

        public Life Life { get; set; }

        public bool Owned { get; set; }

        public int Gets { get; set; }

        public GuestPasid? Guest { get; set; }

        public List<FakeUser> Users { get; } = [];
    }
}
