using Ioasis.PageTables.Formats;
using Ioasis.Primitives;

namespace Ioasis.PageTables.Tests;

/// <summary>Single operations, format by format: growth over the levels, maps, leaf choice, boundaries, refusals.</summary>
public sealed class MapTests
{
    [Theory]
    [MemberData(nameof(TableCase.All), MemberType = typeof(TableCase))]
    [Trait("Requirement", "S4.10")]
    public void The_root_is_there_from_the_beginning_and_nothing_else(TableCase what)
    {
        using TableBench bench = new(what);
        (bench.Table.Root.Value & ((1ul << bench.Geometry.RootLog2) - 1)).ShouldBe(0ul);
        bench.Table.TableBytes.ShouldBe(1L << bench.Geometry.RootLog2);
        bench.Table.Format.ShouldBe(what.Format);
        bench.Table.Aperture.ShouldBe(new AddressRange(0, (1ul << bench.Geometry.ApertureBits) - 1));
        ulong sizes = bench.Geometry.LeafLog2.Aggregate(what.Napot ? 1ul << 16 : 0, (all, log2) => all | (1ul << log2));
        bench.Table.PageSizes.ShouldBe(sizes);
        bench.Mappings().ShouldBeEmpty();
    }

    [Theory]
    [MemberData(nameof(TableCase.All), MemberType = typeof(TableCase))]
    public void One_page_takes_one_table_of_each_level_and_its_neighbour_takes_none(TableCase what)
    {
        using TableBench bench = new(what);
        bench.Map(0x5000, 0x7000, 0x1000).ShouldBe(Errno.Success);
        long full = (1L << bench.Geometry.RootLog2) + (4096L * (bench.Geometry.Levels - 1));
        bench.Table.TableBytes.ShouldBe(full);
        bench.Map(0x6000, 0x7000, 0x1000).ShouldBe(Errno.Success);
        bench.Table.TableBytes.ShouldBe(full);

        // At the border of every level, one table more for each level below.
        long expected = full;
        for (int level = 1; level < bench.Geometry.Levels; level++)
        {
            bench.Map(1ul << bench.Geometry.Shift(level), 0x9000, 0x1000).ShouldBe(Errno.Success);
            expected += 4096L * level;
            bench.Table.TableBytes.ShouldBe(expected);
        }
    }

    [Theory]
    [MemberData(nameof(TableCase.All), MemberType = typeof(TableCase))]
    public void A_leaf_of_every_size_takes_the_tables_above_it_and_no_more(TableCase what)
    {
        for (int level = 0; level < Geometry.Of(what.Format).LeafLevels; level++)
        {
            using TableBench bench = new(what);
            ulong size = 1ul << bench.Geometry.LeafLog2[level];
            bench.Map(size, size, size).ShouldBe(Errno.Success);
            bench.Mappings().ShouldBe(
                [new(new(size, (2 * size) - 1), new(size), Access.ReadWrite, MemoryType.Default)]);
            bench.Table.TableBytes.ShouldBe(
                (1L << bench.Geometry.RootLog2) + (4096L * (bench.Geometry.Levels - 1 - level)));
            bench.Unmap(size, size).ShouldBe(size);
            bench.Mappings().ShouldBeEmpty();
        }
    }

    [Theory]
    [MemberData(nameof(TableCase.All), MemberType = typeof(TableCase))]
    public void Leaves_of_one_granule_are_the_only_ones_where_that_is_asked_for(TableCase what)
    {
        using TableBench bench = new(what);
        const ulong Start = 0x40_0000;
        const ulong Length = 0x40_0000;
        InvalidationGather gather = default;
        bench.Table.Map(new(Start), new(Start), Length, Access.ReadWrite, ref gather, granulesOnly: true).ShouldBe(Errno.Success);
        gather.IsEmpty.ShouldBeTrue();
        for (ulong iova = Start; iova < Start + Length; iova += 0x1000)
        {
            bench.Table.TryTranslate(new(iova + 5), out PhysicalAddress address, out _, out ulong leafSize).ShouldBeTrue();
            (address.Value, leafSize).ShouldBe((iova + 5, 0x1000ul));
        }

        // A page of it goes without a table more, and what overlaps is refused as a whole.
        long tables = bench.Table.TableBytes;
        bench.Unmap(Start + 0x1_0000, 0x1000).ShouldBe(0x1000ul);
        bench.Table.TableBytes.ShouldBe(tables);
        bench.Table.Map(new(Start + 0x1_0000), new(0), 0x2000, Access.ReadWrite, ref gather, granulesOnly: true)
            .ShouldBe(Errno.AddressInUse);
        bench.Table.TryTranslate(new(Start + 0x1_0000), out _, out _, out _).ShouldBeFalse();
    }

