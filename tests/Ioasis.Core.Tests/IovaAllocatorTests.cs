using FsCheck;
using FsCheck.Fluent;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Core.Tests;

/// <summary>IOVAs are never given out twice, obey alignment and limits, and all come back.</summary>
public class IovaAllocatorTests
{
    private const ulong Page = 4096;
    private static readonly AddressRange s_aperture = new(0, (512 * Page) - 1);

    [Theory]
    [InlineData(0, 1)]
    [InlineData(6, 1)]
    [InlineData(6, 4)]
    [InlineData(3, 16)]
    public void Every_run_of_allocations_and_frees_obeys_the_model(int orders, int refill)
    {
        Gen<(bool Allocates, int Pages, int Limit, int Which)> step =
            from allocates in Gen.Frequency((3, Gen.Constant(true)), (2, Gen.Constant(false)))
            from pages in Gen.Frequency((4, Gen.Choose(1, 5)), (1, Gen.Choose(1, 100)))
            from limit in Gen.Frequency((2, Gen.Constant(511)), (1, Gen.Choose(0, 511)))
            from which in Gen.Choose(0, 1000)
            select (allocates, pages, limit, which);
        Prop.ForAll(Arb.From(Gen.ListOf(step)), steps => Run(
                new() { CachedOrders = orders, RefillCount = refill, MagazineSize = 16, DepotMagazines = 2, Slots = 2 }, [.. steps]))
            .Check(Config.QuickThrowOnFailure.WithMaxTest(200).WithEndSize(300));
    }

    [Fact]
    public void Allocation_goes_from_the_top_down_aligned_to_the_size()
    {
        IovaAllocator iovas = new(s_aperture, 12, new() { CachedOrders = 0 });
        Take(iovas, 1).ShouldBe(511 * Page);
        Take(iovas, 4).ShouldBe(504 * Page);
        Take(iovas, 1).ShouldBe(510 * Page);
        Take(iovas, 3).ShouldBe(500 * Page);
        Take(iovas, 1, (100 * Page) - 1).ShouldBe(99 * Page);
        Take(iovas, 1, 100 * Page).ShouldBe(98 * Page);
    }

    [Fact]
    public void The_first_granule_is_never_given_out()
    {
        IovaAllocator iovas = new(s_aperture, 12);
        HashSet<ulong> seen = [];
        while (iovas.TryAllocate(Page, new(ulong.MaxValue), out Iova iova) == Errno.Success)
        {
            seen.Add(iova.Value).ShouldBeTrue();
        }

        seen.Count.ShouldBe(511);
        seen.ShouldNotContain(0ul);
        iovas.Statistics.Failures.ShouldBe(1);
    }

    [Fact]
    public void Reserved_ranges_are_never_given_out_and_what_is_allocated_cannot_be_reserved()
    {
        IovaAllocator iovas = new(s_aperture, 12);
        iovas.Reserve(new(0x10_0800, 0x10_2fff)).ShouldBe(Errno.Success);
        iovas.Reserve(new(0x10_1000, 0x10_1fff)).ShouldBe(Errno.Success);
        iovas.Reserve(new(511 * Page, ulong.MaxValue)).ShouldBe(Errno.Success);
        Iova held = new(Take(iovas, 1));
        iovas.Reserve(new(0, ulong.MaxValue)).ShouldBe(Errno.Busy);
        iovas.Free(new(0x10_0000), Page * 40).ShouldBe(Errno.InvalidArgument);
        List<ulong> all = [held.Value];
        while (iovas.TryAllocate(Page, new(ulong.MaxValue), out Iova iova) == Errno.Success)
        {
            all.Add(iova.Value);
        }

        all.Count.ShouldBe(511 - 3 - 1);
        all.ShouldAllBe(iova => iova < 0x10_0000 || iova > 0x10_2fff);
        all.ShouldBeUnique();
        all.ForEach(iova => iovas.Free(new(iova), Page).ShouldBe(Errno.Success));
        iovas.FlushCaches();
        iovas.CheckTree().ShouldBe([(1ul, 0xfful), (0x103ul, 510ul)]);
    }

