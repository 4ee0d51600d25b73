using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <content>How an IOASID comes into the set and goes.</content>
internal sealed partial class PasidSet
{
    /// <summary>Allocates an IOASID; the caller is its owner.</summary>
    /// <param name="request">What suits.</param>
    /// <param name="ioasid">The IOASID, with the owner's reference; none after an error.</param>
    /// <returns>
    /// Success; <see cref="Errno.NoSpace"/> if the quota is used up, even when the system has free IDs (S0.3), or none in the
    /// range is free; <see cref="Errno.Exists"/> if the fixed number or the private number is taken;
    /// <see cref="Errno.InvalidArgument"/> for a range; <see cref="Errno.NoEntry"/> if the set was destroyed;
    /// <see cref="Errno.OutOfMemory"/>; what a custom source answers. After an error everything is as before (S2.8).
    /// </returns>
    public Errno TryAllocate(in PasidRequest request, out Ioasid ioasid)
    {
        ioasid = default;
        if (!request.IsValid)
        {
            return Errno.InvalidArgument;
        }

        if (Injection.Hit(InjectionKind.Allocate) != Errno.Success)
        {
            return Errno.OutOfMemory;
        }

        while (true)
        {
            Errno error;
            IPasidSource? source;
            using (Lock.Acquire())
            {
                source = Allocator.Source;
                error = ReferenceEquals(source, PasidAllocator.Switching) ? Errno.TryAgain : Reserve(request);
                if (error == Errno.Success && source is null && _observers.Length == 0)
                {
                    return AllocateAtOnce(request, out ioasid);
                }
            }

            if (error == Errno.TryAgain)
            {
                Allocator.AwaitSwitch();
                continue;
            }

            return error == Errno.Success ? AllocateInSteps(request, source, out ioasid) : error;
        }
    }

    /// <summary>
    /// The last reference of an IOASID goes, if its word is still this one: takes it out of everything and gives its number
    /// back. The one way out for every life.
    /// </summary>
    internal bool TryRetire(Ioasid ioasid, ulong word)
    {
        bool wasLive = Ioasid.IsLiveWord(word);
        bool atOnce;
        using (Lock.Acquire())
        {
            if (!ioasid.TrySetFree(word))
            {
                return false;
            }

            if (Ioasid.IsParkedWord(word))
            {
                _parked--;
            }
            else
            {
                _members.Remove(ioasid.Pasid.Value);
            }

            ForgetGuest(ioasid);
            atOnce = Allocator.Source is null && _observers.Length == 0 && ioasid.Binding is null;
            if (atOnce)
            {
                Allocator.GiveBack(ioasid);
                Unreserve();
                _recycled++;
            }
        }

        if (!atOnce)
        {
            ioasid.OnEnd();
            if (wasLive)
            {
                Notify(PasidEventKind.Freed, ioasid);
            }

            Notify(PasidEventKind.Recycled, ioasid);
            Allocator.GiveBack(ioasid);
            using (Lock.Acquire())
            {
                Unreserve();
                _recycled++;
            }
        }

        if (_destroyed)
        {
            Allocator.ForgetIfIdle(this);
        }

        return true;
    }

    /// <summary>A drain is through and references are left, if the word is still this one.</summary>
    internal bool TryPark(Ioasid ioasid, ulong word)
    {
        using (Lock.Acquire())
        {
            if (!ioasid.TrySetParked(word))
            {
                return false;
            }

            _members.Remove(ioasid.Pasid.Value);
            _parked++;
            return true;
        }
    }

    /// <summary>A life was ended: what is known under its number is forgotten, and who holds it is told to let go.</summary>
    internal void OnStopping(Ioasid ioasid)
    {
        using (Lock.Acquire())
        {
            ForgetGuest(ioasid);
        }

        ioasid.OnEnd();
        Notify(PasidEventKind.Freed, ioasid);
    }

    // Under the lock: the check and the charge are one step (S0.1).
    private Errno Reserve(in PasidRequest request)
    {
        if (_destroyed)
        {
            return Errno.NoEntry;
        }

        if (_used >= Quota)
        {
            _quotaRefusals++;
            return Errno.NoSpace;
        }

        if (request.Guest is { } guest && _guests[guest.Value] != 0)
        {
            return Errno.Exists;
        }

        _used++;
        _peak = Math.Max(_peak, _used);
        return Errno.Success;
    }

    // Under the lock.
    private void Unreserve()
    {
        _used--;
        if (_destroyed)
        {
            // What was left of the quota when the set was destroyed follows one by one (S0.11).
            Quota--;
            _account.Uncharge(1);
        }
    }

    // Nobody is to be asked or told: one critical section. Under the lock.
    private Errno AllocateAtOnce(in PasidRequest request, out Ioasid ioasid)
    {
        Errno error = Allocator.TakeNumber(request, null, out Pasid pasid);
        if (error != Errno.Success)
        {
            ioasid = default;
            Unreserve();
            return error;
        }

        ioasid = Ioasid.Begin(this, pasid, request.Guest, request.Data);
        Link(ioasid);
        return Errno.Success;
    }

    // A source may block and an observer may do anything: no lock is held meanwhile (S0.14).
    private Errno AllocateInSteps(in PasidRequest request, IPasidSource? source, out Ioasid ioasid)
    {
        ioasid = default;
        Errno error = Allocator.TakeNumber(request, source, out Pasid pasid);
        if (error != Errno.Success)
        {
            using (Lock.Acquire())
            {
                Unreserve();
            }

            Allocator.ForgetIfIdle(this);
            return error;
        }

        Ioasid made = Ioasid.Begin(this, pasid, request.Guest, request.Data);
        Notify(PasidEventKind.Allocated, made);
        using (Lock.Acquire())
        {
            error = _destroyed ? Errno.NoEntry
                : made.Guest is { } guest && _guests[guest.Value] != 0 ? Errno.Exists
                : Errno.Success;
            if (error == Errno.Success)
            {
                Link(made);
            }
        }

        if (error == Errno.Success)
        {
            ioasid = made;
            return Errno.Success;
        }

        Notify(PasidEventKind.Freed, made);
        Notify(PasidEventKind.Recycled, made);
        Allocator.GiveBack(made);
        using (Lock.Acquire())
        {
            Unreserve();
        }

        Allocator.ForgetIfIdle(this);
        return error;
    }

    // Complete before it can be found (S0.14). Under the lock.
    private void Link(Ioasid ioasid)
    {
        _members.Add(ioasid.Pasid.Value);
        _allocations++;
        if (ioasid.Guest is { } guest)
        {
            _guests[guest.Value] = ioasid.Entry;
        }

        ioasid.Publish();
    }
}