    [Theory]
    [MemberData(nameof(TableCase.All), MemberType = typeof(TableCase))]
    public void The_first_and_the_last_page_of_the_aperture_map_and_the_next_does_not(TableCase what)
    {
        using TableBench bench = new(what);
        ulong aperture = 1ul << bench.Geometry.ApertureBits;
        ulong output = 1ul << bench.Geometry.OutputBits;
        bench.Map(0, output - 0x1000, 0x1000).ShouldBe(Errno.Success);
        bench.Map(aperture - 0x1000, 0, 0x1000).ShouldBe(Errno.Success);
        bench.Table.TryTranslate(new(0xfff), out PhysicalAddress address, out _, out _).ShouldBeTrue();
        address.Value.ShouldBe(output - 1);
        bench.Table.TryTranslate(new(aperture - 1), out address, out _, out _).ShouldBeTrue();
        address.Value.ShouldBe(0xffful);
        bench.Mappings().Count.ShouldBe(2);

        foreach (ulong outside in (ulong[])[aperture, aperture << 1, 1ul << 62, ~aperture + 1, ~0xffful])
        {
            bench.Map(outside, 0, 0x1000).ShouldBe(Errno.OutOfRange);
            bench.Table.TryTranslate(new(outside), out _, out _, out _).ShouldBeFalse();
            InvalidationGather gather = default;
            bench.Table.Unmap(new(outside), 0x1000, ref gather, out _).ShouldBe(Errno.OutOfRange);
            gather.IsEmpty.ShouldBeTrue();
        }

        bench.Map(aperture - 0x2000, 0, 0x3000).ShouldBe(Errno.OutOfRange);
        bench.Map(0x1000, output - 0x1000, 0x2000).ShouldBe(Errno.OutOfRange);
        bench.Map(0x1000, output, 0x1000).ShouldBe(Errno.OutOfRange);
        bench.Map(0x1000, ~0xffful, 0x2000).ShouldBe(Errno.OutOfRange);
        bench.Mappings().Count.ShouldBe(2);
        bench.Unmap(aperture - 0x1000, 0x1000).ShouldBe(0x1000ul);
        bench.Unmap(0, aperture).ShouldBe(0x1000ul);
        bench.Table.TableBytes.ShouldBe(1L << bench.Geometry.RootLog2);
    }

    [Theory]
    [MemberData(nameof(TableCase.All), MemberType = typeof(TableCase))]
    public void The_whole_aperture_maps_with_the_largest_leaves_and_unmaps(TableCase what)
    {
        using TableBench bench = new(what);
        ulong aperture = 1ul << bench.Geometry.ApertureBits;
        int top = bench.Geometry.LeafLog2[^1];
        int tables = bench.Geometry.Levels - bench.Geometry.LeafLevels;

        // All of it where the root holds leaves; elsewhere two tables full of them.
        ulong length = Math.Min(tables == 0 ? aperture : 1ul << (top + 10), 1ul << bench.Geometry.OutputBits);
        bench.Map(0, 0, length).ShouldBe(Errno.Success);
        bench.Table.TableBytes.ShouldBe((1L << bench.Geometry.RootLog2) + (4096 * (tables == 0 ? 0 : tables + 1)));
        bench.Mappings().ShouldAllBe(m => m.Range.Length == 1ul << top);
        bench.Unmap(0, aperture).ShouldBe(length);
        bench.Mappings().ShouldBeEmpty();
    }