    [Fact]
    public void A_limit_holds_for_what_is_cached_too()
    {
        IovaAllocator iovas = new(new(0, (1ul << 40) - 1), 12, new() { Slots = 1 });
        ulong[] high = [.. Enumerable.Range(0, 100).Select(_ => Take(iovas, 1))];
        high.ShouldAllBe(iova => iova > uint.MaxValue);
        foreach (ulong iova in high)
        {
            iovas.Free(new(iova), Page).ShouldBe(Errno.Success);
        }

        for (int i = 0; i < 300; i++)
        {
            Take(iovas, 1, uint.MaxValue).ShouldBeLessThanOrEqualTo(uint.MaxValue);
        }
    }

    [Fact]
    public void What_other_processors_have_cached_is_found_when_nothing_else_is_left()
    {
        int slot = 0;
        IovaAllocator iovas = new(s_aperture, 12, new() { Slots = 2, SlotChooser = () => slot });
        ulong[] all = [.. Enumerable.Range(0, 511).Select(_ => Take(iovas, 1))];
        iovas.TryAllocate(Page, new(ulong.MaxValue), out _).ShouldBe(Errno.NoSpace);
        foreach (ulong iova in all)
        {
            iovas.Free(new(iova), Page).ShouldBe(Errno.Success);
        }

        slot = 1;
        Take(iovas, 256).ShouldBe(256 * Page);
        iovas.Statistics.CachedBytes.ShouldBe(0ul);
    }

    [Fact]
    public void Nonsense_is_refused_and_changes_nothing()
    {
        IovaAllocator iovas = new(s_aperture, 12);
        iovas.TryAllocate(0, new(ulong.MaxValue), out _).ShouldBe(Errno.InvalidArgument);
        iovas.TryAllocate(100, new(ulong.MaxValue), out _).ShouldBe(Errno.InvalidArgument);
        iovas.TryAllocate(Page, new(Page - 2), out _).ShouldBe(Errno.NoSpace);
        iovas.TryAllocate(Page, new(Page), out _).ShouldBe(Errno.NoSpace);
        iovas.TryAllocate(1ul << 63, new(ulong.MaxValue), out _).ShouldBe(Errno.NoSpace);
        iovas.Free(default, Page).ShouldBe(Errno.InvalidArgument);
        iovas.Free(new(Page), 2 * Page).ShouldBe(Errno.InvalidArgument);
        iovas.Free(new(Page + 1), Page).ShouldBe(Errno.InvalidArgument);
        iovas.Free(new(510 * Page), 3 * Page).ShouldBe(Errno.InvalidArgument);
        iovas.Free(new(64 * Page), 64 * Page).ShouldBe(Errno.InvalidArgument);
        iovas.FlushCaches();
        iovas.CheckTree().ShouldBe([(1ul, 511ul)]);
    }

