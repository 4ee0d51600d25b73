using System.Diagnostics;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <content>The way of an IOVA between the caches, the depots and the tree.</content>
internal sealed partial class IovaAllocator
{
    private IovaCacheSlot Slot()
    {
        uint number = _slotChooser is null ? (uint)Thread.GetCurrentProcessorId() : (uint)_slotChooser();
        uint count = (uint)_slotCount;
        return _slots[number < count ? number : number % count];
    }

    private bool TryAllocateCached(int order, ulong lastStart, ulong last, out ulong start)
    {
        IovaCacheSlot slot = Slot();
        using (slot.Lock.Acquire())
        {
            ref IovaMagazinePair pair = ref slot.Orders[order];
            if (pair.Loaded.TryPop(lastStart, out start))
            {
                slot.CacheHits++;
                return true;
            }

            if (pair.Previous.TryPop(lastStart, out start))
            {
                slot.CacheHits++;
                (pair.Loaded, pair.Previous) = (pair.Previous, pair.Loaded);
                return true;
            }

            if (pair.Loaded.Count == 0)
            {
                if (_depots[order].TryTakeFull(ref pair.Loaded) && pair.Loaded.TryPop(lastStart, out start))
                {
                    slot.DepotHits++;
                    return true;
                }

                if (pair.Loaded.Count == 0 && Refill(pair.Loaded, order, last) && pair.Loaded.TryPop(lastStart, out start))
                {
                    return true;
                }
            }
        }

        return TryAllocateFromTree(1ul << order, 1ul << order, last, out start);
    }

    // Under the lock of the cache.
    private void FreeCached(IovaCacheSlot slot, int order, ulong start)
    {
        ref IovaMagazinePair pair = ref slot.Orders[order];
        if (pair.Loaded.IsFull)
        {
            (pair.Loaded, pair.Previous) = (pair.Previous, pair.Loaded);
            if (pair.Loaded.IsFull && !_depots[order].TryPutFull(ref pair.Loaded))
            {
                Empty(pair.Loaded, order);
            }
        }

        pair.Loaded.Push(start);
    }

    private bool Refill(IovaMagazine magazine, int order, ulong last)
    {
        ulong size = 1ul << order;
        ulong count = size << _refillLog2;
        ulong start;
        using (_treeLock.Acquire())
        {
            if (!_tree.TryTakeHighest(count, count, last, out start))
            {
                return false;
            }

            _treeAllocations++;
        }

        for (ulong next = start; next < start + count; next += size)
        {
            magazine.Push(next);
        }

        return true;
    }

    // What the caches hold may be just what is missing.
    private bool TryAllocateFromTree(ulong count, ulong alignment, ulong last, out ulong start)
    {
        using (_treeLock.Acquire())
        {
            if (_tree.TryTakeHighest(count, alignment, last, out start))
            {
                _treeAllocations++;
                return true;
            }
        }

        return _orders != 0 && TryAllocateFromAll(0, count, alignment, last, out start);
    }

    // All caches are held while they are emptied and the tree is searched: another processor that fills its own again meanwhile
    // would keep what is free from being found.
    private bool TryAllocateFromAll(int slot, ulong count, ulong alignment, ulong last, out ulong start)
    {
        if (slot < _slotCount)
        {
            using (_slots[slot].Lock.Acquire())
            {
                EmptySlot(_slots[slot]);
                return TryAllocateFromAll(slot + 1, count, alignment, last, out start);
            }
        }

        EmptyDepots();
        using (_treeLock.Acquire())
        {
            bool found = _tree.TryTakeHighest(count, alignment, last, out start);
            _treeAllocations += found ? 1 : 0;
            return found;
        }
    }

    // Under the lock of the cache.
    private void EmptySlot(IovaCacheSlot slot)
    {
        for (int order = 0; order < _orders; order++)
        {
            ref IovaMagazinePair pair = ref slot.Orders[order];
            Empty(pair.Loaded, order);
            Empty(pair.Previous, order);
        }
    }

    private void EmptyDepots()
    {
        for (int order = 0; order < _orders; order++)
        {
            while (_depots[order].Take() is { } magazine)
            {
                Empty(magazine, order);
                _depots[order].Return(magazine);
            }
        }
    }

    private bool GiveToTree(ulong start, ulong last)
    {
        using (_treeLock.Acquire())
        {
            bool given = !_reserved.Overlaps(new(start, last)) && _tree.TryGive(start, last);
            _treeFrees += given ? 1 : 0;
            return given;
        }
    }

    private void Empty(IovaMagazine magazine, int order)
    {
        if (magazine.Count == 0)
        {
            return;
        }

        using (_treeLock.Acquire())
        {
            foreach (ulong start in magazine.Items)
            {
                bool given = _tree.TryGive(start, start + ((1ul << order) - 1));
                Debug.Assert(given, "an IOVA was freed twice");
                _treeFrees += given ? 1 : 0;
            }
        }

        magazine.Clear();
    }

    /// <summary>A run of frees; disposing it ends it.</summary>
    internal readonly ref struct FreeScope
    {
        private readonly IovaAllocator _owner;
        private readonly IovaCacheSlot _slot;
        private readonly IoLock.Scope _lock;

        internal FreeScope(IovaAllocator owner, IovaCacheSlot slot, IoLock.Scope held)
        {
            _owner = owner;
            _slot = slot;
            _lock = held;
        }

        /// <summary>Frees one range; see <see cref="IovaAllocator.Free"/>.</summary>
        public Errno Free(Iova iova, ulong length)
        {
            if (!_owner.CanFree(iova, length))
            {
                return Errno.InvalidArgument;
            }

            ulong count = length >> _owner._granuleLog2;
            ulong start = iova.Value >> _owner._granuleLog2;
            int order = OrderOf(count);
            if (order >= _owner._orders)
            {
                return _owner.GiveToTree(start, start + (count - 1)) ? Errno.Success : Errno.InvalidArgument;
            }

            _owner.FreeCached(_slot, order, start);
            return Errno.Success;
        }

        /// <summary>Ends the run.</summary>
        public void Dispose() => _lock.Dispose();
    }
}
