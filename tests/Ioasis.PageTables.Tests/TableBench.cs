using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.PageTables.Tests;

/// <summary>Which memory a table stands in.</summary>
public enum MemoryKind
{
    /// <summary>Sparse memory, reached by pointers.</summary>
    Sparse,

    /// <summary>Another memory that hands out pointers.</summary>
    Host,

    /// <summary>Memory without pointers.</summary>
    Watched,
}

/// <summary>A format with a configuration: what every claim is checked for.</summary>
public sealed record TableCase(PageTableFormat Format, MemoryKind Memory, bool Napot)
{
    /// <summary>Every combination that there is.</summary>
    public static IEnumerable<TheoryDataRow<TableCase>> All()
    {
        foreach (PageTableFormat format in Enum.GetValues<PageTableFormat>())
        {
            foreach (MemoryKind memory in Enum.GetValues<MemoryKind>())
            {
                yield return new(new(format, memory, false));
                if (format is not (PageTableFormat.Sv32 or PageTableFormat.Sv32x4))
                {
                    yield return new(new(format, memory, true));
                }
            }
        }
    }

    /// <summary>Every format once, in sparse memory.</summary>
    public static IEnumerable<TheoryDataRow<TableCase>> Formats() =>
        Enum.GetValues<PageTableFormat>().Select(format => new TheoryDataRow<TableCase>(
            new(format, MemoryKind.Sparse, format is not (PageTableFormat.Sv32 or PageTableFormat.Sv32x4))));
}

/// <summary>The numbers of a format, from the specification and not from the code.</summary>
public sealed record Geometry(int Levels, int[] LeafLog2, int ApertureBits, int OutputBits, int RootLog2)
{
    /// <summary>The numbers of a format.</summary>
    public static Geometry Of(PageTableFormat format) => format switch
    {
        PageTableFormat.Sv32 => new(2, [12, 22], 32, 34, 12),
        PageTableFormat.Sv39 => new(3, [12, 21, 30], 38, 56, 12),
        PageTableFormat.Sv48 => new(4, [12, 21, 30, 39], 47, 56, 12),
        PageTableFormat.Sv57 => new(5, [12, 21, 30, 39, 48], 56, 56, 12),
        PageTableFormat.Sv32x4 => new(2, [12, 22], 34, 34, 14),
        PageTableFormat.Sv39x4 => new(3, [12, 21, 30], 41, 56, 14),
        PageTableFormat.Sv48x4 => new(4, [12, 21, 30, 39], 50, 56, 14),
        PageTableFormat.Sv57x4 => new(5, [12, 21, 30, 39, 48], 59, 56, 14),
        _ => throw new ArgumentOutOfRangeException(nameof(format)),
    };
}

/// <summary>Memory and allocator around a table under test.</summary>
public sealed class TableBench : IDisposable
{
    private readonly SparsePhysicalMemory _sparse = new();

    /// <summary>Makes an empty table.</summary>
    public TableBench(TableCase what, PageTableOptions? options = null)
    {
        Case = what;
        Geometry = Geometry.Of(what.Format);
        Memory = what.Memory switch
        {
            MemoryKind.Sparse => _sparse,
            MemoryKind.Host => new PassThroughMemory(_sparse, pointers: true),
            _ => new PassThroughMemory(_sparse, pointers: false),
        };

        // The tables of Sv32 must lie below 2^34.
        Allocator = new(Memory, new(0x2_0000_0000, 0x2_ffff_ffff));
        Pages = new(Allocator);
        Options = (options ?? new()) with { Napot = what.Napot };
        IoPageTable.TryCreate(what.Format, Options, Memory, Pages, out IoPageTable? table).ShouldBe(Errno.Success);
        Table = table!;
    }

    public TableCase Case { get; }

    public Geometry Geometry { get; }

    public PageTableOptions Options { get; }

    public IPhysicalMemory Memory { get; }

    public RangePageAllocator Allocator { get; }

    public LimitedAllocator Pages { get; }

    public IoPageTable Table { get; }

    public Errno Map(ulong iova, ulong address, ulong length, Access access = Access.ReadWrite)
    {
        InvalidationGather gather = default;
        Errno error = Table.Map(new(iova), new(address), length, access, ref gather);
        Table.Release(ref gather);
        return error;
    }

    public ulong Unmap(ulong iova, ulong length)
    {
        InvalidationGather gather = default;
        Table.Unmap(new(iova), length, ref gather, out ulong unmapped).ShouldBe(Errno.Success);
        Table.Release(ref gather);
        return unmapped;
    }

    public List<PageMapping> Mappings()
    {
        List<PageMapping> all = [];
        Iova next = default;
        while (Table.TryFindNext(next, out PageMapping mapping))
        {
            all.Add(mapping);
            if (mapping.Range.Last == Table.Aperture.Last)
            {
                break;
            }

            next = new(mapping.Range.Last + 1);
        }

        return all;
    }

    public void Dispose()
    {
        Table.Dispose();
        Allocator.AllocatedBytes.ShouldBe(0, "table pages leaked");
        _sparse.Dispose();
    }
}

/// <summary>A memory that is another one behind the seam, with or without pointers.</summary>
public sealed class PassThroughMemory(IPhysicalMemory inner, bool pointers) : IPhysicalMemory
{
    /// <summary>Every access from now on fails.</summary>
    public bool IsBroken { get; set; }

    public MemoryStatus Read(PhysicalAddress address, Span<byte> destination) =>
        IsBroken ? MemoryStatus.AccessFault : inner.Read(address, destination);

    public MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source) =>
        IsBroken ? MemoryStatus.AccessFault : inner.Write(address, source);

    public MemoryStatus Read64(PhysicalAddress address, out ulong value)
    {
        value = 0;
        return IsBroken ? MemoryStatus.AccessFault : inner.Read64(address, out value);
    }

    public MemoryStatus Write64(PhysicalAddress address, ulong value) =>
        IsBroken ? MemoryStatus.AccessFault : inner.Write64(address, value);

    public MemoryStatus Read32(PhysicalAddress address, out uint value)
    {
        value = 0;
        return IsBroken ? MemoryStatus.AccessFault : inner.Read32(address, out value);
    }

    public MemoryStatus Write32(PhysicalAddress address, uint value) =>
        IsBroken ? MemoryStatus.AccessFault : inner.Write32(address, value);

    public MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed)
    {
        observed = 0;
        return IsBroken ? MemoryStatus.AccessFault : inner.CompareExchange64(address, expected, desired, out observed);
    }

    public nint TryGetHostPointer(PhysicalAddress address, ulong length) =>
        pointers ? inner.TryGetHostPointer(address, length) : 0;
}

/// <summary>An allocator that can be made to run dry.</summary>
public sealed class LimitedAllocator(IPageAllocator inner) : IPageAllocator
{
    /// <summary>How many more allocations succeed.</summary>
    public int Remaining { get; set; } = int.MaxValue;

    public bool TryAllocate(int sizeLog2, int node, out PhysicalAddress address)
    {
        address = default;
        if (Remaining <= 0)
        {
            return false;
        }

        Remaining--;
        return inner.TryAllocate(sizeLog2, node, out address);
    }

    public void Free(PhysicalAddress address, int sizeLog2) => inner.Free(address, sizeLog2);
}
