using System.Globalization;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>Where an IOASID is in its life (docs/ioasid.md has the diagram).</summary>
public enum IoasidState
{
    /// <summary>It is gone: its number may belong to another.</summary>
    Free = 0,

    /// <summary>It has a number and no user in hardware.</summary>
    Allocated = 1,

    /// <summary>It is used in hardware: on at least one device.</summary>
    Active = 2,

    /// <summary>It was freed: its DMA is halted, drains are under way. No reference is handed out any more.</summary>
    Stopping = 3,

    /// <summary>It was freed and drained; references are left, and its number is not given to anybody (S1.7).</summary>
    Parked = 4,
}

/// <summary>
/// An allocated PASID of a set, with a counted life (S1.3). Its number is recycled when the last reference is gone and every
/// drain is through, and never before (S1.9, S2.1). It is a new object for each allocation: who still holds an old one can
/// neither revive it nor touch its successor. Thread-safe.
/// </summary>
/// <remarks>
/// The allocation itself counts as one reference, the owner's: <see cref="Free"/> drops it, once, whoever calls; or
/// <see cref="Disown"/> does and leaves the IOASID to its other holders. State, ownership and count are one word, changed by
/// compare-and-swap: bits 2:0 the state, bit 3 whether the owner's reference is there, bits 63:8 the count. Changes that the
/// set's counts must follow are made under the set's lock.
/// </remarks>
public sealed partial class Ioasid
{
    private const long StateMask = 7;
    private const long OwnedBit = 8;
    private const long OneReference = 256;
    private const long OnlyOwned = (long)IoasidState.Allocated | OwnedBit | OneReference;

    private const uint NoGuest = uint.MaxValue;

    // Small, for there may be a million: what few have is in the extension.
    private long _word = OnlyOwned;
    private object? _data;
    private Extension? _extension;
    private uint _guest;

    internal Ioasid(PasidSet set, Pasid pasid, GuestPasid? guest, object? data)
    {
        Set = set;
        Pasid = pasid;
        _guest = guest?.Value ?? NoGuest;
        _data = data;
    }

    /// <summary>The number.</summary>
    public Pasid Pasid { get; }

    /// <summary>The set that it is in for its whole life.</summary>
    public PasidSet Set { get; }

    /// <summary>The private number under which its set knows it, or null; see <see cref="PasidSet.TryMapGuest"/>.</summary>
    public GuestPasid? Guest
    {
        get => Volatile.Read(ref _guest) is var guest && guest != NoGuest ? new(guest) : null;
        internal set => Volatile.Write(ref _guest, value?.Value ?? NoGuest);
    }

    /// <summary>Where it is in its life; may change at once.</summary>
    public IoasidState State => (IoasidState)(Volatile.Read(ref _word) & StateMask);

    /// <summary>Whether references are handed out.</summary>
    public bool IsLive => State is IoasidState.Allocated or IoasidState.Active;

    /// <summary>References, the owner's included; for audits and tests.</summary>
    public long References => Volatile.Read(ref _word) >> 8;

    /// <summary>The data of whoever allocated it (S0.13).</summary>
    public object? Data => Volatile.Read(ref _data);

    /// <summary>The memory map that is assigned to it, or null.</summary>
    public object? Binding => Volatile.Read(ref _extension) is { } extension ? Volatile.Read(ref extension.Binding) : null;

    /// <summary>Changes the data.</summary>
    /// <returns>Success, or <see cref="Errno.NotPermitted"/> for another token than its set's (S0.13).</returns>
    public Errno SetData(object? token, object? data)
    {
        if (!ReferenceEquals(token, Set.Token))
        {
            return Errno.NotPermitted;
        }

        Volatile.Write(ref _data, data);
        return Errno.Success;
    }

    /// <summary>Adds a reference, from a live state only. Takes no lock.</summary>
    /// <returns>Whether the caller has a reference now, for which it owes one <see cref="Put"/>.</returns>
    public bool TryGet()
    {
        long seen = Volatile.Read(ref _word);
        while (IsLiveWord(seen) || (Set.Allocator.Mutation & PasidMutation.ReferenceFromAnyState) != 0)
        {
            Point();
            long found = Interlocked.CompareExchange(ref _word, seen + OneReference, seen);
            if (found == seen)
            {
                return true;
            }

            seen = found;
        }

        return false;
    }

    /// <summary>Drops a reference that <see cref="TryGet"/> gave; the last one recycles the number (S1.9).</summary>
    public void Put()
    {
        long seen = Volatile.Read(ref _word);
        while (true)
        {
            if (seen >> 8 == 0)
            {
                // A put too many: the life is over, and nothing is touched.
                return;
            }

            if (seen >> 8 == 1)
            {
                if (TryRecycle())
                {
                    return;
                }

                seen = Volatile.Read(ref _word);
                continue;
            }

            Point();
            long found = Interlocked.CompareExchange(ref _word, seen - OneReference, seen);
            if (found == seen)
            {
                return;
            }

            seen = found;
        }
    }

    /// <summary>
    /// The owner lets go without ending the life: the number is recycled when the other holders are gone (S1.9). Harmless after
    /// <see cref="Free"/>.
    /// </summary>
    /// <returns>Success, or <see cref="Errno.NoEntry"/> if it was freed or disowned before.</returns>
    public Errno Disown()
    {
        long seen = Volatile.Read(ref _word);
        while (IsLiveWord(seen) && (seen & OwnedBit) != 0)
        {
            Point();
            long found = Interlocked.CompareExchange(ref _word, seen & ~OwnedBit, seen);
            if (found == seen)
            {
                Put();
                return Errno.Success;
            }

            seen = found;
        }

        return Errno.NoEntry;
    }

