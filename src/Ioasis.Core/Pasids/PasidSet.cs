using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>What becomes of a set whose IOASIDs are freed (S0.11).</summary>
internal enum PasidSetDisposition
{
    /// <summary>The set and its quota stay.</summary>
    Keep,

    /// <summary>The set goes, and its quota goes back, once.</summary>
    Destroy,
}

/// <summary>What a set is made with.</summary>
internal readonly record struct PasidSetOptions()
{
    /// <summary>How many PASIDs are reserved for it.</summary>
    public uint Quota { get; init; }

    /// <summary>
    /// What the set belongs to: a process, a virtual machine, anything with identity; null for nothing. Not the set, and not
    /// written by anybody but the caller (S0.7). A token has at most one set.
    /// </summary>
    public object? Token { get; init; }

    /// <summary>The node of the hierarchy that is charged; null for the root.</summary>
    public PasidQuota? Account { get; init; }
}

/// <summary>A set's counts at one moment, for an operator.</summary>
/// <param name="Quota">PASIDs reserved.</param>
/// <param name="Count">Live IOASIDs.</param>
/// <param name="Parked">IOASIDs that were freed and are still held; they count against the quota.</param>
/// <param name="Peak">The most that were in use at one time.</param>
/// <param name="Allocations">Allocations that succeeded.</param>
/// <param name="QuotaRefusals">Allocations that the quota refused.</param>
/// <param name="Recycled">IOASIDs whose life has ended completely.</param>
internal readonly record struct PasidSetStatistics(
    uint Quota, uint Count, uint Parked, uint Peak, long Allocations, long QuotaRefusals, long Recycled);

/// <summary>
/// IOASIDs that belong together: those of a process, of a virtual machine. It has a reserved number of them (S0.4), maps
/// private numbers to them and back (S0.9), can be walked and freed as a whole (S0.10), and tells observers what happens.
/// Thread-safe.
/// </summary>
/// <remarks>
/// The lock is held for counting and linking only: nothing under it blocks (S0.14), neither an observer nor a drain nor a
/// custom source of numbers is called. Order of locks: the allocator's, a set's, the tree of quotas.
/// </remarks>
internal sealed partial class PasidSet
{
    private readonly PasidQuota _account;
    private readonly GuestPasids _guests = new();
    private readonly PasidMembers _members = new();
    private uint _parked;

    // Live, parked and being allocated or given back: what the quota is compared with.
    private uint _used;
    private uint _peak;
    private bool _destroyed;
    private long _allocations;
    private long _quotaRefusals;
    private long _recycled;
    private IPasidObserver[] _observers = [];

    internal PasidSet(PasidAllocator allocator, PasidSetId id, in PasidSetOptions options)
    {
        Allocator = allocator;
        Places = allocator.Places;
        Id = id;
        Token = options.Token;
        Quota = options.Quota;
        _account = options.Account ?? allocator.RootQuota;
    }

    /// <summary>The allocator that it is of.</summary>
    public PasidAllocator Allocator { get; }

    /// <summary>A number for those who want one; nothing in the API asks for it (S0.8).</summary>
    public PasidSetId Id { get; }

    /// <summary>What the set belongs to, or null.</summary>
    public object? Token { get; }

    /// <summary>How many PASIDs are reserved.</summary>
    public uint Quota { get; private set; }

    /// <summary>How many IOASIDs are live (S0.3).</summary>
    public uint Count
    {
        get
        {
            using (Lock.Acquire())
            {
                return (uint)_members.Count;
            }
        }
    }

    /// <summary>Whether the set was destroyed.</summary>
    public bool IsDestroyed => Volatile.Read(ref _destroyed);

    /// <summary>The counts.</summary>
    public PasidSetStatistics Statistics
    {
        get
        {
            using (Lock.Acquire())
            {
                return new(Quota, (uint)_members.Count, _parked, _peak, _allocations, _quotaRefusals, _recycled);
            }
        }
    }

    /// <summary>How many observers are told of events.</summary>
    public int ObserverCount => Volatile.Read(ref _observers).Length;

    internal IoLock Lock { get; } = new();

    /// <summary>The allocator's, near at hand.</summary>
    internal IoasidTable Places { get; }

    /// <summary>Whether nothing of the set is in use any more. Under the lock.</summary>
    internal bool IsIdle => _used == 0;

    /// <summary>The live IOASIDs, as they are now; without references.</summary>
    public Ioasid[] Snapshot()
    {
        using (Lock.Acquire())
        {
            return Members();
        }
    }

    /// <summary>Changes the reservation (S0.4): never below what is in use, never above what the hierarchy has left.</summary>
    /// <returns>
    /// Success; <see cref="Errno.Busy"/> below what is in use; <see cref="Errno.NoSpace"/>; <see cref="Errno.NoEntry"/> if the
    /// set was destroyed.
    /// </returns>
    public Errno AdjustQuota(uint quota)
    {
        using (Lock.Acquire())
        {
            if (_destroyed)
            {
                return Errno.NoEntry;
            }

            if (quota < _used)
            {
                return Errno.Busy;
            }

            if (quota > Quota)
            {
                Errno error = _account.TryCharge(quota - Quota);
                if (error != Errno.Success)
                {
                    return error;
                }
            }
            else
            {
                _account.Uncharge(Quota - quota);
            }

            Quota = quota;
            return Errno.Success;
        }
    }

    /// <summary>Has an observer told of events from now on. To add an observer a second time has no effect.</summary>
    public void Subscribe(IPasidObserver observer)
    {
        ArgumentNullException.ThrowIfNull(observer);
        using (Lock.Acquire())
        {
            if (!_observers.Contains(observer))
            {
                Volatile.Write(ref _observers, [.. _observers, observer]);
            }
        }
    }