    [Theory]
    [MemberData(nameof(TableCase.Formats), MemberType = typeof(TableCase))]
    public void Bad_arguments_are_refused_and_change_nothing(TableCase what)
    {
        using TableBench bench = new(what);
        bench.Map(0x1000, 0x1000, 0).ShouldBe(Errno.InvalidArgument);
        bench.Map(0x1001, 0x1000, 0x1000).ShouldBe(Errno.InvalidArgument);
        bench.Map(0x1000, 0x1800, 0x1000).ShouldBe(Errno.InvalidArgument);
        bench.Map(0x1000, 0x1000, 0xfff).ShouldBe(Errno.InvalidArgument);
        bench.Map(0x1000, 0x1000, 0x1000, Access.None).ShouldBe(Errno.InvalidArgument);
        InvalidationGather gather = default;
        bench.Table.Map(new(0), new(0), 0x1000, Access.Read, ref gather, MemoryType.Io).ShouldBe(Errno.InvalidArgument);
        bench.Table.Unmap(new(0x800), 0x1000, ref gather, out _).ShouldBe(Errno.InvalidArgument);
        bench.Table.Unmap(new(0x1000), 0, ref gather, out _).ShouldBe(Errno.InvalidArgument);
        bench.Table.Unmap(new(0x1000), 0x1001, ref gather, out _).ShouldBe(Errno.InvalidArgument);
        gather.IsEmpty.ShouldBeTrue();
        bench.Table.TableBytes.ShouldBe(1L << bench.Geometry.RootLog2);
    }

    [Theory]
    [MemberData(nameof(TableCase.All), MemberType = typeof(TableCase))]
    public void A_map_over_any_live_part_is_refused_and_changes_nothing(TableCase what)
    {
        using TableBench bench = new(what);
        ulong big = 1ul << bench.Geometry.LeafLog2[1];
        bench.Map(big + 0x3000, 0x1000, 0x1000).ShouldBe(Errno.Success);
        bench.Map(4 * big, 4 * big, big).ShouldBe(Errno.Success);
        List<PageMapping> before = bench.Mappings();
        long bytes = bench.Table.TableBytes;
        foreach ((ulong iova, ulong length) in ((ulong, ulong)[])[
            (big + 0x3000, 0x1000), (big, big), (0, 3 * big), (big + 0x2000, 0x2000), (0x1000, 2 * big),
            (4 * big, big), (4 * big + 0x5000, 0x1000), (3 * big, 2 * big), ((4 * big) - 0x1000, 0x2000), ((5 * big) - 0x1000, 0x2000)])
        {
            bench.Map(iova, iova, length).ShouldBe(Errno.AddressInUse);
            bench.Mappings().ShouldBe(before);
            bench.Table.TableBytes.ShouldBe(bytes);
        }
    }

    [Theory]
    [MemberData(nameof(TableCase.All), MemberType = typeof(TableCase))]
    public void An_empty_table_gives_way_to_a_leaf_and_goes_to_the_gather(TableCase what)
    {
        Geometry geometry = Geometry.Of(what.Format);
        for (int level = 1; level < geometry.LeafLevels; level++)
        {
            using TableBench bench = new(what);
            ulong size = 1ul << geometry.LeafLog2[level];

            // Page by page, so that the tables stay.
            bench.Map(size + 0x1000, 0x1000, 0x1000).ShouldBe(Errno.Success);
            bench.Map((2 * size) - 0x1000, 0x1000, 0x1000).ShouldBe(Errno.Success);
            long tables = bench.Table.TableBytes;
            bench.Unmap(size + 0x1000, 0x1000).ShouldBe(0x1000ul);
            bench.Unmap((2 * size) - 0x1000, 0x1000).ShouldBe(0x1000ul);
            bench.Table.TableBytes.ShouldBe(tables);

            InvalidationGather gather = default;
            bench.Table.Map(new(size), new(0), size, Access.Read, ref gather).ShouldBe(Errno.Success);
            int freed = level == 1 ? 1 : 1 + (2 * (level - 1));
            gather.FreedTables.Length.ShouldBe(freed);
            gather.NonLeaf.ShouldBeTrue();
            gather.Range.ShouldBe(new AddressRange(size, (2 * size) - 1));
            bench.Table.TableBytes.ShouldBe(tables - (4096L * freed));
            bench.Allocator.AllocatedBytes.ShouldBe(tables);
            bench.Table.Release(ref gather);
            bench.Allocator.AllocatedBytes.ShouldBe(bench.Table.TableBytes);
            bench.Mappings().Single().Range.ShouldBe(new AddressRange(size, (2 * size) - 1));
        }
    }

