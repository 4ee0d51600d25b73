using Ioasis.PageTables.Formats;
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
/// <param name="Format">The format.</param>
/// <param name="Memory">The memory that its tables stand in.</param>
/// <param name="Napot">RISC-V: whether there are leaves of 64 KiB.</param>
/// <param name="LeafSizes">The sizes of leaves that are permitted.</param>
/// <param name="HardwareDirty">Whether leaves start clean.</param>
/// <param name="Extension">Whether the option that the format has alone is on: memory types, execute-disable, forced snooping.</param>
public sealed record TableCase(
    PageTableFormat Format,
    MemoryKind Memory,
    bool Napot,
    ulong LeafSizes = ulong.MaxValue,
    bool HardwareDirty = false,
    bool Extension = false)
{
    /// <summary>The numbers of the format.</summary>
    public Geometry Geometry => Geometry.Of(Format);

    /// <summary>log2 of the leaf sizes that the table may use, the largest first.</summary>
    public IReadOnlyList<int> SizesDownward
    {
        get
        {
            IEnumerable<int> levels = Geometry.LeafLog2.TakeWhile(log2 => log2 == 12 || ((LeafSizes >> log2) & 1) != 0);
            return [.. (Napot && ((LeafSizes >> 16) & 1) != 0 ? levels.Append(16) : levels).OrderDescending()];
        }
    }

    /// <summary>What a leaf permits if it is made for an access; nothing if there is no such leaf.</summary>
    public Access Granted(Access access) => Geometry.Family switch
    {
        // Privileged specification, "Sv32": W without R is reserved.
        TableFamily.RiscV => (access & Access.Write) != 0 ? access | Access.Read : access,
        TableFamily.X64 when access == Access.None => Access.None,
        TableFamily.X64 => (access & (Extension ? Access.ReadWrite | Access.Execute : Access.ReadWrite)) | Access.Read,
        _ => access & Access.ReadWrite,
    };

    /// <summary>Every format, with and without contiguous leaves, in every memory.</summary>
    public static IEnumerable<TheoryDataRow<TableCase>> All()
    {
        foreach (PageTableFormat format in PageTableFormat.All)
        {
            foreach (MemoryKind memory in Enum.GetValues<MemoryKind>())
            {
                yield return new(new(format, memory, false));
                if (Geometry.Of(format).HasNapot)
                {
                    yield return new(new(format, memory, true));
                }
            }
        }
    }

    /// <summary>Every format once, in sparse memory.</summary>
    public static IEnumerable<TheoryDataRow<TableCase>> Formats() =>
        PageTableFormat.All.Select(format => new TheoryDataRow<TableCase>(
            new(format, MemoryKind.Sparse, Geometry.Of(format).HasNapot)));

    /// <summary>Every format in every memory with every configuration.</summary>
    public static IEnumerable<TheoryDataRow<TableCase>> Configurations() =>
        from format in PageTableFormat.All
        let geometry = Geometry.Of(format)
        from memory in Enum.GetValues<MemoryKind>()
        from napot in geometry.HasNapot ? (bool[])[false, true] : [false]
        from extension in geometry.HasExtension ? (bool[])[false, true] : [false]
        from dirty in (bool[])[false, true]
        from sizes in (ulong[])[ulong.MaxValue, 1ul << 12, ulong.MaxValue >> (63 - geometry.LeafLog2[1]), ~(1ul << geometry.LeafLog2[1])]
        where memory == MemoryKind.Sparse || (sizes == ulong.MaxValue && !dirty)
        select new TheoryDataRow<TableCase>(new(format, memory, napot, sizes, dirty, extension));

    /// <summary>The options of a table of this case, on top of others.</summary>
    internal PageTableOptions Options(PageTableOptions? more = null)
    {
        PageTableOptions basic = (more ?? new()) with { LeafSizes = (more?.LeafSizes ?? ulong.MaxValue) & LeafSizes };
        bool dirty = basic.HardwareDirty || HardwareDirty;
        return Geometry.Family switch
        {
            TableFamily.RiscV => new RiscVTableOptions
            {
                Napot = Napot,
                MemoryTypes = Extension || more is RiscVTableOptions { MemoryTypes: true },
                LeafSizes = basic.LeafSizes,
                UserPages = basic.UserPages,
                HardwareDirty = dirty,
                ApertureBits = basic.ApertureBits,
                PhysicalAddressBits = basic.PhysicalAddressBits,
            },
            TableFamily.X64 => new X64TableOptions
            {
                ExecuteDisable = Extension,
                LeafSizes = basic.LeafSizes,
                UserPages = basic.UserPages,
                HardwareDirty = dirty,
                ApertureBits = basic.ApertureBits,
                PhysicalAddressBits = basic.PhysicalAddressBits,
            },
            _ => new VtdStage2Options
            {
                ForceSnoop = Extension,
                LeafSizes = basic.LeafSizes,
                HardwareDirty = dirty,
                ApertureBits = basic.ApertureBits,
                PhysicalAddressBits = basic.PhysicalAddressBits,
            },
        };
    }
}

