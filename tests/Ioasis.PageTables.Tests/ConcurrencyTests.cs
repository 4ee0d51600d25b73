using Ioasis.PageTables.Formats;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.PageTables.Tests;

public sealed class ConcurrencyTests
{
    [Theory]
    [MemberData(nameof(TableCase.All), MemberType = typeof(TableCase))]
    [Trait("Requirement", "S4.11")]
    public void Disjoint_maps_and_unmaps_do_not_disturb_each_other_or_a_reader(TableCase what)
    {
        using TableBench bench = new(what);
        const int Writers = 3;
        const ulong Stripe = 0x10000;
        Exception? failure = null;
        bool stop = false;

        // Stripes of the threads alternate within the same tables. What an IOVA leads to never changes.
        void Write(int id)
        {
            Random random = new(id);
            for (int i = 0; i < 1500; i++)
            {
                ulong stripe = ((ulong)random.Next(64) * Writers) + (ulong)id;
                ulong start = (stripe * Stripe) + ((ulong)random.Next(8) << 12);
                ulong length = (ulong)random.Next(1, 9) << 12;
                InvalidationGather gather = default;
                bench.Table.Map(new(start), new(start + 0x1000_0000), length, Access.ReadWrite, ref gather)
                    .ShouldBe(Errno.Success);
                bench.Table.TryTranslate(new(start + length - 1), out PhysicalAddress address, out _, out _).ShouldBeTrue();
                address.Value.ShouldBe(start + length - 1 + 0x1000_0000);
                bench.Table.Unmap(new(start), length, ref gather, out ulong unmapped).ShouldBe(Errno.Success);
                unmapped.ShouldBe(length);
                gather.FreedTables.Length.ShouldBe(0);
                gather.Clear();
            }
        }

        void Read()
        {
            Random random = new(99);
            while (!Volatile.Read(ref stop))
            {
                ulong iova = (ulong)random.NextInt64(64 * Writers * (long)Stripe);
                if (bench.Table.TryTranslate(new(iova), out PhysicalAddress address, out Access access, out _))
                {
                    (address.Value, access).ShouldBe((iova + 0x1000_0000, Access.ReadWrite));
                }
            }
        }

        Thread reader = Start(Read);
        Thread[] writers = [.. Enumerable.Range(0, Writers).Select(id => Start(() => Write(id)))];
        Array.ForEach(writers, thread => thread.Join());
        Volatile.Write(ref stop, true);
        reader.Join();
        failure.ShouldBeNull();
        bench.Mappings().ShouldBeEmpty();
        bench.Allocator.AllocatedBytes.ShouldBe(bench.Table.TableBytes);

        Thread Start(Action action)
        {
            Thread thread = new(() =>
            {
                try
                {
                    action();
                }
                catch (ShouldAssertException e)
                {
                    failure = e;
                }
            });
            thread.Start();
            return thread;
        }
    }

    [Theory]
    [MemberData(nameof(TableCase.Formats), MemberType = typeof(TableCase))]
    [Trait("Requirement", "S4.11")]
    public void Threads_that_need_the_same_table_install_one(TableCase what)
    {
        using TableBench bench = new(what);
        ulong span = 1ul << bench.Geometry.Shift(bench.Geometry.Levels - 1);
        ulong rounds = Math.Min(200, (1ul << bench.Geometry.ApertureBits) / span);
        using Barrier barrier = new(2);
        int errors = 0;
        void Run(ulong id)
        {
            for (ulong round = 0; round < rounds; round++)
            {
                InvalidationGather gather = default;
                barrier.SignalAndWait(TestContext.Current.CancellationToken);
                if (bench.Table.Map(new((round * span) + (id << 12)), new(id << 12), 0x1000, Access.Read, ref gather)
                    != Errno.Success)
                {
                    Interlocked.Increment(ref errors);
                }
            }
        }

        Thread other = new(() => Run(1));
        other.Start();
        Run(0);
        other.Join();
        errors.ShouldBe(0);
        bench.Mappings().Count.ShouldBe(2 * (int)rounds);
        long expected = (1L << bench.Geometry.RootLog2) + ((long)rounds * 4096 * (bench.Geometry.Levels - 1));
        bench.Table.TableBytes.ShouldBe(expected);
        bench.Allocator.AllocatedBytes.ShouldBe(expected);
    }

    [Theory]
    [MemberData(nameof(TableCase.Formats), MemberType = typeof(TableCase))]
    public void What_a_split_keeps_stays_mapped_at_every_moment(TableCase what)
    {
        using TableBench bench = new(what);
        int level = Math.Min(2, bench.Geometry.LeafLevels - 1);
        ulong size = 1ul << bench.Geometry.LeafLog2[level];
        bool stop = false;
        long misses = 0;
        long reads = 0;
        bench.Map(0, 0, size).ShouldBe(Errno.Success);
        Thread reader = new(() =>
        {
            Random random = new(5);
            while (!Volatile.Read(ref stop))
            {
                // Never the first half, which comes and goes.
                ulong iova = (size / 2) + ((ulong)random.NextInt64((long)(size / 2)) & ~0xful);
                if (!bench.Table.TryTranslate(new(iova), out PhysicalAddress address, out _, out _) || address.Value != iova)
                {
                    Interlocked.Increment(ref misses);
                }

                Interlocked.Increment(ref reads);
            }
        });
        reader.Start();
        for (ulong i = 0; i < 300; i++)
        {
            InvalidationGather gather = default;
            ulong start = (i * 0x3000) & ((size / 4) - 1) & ~0xffful;
            bench.Table.Unmap(new(start), 0x3000, ref gather, out ulong unmapped).ShouldBe(Errno.Success);
            gather.Clear();
            bench.Table.Map(new(start), new(start), 0x3000, Access.ReadWrite, ref gather).ShouldBe(Errno.Success);
            unmapped.ShouldBe(0x3000ul);
            gather.FreedTables.Length.ShouldBe(0);
        }

        SpinWait.SpinUntil(() => Interlocked.Read(ref reads) > 100, TimeSpan.FromSeconds(30)).ShouldBeTrue();
        Volatile.Write(ref stop, true);
        reader.Join();
        misses.ShouldBe(0);
    }

    [Fact]
    public void Mapping_and_unmapping_in_place_allocates_nothing_on_the_managed_heap()
    {
        using TableBench bench = new(new(PageTableFormat.Of<Sv48>(), MemoryKind.Sparse, Napot: true));
        void Once(ulong length)
        {
            InvalidationGather gather = default;
            _ = bench.Table.Map(new(0), new(0), length, Access.ReadWrite, ref gather);
            _ = bench.Table.Unmap(new(0), length, ref gather, out _);
            bench.Table.Release(ref gather);
        }

        ulong[] lengths = [0x1000, 0x5000, 0x10000, 0x40_1000, 0x4000_0000];
        SteadyState.AllocatedBytes(() =>
        {
            for (int round = 0; round < 100; round++)
            {
                foreach (ulong length in lengths)
                {
                    Once(length);
                }
            }
        }).ShouldBe(0);
    }
}
