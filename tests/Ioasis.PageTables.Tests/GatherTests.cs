using Ioasis.PageTables.Formats;
using Ioasis.Primitives;

namespace Ioasis.PageTables.Tests;

/// <summary>What an unmap says must be invalidated and freed.</summary>
public sealed class GatherTests
{
    [Fact]
    [Trait("Requirement", "S4.13")]
    public void A_gather_holds_the_smallest_range_and_every_leaf_size()
    {
        using TableBench bench = new(new(PageTableFormat.Of<Sv39>(), MemoryKind.Sparse, Napot: true));
        bench.Map(0x1000, 0x1000, 0x1000).ShouldBe(Errno.Success);
        bench.Map(0x20_0000, 0x20_0000, 0x20_0000).ShouldBe(Errno.Success);
        bench.Map(0x50_0000, 0x50_0000, 0x10000).ShouldBe(Errno.Success);
        InvalidationGather gather = default;
        gather.IsEmpty.ShouldBeTrue();
        bench.Table.Unmap(new(0x50_0000), 0x10000, ref gather, out _).ShouldBe(Errno.Success);
        (gather.Range, gather.LeafSizes, gather.NonLeaf).ShouldBe((new(0x50_0000, 0x50_ffff), 1ul << 16, false));
        bench.Table.Unmap(new(0x1000), 0x1000, ref gather, out _).ShouldBe(Errno.Success);
        bench.Table.Unmap(new(0x20_0000), 0x20_0000, ref gather, out _).ShouldBe(Errno.Success);
        (gather.Range, gather.LeafSizes).ShouldBe((new(0x1000, 0x50_ffff), (1ul << 12) | (1ul << 16) | (1ul << 21)));
        gather.Clear();
        gather.IsEmpty.ShouldBeTrue();
    }

    [Fact]
    public void Unmapping_nothing_gathers_nothing()
    {
        using TableBench bench = new(new(PageTableFormat.Of<Sv48>(), MemoryKind.Sparse, Napot: true));
        InvalidationGather gather = default;
        bench.Table.Unmap(new(0), 1ul << 40, ref gather, out ulong unmapped).ShouldBe(Errno.Success);
        (unmapped, gather.IsEmpty).ShouldBe((0ul, true));
    }

    [Theory]
    [MemberData(nameof(TableCase.All), MemberType = typeof(TableCase))]
    [Trait("Requirement", "S4.14")]
    public void Tables_that_a_large_unmap_leaves_empty_wait_in_the_gather(TableCase what)
    {
        using TableBench bench = new(what);
        ulong size = 1ul << bench.Geometry.LeafLog2[1];
        bench.Map(0, 0x1000, 4 * size).ShouldBe(Errno.Success);
        long bytes = bench.Table.TableBytes;
        InvalidationGather gather = default;
        bench.Table.Unmap(new(0x1000), (4 * size) - 0x1000, ref gather, out ulong unmapped).ShouldBe(Errno.Success);

        // The first table holds a page still.
        unmapped.ShouldBe((4 * size) - 0x1000);
        gather.FreedTables.Length.ShouldBe(3);
        gather.NonLeaf.ShouldBeTrue();
        foreach ((PhysicalAddress table, int sizeLog2) in gather.FreedTables)
        {
            sizeLog2.ShouldBe(12);

            // Hardware may still walk it: not reused and not written.
            bench.Memory.Read64(table, out ulong entry);
            (entry & 1).ShouldBe(1ul);
        }

        bench.Table.TableBytes.ShouldBe(bytes - (3 * 4096));
        bench.Allocator.AllocatedBytes.ShouldBe(bytes);
        bench.Table.Release(ref gather);
        bench.Allocator.AllocatedBytes.ShouldBe(bytes - (3 * 4096));
        gather.IsEmpty.ShouldBeTrue();
    }

    [Fact]
    public void Unmapping_a_part_of_a_contiguous_leaf_names_all_of_it_and_keeps_the_rest()
    {
        using TableBench bench = new(new(PageTableFormat.Of<Sv39>(), MemoryKind.Sparse, Napot: true));
        bench.Map(0, 0, 0x40000).ShouldBe(Errno.Success);
        InvalidationGather gather = default;
        bench.Table.Unmap(new(0x12000), 0x1000, ref gather, out _).ShouldBe(Errno.Success);
        gather.Range.ShouldBe(new AddressRange(0x10000, 0x1ffff));
        (gather.LeafSizes & (1ul << 16)).ShouldNotBe(0ul);
        bench.Mappings().Count.ShouldBe(3 + 15);
        gather.Clear();
        bench.Table.Unmap(new(0x8000), 0x20000, ref gather, out ulong unmapped).ShouldBe(Errno.Success);
        unmapped.ShouldBe(0x1f000ul);
        gather.Range.ShouldBe(new AddressRange(0, 0x2ffff));
        bench.Mappings().Select(m => m.Range.Length).ShouldBe([.. Enumerable.Repeat(0x1000ul, 16), 0x10000]);
    }

    [Fact]
    public void Many_freed_tables_fit_a_gather()
    {
        InvalidationGather gather = default;
        for (ulong i = 0; i < 1000; i++)
        {
            gather.AddFreedTable(new(i << 12), 12, i << 21, (i << 21) + 0x1f_ffff);
        }

        gather.FreedTables.Length.ShouldBe(1000);
        gather.FreedTables[999].ShouldBe((new PhysicalAddress(999 << 12), 12));
        gather.FreedTables[0].ShouldBe((new PhysicalAddress(0), 12));
        gather.Range.ShouldBe(new AddressRange(0, (1000ul << 21) - 1));
        gather.Clear();
        gather.FreedTables.Length.ShouldBe(0);
    }
}
