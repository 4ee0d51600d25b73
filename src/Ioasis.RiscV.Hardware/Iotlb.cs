using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Ioasis.RiscV.Hardware;

/// <summary>
/// A set-associative cache of translations from IOVA to physical address, of all page sizes. Looked up without locks: each set
/// has a version that is odd while it changes. Filled and invalidated under the cache lock.
/// </summary>
/// <remarks>
/// A key is 64 bits: page number (47, at 17), size class (3, at 14), tag of the address space (14). A value is the
/// physical page in 55:12 and <see cref="IotlbValue"/> below. Keys of a set are contiguous and compared by vectors.
/// </remarks>
internal sealed class Iotlb
{
    /// <summary>log2 of the sizes of the classes, a byte each: 4 KiB, 64 KiB, 2 MiB, 4 MiB, 1 GiB, 512 GiB, 256 TiB.</summary>
    private const ulong ClassShifts = 0x30_27_1e_16_15_10_0c;
    private const int ClassCount = 7;
    private const int TagBits = 14;
    private const int TagLimit = 1 << TagBits;
    private const int PageShift = TagBits + 3;
    private const ulong TagMask = TagLimit - 1;

    // Keys are aligned to cache lines.
    private readonly ulong[] _keys;
    private readonly int _keysStart;
    private readonly ulong[] _values;
    private readonly int[] _versions;
    private readonly byte[] _next;
    private readonly AddressSpace?[] _spaceByTag = new AddressSpace?[TagLimit];
    private readonly ReplacementPolicy _policy;
    private readonly int _ways;
    private readonly int _vectorWays;
    private readonly int _stride;
    private readonly int _setMask;
    private int _nextTag = 1;
    private uint _random = 2463534242;

    public Iotlb(int entries, int ways, ReplacementPolicy policy)
    {
        _ways = Math.Min(Math.Min(ways, 255), Math.Max(1, entries));
        int sets = (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(1, entries / _ways));
        _setMask = sets - 1;
        _policy = policy;

        // Ways are padded to whole vectors; padding never matches, for no key is 0.
        _vectorWays = (_ways + 3) & ~3;
        _stride = _vectorWays;
        _keys = GC.AllocateArray<ulong>((sets * _stride) + 8, pinned: true);
        _keysStart = AlignedStart(_keys);
        _values = new ulong[sets * _stride];
        _versions = new int[sets];
        _next = new byte[sets];
        Capacity = sets * _ways;
    }

    // The array is pinned, so that what is aligned now stays aligned.
    private static unsafe int AlignedStart(ulong[] array)
    {
        fixed (ulong* start = array)
        {
            return (int)((64 - ((nuint)start & 63)) & 63) / sizeof(ulong);
        }
    }

    /// <summary>How many entries there can be.</summary>
    public int Capacity { get; }

