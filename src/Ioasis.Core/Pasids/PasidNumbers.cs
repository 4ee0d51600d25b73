using System.Numerics;
using System.Runtime.InteropServices;
using Ioasis.Platform;

namespace Ioasis.Core;

/// <summary>
/// Which numbers are taken: a bitmap with two levels of summary. Lock-free; a number is taken and given back by one atomic
/// change of one word. It knows nothing of quotas: who takes has made sure elsewhere that there is room.
/// </summary>
/// <remarks>
/// A summary bit says "this word is full". It may be missing for a full word, which costs a look, but is never left behind on
/// a word with room: who sets it looks at the word again afterwards, and who makes room clears it afterwards, so that one of
/// the two sees the other.
/// </remarks>
internal sealed class PasidNumbers
{
    /// <summary>No number.</summary>
    public const uint None = uint.MaxValue;

    private const int BitsLog2 = 6;
    private const uint BitMask = 63;

    private readonly ulong[] _used;
    private readonly ulong[] _fullWords;
    private readonly ulong[] _fullGroups;
    private readonly Shard[] _shards;
    private readonly uint _count;
    private int _word = -1;
    private uint _rangeCursor;

    /// <summary>Makes a bitmap in which 0 to <paramref name="count"/> - 1 are free.</summary>
    /// <param name="count">1 to 2^20.</param>
    /// <param name="shards">Cursors of cyclic allocation, a power of 2.</param>
    public PasidNumbers(uint count, int shards)
    {
        _count = count;
        _used = new ulong[(count + BitMask) >> BitsLog2];
        _fullWords = new ulong[(_used.Length + BitMask) >> BitsLog2];
        _fullGroups = new ulong[(_fullWords.Length + BitMask) >> BitsLog2];
        _shards = new Shard[shards];
        foreach (ref Shard shard in _shards.AsSpan())
        {
            shard.Next = None;
        }

        SetTail(_used, count);
        SetTail(_fullWords, (uint)_used.Length);
        SetTail(_fullGroups, (uint)_fullWords.Length);
    }

    /// <summary>How many numbers are taken; not a snapshot while others take and give back.</summary>
    public int CountTaken()
    {
        int taken = -(int)(((uint)_used.Length << BitsLog2) - _count);
        foreach (ref ulong word in _used.AsSpan())
        {
            taken += BitOperations.PopCount(Volatile.Read(ref word));
        }

        return taken;
    }

    /// <summary>Whether a number is taken.</summary>
    public bool IsTaken(uint number) =>
        number >= _count || (Volatile.Read(ref _used[number >> BitsLog2]) >> (int)(number & BitMask) & 1) != 0;

    /// <summary>Takes one number.</summary>
    /// <returns>Whether it was free.</returns>
    public bool TryTake(uint number) => number < _count && TryTakeBit((int)(number >> BitsLog2), 1ul << (int)(number & BitMask));

    /// <summary>Gives a number back, which the caller has taken.</summary>
    public void Release(uint number)
    {
        int word = (int)(number >> BitsLog2);
        Point(number);
        ulong before = Interlocked.And(ref _used[word], ~(1ul << (int)(number & BitMask)));
        if (before == ulong.MaxValue)
        {
            UnmarkWord(word);
        }
    }

    /// <summary>Takes the lowest free number of a range, both ends inclusive.</summary>
    /// <returns>The number, or <see cref="None"/> if each was taken when it was looked at.</returns>
    public uint TakeLowest(uint first, uint last)
    {
        last = Math.Min(last, _count - 1);
        if (first > last)
        {
            return None;
        }

        int lastWord = (int)(last >> BitsLog2);
        int word = (int)(first >> BitsLog2);
        ulong mask = ulong.MaxValue << (int)(first & BitMask);
        while (true)
        {
            int next = NextWithRoom(word);
            if (next < 0 || next > lastWord)
            {
                return None;
            }

            if (next != word)
            {
                mask = ulong.MaxValue;
                word = next;
            }

            if (word == lastWord)
            {
                mask &= ulong.MaxValue >> (int)(BitMask - (last & BitMask));
            }

            uint taken = TakeInWord(word, mask);
            if (taken != None)
            {
                return taken;
            }

            if (++word > lastWord)
            {
                return None;
            }

            mask = ulong.MaxValue;
        }
    }

    /// <summary>
    /// Takes a number that was not given back lately: each thread walks through a word of its own and then through the next
    /// one that nobody has walked through for longest. With one thread the numbers go round in order.
    /// </summary>
    /// <returns>The number, or <see cref="None"/> if each was taken when it was looked at.</returns>
    public uint TakeCyclic()
    {
        ref Shard shard = ref _shards[Environment.CurrentManagedThreadId & (_shards.Length - 1)];
        uint next = Volatile.Read(ref shard.Next);
        for (int round = 0; round <= _used.Length; round++)
        {
            if (next >= _count)
            {
                int word = NextCyclicWord();
                if (word < 0)
                {
                    return None;
                }

                next = (uint)word << BitsLog2;
            }

            uint taken = TakeInWord((int)(next >> BitsLog2), ulong.MaxValue << (int)(next & BitMask));
            if (taken != None)
            {
                // The last one of a word: the next time it goes on elsewhere.
                Volatile.Write(ref shard.Next, (taken & BitMask) == BitMask ? None : taken + 1);
                return taken;
            }

            next = None;
        }

        Volatile.Write(ref shard.Next, None);
        return None;
    }

