using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;

namespace Ioasis.Platform;

// The paged part: for memory of which much is touched once and little is needed at a time. Pages and their tables come from pools
// of this object and go back there, so that a page that is written and discarded costs no call to the host.
public sealed unsafe partial class SparsePhysicalMemory
{
    private const ulong PageSize = 4096;
    private const int PageShift = 12;
    private const int PagesOfTable = 1 << (ChunkShift - PageShift);

    // Pages are taken from the host by so many.
    private const int Slab = 64;

    private readonly Lock _poolLock = new();
    private readonly Stack<nint> _freePages = new();
    private readonly Stack<nint> _freeTables = new();
    private long _pages;

    /// <summary>Bytes of pages that hold something: written or pointed at, and not discarded since.</summary>
    public long PagedBytes => Volatile.Read(ref _pages) << PageShift;

    private struct PageTable
    {
        public fixed long Pages[PagesOfTable];
        public int Used;
    }

    /// <inheritdoc/>
    public void Discard(PhysicalAddress address, ulong length)
    {
        if (length == 0 || !InRange(address.Value, length))
        {
            return;
        }

        // Whole pages only: what lies beside the range stays.
        ulong first = (address.Value + (PageSize - 1)) >> PageShift;
        ulong end = Math.Min(address.Value + length, PagedLimit) >> PageShift;
        for (ulong page = first; page < end;)
        {
            ulong nextTable = (page | (PagesOfTable - 1)) + 1;
            PageTable* table = (PageTable*)FindSlot(page << PageShift);
            if (table != null)
            {
                DiscardFrom(table, page, Math.Min(end, nextTable));
            }

            page = nextTable;
        }
    }

    private void DiscardFrom(PageTable* table, ulong page, ulong end)
    {
        lock (_poolLock)
        {
            for (ulong at = page; at < end; at++)
            {
                ref long slot = ref table->Pages[at & (PagesOfTable - 1)];
                if (slot != 0)
                {
                    new Span<byte>((void*)slot, (int)PageSize).Clear();
                    _freePages.Push((nint)slot);
                    slot = 0;
                    table->Used--;
                    _pages--;
                }
            }

            if (table->Used == 0)
            {
                *AddSlot(page << PageShift) = null;
                _freeTables.Push((nint)table);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static byte* FindPaged(byte* table, ulong address)
    {
        byte* page = (byte*)Volatile.Read(ref ((PageTable*)table)->Pages[(address >> PageShift) & (PagesOfTable - 1)]);
        return page == null ? null : page + (address & (PageSize - 1));
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private byte* AddPage(ulong address)
    {
        lock (_poolLock)
        {
            byte** slot = AddSlot(address);
            if (*slot == null)
            {
                nint fresh = _freeTables.TryPop(out nint table) ? table : AllocateAligned((nuint)sizeof(PageTable));
                Volatile.Write(ref *(nint*)slot, fresh);
            }

            ref long page = ref ((PageTable*)*slot)->Pages[(address >> PageShift) & (PagesOfTable - 1)];
            if (page == 0)
            {
                if (_freePages.Count == 0)
                {
                    nint slab = AllocateAligned(Slab * (nuint)PageSize);
                    for (int i = Slab - 1; i >= 0; i--)
                    {
                        _freePages.Push(slab + (nint)((ulong)i * PageSize));
                    }
                }

                ((PageTable*)*slot)->Used++;
                _pages++;
                Volatile.Write(ref page, _freePages.Pop());
            }

            return (byte*)page + (address & (PageSize - 1));
        }
    }

    private nint AllocateAligned(nuint bytes)
    {
        nint block = (nint)NativeMemory.AllocZeroed(bytes + Alignment);
        lock (_blocks)
        {
            _blocks.Add(block);
        }

        return (block + (nint)(Alignment - 1)) & ~(nint)(Alignment - 1);
    }
}