    /// <summary>Tells an observer of no more events, but for those that are just being told.</summary>
    public void Unsubscribe(IPasidObserver observer)
    {
        using (Lock.Acquire())
        {
            Volatile.Write(ref _observers, [.. _observers.Where(other => !ReferenceEquals(other, observer))]);
        }
    }

    /// <summary>Finds an IOASID by its private number. Takes no lock and no reference (S0.15).</summary>
    /// <returns>The IOASID; none (<see cref="Ioasid.IsNone"/>) if there is none.</returns>
    public Ioasid FindGuest(GuestPasid guest)
    {
        ulong found = _guests[guest.Value];
        return found == 0 ? default : new(this, (uint)found, (uint)(found >> 32));
    }

    /// <summary>Finds an IOASID by its private number and takes a reference.</summary>
    /// <returns>Success; <see cref="Errno.NoEntry"/> if there is none or it is not live.</returns>
    public Errno TryGetGuest(GuestPasid guest, out Ioasid ioasid)
    {
        ioasid = FindGuest(guest);
        if (!ioasid.TryGet())
        {
            ioasid = default;
            return Errno.NoEntry;
        }

        return Errno.Success;
    }

    /// <summary>Gives an IOASID a private number, one to one (S0.9).</summary>
    /// <returns>
    /// Success; <see cref="Errno.Exists"/> if the number is taken or the IOASID has one; <see cref="Errno.NoEntry"/> if it is
    /// not a live one of this set; <see cref="Errno.InvalidArgument"/> above 20 bits.
    /// </returns>
    public Errno TryMapGuest(GuestPasid guest, Ioasid ioasid)
    {
        if (!guest.IsValid)
        {
            return Errno.InvalidArgument;
        }

        if (Injection.Hit(InjectionKind.Allocate) != Errno.Success)
        {
            return Errno.OutOfMemory;
        }

        using (Lock.Acquire())
        {
            if (!ReferenceEquals(ioasid.Set, this) || !ioasid.IsLive)
            {
                return Errno.NoEntry;
            }

            if (ioasid.Guest is not null || _guests[guest.Value] != 0)
            {
                return Errno.Exists;
            }

            ioasid.SetGuest(guest);
            _guests[guest.Value] = ioasid.Entry;
            return Errno.Success;
        }
    }

    /// <summary>Takes the private number away.</summary>
    /// <returns>Success, or <see cref="Errno.NoEntry"/> if it has none.</returns>
    public Errno UnmapGuest(Ioasid ioasid)
    {
        using (Lock.Acquire())
        {
            if (!ReferenceEquals(ioasid.Set, this) || ioasid.Guest is null)
            {
                return Errno.NoEntry;
            }

            ForgetGuest(ioasid);
            return Errno.Success;
        }
    }

    /// <summary>
    /// Frees every IOASID of the set before it returns (S0.10): each is stopped and drained; those that somebody holds are
    /// parked. Harmless for an empty or destroyed set (S0.12).
    /// </summary>
    /// <param name="disposition">
    /// With <see cref="PasidSetDisposition.Destroy"/> no allocation succeeds any more, the set cannot be found, and the quota
    /// goes back: at once, but for the part of those that are parked or draining, which follows as they go (S0.11).
    /// </param>
    /// <param name="patience">How long to wait for each drain; null for the allocator's.</param>
    /// <returns>Success, or <see cref="Errno.TimedOut"/> if a drain has not ended: that IOASID stays taken.</returns>
    public Errno FreeAll(PasidSetDisposition disposition, TimeSpan? patience = null) => FreeAll(disposition, out _, patience);

    /// <summary>As <see cref="FreeAll(PasidSetDisposition, TimeSpan?)"/>, and says which: the members at the moment from which on the set stood still.</summary>
    /// <param name="disposition">What becomes of the set.</param>
    /// <param name="ended">What was freed, also where a drain has not ended.</param>
    /// <param name="patience">How long to wait for each drain; null for the allocator's.</param>
    /// <returns>Success, or <see cref="Errno.TimedOut"/>.</returns>
    public Errno FreeAll(PasidSetDisposition disposition, out IReadOnlyList<Ioasid> ended, TimeSpan? patience = null)
    {
        if (disposition == PasidSetDisposition.Destroy)
        {
            Allocator.Forget(this);
        }

        Ioasid[] members;
        using (Lock.Acquire())
        {
            members = Members();
            if (disposition == PasidSetDisposition.Destroy && !_destroyed)
            {
                _destroyed = true;
                uint returned = Quota - _used;
                Quota -= returned;
                _account.Uncharge(returned);
            }
        }

        ended = members;
        Errno result = Errno.Success;
        foreach (Ioasid ioasid in members)
        {
            if (ioasid.Free(patience) == Errno.TimedOut)
            {
                result = Errno.TimedOut;
            }
        }

        Allocator.ForgetIfIdle(this);
        return result;
    }

    internal void Notify(PasidEventKind kind, Ioasid ioasid)
    {
        foreach (IPasidObserver observer in Volatile.Read(ref _observers))
        {
            observer.OnPasidEvent(kind, ioasid);
        }
    }

    // Under the lock. A member is in the allocator's table.
    private Ioasid[] Members()
    {
        Ioasid[] members = new Ioasid[_members.Count];
        int count = 0;
        for (uint number = _members.Next(0); number != PasidMembers.None; number = _members.Next(number + 1))
        {
            members[count++] = Allocator.Find(new(number));
        }

        return members;
    }

    // Under the lock.
    private void ForgetGuest(Ioasid ioasid)
    {
        if (ioasid.Guest is { } guest)
        {
            ioasid.SetGuest(null);
            _guests[guest.Value] = 0;
        }
    }
}
