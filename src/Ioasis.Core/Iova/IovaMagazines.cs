using Ioasis.Platform;

namespace Ioasis.Core;

/// <summary>A stack of free IOVAs of one size, as granule numbers.</summary>
internal sealed class IovaMagazine(int size)
{
    private readonly ulong[] _items = new ulong[size];

    public int Count { get; private set; }

    public bool IsFull => Count == _items.Length;

    public ReadOnlySpan<ulong> Items => _items.AsSpan(0, Count);

    public void Push(ulong item) => _items[Count++] = item;

    public void Clear() => Count = 0;

    /// <summary>Takes the youngest one that is not above <paramref name="last"/>.</summary>
    public bool TryPop(ulong last, out ulong item)
    {
        ulong[] items = _items;
        for (int i = Count - 1; (uint)i < (uint)items.Length; i--)
        {
            item = items[i];
            if (item <= last)
            {
                items[i] = items[--Count];
                return true;
            }
        }

        item = 0;
        return false;
    }
}

/// <summary>What a processor has at hand of one size: two magazines, so that a run of frees and a run of allocations that meet at
/// a magazine's edge do not go to the depot each time.</summary>
internal struct IovaMagazinePair
{
    public IovaMagazine Loaded;
    public IovaMagazine Previous;
}

/// <summary>
/// The caches of one processor, under a lock that nearly always only that processor takes. Its magazines stand in memory between
/// its lock and that of the next, so that neighbours do not slow each other.
/// </summary>
internal sealed class IovaCacheSlot
{
    public readonly IoLock Lock = new();
    public readonly IovaMagazinePair[] Orders;
    public long CacheHits;
    public long DepotHits;

    public IovaCacheSlot(int orders, int magazineSize)
    {
        Orders = new IovaMagazinePair[orders];
        foreach (ref IovaMagazinePair pair in Orders.AsSpan())
        {
            pair.Loaded = new(magazineSize);
            pair.Previous = new(magazineSize);
        }
    }
}

/// <summary>Full magazines of one size that any processor may take, and empty ones for the next to fill. Locked by itself.</summary>
internal sealed class IovaDepot(int capacity, int magazineSize)
{
    private readonly IoLock _lock = new();
    private readonly IovaMagazine[] _full = new IovaMagazine[capacity];
    private readonly IovaMagazine[] _empty = new IovaMagazine[capacity + 1];
    private int _fullCount;
    private int _emptyCount;

    public ulong Items
    {
        get
        {
            using (_lock.Acquire())
            {
                ulong items = 0;
                for (int i = 0; i < _fullCount; i++)
                {
                    items += (ulong)_full[i].Count;
                }

                return items;
            }
        }
    }

    /// <summary>Exchanges an empty magazine for a full one.</summary>
    /// <returns>Whether there was one; else the magazine is as it was.</returns>
    public bool TryTakeFull(ref IovaMagazine empty)
    {
        using (_lock.Acquire())
        {
            if (_fullCount == 0)
            {
                return false;
            }

            KeepEmpty(empty);
            empty = _full[--_fullCount];
            _full[_fullCount] = null!;
            return true;
        }
    }

    /// <summary>Exchanges a full magazine for an empty one.</summary>
    /// <returns>Whether there was room; else the magazine is as it was.</returns>
    public bool TryPutFull(ref IovaMagazine full)
    {
        using (_lock.Acquire())
        {
            if (_fullCount == capacity)
            {
                return false;
            }

            _full[_fullCount++] = full;
            full = _emptyCount > 0 ? _empty[--_emptyCount] : new(magazineSize);
            return true;
        }
    }

    /// <summary>Takes a full magazine out, for its content to be given up; <see cref="Return"/> it empty.</summary>
    public IovaMagazine? Take()
    {
        using (_lock.Acquire())
        {
            if (_fullCount == 0)
            {
                return null;
            }

            IovaMagazine magazine = _full[--_fullCount];
            _full[_fullCount] = null!;
            return magazine;
        }
    }

    /// <summary>Keeps an empty magazine for later.</summary>
    public void Return(IovaMagazine empty)
    {
        using (_lock.Acquire())
        {
            KeepEmpty(empty);
        }
    }

    private void KeepEmpty(IovaMagazine empty)
    {
        if (_emptyCount < _empty.Length)
        {
            _empty[_emptyCount++] = empty;
        }
    }
}
