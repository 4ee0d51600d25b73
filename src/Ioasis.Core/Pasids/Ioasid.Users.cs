using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <content>Users in hardware, and the drain that waits for them.</content>
internal readonly partial record struct Ioasid
{
    /// <summary>How many users in hardware there are.</summary>
    public int UserCount
    {
        get
        {
            if (_set is null)
            {
                return 0;
            }

            using (_set.Lock.Acquire())
            {
                return FindExtension()?.Users?.Count ?? 0;
            }
        }
    }

    /// <summary>
    /// Adds a user in hardware, with a reference of its own: the IOASID becomes active (S1.5). The user adds itself before it
    /// gives the number to the hardware, so that no end of life can miss it.
    /// </summary>
    /// <returns>Success; <see cref="Errno.NoEntry"/> if it is not live; <see cref="Errno.Exists"/> if it is a user already.</returns>
    public Errno TryAddUser(IPasidDrain user)
    {
        ArgumentNullException.ThrowIfNull(user);
        if (Injection.Hit(InjectionKind.Allocate) != Errno.Success)
        {
            return Errno.OutOfMemory;
        }

        if (_set is null)
        {
            return Errno.NoEntry;
        }

        using (_set.Lock.Acquire())
        {
            if (FindExtension()?.Users is { } users && users.Contains(user))
            {
                return Errno.Exists;
            }

            ref ulong word = ref Word;
            ulong seen = Own(Volatile.Read(ref word));
            while (IsLiveWord(seen) && (seen & CountMask) != CountMask)
            {
                ulong active = (seen & ~StateMask) + (ulong)IoasidState.Active + OneReference;
                ulong found = Interlocked.CompareExchange(ref word, active, seen);
                if (found == seen)
                {
                    (ExtendedUnderLock().Users ??= new(1)).Add(user);
                    return Errno.Success;
                }

                seen = Own(found);
            }

            return Errno.NoEntry;
        }
    }

    /// <summary>Stops a user, waits until it is drained, and only then drops its reference (S1.8).</summary>
    /// <param name="user">The user.</param>
    /// <param name="patience">How long to wait; null for the allocator's.</param>
    /// <returns>
    /// Success; <see cref="Errno.NoEntry"/> if it is no user; <see cref="Errno.TimedOut"/> if it is not done in time, or the
    /// error with which it could not be stopped: then it is a user still, and the call may be made again.
    /// </returns>
    public Errno RemoveUser(IPasidDrain user, TimeSpan? patience = null)
    {
        ArgumentNullException.ThrowIfNull(user);
        if (_set is null)
        {
            return Errno.NoEntry;
        }

        List<IPasidDrain>? all;
        using (_set.Lock.Acquire())
        {
            all = FindExtension()?.Users;
            if (all is null || !all.Contains(user))
            {
                return Errno.NoEntry;
            }
        }

        Errno error = user.Stop(this);
        if (error != Errno.Success)
        {
            return error;
        }

        Waiting waiting = new(Set.Allocator.TimeProvider, patience ?? Set.Allocator.DrainPatience);
        while (!user.IsDrained(this, out string? holds))
        {
            if (!waiting.TryGoOn())
            {
                Set.Allocator.OnUserLate(user, new(this, user.Name, holds ?? string.Empty, waiting.Elapsed));
                return Errno.TimedOut;
            }
        }

        using (Set.Lock.Acquire())
        {
            if (!all.Remove(user))
            {
                // Another call was faster: its reference is dropped once.
                return Errno.NoEntry;
            }

            // The user's reference is this call's now: the life goes on until the put.
            ulong seen = Read();
            while (all.Count == 0 && (seen & StateMask) == (ulong)IoasidState.Active)
            {
                ulong found = Interlocked.CompareExchange(
                    ref Word, (seen & ~StateMask) + (ulong)IoasidState.Allocated, seen);
                if (found == seen)
                {
                    break;
                }

                seen = found;
            }
        }

        Set.Allocator.OnUserGone(user, this);
        Put();
        return Errno.Success;
    }

    /// <summary>Goes on with the drain, without waiting.</summary>
    /// <returns>Whether it is through.</returns>
    internal bool TryFinishDrain()
    {
        if (State != IoasidState.Stopping)
        {
            return true;
        }

        // One thread at a time; the others see the state change.
        if (Extended() is not { } extension)
        {
            return true;
        }

        if (Interlocked.CompareExchange(ref extension.Draining, 1, 0) != 0)
        {
            return false;
        }

        try
        {
            if (State != IoasidState.Stopping)
            {
                return true;
            }

            IoasidDrain drain = extension.Drain ?? BeginDrain();
            Volatile.Write(ref extension.Drain, drain);
            if (!drain.Run(this))
            {
                return false;
            }

            EndDrain();
            return true;
        }
        finally
        {
            Volatile.Write(ref extension.Draining, 0);
        }
    }

    private Errno AwaitDrain(TimeSpan patience)
    {
        Waiting waiting = new(Set.Allocator.TimeProvider, patience);
        while (!TryFinishDrain())
        {
            if (!waiting.TryGoOn())
            {
                Set.Allocator.OnDrainLate(this);
                return Errno.TimedOut;
            }
        }

        Set.Allocator.OnDrainEnded(this);
        return Errno.Success;
    }

    /// <summary>For reports: who holds the drain up, or null.</summary>
    internal PasidDrainReport? ReportDrain() =>
        State == IoasidState.Stopping && FindExtension() is { } extension && Volatile.Read(ref extension.Drain) is { } drain
            ? new(this, drain.Participant, drain.Holds, Set.Allocator.TimeProvider.GetElapsedTime(drain.Started))
            : null;

    private IoasidDrain BeginDrain()
    {
        Set.OnStopping(this);
        using (Set.Lock.Acquire())
        {
            return new(FindExtension()?.Users is { } users ? [.. users] : [], Set.Allocator.TimeProvider.GetTimestamp());
        }
    }

    // The drain's reference goes; if it was the last, so does the number.
    private void EndDrain()
    {
        while (true)
        {
            // The drain's reference keeps the life from ending.
            ulong seen = Read();
            if (CountOf(seen) == 1)
            {
                if (Set.TryRetire(this, seen))
                {
                    return;
                }
            }
            else if (Set.TryPark(this, seen))
            {
                return;
            }
        }
    }

    /// <summary>For the set: from stopping to parked, without the drain's reference. Under the set's lock.</summary>
    internal bool TrySetParked(ulong from)
    {
        ulong parked = (from & ~StateMask) - OneReference + (ulong)IoasidState.Parked;
        return Interlocked.CompareExchange(ref Word, parked, from) == from;
    }

    // A bounded wait for something that others do.
    private ref struct Waiting(TimeProvider time, TimeSpan patience)
    {
        private readonly long _start = time.GetTimestamp();
        private SpinWait _spin;

        public readonly TimeSpan Elapsed => time.GetElapsedTime(_start);

        // Whether there is patience left; if so, waits a little.
        public bool TryGoOn()
        {
            if (Elapsed >= patience)
            {
                return false;
            }

            _ = Injection.Hit(InjectionKind.Wait);
            if (Injection.Current is null)
            {
                _spin.SpinOnce();
            }

            return true;
        }
    }
}
