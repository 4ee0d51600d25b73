using FsCheck;
using FsCheck.Fluent;
using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Kernel.Tests;

/// <summary>Where the kernel puts a mapping whose IOVA nobody chose, while limits come and go.</summary>
public sealed class AutomaticIovaTests
{
    private const int Pages = 96;
    private const ulong Page = 4096;

    [Fact]
    [Trait("Requirement", "S3.4")]
    [Trait("Requirement", "S3.5")]
    public void It_is_the_lowest_that_is_free_usable_and_kept_after_any_history_of_areas_and_limits()
    {
        Prop.ForAll(Arb.From(Gen.Choose(0, int.MaxValue)), static seed =>
        {
            Random random = new(seed);
            AddressSpace space = new(new(), new(), pinsByProcess: false);
            MemoryOwner owner = new(new FakeUserMemory(), new(), new(), long.MaxValue);
            space.ReserveRegions([new(new(Pages * Page, ulong.MaxValue), ReservedRegionKind.Reserved)], space).ShouldBe(Errno.Success);
            Dictionary<int, int> areas = [];
            List<bool[]> reserved = [];
            bool[]? allowed = null;
            for (int step = 0; step < 120; step++)
            {
                bool[] used = new bool[Pages];
                foreach ((int start, int count) in areas)
                {
                    used.AsSpan(start, count).Fill(true);
                }

                bool[] usable = [.. Enumerable.Range(0, Pages).Select(page => !reserved.Exists(region => region[page]))];
                int at = random.Next(Pages);
                int length = random.Next(1, 6);
                int end = Math.Min(Pages, at + length);
                switch (random.Next(12))
                {
                    case 0:
                        bool[] region = new bool[Pages];
                        region.AsSpan(at..end).Fill(true);
                        bool isTaken = used.AsSpan(at..end).Contains(true) || (allowed?.AsSpan(at..end).Contains(true) ?? false);
                        bool isAll = !usable.Where((can, page) => can && !region[page]).Any();
                        space.ReserveRegions([new(new((ulong)at * Page, ((ulong)end * Page) - 1), ReservedRegionKind.Reserved)], region)
                            .ShouldBe(isTaken ? Errno.AddressInUse : isAll ? Errno.InvalidArgument : Errno.Success);
                        if (!isTaken && !isAll)
                        {
                            reserved.Add(region);
                        }

                        break;
                    case 1 when reserved.Count > 0:
                        space.ReleaseRegions(reserved[^1]);
                        reserved.RemoveAt(reserved.Count - 1);
                        break;
                    case 2:
                        IntervalSet set = [];
                        bool[] list = new bool[Pages];
                        for (int i = random.Next(4); i > 0; i--)
                        {
                            int first = random.Next(Pages);
                            int behind = Math.Min(Pages, first + random.Next(1, 20));
                            list.AsSpan(first..behind).Fill(true);
                            set.Add(new((ulong)first * Page, ((ulong)behind * Page) - 1));
                        }

                        bool isUsable = !list.Where((wanted, page) => wanted && !usable[page]).Any();
                        space.Allow(set).ShouldBe(isUsable ? Errno.Success : Errno.AddressInUse);
                        allowed = isUsable ? set.Count > 0 ? list : null : allowed;
                        break;
                    case 3 or 4 or 5 when areas.Count > 0:
                        (int victim, int pages) = areas.ElementAt(random.Next(areas.Count));
                        space.Unmap((ulong)victim * Page, (ulong)pages * Page, out _).ShouldBe(Errno.Success);
                        areas.Remove(victim);
                        break;
                    case 6 or 7:
                        ulong iova = (ulong)at * Page;
                        bool[] free = [.. usable.Where((can, page) => page >= at && page < at + length && can && !used[page])];
                        space.Map(owner, ref iova, isFixed: true, FakeUserMemory.Start + Page, (ulong)length * Page, Access.Read)
                            .ShouldBe(free.Length == length ? Errno.Success : usable.AsSpan(at..end).Contains(false) || end < at + length ? Errno.InvalidArgument : Errno.Exists);
                        if (free.Length == length)
                        {
                            areas.Add(at, length);
                        }

                        break;
                    default:
                        bool Fits(int start) => Enumerable.Range(start, length)
                            .All(page => page < Pages && !used[page] && (allowed is null ? usable[page] : allowed[page]));
                        int expected = Enumerable.Range(1, Pages).FirstOrDefault(Fits);
                        ulong chosen = 0;
                        space.Map(owner, ref chosen, isFixed: false, FakeUserMemory.Start + Page, (ulong)length * Page, Access.Read)
                            .ShouldBe(expected == 0 ? Errno.NoSpace : Errno.Success);
                        chosen.ShouldBe((ulong)expected * Page);
                        if (expected > 0)
                        {
                            areas.Add(expected, length);
                        }

                        break;
                }

                space.AreaCount.ShouldBe(areas.Count);
            }

            space.Close();
            space.AreaCount.ShouldBe(0);
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(200));
    }

    [Fact]
    [Trait("Requirement", "S3.12")]
    public void Ten_thousand_ranges_that_are_full_cost_no_more_nodes_than_one()
    {
        AddressSpace space = new(new(), new(), pinsByProcess: false);
        MemoryOwner owner = new(new FakeUserMemory(), new(), new(), long.MaxValue);
        List<ReservedRegion> regions = [.. Enumerable.Range(0, 10_000).Select(
            static i => new ReservedRegion(new(((ulong)i * 4 * Page) + Page, ((ulong)i * 4 * Page) + (2 * Page) - 1), ReservedRegionKind.Reserved))];
        space.ReserveRegions(regions, regions).ShouldBe(Errno.Success);

        // Three pages are free between any two, and four are looked for.
        for (int i = 0; i < 100; i++)
        {
            ulong iova = 0;
            space.Map(owner, ref iova, isFixed: false, FakeUserMemory.Start + Page, 4 * Page, Access.Read).ShouldBe(Errno.Success);
            iova.ShouldBe((((10_000ul * 4) - 2) + ((ulong)i * 4)) * Page);
            space.LastSearchVisits.ShouldBeLessThanOrEqualTo(10);
        }

        // What nobody chooses is no area, and goes with the limits.
        space.AreaCount.ShouldBe(100);
        space.ReleaseRegions(regions);
        ulong lowest = 0;
        space.Map(owner, ref lowest, isFixed: false, FakeUserMemory.Start + Page, 4 * Page, Access.Read).ShouldBe(Errno.Success);
        lowest.ShouldBe(Page);
        space.Close();
    }
}
