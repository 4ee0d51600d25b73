using System.Numerics;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// Gives out IOVAs of one address space: size-aligned, from the top down, below a limit that each call names. Small sizes come
/// from magazines that each processor has for itself, with a depot behind them (J. Bonwick, J. Adams, "Magazines and Vmem",
/// USENIX 2001); the rest, and what the magazines lack, comes from a tree of free ranges. Thread-safe; allocates no managed
/// memory in a steady state. It never touches a page table, and knows nothing of pending invalidations: its user frees an IOVA
/// only after the fence that covers its last use (invariant 2).
/// </summary>
/// <remarks>
/// A count of granules that is cached is rounded up to a power of two, in allocation and in freeing alike. Order of the locks: a
/// processor's cache, then those of higher-numbered processors, then the depot or the tree.
/// </remarks>
internal sealed partial class IovaAllocator
{
    /// <summary>The most sizes that can be cached: 1 to 32 granules.</summary>
    public const int MaxCachedOrders = 6;

    /// <summary>
    /// References that an array has too many, so that what stands behind it in memory, and is written all the time, does not
    /// share a cache line with what every processor reads.
    /// </summary>
    internal const int Spacing = 16;

    private readonly IovaRangeTree _tree = new();
    private readonly IoLock _treeLock = new();
    private readonly IovaCacheSlot[] _slots;
    private readonly int _slotCount;
    private readonly IovaDepot[] _depots;
    private readonly Func<int>? _slotChooser;
    private readonly int _granuleLog2;
    private readonly int _orders;
    private readonly int _refillLog2;
    private readonly ulong _first;
    private readonly ulong _last;

    // In granules, what is outside the aperture included. Guarded by the lock of the tree.
    private readonly IntervalSet _reserved = [];
    private long _treeAllocations;
    private long _treeFrees;
    private long _failures;

