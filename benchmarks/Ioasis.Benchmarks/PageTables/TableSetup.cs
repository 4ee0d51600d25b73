using Ioasis.PageTables;
using Ioasis.PageTables.Formats;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Benchmarks.PageTables;

/// <summary>A table in sparse memory, and the loops over it that the benchmarks share.</summary>
public sealed class TableSetup : IDisposable
{
    public const ulong Page = 1ul << 12;
    public const ulong Gigabyte = 1ul << 30;
    public const int PagesPerGigabyte = 1 << 18;

    /// <summary>The formats that the benchmarks compare: two of RISC-V, then x86-64's and VT-d's of as many levels.</summary>
    public static IReadOnlyList<PageTableFormat> Formats { get; } =
    [
        PageTableFormat.Of<Sv39>(), PageTableFormat.Of<Sv48>(), PageTableFormat.Of<X64Level4>(), PageTableFormat.Of<VtdStage2Level4>(),
    ];

    private readonly SparsePhysicalMemory _memory = new();
    private readonly RangePageAllocator _pages;

    public TableSetup(PageTableFormat format, bool smallLeavesOnly)
    {
        _pages = new(_memory, new(1ul << 40, (1ul << 40) + (1ul << 34) - 1));
        PageTableOptions options = new() { LeafSizes = smallLeavesOnly ? Page : ulong.MaxValue };
        Errno error = IoPageTable.TryCreate(format, options, _memory, _pages, out IoPageTable? table);
        Table = error == Errno.Success ? table! : throw new InvalidOperationException(error.ToString());
    }

    internal IoPageTable Table { get; }

    public void Map(ulong iova, ulong address, ulong length)
    {
        InvalidationGather gather = default;
        Check(Table.Map(new(iova), new(address), length, Access.ReadWrite, ref gather));
        Table.Release(ref gather);
    }

    public void Unmap(ulong iova, ulong length)
    {
        InvalidationGather gather = default;
        Check(Table.Unmap(new(iova), length, ref gather, out _));
        Table.Release(ref gather);
    }

    public void MapEachPage(int pages)
    {
        for (ulong i = 0; i < (ulong)pages; i++)
        {
            Map(i << 12, i << 12, Page);
        }
    }

    public void UnmapEachPage(int pages)
    {
        for (ulong i = 0; i < (ulong)pages; i++)
        {
            Unmap(i << 12, Page);
        }
    }

    public void Dispose()
    {
        Table.Dispose();
        _memory.Dispose();
    }

    public static void Check(Errno error)
    {
        if (error != Errno.Success)
        {
            throw new InvalidOperationException(error.ToString());
        }
    }
}