    [Theory]
    [MemberData(nameof(TableCase.All), MemberType = typeof(TableCase))]
    public void A_leaf_splits_around_every_kind_of_hole(TableCase what)
    {
        Geometry geometry = Geometry.Of(what.Format);
        for (int level = 1; level < geometry.LeafLevels; level++)
        {
            ulong size = 1ul << geometry.LeafLog2[level];
            ulong below = 1ul << geometry.LeafLog2[level - 1];
            foreach ((ulong offset, ulong length) in ((ulong, ulong)[])[
                (0, 0x1000), (size - 0x1000, 0x1000), (size / 2, 0x1000), (below, below), (0x7000, below), (0x3000, size - 0x4000),
                (0, size / 2), (size / 2, size / 2), (0x11000, 0x1f000 & (size - 1))])
            {
                using TableBench bench = new(what);
                PageModel model = new(what);
                bench.Map(size, 0, size, Access.Read).ShouldBe(model.Map(size, 0, size, Access.Read));
                InvalidationGather gather = default;
                bench.Table.Unmap(new(size + offset), length, ref gather, out ulong unmapped).ShouldBe(Errno.Success);
                unmapped.ShouldBe(model.Unmap(size + offset, length));

                // Hardware may hold the whole old leaf.
                gather.LeafSizes.ShouldBe(size);
                gather.Range.ShouldBe(new AddressRange(size, (2 * size) - 1));
                model.ShouldBeTheSameAs(bench);
                bench.Table.Release(ref gather);
                bench.Allocator.AllocatedBytes.ShouldBe(bench.Table.TableBytes);
            }
        }
    }

    [Theory]
    [MemberData(nameof(TableCase.All), MemberType = typeof(TableCase))]
    public void One_unmap_cuts_leaves_at_both_ends(TableCase what)
    {
        using TableBench bench = new(what);
        PageModel model = new(what);
        ulong size = 1ul << bench.Geometry.LeafLog2[^1];
        bench.Map(0, 0, 3 * size).ShouldBe(model.Map(0, 0, 3 * size, Access.ReadWrite));
        bench.Unmap(size - 0x3000, size + 0x8000).ShouldBe(model.Unmap(size - 0x3000, size + 0x8000));
        model.ShouldBeTheSameAs(bench);
        bench.Allocator.AllocatedBytes.ShouldBe(bench.Table.TableBytes);
    }

    [Fact]
    public void Contiguous_leaves_appear_only_where_both_addresses_are_aligned()
    {
        using TableBench bench = new(new(PageTableFormat.Of<Sv39>(), MemoryKind.Sparse, Napot: true));
        bench.Map(0x8000, 0x28000, 0x48000).ShouldBe(Errno.Success);
        bench.Mappings().Select(m => m.Range.Length).ShouldBe(
            [.. Enumerable.Repeat(0x1000ul, 8), 0x10000, 0x10000, 0x10000, 0x10000]);
        bench.Map(0x10_0000, 0x21000, 0x20000).ShouldBe(Errno.Success);
        bench.Mappings().Skip(12).ShouldAllBe(m => m.Range.Length == 0x1000);
    }

    [Fact]
    public void Leaf_sizes_that_are_not_permitted_are_not_used()
    {
        TableCase what = new(PageTableFormat.Of<Sv48>(), MemoryKind.Sparse, Napot: false);
        using TableBench small = new(what, new() { LeafSizes = 0x1000 });
        small.Table.PageSizes.ShouldBe(0x1000ul);
        small.Map(0x20_0000, 0x20_0000, 0x20_0000).ShouldBe(Errno.Success);
        small.Mappings().Count.ShouldBe(512);

        // 1 GiB without 2 MiB: a split would need them.
        using TableBench gap = new(what, new() { LeafSizes = 0x4000_1000 });
        gap.Table.PageSizes.ShouldBe(0x1000ul);
    }

