using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <content>The place of the number, and how a life begins and ends there; see <see cref="IoasidTable"/>.</content>
internal readonly partial record struct Ioasid
{
    /// <summary>Number and life, for the set's private numbers.</summary>
    internal ulong Entry => ((ulong)_life << LifeShift) | _pasid;

    private ref ulong Word => ref _set is null ? ref s_none : ref _set.Places.WordAt(_pasid);

    private ref IoasidMore More => ref _set!.Places.MoreAt(_pasid);

    // To be asked after something was read from the place: whether it was this life's.
    private bool IsCurrent => Read() != Over;

    internal static uint LifeOf(ulong word) => (uint)(word >> LifeShift);

    internal static bool IsFreeWord(ulong word) => (word & StateMask) == (ulong)IoasidState.Free;

    internal static bool IsLiveWord(ulong word) => (word & StateMask) is (ulong)IoasidState.Allocated or (ulong)IoasidState.Active;

    internal static bool IsParkedWord(ulong word) => (word & StateMask) == (ulong)IoasidState.Parked;

    /// <summary>
    /// Begins a life with a number that was just taken: still free, nobody finds it, no reference is handed out.
    /// </summary>
    internal static Ioasid Begin(PasidSet set, Pasid pasid, GuestPasid? guest, object? data)
    {
        ref ulong word = ref set.Places.NewWordAt(pasid.Value);
        uint life = LifeOf(word) + 1;
        life = life == 0 ? 1 : life;
        bool hasMore = guest is not null || data is not null;
        Volatile.Write(ref word, ((ulong)life << LifeShift) | (hasMore ? MoreBit : 0));
        _ = Injection.Hit(InjectionKind.MemoryWrite, pasid.Value);
        Volatile.Write(ref set.Places.SetIdAt(pasid.Value), set.Id.Value);
        if (hasMore)
        {
            ref IoasidMore more = ref set.Places.MoreAt(pasid.Value);
            Volatile.Write(ref more.Data, data);
            Volatile.Write(ref more.GuestPlusOne, guest is { } number ? number.Value + 1 : 0);
        }

        return new(set, pasid.Value, life);
    }

    /// <summary>From now on it is found and referenced. Under the set's lock.</summary>
    internal void Publish()
    {
        ref ulong word = ref Word;
        Volatile.Write(ref word, word | OnlyOwned);
    }

    /// <summary>For the set: goes from exactly this word to free. Under the set's lock.</summary>
    internal bool TrySetFree(ulong from) =>
        Interlocked.CompareExchange(ref Word, ((ulong)_life << LifeShift) | (from & MoreBit), from) == from;

    /// <summary>For the set: gives it a private number or, by null, takes it away. Under the set's lock, while the place is its own.</summary>
    internal void SetGuest(GuestPasid? guest)
    {
        Volatile.Write(ref More.GuestPlusOne, guest is { } number ? number.Value + 1 : 0);
        MarkMore();
    }

    /// <summary>For the set: what goes with the life, before the number is given back. Under no lock.</summary>
    internal void OnEnd()
    {
        if (FindExtension() is { } extension && Interlocked.Exchange(ref extension.Binding, null) is not null)
        {
            Set.Notify(PasidEventKind.Unbound, this);
        }
    }

    /// <summary>For the allocator: the life is over, and its number is about to be given back.</summary>
    internal void Empty()
    {
        if ((Word & MoreBit) != 0)
        {
            ref IoasidMore more = ref More;
            Volatile.Write(ref more.Data, null);
            Volatile.Write(ref more.Extension, null);
            Volatile.Write(ref more.GuestPlusOne, 0);
        }
    }

    private static uint CountOf(ulong word) => (uint)word >> CountShift;

    private static bool IsOnlyOwned(ulong word) => ((uint)word & ~(uint)MoreBit) == OnlyOwned;

    private ulong Read() => Own(Volatile.Read(ref Word));

    // A word of another life is none of its business.
    private ulong Own(ulong word) =>
        LifeOf(word) == _life ? word : Over;

    private IoasidExtension? FindExtension()
    {
        if ((Read() & MoreBit) == 0)
        {
            return null;
        }

        IoasidExtension? extension = Volatile.Read(ref More.Extension);
        Point();
        return IsCurrent ? extension : null;
    }

    // Null when the life is over.
    private IoasidExtension? Extended()
    {
        if (FindExtension() is { } there)
        {
            return there;
        }

        if (_set is null)
        {
            return null;
        }

        using (_set.Lock.Acquire())
        {
            return State == IoasidState.Free ? null : ExtendedUnderLock();
        }
    }

    // No life ends under the set's lock: the place is its own.
    private IoasidExtension ExtendedUnderLock()
    {
        ref IoasidMore more = ref More;
        if (more.Extension is not { } extension)
        {
            extension = new();
            Volatile.Write(ref more.Extension, extension);
            MarkMore();
        }

        return extension;
    }

    // The place is its own: the life cannot change meanwhile.
    private void MarkMore() => _ = Interlocked.Or(ref Word, MoreBit);

    // A place where the explorer of schedules may switch.
    private void Point() => _ = Injection.Hit(InjectionKind.MemoryWrite, _pasid);

    // The last reference goes: from parked, or from a life that nobody ended. Users hold references, so there are none.
    private bool TryRecycle()
    {
        Point();
        ulong seen = Read();
        return CountOf(seen) == 1 && Set.TryRetire(this, seen);
    }
}
