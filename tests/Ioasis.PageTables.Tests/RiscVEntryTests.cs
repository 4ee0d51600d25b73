using Ioasis.PageTables.Formats;
using Ioasis.Primitives;

namespace Ioasis.PageTables.Tests;

/// <summary>The entries in memory, bit by bit as the RISC-V privileged specification has them.</summary>
public sealed class RiscVEntryTests
{
    private const ulong V = 1, R = 2, W = 4, X = 8, U = 16, A = 64, D = 128;

    private static IEnumerable<PageTableFormat> RiscVFormats =>
        PageTableFormat.All.Where(format => Geometry.Of(format).Family == TableFamily.RiscV);

    public static TheoryData<Access, ulong> Permissions => new()
    {
        { Access.Read, R },
        { Access.Write, R | W | D },
        { Access.ReadWrite, R | W | D },
        { Access.Execute, X },
        { Access.Read | Access.Execute, R | X },
        { Access.Write | Access.Execute, R | W | X | D },
        { Access.ReadWrite | Access.Execute, R | W | X | D },
    };

    [Theory]
    [MemberData(nameof(Permissions))]
    public void A_leaf_has_its_permissions_and_accessed_and_dirty_preset(Access access, ulong bits)
    {
        foreach (PageTableFormat format in RiscVFormats)
        {
            using TableBench bench = new(new(format, MemoryKind.Watched, Napot: false));
            bench.Map(0x3000, 0x1_2345_6000, 0x1000, access).ShouldBe(Errno.Success);
            RawTables.Entry(bench, 0x3000, 0).ShouldBe((0x1_2345_6000ul >> 2) | bits | V | U | A);
        }
    }

    [Fact]
    public void Every_entry_above_a_leaf_is_a_bare_pointer()
    {
        foreach (PageTableFormat format in RiscVFormats)
        {
            using TableBench bench = new(new(format, MemoryKind.Sparse, Napot: false));
            bench.Map(0, 0, 0x1000).ShouldBe(Errno.Success);
            for (int level = 1; level < bench.Geometry.Levels; level++)
            {
                (RawTables.Entry(bench, 0, level) & 0x3ff).ShouldBe(V);
                (RawTables.Entry(bench, 0, level) >> 54).ShouldBe(0ul);
            }
        }
    }

    [Theory]
    [InlineData("Sv39", false)]
    [InlineData("Sv39x4", true)]
    public void First_stage_leaves_can_be_supervisor_pages_and_second_stage_leaves_cannot(string name, bool user)
    {
        PageTableFormat.TryFind(name, out PageTableFormat? format).ShouldBeTrue();
        using TableBench bench = new(new(format, MemoryKind.Sparse, Napot: false), new() { UserPages = false });
        bench.Map(0, 0, 0x1000).ShouldBe(Errno.Success);
        ((RawTables.Entry(bench, 0, 0) & U) != 0).ShouldBe(user);
    }

    [Fact]
    public void With_hardware_tracking_leaves_start_clean()
    {
        using TableBench bench = new(
            new(PageTableFormat.Of<Sv48x4>(), MemoryKind.Sparse, Napot: false), new() { HardwareDirty = true });
        bench.Map(0, 0, 0x1000).ShouldBe(Errno.Success);
        RawTables.Entry(bench, 0, 0).ShouldBe(V | R | W | U | A);
    }

    [Fact]
    public void A_contiguous_leaf_is_sixteen_equal_entries()
    {
        using TableBench bench = new(new(PageTableFormat.Of<Sv57>(), MemoryKind.Sparse, Napot: true));
        bench.Map(0x20000, 0x5_0000, 0x10000, Access.Read).ShouldBe(Errno.Success);
        for (ulong page = 0; page < 16; page++)
        {
            RawTables.Entry(bench, 0x20000 + (page << 12), 0).ShouldBe((1ul << 63) | (0x58ul << 10) | V | R | U | A);
        }
    }

    [Theory]
    [InlineData(MemoryType.Default, 0ul)]
    [InlineData(MemoryType.NonCacheable, 1ul)]
    [InlineData(MemoryType.Io, 2ul)]
    internal void Memory_types_are_in_bits_62_and_61_and_survive_a_split(MemoryType type, ulong bits)
    {
        using TableBench bench = new(
            new(PageTableFormat.Of<Sv39>(), MemoryKind.Sparse, Napot: true), new RiscVTableOptions { MemoryTypes = true });
        InvalidationGather gather = default;
        bench.Table.Map(new(0), new(0), 0x20_0000, Access.Read, ref gather, type).ShouldBe(Errno.Success);
        RawTables.Entry(bench, 0, 1).ShouldBe((bits << 61) | V | R | U | A);
        bench.Unmap(0, 0x1000).ShouldBe(0x1000ul);
        bench.Mappings().ShouldAllBe(m => m.Type == type);
        RawTables.Entry(bench, 0x1000, 0).ShouldBe((bits << 61) | (1ul << 10) | V | R | U | A);
        RawTables.Entry(bench, 0x10000, 0).ShouldBe((1ul << 63) | (bits << 61) | (0x18ul << 10) | V | R | U | A);
        bench.Table.Map(new(0), new(0), 0x1000, Access.Read, ref gather, (MemoryType)3).ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    public void An_unmapped_entry_is_zero()
    {
        using TableBench bench = new(new(PageTableFormat.Of<Sv39>(), MemoryKind.Sparse, Napot: false));
        bench.Map(0, 0x5000, 0x2000).ShouldBe(Errno.Success);
        bench.Unmap(0, 0x1000).ShouldBe(0x1000ul);
        RawTables.Entry(bench, 0, 0).ShouldBe(0ul);
        RawTables.Entry(bench, 0x1000, 0).ShouldNotBe(0ul);
    }
}