    /// <summary>Makes an allocator in which everything is free but IOVA 0, which drivers take for an error.</summary>
    /// <param name="aperture">What may be given out; what is no whole granule at its ends is left out.</param>
    /// <param name="granuleLog2">log2 of the bytes of a granule, 0 to 30.</param>
    /// <param name="options">Caching.</param>
    /// <exception cref="ArgumentOutOfRangeException">An argument is out of range.</exception>
    public IovaAllocator(AddressRange aperture, int granuleLog2, IovaAllocatorOptions? options = null)
    {
        options ??= new();
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)granuleLog2, 30u, nameof(granuleLog2));
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)options.CachedOrders, (uint)MaxCachedOrders, nameof(options));
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MagazineSize, 1, nameof(options));
        ArgumentOutOfRangeException.ThrowIfNegative(options.DepotMagazines, nameof(options));
        ArgumentOutOfRangeException.ThrowIfLessThan(options.RefillCount, 1, nameof(options));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.RefillCount, options.MagazineSize, nameof(options));
        _granuleLog2 = granuleLog2;
        _orders = options.CachedOrders;
        _refillLog2 = BitOperations.Log2((uint)options.RefillCount);
        _slotChooser = options.SlotChooser;
        _slotCount = Math.Max(1, options.Slots ?? Environment.ProcessorCount);
        _slots = new IovaCacheSlot[_slotCount + Spacing];
        _depots = new IovaDepot[_orders];
        for (int i = 0; i < _slotCount; i++)
        {
            _slots[i] = new(_orders, options.MagazineSize);
        }

        for (int i = 0; i < _orders; i++)
        {
            _depots[i] = new(options.DepotMagazines, options.MagazineSize);
        }

        ulong mask = (1ul << granuleLog2) - 1;
        ulong first = Math.Max(1, (aperture.Start >> granuleLog2) + ((aperture.Start & mask) != 0 ? 1ul : 0));
        ulong end = (aperture.Last >> granuleLog2) + ((aperture.Last & mask) == mask ? 1ul : 0);
        (_first, _last) = (first, end - 1);
        if (end <= first)
        {
            _reserved.Add(AddressRange.All);
            (_first, _last) = (1, 0);
            return;
        }

        _ = _tree.TryGive(first, end - 1);
        _reserved.Add(new(0, first - 1));
        if (end - 1 != ulong.MaxValue)
        {
            _reserved.Add(new(end, ulong.MaxValue));
        }
    }

    /// <summary>Bytes of a granule.</summary>
    public ulong Granule => 1ul << _granuleLog2;

    /// <summary>What the allocator did and holds. Exact only while nobody allocates or frees.</summary>
    public IovaAllocatorStatistics Statistics
    {
        get
        {
            long hits = 0;
            long depotHits = 0;
            ulong cached = 0;
            foreach (IovaCacheSlot slot in _slots.AsSpan(0, _slotCount))
            {
                using (slot.Lock.Acquire())
                {
                    hits += slot.CacheHits;
                    depotHits += slot.DepotHits;
                    for (int order = 0; order < _orders; order++)
                    {
                        ref IovaMagazinePair pair = ref slot.Orders[order];
                        cached += (ulong)(pair.Loaded.Count + pair.Previous.Count) << order;
                    }
                }
            }

            for (int order = 0; order < _orders; order++)
            {
                cached += _depots[order].Items << order;
            }

            using (_treeLock.Acquire())
            {
                return new(
                    hits, depotHits, _treeAllocations, _treeFrees, Volatile.Read(ref _failures),
                    cached << _granuleLog2, _tree.FreeGranules << _granuleLog2, _tree.Count);
            }
        }
    }

    /// <summary>Takes a range out for good: a reserved region. What of it lies outside the aperture is no matter.</summary>
    /// <returns>Success, also if it was reserved before; <see cref="Errno.Busy"/> if a part is allocated: then nothing changed.</returns>
    public Errno Reserve(AddressRange range) => TryReserve(range, null);

    /// <summary>As <see cref="Reserve"/>, and notes what was not reserved before, for <see cref="Unreserve"/>.</summary>
    internal Errno TryReserve(AddressRange range, List<AddressRange>? added)
    {
        FlushCaches();
        AddressRange granules = new(range.Start >> _granuleLog2, range.Last >> _granuleLog2);
        using (_treeLock.Acquire())
        {
            // What is neither free nor reserved is allocated.
            IntervalSet known = _reserved.Clone();
            foreach ((ulong start, ulong last) in _tree.ToList())
            {
                known.Add(new(start, last));
            }

            if (!known.Contains(granules))
            {
                return Errno.Busy;
            }

            added?.AddRange(_reserved.Complement(granules));
            _tree.TakeAll(granules.Start, granules.Last);
            _reserved.Add(granules);
            return Errno.Success;
        }
    }

    /// <summary>Undoes reservations, of which none may have been relied upon.</summary>
    /// <param name="granules">As <see cref="TryReserve"/> noted them.</param>
    internal void Unreserve(IReadOnlyList<AddressRange> granules)
    {
        using (_treeLock.Acquire())
        {
            foreach (AddressRange range in granules)
            {
                _reserved.Remove(range);
                _ = _tree.TryGive(range.Start, range.Last);
            }
        }
    }

    /// <summary>Gives out IOVAs. They are aligned to their length, rounded up to a power of two of granules.</summary>
    /// <param name="length">Bytes, a multiple of the granule, not 0.</param>
    /// <param name="limit">Last IOVA that may be used, inclusive.</param>
    /// <param name="iova">The first.</param>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> for the length; <see cref="Errno.NoSpace"/> if there is no room below the limit.
    /// </returns>
    public Errno TryAllocate(ulong length, Iova limit, out Iova iova)
    {
        iova = default;
        ulong count = length >> _granuleLog2;
        if (count == 0 || (length & (Granule - 1)) != 0)
        {
            return Errno.InvalidArgument;
        }

        if (Injection.Hit(InjectionKind.Allocate) != Errno.Success || limit.Value < length - 1)
        {
            return Errno.NoSpace;
        }

        // The granules that may be used end where the limit does.
        ulong last = limit.Value == ulong.MaxValue ? ulong.MaxValue >> _granuleLog2 : ((limit.Value + 1) >> _granuleLog2) - 1;
        int order = OrderOf(count);
        count = order < _orders ? 1ul << order : count;
        ulong start = 0;
        bool found = last >= count - 1
            && (order < _orders
                ? TryAllocateCached(order, last - (count - 1), last, out start)
                : TryAllocateFromTree(count, 1ul << order, last, out start));
        if (!found)
        {
            _ = Interlocked.Increment(ref _failures);
            return Errno.NoSpace;
        }

        iova = new(start << _granuleLog2);
        return Errno.Success;
    }

    /// <summary>Takes back IOVAs: all that one allocation gave, or a part of one that is too long to be cached.</summary>
    /// <param name="iova">As allocated.</param>
    /// <param name="length">As allocated.</param>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> if they cannot have been allocated so, as far as that shows: then nothing changed.
    /// </returns>
    public Errno Free(Iova iova, ulong length)
    {
        using FreeScope scope = BeginFree();
        return scope.Free(iova, length);
    }

    /// <summary>Whether an allocation can have given these IOVAs, as far as length and alignment tell.</summary>
    internal bool CanFree(Iova iova, ulong length)
    {
        ulong count = length >> _granuleLog2;
        ulong start = iova.Value >> _granuleLog2;
        if (count == 0 || ((length | iova.Value) & (Granule - 1)) != 0 || start < _first || start > _last || count - 1 > _last - start)
        {
            return false;
        }

        int order = OrderOf(count);
        ulong mask = (1ul << order) - 1;
        return order >= _orders || ((start & mask) == 0 && mask <= _last - start);
    }

    /// <summary>Starts to free many in one go: the processor's cache is locked once.</summary>
    internal FreeScope BeginFree()
    {
        IovaCacheSlot slot = Slot();
        return new(this, slot, slot.Lock.Acquire());
    }

    /// <summary>Bytes that an allocation really takes: small ones are rounded up to a power of two of granules.</summary>
    public ulong RoundUp(ulong length)
    {
        int order = OrderOf(length >> _granuleLog2);
        return order < _orders ? 1ul << (order + _granuleLog2) : length;
    }

    /// <summary>Gives everything that is cached back to the tree.</summary>
    public void FlushCaches()
    {
        foreach (IovaCacheSlot slot in _slots.AsSpan(0, _slotCount))
        {
            using (slot.Lock.Acquire())
            {
                EmptySlot(slot);
            }
        }

        EmptyDepots();
    }

    /// <summary>An audit: the free granules of the tree, ascending; throws if the tree is broken.</summary>
    internal List<(ulong Start, ulong Last)> CheckTree()
    {
        using (_treeLock.Acquire())
        {
            _tree.Check();
            return _tree.ToList();
        }
    }

    private static int OrderOf(ulong count) => count <= 1 ? 0 : 64 - BitOperations.LeadingZeroCount(count - 1);
}
