using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Ioasis.Hardware;

/// <summary>
/// A set-associative cache of translations from IOVA to physical address, of all page sizes. Looked up without locks: each set
/// has a version that is odd while it changes. Filled and invalidated under the cache lock.
/// </summary>
/// <remarks>
/// A key is 64 bits: page number (47, at 17), size class (3, from 1, at 14), tag of the address space (14). A value is the
/// physical page in 55:12 (<see cref="AddressMask"/>) and attributes of the model's own in the other bits. Keys of a set are contiguous and compared by vectors.
/// </remarks>
internal sealed unsafe class Iotlb
{
    /// <summary>The physical page in a value.</summary>
    public const ulong AddressMask = 0x00ff_ffff_ffff_f000;

    /// <summary>log2 of the sizes of the classes, a byte each: 4 KiB, 64 KiB, 2 MiB, 4 MiB, 1 GiB, 512 GiB, 256 TiB.</summary>
    private const ulong ClassShifts = 0x30_27_1e_16_15_10_0c;
    private const int ClassCount = 7;
    private const int TagBits = 14;
    private const int TagLimit = 1 << TagBits;
    private const int PageShift = TagBits + 3;
    private const ulong TagMask = TagLimit - 1;
    private const uint TagSpread = 0x9e5;

    // In the identity of a space: it has entries of 4 KiB, the first class.
    private const ulong PagesBit = 1ul << 32;

    // A set is its keys, padded to whole vectors, and then its values: pinned, and aligned to cache lines.
    private readonly ulong[] _array;
    private readonly ulong* _table;
    private readonly int[] _versionArray;
    private readonly int* _versions;
    private readonly byte[] _next;
    private readonly TranslationSpace?[] _spaceByTag = new TranslationSpace?[TagLimit];
    private readonly ReplacementPolicy _policy;
    private readonly int _ways;
    private readonly int _paddedWays;
    private readonly uint _setMask;
    private readonly int _blockShift;
    private int _nextTag = 1;
    private uint _random = 2463534242;

