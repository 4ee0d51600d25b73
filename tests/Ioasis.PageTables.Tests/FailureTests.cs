using Ioasis.Primitives;

namespace Ioasis.PageTables.Tests;

/// <summary>Fail at allocation n, for all n: nothing changed, nothing leaked (invariant 3).</summary>
public sealed class FailureTests
{
    [Theory]
    [MemberData(nameof(TableCase.All), MemberType = typeof(TableCase))]
    public void A_map_that_runs_out_of_tables_leaves_no_trace(TableCase what)
    {
        ulong big = 1ul << Geometry.Of(what.Format).LeafLog2[1];
        int needed = FailAtEach(
            what,
            bench => bench.Map(0x5000, 0x5000, 0x1000),
            bench => bench.Map(big - 0x2000, 0x1000, (3 * big) + 0x4000));
        needed.ShouldBe(4);
    }

    [Theory]
    [MemberData(nameof(TableCase.All), MemberType = typeof(TableCase))]
    public void A_first_map_that_runs_out_of_tables_leaves_no_trace(TableCase what) =>
        FailAtEach(what, _ => Errno.Success, bench => bench.Map(0x1000, 0x1000, 0x1000))
            .ShouldBe(Geometry.Of(what.Format).Levels - 1);

    [Theory]
    [MemberData(nameof(TableCase.All), MemberType = typeof(TableCase))]
    public void An_unmap_that_runs_out_of_tables_for_its_splits_leaves_no_trace(TableCase what)
    {
        Geometry geometry = Geometry.Of(what.Format);
        ulong size = 1ul << geometry.LeafLog2[^1];
        int needed = FailAtEach(
            what,
            bench => bench.Map(0, 0, 3 * size),
            bench =>
            {
                InvalidationGather gather = default;
                Errno error = bench.Table.Unmap(new(size - 0x3000), size + 0x8000, ref gather, out ulong unmapped);
                if (error != Errno.Success)
                {
                    (unmapped, gather.IsEmpty).ShouldBe((0ul, true));
                }

                bench.Table.Release(ref gather);
                return error;
            });
        needed.ShouldBe(2 * (geometry.LeafLevels - 1));
    }

    [Theory]
    [MemberData(nameof(TableCase.All), MemberType = typeof(TableCase))]
    public void An_unmap_within_one_leaf_that_runs_out_of_tables_leaves_no_trace(TableCase what)
    {
        ulong size = 1ul << Geometry.Of(what.Format).LeafLog2[^1];
        FailAtEach(
            what,
            bench => bench.Map(0, 0, size),
            bench =>
            {
                InvalidationGather gather = default;
                Errno error = bench.Table.Unmap(new(0x3000), size - 0x8000, ref gather, out _);
                bench.Table.Release(ref gather);
                return error;
            }).ShouldBe((2 * (Geometry.Of(what.Format).LeafLevels - 2)) + 1);
    }

    [Theory]
    [MemberData(nameof(TableCase.All), MemberType = typeof(TableCase))]
    public void No_table_without_a_root(TableCase what)
    {
        using TableBench bench = new(what);
        bench.Pages.Remaining = 0;
        IoPageTable.TryCreate(what.Format, bench.Options, bench.Memory, bench.Pages, out IoPageTable? table)
            .ShouldBe(Errno.OutOfMemory);
        table.ShouldBeNull();
    }

    // Runs an operation with 0, 1, 2, … allocations until it succeeds; returns how many it needs.
    private static int FailAtEach(TableCase what, Func<TableBench, Errno> prepare, Func<TableBench, Errno> operation)
    {
        using TableBench bench = new(what);
        prepare(bench).ShouldBe(Errno.Success);
        List<PageMapping> mappings = bench.Mappings();
        long bytes = bench.Table.TableBytes;
        for (int allowed = 0; ; allowed++)
        {
            bench.Pages.Remaining = allowed;
            Errno error = operation(bench);
            bench.Pages.Remaining = int.MaxValue;
            bench.Allocator.AllocatedBytes.ShouldBe(bench.Table.TableBytes);
            if (error == Errno.Success)
            {
                return allowed;
            }

            error.ShouldBe(Errno.OutOfMemory);
            bench.Table.TableBytes.ShouldBe(bytes);
            bench.Mappings().ShouldBe(mappings);
        }
    }
}
