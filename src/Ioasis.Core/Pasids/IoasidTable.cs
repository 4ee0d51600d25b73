using System.Numerics;
using System.Runtime.CompilerServices;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// A place for each 20-bit number: what the IOASID that has it now is made of. The place is used again by the next IOASID with
/// the number, so an allocation makes no object; the life in the word tells the two apart. Look-ups take no lock (S0.15).
/// </summary>
/// <remarks>
/// <para>A place has three parts, in pages that are made when they are first needed and never go. The word is all that most calls
/// touch: 8 bytes, for there may be a million and each is in nobody's cache. The number of the set is read by look-ups. The rest
/// has references, and is empty and not looked at unless the word says that there is something. So neither a store nor the
/// garbage collector has work with IOASIDs that are just allocated.</para>
/// <para>Who writes and when: the word by compare-and-swap while there is a life. A life begins in a place whose number was just
/// taken: first the word gets the new life, still free, then the other parts, then the word says allocated. It ends with the
/// word saying free; then the rest is emptied, then the number is given back. So who reads a part and then finds its own life in
/// the word has read a part of that life, or an empty one.</para>
/// </remarks>
internal sealed class IoasidTable
{
    private const int PageLog2 = 10;
    private const uint PageMask = (1 << PageLog2) - 1;

    private readonly Page[] _pages = new Page[1 << PageLog2];
    private readonly IoasidMore[]?[] _more = new IoasidMore[]?[1 << PageLog2];

    // Every set of which something is in use, by its number. Replaced by a larger one when it is full.
    private PasidSet?[] _sets = new PasidSet?[8];

    /// <summary>The IOASID that has a number now, whatever its state; or none. <paramref name="number"/> may be any.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Ioasid Find(uint number)
    {
        Page[] pages = _pages;
        uint index = number >> PageLog2;
        if (index >= (uint)pages.Length || Volatile.Read(ref pages[index].Words) is not { } words)
        {
            return default;
        }

        ref ulong place = ref words[number & PageMask];
        ulong word = Volatile.Read(ref place);
        _ = Injection.Hit(InjectionKind.MemoryRead, number);
        if (Ioasid.IsFreeWord(word))
        {
            return default;
        }

        // Another life in the second look: the first has ended in between, and then there was none for a moment. The same one: it
        // is in use, so its set still has the number.
        PasidSet?[] sets = Volatile.Read(ref _sets);
        uint id = pages[index].SetIds![number & PageMask];
        PasidSet? set = id < (uint)sets.Length ? Volatile.Read(ref sets[id]) : null;
        return Ioasid.LifeOf(Volatile.Read(ref place)) == Ioasid.LifeOf(word) && set is not null
            ? new(set, number, Ioasid.LifeOf(word))
            : default;
    }

    /// <summary>A set begins, before the first IOASID of it; or, by null, ends after the last. Under the allocator's lock.</summary>
    public void SetSet(uint id, PasidSet? set)
    {
        if (id >= (uint)_sets.Length)
        {
            PasidSet?[] larger = new PasidSet?[BitOperations.RoundUpToPowerOf2(id + 1)];
            _sets.CopyTo(larger, 0);
            Volatile.Write(ref _sets, larger);
        }

        Volatile.Write(ref _sets[id], set);
    }

    /// <summary>The word of a number that had an IOASID before.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ref ulong WordAt(uint number) => ref _pages[number >> PageLog2].Words![number & PageMask];

    /// <summary>The word of a number that was just taken.</summary>
    public ref ulong NewWordAt(uint number)
    {
        ref Page page = ref _pages[number >> PageLog2];
        if (Volatile.Read(ref page.Words) is null)
        {
            // Who sees the words sees the rest of the page.
            _ = Interlocked.CompareExchange(ref page.SetIds, new uint[1 << PageLog2], null);
            _ = Interlocked.CompareExchange(ref page.Words, new ulong[1 << PageLog2], null);
        }

        return ref page.Words![number & PageMask];
    }

    /// <summary>The number of the set.</summary>
    public ref uint SetIdAt(uint number) => ref _pages[number >> PageLog2].SetIds![number & PageMask];

    /// <summary>The rest of the place of a number whose word says that there is something, or will say so.</summary>
    public ref IoasidMore MoreAt(uint number)
    {
        ref IoasidMore[]? page = ref _more[number >> PageLog2];
        if (Volatile.Read(ref page) is null)
        {
            _ = Interlocked.CompareExchange(ref page, new IoasidMore[1 << PageLog2], null);
        }

        return ref page![number & PageMask];
    }

    private struct Page
    {
        public ulong[]? Words;
        public uint[]? SetIds;
    }
}

/// <summary>The rest of the place of a number, which many do without.</summary>
internal struct IoasidMore
{
    /// <summary>The data of whoever allocated it.</summary>
    public object? Data;

    /// <summary>What those have that are used.</summary>
    public IoasidExtension? Extension;

    /// <summary>Its private number plus 1, or 0.</summary>
    public uint GuestPlusOne;
}

/// <summary>What IOASIDs that are used have; a new one for each life.</summary>
internal sealed class IoasidExtension
{
    /// <summary>What is bound.</summary>
    public object? Binding;

    /// <summary>Users in hardware: each has a reference. Under the set's lock.</summary>
    public List<IPasidDrain>? Users;

    /// <summary>The drain of the end of life. Only who holds the runner's mark touches it.</summary>
    public IoasidDrain? Drain;

    /// <summary>The runner's mark.</summary>
    public int Draining;
}