    [Theory]
    [MemberData(nameof(TableCase.Formats), MemberType = typeof(TableCase))]
    public void Options_of_another_format_and_extensions_that_the_format_lacks_are_refused(TableCase what)
    {
        using TableBench bench = new(what);
        long before = bench.Allocator.AllocatedBytes;
        foreach ((PageTableOptions options, TableFamily family, int entryBytes) in
            ((PageTableOptions, TableFamily, int)[])[
                (new RiscVTableOptions(), TableFamily.RiscV, 4), (new RiscVTableOptions { Napot = true }, TableFamily.RiscV, 8),
                (new RiscVTableOptions { MemoryTypes = true }, TableFamily.RiscV, 8),
                (new X64TableOptions(), TableFamily.X64, 8), (new VtdStage2Options(), TableFamily.Vtd, 8)])
        {
            bool fits = what.Geometry.Family == family && what.Geometry.EntryBytes >= entryBytes;
            IoPageTable.TryCreate(what.Format, options, bench.Memory, bench.Pages, out IoPageTable? table)
                .ShouldBe(fits ? Errno.Success : Errno.InvalidArgument);
            (table is not null).ShouldBe(fits);
            table?.Dispose();
            bench.Allocator.AllocatedBytes.ShouldBe(before);
        }
    }

    [Theory]
    [MemberData(nameof(TableCase.Formats), MemberType = typeof(TableCase))]
    public void An_aperture_can_be_smaller_than_the_format_has_it_and_not_larger(TableCase what)
    {
        using TableBench small = new(what, new() { ApertureBits = 30 });
        small.Table.Aperture.ShouldBe(new AddressRange(0, (1ul << 30) - 1));
        small.Map((1ul << 30) - 0x1000, 0, 0x1000).ShouldBe(Errno.Success);
        small.Map(1ul << 30, 0, 0x1000).ShouldBe(Errno.OutOfRange);
        small.Map((1ul << 30) - 0x1000, 0, 0x2000).ShouldBe(Errno.OutOfRange);
        small.Table.TryTranslate(new(1ul << 30), out _, out _, out _).ShouldBeFalse();
        small.Mappings().Count.ShouldBe(1);
        using TableBench large = new(what, new() { ApertureBits = 64 });
        large.Table.Aperture.ShouldBe(new AddressRange(0, (1ul << what.Geometry.ApertureBits) - 1));
    }

    [Fact]
    public void Every_format_is_found_by_its_name_and_is_one_object()
    {
        foreach (PageTableFormat format in PageTableFormat.All)
        {
            PageTableFormat.TryFind(format.Name.ToUpperInvariant(), out PageTableFormat? found).ShouldBeTrue();
            found.ShouldBeSameAs(format);
            Geometry geometry = Geometry.Of(format);
            (format.Levels, format.ApertureBits, format.OutputBits, format.RootSizeLog2, 1 << format.EntrySizeLog2)
                .ShouldBe((geometry.Levels, geometry.ApertureBits, geometry.OutputBits, geometry.RootLog2, geometry.EntryBytes));
            format.LeafSizes.ShouldBe(
                geometry.LeafLog2.Aggregate(geometry.HasNapot ? 1ul << 16 : 0, (all, log2) => all | (1ul << log2)));
        }

        PageTableFormat.All.Select(format => format.Name).ShouldBeUnique();
        PageTableFormat.Of<Sv39>().ShouldBeSameAs(PageTableFormat.All.Single(format => format.Name == "Sv39"));
        PageTableFormat.TryFind("Sv64", out _).ShouldBeFalse();
    }

    [Fact]
    public void Physical_addresses_that_the_machine_lacks_are_refused()
    {
        using TableBench bench = new(
            new(PageTableFormat.Of<Sv48>(), MemoryKind.Sparse, Napot: false), new() { PhysicalAddressBits = 46 });
        bench.Map(0, (1ul << 46) - 0x1000, 0x1000).ShouldBe(Errno.Success);
        bench.Map(0x1000, 1ul << 46, 0x1000).ShouldBe(Errno.OutOfRange);
        bench.Map(0x1000, (1ul << 46) - 0x1000, 0x2000).ShouldBe(Errno.OutOfRange);
    }

    [Fact]
    public void Memory_that_fails_makes_an_error_and_no_crash()
    {
        using TableBench bench = new(new(PageTableFormat.Of<Sv39>(), MemoryKind.Watched, Napot: false));
        PassThroughMemory memory = (PassThroughMemory)bench.Memory;
        bench.Map(0, 0, 0x1000).ShouldBe(Errno.Success);
        memory.IsBroken = true;
        bench.Map(0x1000, 0, 0x1000).ShouldBe(Errno.IoError);
        InvalidationGather gather = default;
        bench.Table.Unmap(new(0), 0x1000, ref gather, out _).ShouldBe(Errno.IoError);
        memory.IsBroken = false;
    }
}