    public Iotlb(int entries, int ways, ReplacementPolicy policy)
    {
        _ways = Math.Min(Math.Min(ways, 255), Math.Max(1, entries));
        int sets = (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(1, entries / _ways));
        _setMask = (uint)sets - 1;
        _policy = policy;

        // Padding never matches, for no key is 0. Up to 8 and up to 16 ways are looked at without a loop.
        _paddedWays = _ways <= 8 ? 8 : (int)BitOperations.RoundUpToPowerOf2((uint)_ways);
        _blockShift = 1 + BitOperations.Log2((uint)_paddedWays);
        _array = GC.AllocateArray<ulong>((sets * _paddedWays * 2) + 8, pinned: true);
        nuint start = (nuint)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_array));
        _table = (ulong*)((start + 63) & ~(nuint)63);
        _versionArray = GC.AllocateArray<int>(sets, pinned: true);
        _versions = (int*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_versionArray));
        _next = new byte[sets];
        Capacity = sets * _ways;
    }

    /// <summary>How many entries there can be.</summary>
    public int Capacity { get; }

    /// <summary>Finds the translation of a page of 4 KiB: what nearly all look-ups are after. Where a space has larger ones only, nothing is looked for.</summary>
    /// <returns>The value, or 0.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ulong FindPage(TranslationSpace space, ulong address)
    {
        ulong identity = space.Identity;
        if ((identity & PagesBit) == 0)
        {
            return 0;
        }

        return FindFirst(space, identity, address >> 12, 1ul << TagBits);
    }

    /// <summary>
    /// Finds where a byte is in memory, by a translation of any size, after <see cref="FindPage"/> has found none. The smallest size above 4 KiB that the space has, which is the only
    /// one as a rule, is looked for without a call.
    /// </summary>
    /// <param name="space">Whose IOVA it is.</param>
    /// <param name="iova">The byte.</param>
    /// <param name="permission">The bit of a value that permits the access.</param>
    /// <param name="address">Where it is.</param>
    /// <returns>Whether the translation is there and permits the access.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryFindAddress(TranslationSpace space, ulong iova, int permission, out ulong address)
    {
        ulong identity = space.Identity;

        // 0, pages of 4 KiB, if there is none: 32 zeroes are counted.
        int sizeClass = BitOperations.TrailingZeroCount((uint)(identity >> 32) & ~1u) & 7;
        int sizeLog2 = ShiftOf(sizeClass);
        ulong value = FindFirst(space, identity, iova >> sizeLog2, (ulong)(sizeClass + 1) << TagBits);
        if (value == 0)
        {
            return TryFindAnyAddress(space, iova, permission, out address);
        }

        address = AddressOf(value, sizeLog2, iova);
        return (value >> permission & 1) != 0;
    }

    /// <summary>Where a byte is in memory, by a value of a size.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong AddressOf(ulong value, int sizeLog2, ulong iova)
    {
        ulong offset = (1ul << sizeLog2) - 1;
        return (value & AddressMask & ~offset) | (iova & offset);
    }

    // In the first 16 ways of a set.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ulong FindFirst(TranslationSpace space, ulong identity, ulong page, ulong sizeClass)
    {
        nuint set = (nuint)(((uint)page ^ ((uint)identity * TagSpread)) & _setMask);
        int* version = _versions + set;

        // While a set changes its version is odd, and then the two cannot agree.
        int before = Volatile.Read(ref *version) & ~1;
        ulong* keys = _table + (set << _blockShift);
        Vector256<ulong> wanted = Vector256.Create((page << PageShift) | sizeClass | (uint)identity);
        uint matches = Matches(keys, 0, wanted) | Matches(keys, 4, wanted);
        if (matches == 0)
        {
            if (_paddedWays != 16)
            {
                return 0;
            }

            keys += 8;
            matches = Matches(keys, 0, wanted) | Matches(keys, 4, wanted);
            if (matches == 0)
            {
                return 0;
            }
        }

        ulong value = keys[_paddedWays + (uint)BitOperations.TrailingZeroCount(matches)];
        Volatile.ReadBarrier();
        return Volatile.Read(ref *version) == before && space.Identity == identity ? value : 0;
    }

    /// <summary>Finds a translation of any size.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public bool TryFind(TranslationSpace space, ulong address, out ulong value, out int sizeLog2) =>
        TryFind(space, space.Classes, address, out value, out sizeLog2);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryFind(TranslationSpace space, uint classes, ulong address, out ulong value, out int sizeLog2)
    {
        int tag = space.Tag;
        while (classes != 0)
        {
            int sizeClass = BitOperations.TrailingZeroCount(classes);
            classes &= classes - 1;
            sizeLog2 = ShiftOf(sizeClass);
            ulong page = address >> sizeLog2;
            if (TryFindInSet(SetOf(page, tag), KeyOf(page, sizeClass, tag), out value) && space.Tag == tag)
            {
                return true;
            }
        }

        value = 0;
        sizeLog2 = 0;
        return false;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private bool TryFindAnyAddress(TranslationSpace space, ulong iova, int permission, out ulong address)
    {
        // FindPage does not look at all ways of a set that has more.
        uint classes = _paddedWays <= 16 ? space.Classes & ~1u : space.Classes;
        bool found = TryFind(space, classes, iova, out ulong value, out int sizeLog2) && (value >> permission & 1) != 0;
        address = AddressOf(value, sizeLog2, iova);
        return found;
    }

    /// <summary>How far an access goes on in memory behind its first page: through pages that are cached, permitted and contiguous.</summary>
    /// <param name="space">Whose IOVAs they are.</param>
    /// <param name="permission">The bit of a value that permits the access.</param>
    /// <param name="range">IOVAs with any bit of the mask after adding the bias are not translated.</param>
    /// <param name="iova">The access's first byte.</param>
    /// <param name="address">Where it is in memory.</param>
    /// <param name="length">Bytes up to the end of the first page.</param>
    /// <param name="most">Bytes that are wanted at most, from <paramref name="length"/> on.</param>
    /// <returns>How many bytes lie in one piece of memory; what is not plain is left to the caller.</returns>
    /// <remarks>Not inlined: it ends with the wide registers clean, which the copy that follows needs.</remarks>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public int ExtendRun(
        TranslationSpace space, int permission, (ulong Bias, ulong Mask) range, ulong iova, ulong address, int length, int most)
    {
        while (length < most)
        {
            ulong next = iova + (ulong)length;
            if (((next + range.Bias) & range.Mask) != 0)
            {
                break;
            }

            ulong value = FindPage(space, next);
            int sizeLog2 = 12;
            if ((value == 0 && !TryFind(space, next, out value, out sizeLog2)) || (value >> permission & 1) == 0)
            {
                break;
            }

            if (AddressOf(value, sizeLog2, next) != address + (ulong)length)
            {
                break;
            }

            ulong offset = (1ul << sizeLog2) - 1;

            length += (int)Math.Min((ulong)(most - length), offset - (next & offset) + 1);
        }

        return length;
    }

    /// <summary>
    /// Has the processor fetch the sets of an access's pages, together: what a long access copies drives them out of the caches, and fetched one after the other
    /// they cost a fifth of the copy.
    /// </summary>
    public void Prefetch(TranslationSpace space, ulong address, int length)
    {
        const int LongestAhead = 16;
        if (!Sse.IsSupported)
        {
            return;
        }

        ulong page = address >> 12;
        int tag = space.Tag;
        for (int pages = Math.Min((length >> 12) + 1, LongestAhead); pages > 0; pages--, page++)
        {
            ulong* keys = KeysOf(SetOf(page, tag));
            Sse.Prefetch0(keys);
            Sse.Prefetch0(keys + _paddedWays);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private int SetOf(ulong page, int tag) => (int)(((uint)page ^ ((uint)tag * TagSpread)) & _setMask);

    private static ulong KeyOf(ulong page, int sizeClass, int tag) => (page << PageShift) | ((ulong)(sizeClass + 1) << TagBits) | (uint)tag;

    private ulong* KeysOf(int set) => _table + ((nuint)set << _blockShift);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryFindInSet(int set, ulong key, out ulong value)
    {
        int before = Volatile.Read(ref _versions[set]);
        ulong* keys = KeysOf(set);
        Vector256<ulong> wanted = Vector256.Create(key);
        uint matches = Matches(keys, 0, wanted) | Matches(keys, 4, wanted);
        if (matches == 0 && _paddedWays > 8)
        {
            for (int way = 8; way < _paddedWays && matches == 0; way += 8)
            {
                matches = Matches(keys + way, 0, wanted) | Matches(keys + way, 4, wanted);
                keys += matches == 0 ? 0 : way;
            }
        }

        value = keys[_paddedWays + (BitOperations.TrailingZeroCount(matches) & 7)];
        Volatile.ReadBarrier();
        return (matches != 0) & ((before & 1) == 0) & (Volatile.Read(ref _versions[set]) == before);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Matches(ulong* keys, int way, Vector256<ulong> wanted) =>
        Vector256.Equals(Vector256.Load(keys + way), wanted).ExtractMostSignificantBits() << way;

    /// <summary>Adds a translation, or replaces the one that is there.</summary>
    /// <param name="space">Whose it is.</param>
    /// <param name="address">Any address in the page.</param>
    /// <param name="spanLog2">log2 of the bytes that translate alike; the entry takes the largest class that fits.</param>
    /// <param name="firstStageSpanLog2">log2 of the bytes of the first-stage page.</param>
    /// <param name="physicalAddress">The translated <paramref name="address"/>.</param>
    /// <param name="attributes">The value's low bits.</param>
    /// <returns>Whether another live entry had to go.</returns>
    public bool Insert(
        TranslationSpace space, ulong address, int spanLog2, int firstStageSpanLog2, ulong physicalAddress, ulong attributes)
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
        ulong key = KeyOf(page, sizeClass, tag);
        ulong value = (physicalAddress & AddressMask & ~((1ul << shift) - 1)) | attributes;
        int set = SetOf(page, tag);
        ulong* keys = KeysOf(set);
        int way = ChooseWay(set, keys, key, out bool evicts, out bool replaces);
        if (evicts)
        {
            TranslationSpace victim = _spaceByTag[(int)(keys[way] & TagMask)]!;
            victim.Live--;
        }

        BeginChange(set);
        keys[way] = key;
        keys[_paddedWays + way] = value;
        EndChange(set);
        space.Live += replaces ? 0 : 1;
        space.Classes |= 1u << sizeClass;
        return evicts;
    }

    // Changes exclude each other by the cache lock; whoever looks without it sees the odd version before any of the change, and the
    // even one after all of it.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void BeginChange(int set)
    {
        _versions[set]++;
        Volatile.WriteBarrier();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void EndChange(int set) => Volatile.Write(ref _versions[set], _versions[set] + 1);

    private static int ShiftOf(int sizeClass) => (int)(ClassShifts >> (sizeClass * 8)) & 0xff;

    private int ChooseWay(int set, ulong* keys, ulong key, out bool evicts, out bool replaces)
    {
        evicts = replaces = false;
        int free = -1;
        for (int way = 0; way < _ways; way++)
        {
            ulong present = keys[way];
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

    private int TakeTag(TranslationSpace space)
    {
        if (_nextTag == TagLimit)
        {
            // Tags are used up: start over with nothing.
            foreach (TranslationSpace? other in _spaceByTag)
            {
                if (other is not null)
                {
                    RemoveAll(other);
                }
            }

            for (int set = 0; set <= (int)_setMask; set++)
            {
                BeginChange(set);
                new Span<ulong>(KeysOf(set), _paddedWays * 2).Clear();
                EndChange(set);
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
    public int RemoveAll(TranslationSpace space)
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
    public int Remove(TranslationSpace space, ulong address, int sizeLog2)
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

    private bool RemoveKey(TranslationSpace space, ulong page, int sizeClass)
    {
        ulong key = KeyOf(page, sizeClass, space.Tag);
        int set = SetOf(page, space.Tag);
        Span<ulong> keys = new(KeysOf(set), _ways);
        int way = keys.IndexOf(key);
        if (way < 0)
        {
            return false;
        }

        BeginChange(set);
        keys[way] = 0;
        EndChange(set);
        space.Live--;
        return true;
    }
}
