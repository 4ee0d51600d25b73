using System.Globalization;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>Where an IOASID is in its life (docs/ioasid.md has the diagram).</summary>
internal enum IoasidState
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
/// drain is through, and never before (S1.9, S2.1). This is a handle of one life: copies are equal, and who still holds one
/// when the life is over can neither revive it nor touch its successor with the same number. Thread-safe.
/// </summary>
/// <remarks>
/// <para>The default value is none: it is free, and every call answers so.</para>
/// <para>The allocation itself counts as one reference, the owner's: <see cref="Free"/> drops it, once, whoever calls; or
/// <see cref="Disown"/> does and leaves the IOASID to its other holders. Life, count, ownership and state are one word in the
/// place of the number (<see cref="IoasidTable"/>), changed by compare-and-swap: bits 2:0 the state, bit 3 whether the owner's
/// reference is there, bit 4 whether there is more in the rest of the place, bits 31:5 the count, bits 63:32 the life. Changes that the set's counts must follow are made under the
/// set's lock. Lives of a number are told apart as long as no handle is kept over 2^32 - 1 of them.</para>
/// </remarks>
internal readonly partial record struct Ioasid
{
    private const ulong StateMask = 7;
    private const ulong OwnedBit = 8;
    private const ulong MoreBit = 16;
    private const ulong OneReference = 32;
    private const ulong CountMask = 0xFFFF_FFE0;
    private const ulong OnlyOwned = (ulong)IoasidState.Allocated | OwnedBit | OneReference;
    private const int CountShift = 5;
    private const int LifeShift = 32;

    // What is read instead of another life's word.
    private const ulong Over = 0;

    private static ulong s_none;

    private readonly PasidSet? _set;
    private readonly uint _pasid;
    private readonly uint _life;

    internal Ioasid(PasidSet set, uint pasid, uint life)
    {
        _set = set;
        _pasid = pasid;
        _life = life;
    }

    /// <summary>Whether this is the default value: no IOASID at all.</summary>
    public bool IsNone => _set is null;

    /// <summary>The number; <see cref="Pasid.None"/> of none.</summary>
    public Pasid Pasid => new(_pasid);

    /// <summary>The set that it is in for its whole life; null of none.</summary>
    public PasidSet Set => _set!;

    /// <summary>The private number under which its set knows it, or null; see <see cref="PasidSet.TryMapGuest"/>.</summary>
    public GuestPasid? Guest
    {
        get
        {
            if ((Read() & MoreBit) == 0)
            {
                return null;
            }

            uint guest = Volatile.Read(ref More.GuestPlusOne);
            Point();
            return guest != 0 && IsCurrent ? new(guest - 1) : null;
        }
    }

    /// <summary>Where it is in its life; may change at once.</summary>
    public IoasidState State => (IoasidState)(Read() & StateMask);

    /// <summary>Whether references are handed out.</summary>
    public bool IsLive => IsLiveWord(Read());

    /// <summary>References, the owner's included; for audits and tests.</summary>
    public long References => CountOf(Read());

    /// <summary>The data of whoever allocated it (S0.13); null when its life is over.</summary>
    public object? Data
    {
        get
        {
            if ((Read() & MoreBit) == 0)
            {
                return null;
            }

            object? data = Volatile.Read(ref More.Data);
            Point();
            return IsCurrent ? data : null;
        }
    }

    /// <summary>The memory map that is assigned to it, or null.</summary>
    public object? Binding => FindExtension() is { } extension ? Volatile.Read(ref extension.Binding) : null;

    /// <summary>Changes the data.</summary>
    /// <returns>
    /// Success; <see cref="Errno.NotPermitted"/> for another token than its set's (S0.13); <see cref="Errno.NoEntry"/> when its
    /// life is over.
    /// </returns>
    public Errno SetData(object? token, object? data)
    {
        if (_set is null)
        {
            return Errno.NoEntry;
        }

        if (!ReferenceEquals(token, _set.Token))
        {
            return Errno.NotPermitted;
        }

        // No life ends under the set's lock: the place is still its own.
        using (_set.Lock.Acquire())
        {
            if (State == IoasidState.Free)
            {
                return Errno.NoEntry;
            }

            Volatile.Write(ref More.Data, data);
            MarkMore();
            return Errno.Success;
        }
    }

    /// <summary>Adds a reference, from a live state only. Takes no lock.</summary>
    /// <returns>Whether the caller has a reference now, for which it owes one <see cref="Put"/>.</returns>
    public bool TryGet()
    {
        ref ulong word = ref Word;
        ulong seen = Own(Volatile.Read(ref word));
        while (IsLiveWord(seen))
        {
            if ((seen & CountMask) == CountMask)
            {
                // 2^27 - 1 holders: one more would be a part of the life.
                return false;
            }

            Point();
            ulong found = Interlocked.CompareExchange(ref word, seen + OneReference, seen);
            if (found == seen)
            {
                return true;
            }

            seen = Own(found);
        }

        return false;
    }

    /// <summary>Drops a reference that <see cref="TryGet"/> gave; the last one recycles the number (S1.9).</summary>
    public void Put()
    {
        ref ulong word = ref Word;
        ulong seen = Own(Volatile.Read(ref word));
        while (true)
        {
            if (CountOf(seen) == 0)
            {
                // A put too many: the life is over, and nothing is touched.
                return;
            }

            if (CountOf(seen) == 1)
            {
                if (TryRecycle())
                {
                    return;
                }

                seen = Own(Volatile.Read(ref word));
                continue;
            }

            Point();
            ulong found = Interlocked.CompareExchange(ref word, seen - OneReference, seen);
            if (found == seen)
            {
                return;
            }

            seen = Own(found);
        }
    }

    /// <summary>
    /// The owner lets go without ending the life: the number is recycled when the other holders are gone (S1.9). Harmless after
    /// <see cref="Free"/>.
    /// </summary>
    /// <returns>Success, or <see cref="Errno.NoEntry"/> if it was freed or disowned before.</returns>
    public Errno Disown()
    {
        ref ulong word = ref Word;
        ulong seen = Own(Volatile.Read(ref word));
        while (IsLiveWord(seen) && (seen & OwnedBit) != 0)
        {
            Point();
            ulong found = Interlocked.CompareExchange(ref word, seen & ~OwnedBit, seen);
            if (found == seen)
            {
                Put();
                return Errno.Success;
            }

            seen = Own(found);
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
            ulong seen = Read();
            if (!IsLiveWord(seen) || (seen & OwnedBit) == 0)
            {
                return Errno.NoEntry;
            }

            if (!IsOnlyOwned(seen))
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
            ulong seen = Read();
            if (!IsLiveWord(seen))
            {
                return (IoasidState)(seen & StateMask) == IoasidState.Stopping
                    ? AwaitDrain(patience ?? Set.Allocator.DrainPatience)
                    : Errno.NoEntry;
            }

            if (IsOnlyOwned(seen))
            {
                if (Set.TryRetire(this, seen))
                {
                    return Errno.Success;
                }

                continue;
            }

            // The owner's reference becomes the drain's; without one, the drain takes one.
            ulong stopping = (seen & ~(StateMask | OwnedBit)) + (ulong)IoasidState.Stopping
                + ((seen & OwnedBit) != 0 ? 0 : OneReference);
            Point();
            if (Interlocked.CompareExchange(ref Word, stopping, seen) == seen)
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

        // There is one: a reference keeps the life from ending.
        Errno error = Errno.Busy;
        if (Interlocked.CompareExchange(ref Extended()!.Binding, map, null) is null)
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
        if (FindExtension() is not { } extension
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
}