    /// <summary>As <see cref="TakeCyclic()"/>, within a range, both ends inclusive.</summary>
    public uint TakeCyclic(uint first, uint last)
    {
        uint start = Volatile.Read(ref _rangeCursor);
        start = start < first || start > last ? first : start;
        uint taken = TakeLowest(start, last);
        if (taken == None && start > first)
        {
            taken = TakeLowest(first, start - 1);
        }

        if (taken != None)
        {
            Volatile.Write(ref _rangeCursor, taken + 1);
        }

        return taken;
    }

    /// <summary>Takes a whole range, both ends inclusive, or nothing of it.</summary>
    public bool TryTakeRange(uint first, uint last)
    {
        for (uint number = first; number <= last; number++)
        {
            if (!TryTake(number))
            {
                while (number-- > first)
                {
                    Release(number);
                }

                return false;
            }
        }

        return true;
    }

    // A place where the explorer of schedules may switch.
    private static void Point(uint number) => _ = Injection.Hit(InjectionKind.MemoryWrite, number);

    private static void SetTail(ulong[] words, uint count)
    {
        if ((count & BitMask) != 0)
        {
            words[^1] = ulong.MaxValue << (int)(count & BitMask);
        }
    }

    private bool TryTakeBit(int word, ulong bit)
    {
        ref ulong used = ref _used[word];
        ulong seen = Volatile.Read(ref used);
        while ((seen & bit) == 0)
        {
            Point((uint)word << BitsLog2);
            ulong found = Interlocked.CompareExchange(ref used, seen | bit, seen);
            if (found == seen)
            {
                if ((seen | bit) == ulong.MaxValue)
                {
                    MarkWord(word);
                }

                return true;
            }

            seen = found;
        }

        return false;
    }

    private uint TakeInWord(int word, ulong mask)
    {
        while (true)
        {
            ulong seen = Volatile.Read(ref _used[word]);
            ulong free = ~seen & mask;
            if (free == 0)
            {
                if (seen == ulong.MaxValue)
                {
                    MarkWord(word);
                }

                return None;
            }

            // From exactly the word that was looked at, so that it is the lowest of the word at that moment.
            ulong bit = free & (~free + 1);
            Point((uint)word << BitsLog2);
            if (Interlocked.CompareExchange(ref _used[word], seen | bit, seen) == seen)
            {
                if ((seen | bit) == ulong.MaxValue)
                {
                    MarkWord(word);
                }

                return ((uint)word << BitsLog2) | (uint)BitOperations.TrailingZeroCount(bit);
            }
        }
    }

    private int NextCyclicWord()
    {
        int turn = Interlocked.Increment(ref _word);
        int word = (int)((uint)turn % (uint)_used.Length);
        int next = NextWithRoom(word);
        if (next < 0)
        {
            next = NextWithRoom(0);
        }

        if (next >= 0 && next != word)
        {
            // Skips the full words for the others too, unless another has done so.
            int skipped = next > word ? next - word : next + _used.Length - word;
            _ = Interlocked.CompareExchange(ref _word, unchecked(turn + skipped), turn);
        }

        return next;
    }

    // The first word from this one on that is not marked as full, or -1.
    private int NextWithRoom(int word)
    {
        int group = word >> BitsLog2;
        if (group >= _fullWords.Length)
        {
            return -1;
        }

        ulong room = ~Volatile.Read(ref _fullWords[group]) & (ulong.MaxValue << (word & (int)BitMask));
        while (room == 0)
        {
            group = NextGroupWithRoom(group + 1);
            if (group < 0)
            {
                return -1;
            }

            room = ~Volatile.Read(ref _fullWords[group]);
        }

        return (group << BitsLog2) | BitOperations.TrailingZeroCount(room);
    }

    private int NextGroupWithRoom(int group)
    {
        int index = group >> BitsLog2;
        ulong mask = ulong.MaxValue << (group & (int)BitMask);
        for (; index < _fullGroups.Length; index++, mask = ulong.MaxValue)
        {
            ulong room = ~Volatile.Read(ref _fullGroups[index]) & mask;
            if (room != 0)
            {
                return (index << BitsLog2) | BitOperations.TrailingZeroCount(room);
            }
        }

        return -1;
    }

    private void MarkWord(int word)
    {
        int group = word >> BitsLog2;
        ulong bit = 1ul << (word & (int)BitMask);
        ulong before = Interlocked.Or(ref _fullWords[group], bit);
        Point((uint)word << BitsLog2);
        if ((before | bit) == ulong.MaxValue)
        {
            _ = Interlocked.Or(ref _fullGroups[group >> BitsLog2], 1ul << (group & (int)BitMask));
            if (Volatile.Read(ref _fullWords[group]) != ulong.MaxValue)
            {
                UnmarkGroup(group);
            }
        }

        if (Volatile.Read(ref _used[word]) != ulong.MaxValue)
        {
            UnmarkWord(word);
        }
    }

    private void UnmarkWord(int word)
    {
        int group = word >> BitsLog2;
        Point((uint)word << BitsLog2);
        if (Interlocked.And(ref _fullWords[group], ~(1ul << (word & (int)BitMask))) == ulong.MaxValue)
        {
            UnmarkGroup(group);
        }
    }

    private void UnmarkGroup(int group) =>
        _ = Interlocked.And(ref _fullGroups[group >> BitsLog2], ~(1ul << (group & (int)BitMask)));

    // Two cache lines, so that neighbours do not slow each other.
    [StructLayout(LayoutKind.Sequential, Size = 128)]
    private struct Shard
    {
        public uint Next;
    }
}