    [Fact]
    public void An_aperture_that_holds_no_granule_gives_nothing()
    {
        IovaAllocator iovas = new(new(0x1800, 0x2800), 12);
        iovas.TryAllocate(Page, new(ulong.MaxValue), out _).ShouldBe(Errno.NoSpace);
        iovas.Free(new(0x1000), Page).ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    public void Threads_never_get_the_same_IOVA_and_everything_comes_back()
    {
        IovaAllocator iovas = new(
            new(0, (1ul << 28) - 1), 12, new() { MagazineSize = 8, DepotMagazines = 2, RefillCount = 4, Slots = 2 });
        int[] owner = new int[1 << 16];
        int clashes = 0;
        Parallel.For(0, 4, new ParallelOptions { MaxDegreeOfParallelism = 4 }, thread =>
        {
            Random random = new(thread);
            List<(ulong Iova, ulong Pages)> held = [];
            for (int i = 0; i < 100_000; i++)
            {
                if (held.Count < 200 && random.Next(2) == 0)
                {
                    ulong pages = random.Next(10) == 0 ? (ulong)random.Next(33, 80) : (ulong)random.Next(1, 9);
                    if (iovas.TryAllocate(pages * Page, new(ulong.MaxValue), out Iova iova) == Errno.Success)
                    {
                        held.Add((iova.Value, pages));
                        for (ulong page = 0; page < pages; page++)
                        {
                            clashes += Interlocked.Exchange(ref owner[(iova.Value >> 12) + page], thread + 1) != 0 ? 1 : 0;
                        }
                    }
                }
                else if (held.Count > 0)
                {
                    int which = random.Next(held.Count);
                    (ulong iova, ulong pages) = held[which];
                    held.RemoveAt(which);
                    for (ulong page = 0; page < pages; page++)
                    {
                        clashes += Interlocked.Exchange(ref owner[(iova >> 12) + page], 0) != thread + 1 ? 1 : 0;
                    }

                    clashes += iovas.Free(new(iova), pages * Page) == Errno.Success ? 0 : 1;
                }
            }

            foreach ((ulong iova, ulong pages) in held)
            {
                Array.Clear(owner, (int)(iova >> 12), (int)pages);
                clashes += iovas.Free(new(iova), pages * Page) == Errno.Success ? 0 : 1;
            }
        });
        clashes.ShouldBe(0);
        iovas.FlushCaches();
        iovas.CheckTree().ShouldBe([(1ul, 0xfffful)]);
        iovas.Statistics.FreeBytes.ShouldBe((1ul << 28) - Page);
    }

    [Fact]
    public void A_steady_state_allocates_no_managed_memory()
    {
        IovaAllocator iovas = new(new(0, (1ul << 40) - 1), 12, new() { Slots = 1 });
        Iova[] held = new Iova[1000];
        SteadyState.AllocatedBytes(() =>
        {
            for (int i = 0; i < held.Length; i++)
            {
                _ = iovas.TryAllocate(Page << (i % 7), new(ulong.MaxValue), out held[i]);
            }

            for (int i = 0; i < held.Length; i++)
            {
                _ = iovas.Free(held[i], Page << (i % 7));
            }
        }).ShouldBe(0);
        iovas.Statistics.CacheHits.ShouldBeGreaterThan(1000);
    }

    [Fact]
    public void A_failed_allocation_leaves_no_trace() => FailAtEveryStep.Run(
        () => new IovaAllocator(s_aperture, 12),
        iovas => iovas.TryAllocate(3 * Page, new(ulong.MaxValue), out _),
        (iovas, result, step) =>
        {
            (result == Errno.Success).ShouldBe(step == 0);
            iovas.FlushCaches();
            iovas.Statistics.FreeBytes.ShouldBe((511 - (step == 0 ? 4ul : 0)) * Page);
        }).ShouldBe(1);

    private static ulong Take(IovaAllocator iovas, ulong pages, ulong limit = ulong.MaxValue)
    {
        iovas.TryAllocate(pages * Page, new(limit), out Iova iova).ShouldBe(Errno.Success);
        return iova.Value;
    }

    private static void Run(IovaAllocatorOptions options, (bool Allocates, int Pages, int Limit, int Which)[] steps)
    {
        int slot = 0;
        IovaAllocator iovas = new(s_aperture, 12, options with { SlotChooser = () => slot });
        IovaModel model = new(1, 511);
        List<(ulong Start, ulong Pages)> held = [];
        foreach ((bool allocates, int pages, int limit, int which) in steps)
        {
            slot = which & 1;
            if (allocates)
            {
                ulong rounded = iovas.RoundUp((ulong)pages * Page) / Page;
                ulong alignment = System.Numerics.BitOperations.RoundUpToPowerOf2((ulong)pages);
                ulong last = (ulong)limit;
                ulong? best = model.Highest(rounded, alignment, last);
                Errno error = iovas.TryAllocate((ulong)pages * Page, new((last * Page) + Page - 1), out Iova iova);
                (error == Errno.Success).ShouldBe(best is not null);
                if (error == Errno.Success)
                {
                    ulong start = iova.Value / Page;
                    (start % alignment).ShouldBe(0ul);
                    (start + rounded - 1).ShouldBeLessThanOrEqualTo(last);
                    model.Take(start, rounded);
                    held.Add((start, (ulong)pages));
                    if (options.CachedOrders == 0)
                    {
                        start.ShouldBe(best!.Value);
                    }
                }
            }
            else if (held.Count > 0)
            {
                (ulong start, ulong count) = held[which % held.Count];
                held.RemoveAt(which % held.Count);
                iovas.Free(new(start * Page), count * Page).ShouldBe(Errno.Success);
                model.Give(start, iovas.RoundUp(count * Page) / Page);
            }
        }

        iovas.FlushCaches();
        iovas.CheckTree().ShouldBe(model.Free());
    }
}