    /// <summary>Finds a translation.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryFind(AddressSpace space, ulong address, out ulong value, out int sizeLog2)
    {
        uint classes = space.Classes;
        int tag = space.Tag;
        while (classes != 0)
        {
            int sizeClass = BitOperations.TrailingZeroCount(classes);
            classes &= classes - 1;
            sizeLog2 = (int)(ClassShifts >> (sizeClass * 8)) & 0xff;
            ulong page = address >> sizeLog2;
            ulong key = (page << PageShift) | ((ulong)sizeClass << TagBits) | (uint)tag;
            int set = SetOf(page, tag);
            if (TryFindInSet(set, key, out value) && space.Tag == tag)
            {
                return true;
            }
        }

        value = 0;
        sizeLog2 = 0;
        return false;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private int SetOf(ulong page, int tag) => (int)((uint)page ^ ((uint)tag * 0x9e5u)) & _setMask;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryFindInSet(int set, ulong key, out ulong value)
    {
        ref int version = ref Unsafe.Add(ref MemoryMarshal.GetArrayDataReference(_versions), set);
        int before = Volatile.Read(ref version);
        int start = set * _stride;
        ref ulong keys = ref Unsafe.Add(ref MemoryMarshal.GetArrayDataReference(_keys), _keysStart + start);
        Vector256<ulong> wanted = Vector256.Create(key);
        uint matches = 0;
        for (int way = 0; way < _vectorWays; way += 4)
        {
            Vector256<ulong> present = Vector256.LoadUnsafe(ref keys, (nuint)way);
            matches |= Vector256.Equals(present, wanted).ExtractMostSignificantBits() << way;
            if (matches != 0 || way == 28)
            {
                break;
            }
        }

        if (matches == 0)
        {
            return FindBeyond32(start, key, before, ref version, out value);
        }

        value = Unsafe.Add(ref MemoryMarshal.GetArrayDataReference(_values), start + BitOperations.TrailingZeroCount(matches));
        return (before & 1) == 0 && VersionAfter(ref version) == before;
    }

    // Loads above stay above: acquire by a full read barrier where the processor needs one.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int VersionAfter(ref int version)
    {
        Volatile.ReadBarrier();
        return Volatile.Read(ref version);
    }

    private bool FindBeyond32(int start, ulong key, int before, ref int version, out ulong value)
    {
        for (int way = 32; way < _ways; way++)
        {
            if (_keys[_keysStart + start + way] == key)
            {
                value = _values[start + way];
                return (before & 1) == 0 && VersionAfter(ref version) == before;
            }
        }

        value = 0;
        return false;
    }

    /// <summary>Adds a translation, or replaces the one that is there.</summary>
    /// <param name="space">Whose it is.</param>
    /// <param name="address">Any address in the page.</param>
    /// <param name="spanLog2">log2 of the bytes that translate alike; the entry takes the largest class that fits.</param>
    /// <param name="firstStageSpanLog2">log2 of the bytes of the first-stage page.</param>
    /// <param name="physicalAddress">The translated <paramref name="address"/>.</param>
    /// <param name="attributes">The value's low bits.</param>
    /// <returns>Whether another live entry had to go.</returns>
    public bool Insert(
        AddressSpace space, ulong address, int spanLog2, int firstStageSpanLog2, ulong physicalAddress, ulong attributes)
    {
        int sizeClass = ClassCount - 1;
        while (sizeClass > 0 && ShiftOf(sizeClass) > spanLog2)
        {
            sizeClass--;
        }

        int shift = ShiftOf(sizeClass);
        int tag = space.Tag != 0 ? space.Tag : TakeTag(space);
        space.IsFractured |= firstStageSpanLog2 > shift;
        ulong page = address >> shift;
        ulong key = (page << PageShift) | ((ulong)sizeClass << TagBits) | (uint)tag;
        ulong value = (physicalAddress & IotlbValue.AddressMask & ~((1ul << shift) - 1)) | attributes;
        int set = SetOf(page, tag);
        int start = set * _stride;
        int way = ChooseWay(set, start, key, out bool evicts, out bool replaces);
        if (evicts)
        {
            AddressSpace victim = _spaceByTag[(int)(_keys[_keysStart + start + way] & TagMask)]!;
            victim.Live--;
        }

        Interlocked.Increment(ref _versions[set]);
        _keys[_keysStart + start + way] = key;
        _values[start + way] = value;
        Interlocked.Increment(ref _versions[set]);
        space.Live += replaces ? 0 : 1;
        space.Classes |= 1u << sizeClass;
        return evicts;
    }

    private static int ShiftOf(int sizeClass) => (int)(ClassShifts >> (sizeClass * 8)) & 0xff;

    private int ChooseWay(int set, int start, ulong key, out bool evicts, out bool replaces)
    {
        evicts = replaces = false;
        int free = -1;
        for (int way = 0; way < _ways; way++)
        {
            ulong present = _keys[_keysStart + start + way];
            if (present == key)
            {
                replaces = true;
                return way;
            }

            if (free < 0 && (present == 0 || _spaceByTag[(int)(present & TagMask)] is null))
            {
                free = way;
            }
        }

        if (free >= 0)
        {
            return free;
        }

        evicts = true;
        if (_policy == ReplacementPolicy.Random)
        {
            _random ^= _random << 13;
            _random ^= _random >> 17;
            _random ^= _random << 5;
            return (int)(_random % (uint)_ways);
        }

        int oldest = _next[set];
        _next[set] = (byte)(oldest + 1 < _ways ? oldest + 1 : 0);
        return oldest;
    }

    private int TakeTag(AddressSpace space)
    {
        if (_nextTag == TagLimit)
        {
            // Tags are used up: start over with nothing.
            foreach (AddressSpace? other in _spaceByTag)
            {
                if (other is not null)
                {
                    RemoveAll(other);
                }
            }

            for (int set = 0; set <= _setMask; set++)
            {
                Interlocked.Increment(ref _versions[set]);
                Array.Clear(_keys, _keysStart + (set * _stride), _stride);
                Interlocked.Increment(ref _versions[set]);
            }

            _nextTag = 1;
        }

        int tag = _nextTag++;
        _spaceByTag[tag] = space;
        space.Tag = tag;
        return tag;
    }

    /// <summary>Removes all of a space's entries.</summary>
    /// <returns>How many there were.</returns>
    public int RemoveAll(AddressSpace space)
    {
        int live = space.Live;
        int tag = space.Tag;
        if (tag != 0)
        {
            _spaceByTag[tag] = null;
            space.Tag = 0;
            space.Classes = 0;
            space.Live = 0;
            space.IsFractured = false;
        }

        return live;
    }

    /// <summary>Removes the entries of a space that overlap a range.</summary>
    /// <returns>How many there were.</returns>
    public int Remove(AddressSpace space, ulong address, int sizeLog2)
    {
        if (space.Live == 0)
        {
            return 0;
        }

        // Not found by address alone, or cheaper by taking them all.
        if (space.IsFractured || sizeLog2 > 12 + 8)
        {
            return RemoveAll(space);
        }

        int removed = 0;
        for (uint classes = space.Classes; classes != 0; classes &= classes - 1)
        {
            int sizeClass = BitOperations.TrailingZeroCount(classes);
            int shift = ShiftOf(sizeClass);
            int pages = sizeLog2 > shift ? 1 << (sizeLog2 - shift) : 1;
            for (ulong page = address >> shift; pages > 0; page++, pages--)
            {
                removed += RemoveKey(space, page, sizeClass) ? 1 : 0;
            }
        }

        return removed;
    }

    private bool RemoveKey(AddressSpace space, ulong page, int sizeClass)
    {
        ulong key = (page << PageShift) | ((ulong)sizeClass << TagBits) | (uint)space.Tag;
        int set = SetOf(page, space.Tag);
        Span<ulong> keys = _keys.AsSpan(_keysStart + (set * _stride), _ways);
        int way = keys.IndexOf(key);
        if (way < 0)
        {
            return false;
        }

        Interlocked.Increment(ref _versions[set]);
        keys[way] = 0;
        Interlocked.Increment(ref _versions[set]);
        space.Live--;
        return true;
    }
}

/// <summary>The value of an IOTLB entry: who may do what, decided when it is filled, so that a hit tests one bit.</summary>
internal static class IotlbValue
{
    public const ulong AddressMask = 0x00ff_ffff_ffff_f000;

    // Three bits each (read, write, execute) for a user, a supervisor without SUM, and one with SUM.
    public const int UserShift = 0;
    public const int SupervisorShift = 3;
    public const int SupervisorSumShift = 6;
    public const int ReadOffset = 0;
    public const int WriteOffset = 1;
    public const int ExecuteOffset = 2;
    public const int PbmtShift = 9;
    public const ulong PbmtMask = 3;
    public const ulong MsiBit = 1ul << 11;
}
