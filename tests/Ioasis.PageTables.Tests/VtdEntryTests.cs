using Ioasis.PageTables.Formats;
using Ioasis.Primitives;

namespace Ioasis.PageTables.Tests;

/// <summary>The entries in memory, bit by bit as the VT-d specification has them (sections 9.7 and 9.8).</summary>
public sealed class VtdEntryTests
{
    private const ulong Address = 0x000f_1234_5678_9000;

    [Theory]
    [InlineData(Access.Read, false, 0x25ul)]
    [InlineData(Access.Write, false, 0x67ul)]
    [InlineData(Access.ReadWrite, false, 0x67ul)]
    [InlineData(Access.ReadWrite | Access.Execute, false, 0x67ul)]
    [InlineData(Access.Execute, false, 0x25ul)]
    [InlineData(Access.Read, true, 0x8000_0000_0000_0025ul)]
    [InlineData(Access.ReadWrite, true, 0x8000_0000_0000_0067ul)]
    [InlineData(Access.Read | Access.Execute, true, 0x25ul)]
    [InlineData(Access.Execute, true, 0x25ul)]
    public void A_first_stage_leaf_has_P_US_A_and_what_it_permits(Access access, bool executeDisable, ulong bits)
    {
        foreach (PageTableFormat format in Of(TableFamily.X64))
        {
            using TableBench bench = new(new(format, MemoryKind.Watched, Napot: false, Extension: executeDisable));
            bench.Map(0x3000, Address, 0x1000, access).ShouldBe(Errno.Success);
            RawTables.Entry(bench, 0x3000, 0).ShouldBe(Address | bits);
        }
    }

    [Theory]
    [InlineData(Access.Read, false, 1ul)]
    [InlineData(Access.Write, false, 2ul)]
    [InlineData(Access.ReadWrite, false, 3ul)]
    [InlineData(Access.ReadWrite | Access.Execute, false, 3ul)]
    [InlineData(Access.ReadWrite, true, 0x803ul)]
    [InlineData(Access.Write, true, 0x802ul)]
    public void A_second_stage_leaf_has_what_it_permits_and_SNP_where_snooping_is_forced(Access access, bool snoop, ulong bits)
    {
        foreach (PageTableFormat format in Of(TableFamily.Vtd))
        {
            using TableBench bench = new(new(format, MemoryKind.Watched, Napot: false, Extension: snoop));
            bench.Map(0x3000, Address, 0x1000, access).ShouldBe(Errno.Success);
            RawTables.Entry(bench, 0x3000, 0).ShouldBe(Address | bits);
            bench.Map(0x4000, Address, 0x1000, Access.Execute).ShouldBe(Errno.InvalidArgument);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Large_leaves_have_PS_and_what_is_split_from_them_has_not(int level)
    {
        foreach (PageTableFormat format in Of(TableFamily.X64).Concat(Of(TableFamily.Vtd)))
        {
            using TableBench bench = new(new(format, MemoryKind.Sparse, Napot: false, Extension: true));
            ulong size = 1ul << bench.Geometry.Shift(level);
            bench.Map(size, 4 * size, size, Access.Read).ShouldBe(Errno.Success);
            ulong bits = bench.Geometry.Family == TableFamily.X64 ? 0x8000_0000_0000_0025ul : 0x801ul;
            RawTables.Entry(bench, size, level).ShouldBe((4 * size) | 0x80 | bits);
            bench.Unmap(size, 0x1000).ShouldBe(0x1000ul);
            RawTables.Entry(bench, size + 0x1000, 0).ShouldBe(((4 * size) + 0x1000) | bits);
            if (level == 2)
            {
                RawTables.Entry(bench, size + 0x20_0000, 1).ShouldBe(((4 * size) + 0x20_0000) | 0x80 | bits);
            }
        }
    }

    [Fact]
    public void Entries_that_point_to_tables_let_everything_through()
    {
        foreach (PageTableFormat format in Of(TableFamily.X64).Concat(Of(TableFamily.Vtd)))
        {
            using TableBench bench = new(new(format, MemoryKind.Sparse, Napot: false, Extension: true));
            bench.Map(0, 0, 0x1000, Access.Read).ShouldBe(Errno.Success);
            for (int level = 1; level < bench.Geometry.Levels; level++)
            {
                // P, R/W, U/S and A; or R and W.
                (RawTables.Entry(bench, 0, level) & 0xfff0_0000_0000_0fff)
                    .ShouldBe(bench.Geometry.Family == TableFamily.X64 ? 0x27ul : 3ul);
            }
        }
    }

    [Fact]
    public void With_hardware_tracking_leaves_start_accessed_and_clean()
    {
        foreach (PageTableFormat format in Of(TableFamily.X64).Concat(Of(TableFamily.Vtd)))
        {
            using TableBench bench = new(new(format, MemoryKind.Sparse, Napot: false, HardwareDirty: true));
            bench.Map(0, 0, 0x1000).ShouldBe(Errno.Success);
            RawTables.Entry(bench, 0, 0).ShouldBe(bench.Geometry.Family == TableFamily.X64 ? 0x27ul : 0x103ul);
        }
    }

    [Fact]
    public void First_stage_leaves_can_be_supervisor_pages()
    {
        using TableBench bench = new(
            new(PageTableFormat.Of<X64Level4>(), MemoryKind.Sparse, Napot: false), new() { UserPages = false });
        bench.Map(0, 0, 0x1000).ShouldBe(Errno.Success);
        RawTables.Entry(bench, 0, 0).ShouldBe(0x63ul);
    }

    private static IEnumerable<PageTableFormat> Of(TableFamily family) =>
        PageTableFormat.All.Where(format => Geometry.Of(format).Family == family);
}