    /// <summary>Frees it if nobody but the owner holds it: the way of Linux 7.2.</summary>
    /// <returns>
    /// Success; <see cref="Errno.Busy"/> while it is used: then nothing has happened; <see cref="Errno.NoEntry"/> if it was
    /// freed before.
    /// </returns>
    public Errno FreeIfUnused()
    {
        while (true)
        {
            long seen = Volatile.Read(ref _word);
            if (!IsLiveWord(seen) || (seen & OwnedBit) == 0)
            {
                return Errno.NoEntry;
            }

            if (seen != OnlyOwned)
            {
                return Errno.Busy;
            }

            if (Set.TryRetire(this, seen))
            {
                return Errno.Success;
            }
        }
    }

    /// <summary>
    /// Ends its life (S1.7): no reference is handed out any more, its users are stopped and drained, and then the number is
    /// recycled, or parked until the last reference is gone. Any number of threads may call; the drain happens once.
    /// </summary>
    /// <param name="patience">How long to wait for the drain; null for the allocator's.</param>
    /// <returns>
    /// Success when it is drained; <see cref="Errno.TimedOut"/> if a user is not done in time: then the number stays taken,
    /// <see cref="PasidAllocator.GetDrainReports"/> says who holds it up, and <see cref="PasidAllocator.Poll"/> or another call
    /// goes on; <see cref="Errno.NoEntry"/> if it was freed and drained before.
    /// </returns>
    public Errno Free(TimeSpan? patience = null)
    {
        while (true)
        {
            long seen = Volatile.Read(ref _word);
            if (!IsLiveWord(seen))
            {
                return (IoasidState)(seen & StateMask) == IoasidState.Stopping
                    ? AwaitDrain(patience ?? Set.Allocator.DrainPatience)
                    : Errno.NoEntry;
            }

            if (seen == OnlyOwned)
            {
                if (Set.TryRetire(this, seen))
                {
                    return Errno.Success;
                }

                continue;
            }

            // The owner's reference becomes the drain's; without one, the drain takes one.
            long stopping = (seen & ~(StateMask | OwnedBit)) + (long)IoasidState.Stopping
                + ((seen & OwnedBit) != 0 ? 0 : OneReference);
            Point();
            if (Interlocked.CompareExchange(ref _word, stopping, seen) == seen)
            {
                return AwaitDrain(patience ?? Set.Allocator.DrainPatience);
            }
        }
    }

    /// <summary>
    /// Assigns a memory map (S1.6): a mark and an event, nothing else. Who gives the IOASID to devices decides what it means.
    /// </summary>
    /// <returns>Success; <see cref="Errno.Busy"/> if it has one; <see cref="Errno.NoEntry"/> if it is not live.</returns>
    public Errno Bind(object map)
    {
        ArgumentNullException.ThrowIfNull(map);
        if (!TryGet())
        {
            return Errno.NoEntry;
        }

        Errno error = Errno.Busy;
        if (Interlocked.CompareExchange(ref Extended().Binding, map, null) is null)
        {
            Set.Notify(PasidEventKind.Bound, this);
            error = Errno.Success;
        }

        Put();
        return error;
    }

    /// <summary>Takes the memory map away.</summary>
    /// <returns>Success, or <see cref="Errno.NoEntry"/> if it is not, or no longer, assigned.</returns>
    public Errno Unbind(object map)
    {
        ArgumentNullException.ThrowIfNull(map);
        if (Volatile.Read(ref _extension) is not { } extension
            || !ReferenceEquals(Interlocked.CompareExchange(ref extension.Binding, null, map), map))
        {
            return Errno.NoEntry;
        }

        Set.Notify(PasidEventKind.Unbound, this);
        return Errno.Success;
    }

    /// <summary>Number and state.</summary>
    public override string ToString() =>
        string.Create(CultureInfo.InvariantCulture, $"{Pasid} ({State}, {References} references)");

    internal static bool IsLiveWord(long word) => (word & StateMask) is (long)IoasidState.Allocated or (long)IoasidState.Active;

    internal static bool IsParkedWord(long word) => (word & StateMask) == (long)IoasidState.Parked;

    /// <summary>For the set: goes from exactly this word to free. Under the set's lock.</summary>
    internal bool TrySetFree(long from) => Interlocked.CompareExchange(ref _word, (long)IoasidState.Free, from) == from;

    /// <summary>For the set: what goes with the life, before the number is given back. Under no lock.</summary>
    internal void OnEnd()
    {
        if (Volatile.Read(ref _extension) is { } extension && Interlocked.Exchange(ref extension.Binding, null) is not null)
        {
            Set.Notify(PasidEventKind.Unbound, this);
        }
    }

    private Extension Extended()
    {
        if (Volatile.Read(ref _extension) is { } there)
        {
            return there;
        }

        Extension made = new();
        return Interlocked.CompareExchange(ref _extension, made, null) ?? made;
    }

    // A place where the explorer of schedules may switch.
    private void Point() => _ = Injection.Hit(InjectionKind.MemoryWrite, Pasid.Value);

    // The last reference goes: from parked, or from a life that nobody ended. Users hold references, so there are none.
    private bool TryRecycle()
    {
        Point();
        long seen = Volatile.Read(ref _word);
        return seen >> 8 == 1 && Set.TryRetire(this, seen);
    }

    private sealed class Extension
    {
        // What is bound.
        public object? Binding;

        // Users in hardware: each has a reference. Under the set's lock.
        public List<IPasidDrain>? Users;

        // The drain of the end of life. Only who holds the runner's mark touches it.
        public Drain? Drain;

        public int Draining;
    }
}