/// <summary>Whose entries a format has.</summary>
public enum TableFamily
{
    /// <summary>RISC-V privileged specification.</summary>
    RiscV,

    /// <summary>x86-64, as VT-d's first stage has it.</summary>
    X64,

    /// <summary>VT-d's second stage.</summary>
    Vtd,
}

/// <summary>The numbers of a format, from the specification and not from the code.</summary>
public sealed record Geometry(
    TableFamily Family, int Levels, int LeafLevels, int ApertureBits, int OutputBits, int RootLog2, int EntryBytes = 8)
{
    /// <summary>log2 of what an entry of each level that has leaves translates.</summary>
    public IReadOnlyList<int> LeafLog2 => [.. Enumerable.Range(0, LeafLevels).Select(Shift)];

    /// <summary>Whether 16 entries can be one leaf.</summary>
    public bool HasNapot => Family == TableFamily.RiscV && EntryBytes == 8;

    /// <summary>Whether there is an option that only this family has.</summary>
    public bool HasExtension => EntryBytes == 8;

    /// <summary>log2 of what an entry of a level translates.</summary>
    public int Shift(int level) => 12 + (level * (EntryBytes == 8 ? 9 : 10));

    /// <summary>The numbers of a format.</summary>
    public static Geometry Of(PageTableFormat format) => format.Name switch
    {
        "Sv32" => new(TableFamily.RiscV, 2, 2, 32, 34, 12, 4),
        "Sv39" => new(TableFamily.RiscV, 3, 3, 38, 56, 12),
        "Sv48" => new(TableFamily.RiscV, 4, 4, 47, 56, 12),
        "Sv57" => new(TableFamily.RiscV, 5, 5, 56, 56, 12),
        "Sv32x4" => new(TableFamily.RiscV, 2, 2, 34, 34, 14, 4),
        "Sv39x4" => new(TableFamily.RiscV, 3, 3, 41, 56, 14),
        "Sv48x4" => new(TableFamily.RiscV, 4, 4, 50, 56, 14),
        "Sv57x4" => new(TableFamily.RiscV, 5, 5, 59, 56, 14),
        "X64Level4" => new(TableFamily.X64, 4, 3, 47, 52, 12),
        "X64Level5" => new(TableFamily.X64, 5, 3, 56, 52, 12),
        "VtdStage2Level3" => new(TableFamily.Vtd, 3, 3, 39, 52, 12),
        "VtdStage2Level4" => new(TableFamily.Vtd, 4, 3, 48, 52, 12),
        "VtdStage2Level5" => new(TableFamily.Vtd, 5, 3, 57, 52, 12),
        _ => throw new ArgumentOutOfRangeException(nameof(format)),
    };
}

/// <summary>Memory and allocator around a table under test.</summary>
public sealed class TableBench : IDisposable
{
    private readonly SparsePhysicalMemory _sparse = new();

    /// <summary>Makes an empty table.</summary>
    internal TableBench(TableCase what, PageTableOptions? options = null)
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
        Options = what.Options(options);
        IoPageTable.TryCreate(what.Format, Options, Memory, Pages, out IoPageTable? table).ShouldBe(Errno.Success);
        Table = table!;
    }

    public TableCase Case { get; }

    public Geometry Geometry { get; }

    internal PageTableOptions Options { get; }

    public IPhysicalMemory Memory { get; }

    public RangePageAllocator Allocator { get; }

    public LimitedAllocator Pages { get; }

    internal IoPageTable Table { get; }

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

    internal List<PageMapping> Mappings()
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
