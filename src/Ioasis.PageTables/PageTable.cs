using System.Diagnostics;
using System.Runtime.CompilerServices;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.PageTables;

/// <summary>
/// A radix table: the algorithms, written once over a format and a kind of memory, both known to the JIT. This part holds the
/// state, the geometry and the access to entries; the others hold an operation each.
/// </summary>
/// <typeparam name="TFormat">The format.</typeparam>
/// <typeparam name="TMemory">How table pages are reached.</typeparam>
internal sealed unsafe partial class PageTable<TFormat, TMemory> : IoPageTable
    where TFormat : struct, IPageTableFormat
    where TMemory : struct, ITableMemory
{
    private const int GranuleLog2 = 12;
    private const ulong Granule = 1ul << GranuleLog2;
    private const ulong GranuleMask = Granule - 1;

    private readonly TMemory _memory;
    private readonly IPageAllocator _pages;
    private readonly ulong _root;
    private readonly ulong _preset;
    private readonly ulong _apertureLast;
    private readonly ulong _outputLast;
    private readonly ulong _leafSizes;
    private readonly bool _memoryTypes;
    private readonly bool _hardwareDirty;
    private readonly int _node;
    private long _tableBytes;
    private int _disposed;

    internal PageTable(
        PageTableOptions options, FormatSettings settings, TMemory memory, IPageAllocator pages, PhysicalAddress root)
    {
        _memory = memory;
        _pages = pages;
        _preset = settings.Preset;
        _memoryTypes = settings.MemoryTypes;
        _hardwareDirty = options.HardwareDirty;
        _node = options.Node;
        _apertureLast = (1ul << Math.Min(TFormat.ApertureBits, options.ApertureBits)) - 1;
        _outputLast = (1ul << Math.Min(TFormat.OutputBits, options.PhysicalAddressBits)) - 1;
        ulong permitted = options.LeafSizes | Granule;
        for (int level = 0; level < TFormat.Levels && TFormat.CanBeLeaf(level) && (permitted & (1ul << ShiftOf(level))) != 0; level++)
        {
            _leafSizes |= 1ul << ShiftOf(level);
        }

        if (settings.ContiguousLeaves)
        {
            _leafSizes |= permitted & (1ul << TFormat.ContiguousLog2);
        }

        Root = root;
        _root = _memory.Open(root.Value, 1ul << RootSizeLog2);
        _tableBytes = 1L << RootSizeLog2;
    }

    /// <inheritdoc/>
    public override PageTableFormat Format => PageTableFormat.Of<TFormat>();

    /// <inheritdoc/>
    public override PhysicalAddress Root { get; }

    /// <inheritdoc/>
    public override AddressRange Aperture => new(0, _apertureLast);

    /// <inheritdoc/>
    public override ulong PageSizes => _leafSizes;

    /// <inheritdoc/>
    public override long TableBytes => Volatile.Read(ref _tableBytes);

    private static int RootLevel => TFormat.Levels - 1;

    private static int RootSizeLog2 => TFormat.RootIndexBits + TFormat.EntrySizeLog2;

    private static int TableSizeLog2 => TFormat.IndexBits + TFormat.EntrySizeLog2;

    private static ulong IndexMask => (1ul << TFormat.IndexBits) - 1;

    private static int ContiguousEntries => TFormat.ContiguousLog2 == 0 ? 1 : 1 << (TFormat.ContiguousLog2 - GranuleLog2);

    // Whether the run helpers can be used: 8-byte entries at host addresses.
    private static bool IsBulk => TMemory.IsDirect && TFormat.EntrySizeLog2 == 3;

    private bool UsesContiguous => TFormat.ContiguousLog2 != 0 && (_leafSizes & (1ul << TFormat.ContiguousLog2)) != 0;

    /// <inheritdoc/>
    public override void Release(ref InvalidationGather gather)
    {
        foreach ((PhysicalAddress address, int sizeLog2) in gather.FreedTables)
        {
            _pages.Free(address, sizeLog2);
        }

        gather.Clear();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        // Without the owner's word that nothing walks the table, its pages are lost rather than reused.
        if (!disposing || Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        FreeTree(Everything);
        _pages.Free(Root, RootSizeLog2);
        _tableBytes = 0;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int ShiftOf(int level) => GranuleLog2 + (level * TFormat.IndexBits);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong LocationOf(ulong table, int index) => table + ((ulong)index << TFormat.EntrySizeLog2);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ulong ReadEntry(ulong location) =>
        TFormat.EntrySizeLog2 == 3 ? _memory.Read64(location) : _memory.Read32(location);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void WriteEntry(ulong location, ulong entry)
    {
        if (TFormat.EntrySizeLog2 == 3)
        {
            _memory.Write64(location, entry);
        }
        else
        {
            _memory.Write32(location, entry);
        }
    }

    private ulong ExchangeEntry(ulong location, ulong expected, ulong desired) => TFormat.EntrySizeLog2 == 3
        ? _memory.CompareExchange64(location, expected, desired)
        : _memory.CompareExchange32(location, expected, desired);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ulong OpenTable(ulong entry, int level) => _memory.Open(TFormat.TableAddress(entry, level));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsPresent(ulong entry) => (entry & TFormat.PresentMask) != 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsTable(ulong entry, int level) => level > 0 && TFormat.IsTable(entry, level);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsContiguous(ulong entry, int level) =>
        TFormat.ContiguousBit != 0 && level == 0 && (entry & TFormat.ContiguousBit) != 0;

    // Checks what Map and Unmap have in common.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Errno CheckRange(ulong start, ulong length)
    {
        if (((start | length) & GranuleMask) != 0 || length == 0)
        {
            return Errno.InvalidArgument;
        }

        return start > _apertureLast || length - 1 > _apertureLast - start ? Errno.OutOfRange : Errno.Success;
    }

    private Errno Finish(Errno error) => !TMemory.IsDirect && _memory.HasFailed ? Errno.IoError : error;

    // Frees all tables below a table, but not the table.
    private void FreeTree(TableCursor at)
    {
        for (; at.Level > 0 && at.Table != 0 && at.IsInside; at.Move())
        {
            ulong entry = ReadEntry(at.Location);
            if (TFormat.IsTable(entry, at.Level))
            {
                FreeTree(at.Below(OpenTable(entry, at.Level)));
                _pages.Free(new(TFormat.TableAddress(entry, at.Level)), TableSizeLog2);
            }
        }
    }

    // Pages for tables are taken before anything is changed, and wait in a list that links them through their first 8 bytes.
    private ref struct SparePages
    {
        private readonly PageTable<TFormat, TMemory> _owner;
        private ulong _head;
        private int _count;

        public SparePages(PageTable<TFormat, TMemory> owner) => _owner = owner;

        public Errno Reserve(int count)
        {
            while (_count < count)
            {
                if (!_owner._pages.TryAllocate(TableSizeLog2, _owner._node, out PhysicalAddress page))
                {
                    Free();
                    return Errno.OutOfMemory;
                }

                Push(page.Value);
            }

            return Errno.Success;
        }

        public void Push(ulong page)
        {
            // The last one has no link and is zero as the others will be.
            if (_head != 0)
            {
                _owner._memory.Write64(_owner._memory.Open(page), _head);
            }

            _head = page;
            _count++;
        }

        // Takes a page, all zero.
        public bool TryPop(out ulong page, out ulong table)
        {
            page = _head;
            table = 0;
            if (_count == 0)
            {
                return false;
            }

            table = _owner._memory.Open(page);
            _count--;
            _head = 0;
            if (_count > 0)
            {
                _head = _owner._memory.Read64(table);
                _owner._memory.Write64(table, 0);
                if (!TMemory.IsDirect && _owner._memory.HasFailed)
                {
                    // The link is lost, and with it the pages: better than pages that are not ours.
                    (_head, _count) = (0, 0);
                }
            }

            return table != 0;
        }

        public void Free()
        {
            while (_count > 0 && TryPop(out ulong page, out _))
            {
                _owner._pages.Free(new(page), TableSizeLog2);
            }
        }
    }
}
