using System.Numerics;
using FsCheck;
using FsCheck.Fluent;
using Ioasis.Primitives;

namespace Ioasis.Kernel.Tests;

public sealed class AreaTreeTests
{
    private const ulong Page = 4096;

    [Fact]
    public void A_tree_agrees_with_a_sorted_list_after_any_sequence_of_adds_and_removes()
    {
        var operations = Gen.Choose(0, int.MaxValue).ArrayOf(400);
        Prop.ForAll(Arb.From(operations), static seeds =>
        {
            AreaTree<object> tree = new();
            SortedList<ulong, (ulong Last, object Value)> model = [];
            foreach (int seed in seeds)
            {
                Random random = new(seed);
                ulong start = (ulong)random.Next(0, 3000);
                ulong last = start + (ulong)random.Next(0, 12);
                if (random.Next(3) > 0)
                {
                    if (!model.Any(entry => entry.Key <= last && start <= entry.Value.Last))
                    {
                        object value = new();
                        tree.Add(start, last, value);
                        model.Add(start, (last, value));
                    }
                }
                else
                {
                    ulong victim = model.Count > 0 && random.Next(2) > 0 ? model.Keys[random.Next(model.Count)] : start;
                    tree.Remove(victim).ShouldBe(model.Remove(victim));
                }

                tree.Validate();
                tree.Count.ShouldBe(model.Count);
                ulong from = (ulong)random.Next(0, 3020);
                ulong to = from + (ulong)random.Next(0, 40);
                object? found = tree.FindOverlap(from, to, out ulong foundStart, out ulong foundLast);
                var expected = model.Where(entry => entry.Key <= to && from <= entry.Value.Last).ToList();
                if (expected.Count == 0)
                {
                    found.ShouldBeNull();
                }
                else
                {
                    found.ShouldBeSameAs(expected[0].Value.Value);
                    (foundStart, foundLast).ShouldBe((expected[0].Key, expected[0].Value.Last));
                }
            }
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(40));
    }

    [Fact]
    public void The_lowest_hole_with_the_best_alignment_is_found_exactly_if_there_is_one()
    {
        Prop.ForAll(Arb.From(Gen.Choose(0, int.MaxValue)), static seed =>
        {
            Random random = new(seed);
            AreaTree<object> tree = new();
            List<AddressRange> used = [];

            // Whole pages as in a space with a domain, or single bytes; somewhere in the space or at its end.
            ulong unit = random.Next(2) == 0 ? Page : 1;
            ulong origin = random.Next(4) == 0 ? ulong.MaxValue - (1ul << 33) + 1 : 0;
            for (int i = 0; i < random.Next(0, 90); i++)
            {
                ulong start = origin + ((ulong)random.NextInt64(1L << random.Next(1, 34)) & ~(unit - 1));
                ulong last = start + ((ulong)random.NextInt64(1, 1L << random.Next(1, 20)) * unit) - 1;
                AddressRange range = new(start, Math.Max(start, last < start ? ulong.MaxValue : last));
                if (!used.Exists(range.Overlaps))
                {
                    used.Add(range);
                    tree.Add(range.Start, range.Last, new());
                }
            }

            tree.Validate();
            used.Sort();
            for (int i = 0; i < 30; i++)
            {
                ulong length = (ulong)random.NextInt64(1, 1L << random.Next(1, 33));
                ulong alignment = 1ul << random.Next(12, 31);
                ulong offset = unit == 1 && alignment == Page ? (ulong)random.Next((int)Page) : 0;
                ulong lowest = origin + (ulong)random.NextInt64(1L << 33);
                ulong highest = random.Next(2) == 0 ? ulong.MaxValue : lowest + (ulong)random.NextInt64(1L << 33);

                // Nothing has to be aligned for more than its length.
                ulong most = Math.Min(Math.Min(alignment, 1ul << 21), Math.Max(Page, BitOperations.RoundUpToPowerOf2(length)));
                ulong least = 1ul << random.Next(12, BitOperations.Log2(most) + 1);
                ulong? expected = FindByLooking(used, lowest, Math.Max(lowest, highest), length, alignment, least, offset);
                bool found = tree.TryFindHole(lowest, Math.Max(lowest, highest), length, alignment, least, offset, out ulong start);
                found.ShouldBe(expected is not null);
                if (found)
                {
                    used.Exists(new AddressRange(start, start + length - 1).Overlaps).ShouldBeFalse();
                    start.ShouldBeGreaterThanOrEqualTo(lowest);
                    (start + length - 1).ShouldBeLessThanOrEqualTo(Math.Max(lowest, highest));
                    (start % Page).ShouldBe(offset);
                    if (offset == 0)
                    {
                        start.ShouldBe(expected!.Value);
                    }
                }
            }
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(300));
    }

    [Fact]
    [Trait("Requirement", "S3.12")]
    public void Ranges_and_holes_reach_the_last_byte_of_the_address_space()
    {
        AreaTree<object> tree = new();
        tree.Add(ulong.MaxValue - Page + 1, ulong.MaxValue, new());
        tree.Add(0, Page - 1, new());
        tree.Validate();
        tree.TryFindHole(0, ulong.MaxValue, ulong.MaxValue - (2 * Page) + 1, Page, Page, 0, out ulong start).ShouldBeTrue();
        start.ShouldBe(Page);
        tree.TryFindHole(0, ulong.MaxValue, ulong.MaxValue - Page, Page, Page, 0, out _).ShouldBeFalse();
        tree.FindOverlap(Page, ulong.MaxValue, out ulong found, out _).ShouldNotBeNull();
        found.ShouldBe(ulong.MaxValue - Page + 1);
        tree.Remove(ulong.MaxValue - Page + 1).ShouldBeTrue();
        tree.TryFindHole(1ul << 63, ulong.MaxValue, 1ul << 63, 1ul << 30, Page, 0, out start).ShouldBeTrue();
        start.ShouldBe(1ul << 63);
    }

    [Fact]
    public void A_tree_of_a_hundred_thousand_ranges_stays_flat_and_shrinks_again()
    {
        AreaTree<object> tree = new();
        object value = new();
        ulong[] starts = [.. Enumerable.Range(0, 100_000).Select(static i => (ulong)i * 2)];
        new Random(1).Shuffle(starts);
        foreach (ulong start in starts)
        {
            tree.Add(start, start, value);
        }

        tree.Validate();
        tree.Depth.ShouldBeLessThanOrEqualTo(5);
        new Random(2).Shuffle(starts);
        foreach (ulong start in starts)
        {
            tree.Remove(start).ShouldBeTrue();
        }

        tree.Count.ShouldBe(0);
        tree.Depth.ShouldBe(1);
        tree.Validate();
    }

    // How many ranges, what lies between them, and what is looked for.
    [Theory]
    [InlineData(4_096)]
    [InlineData(1_000_000)]
    public void A_hole_costs_a_logarithm_of_nodes_however_the_others_lie(int count)
    {
        const ulong Large = 512 * Page;
        object value = new();

        // Dense, with one hole at the end; holes that are too small everywhere; holes that are large enough but hardly ever aligned.
        (ulong Length, ulong Hole, ulong Start)[] shapes = [(Page, 0, Page), (Page, Page, Page), (Page, Large, Page)];
        foreach ((ulong length, ulong hole, ulong first) in shapes)
        {
            AreaTree<object> tree = new();
            for (int i = 0; i < count; i++)
            {
                // A page and a hole in turn: large holes begin a page further off each time, so one of 512 is aligned.
                ulong start = first + ((ulong)i * (length + hole));
                tree.Add(start, start + length - 1, value);
            }

            foreach (ulong wanted in (ulong[])[Page, 2 * Page, Large])
            {
                tree.TryFindHole(Page, ulong.MaxValue - Page, wanted, wanted, Page, 0, out ulong found).ShouldBeTrue();
                tree.FindOverlap(found, found + wanted - 1, out _, out _).ShouldBeNull();
                (found % (wanted == Large ? Large : Page)).ShouldBe(0ul);

                // One way down, and one that the limit cuts.
                tree.LastVisits.ShouldBeLessThanOrEqualTo(2 * tree.Depth, $"{length} {hole} {wanted}");
            }
        }
    }

    [Fact]
    public void Every_aligned_hole_is_used_before_a_misaligned_one_and_none_costs_more_than_a_way_down_for_each_size()
    {
        const ulong Large = 512 * Page;
        AreaTree<object> tree = new();
        object value = new();
        ulong end = Page;
        int aligned = 0;
        for (int i = 0; i < 200_000; i++)
        {
            tree.Add(end, end + Page - 1, value);
            aligned += (end + Page) % Large == 0 ? 1 : 0;
            end += Page + Large;
        }

        // Holes are as large as what is looked for, and (513 pages apart) aligned once in 512 times; above everything is nothing.
        tree.Add(end, ulong.MaxValue - Page, value);
        for (int i = 0; i < aligned + 200; i++)
        {
            tree.TryFindHole(Page, ulong.MaxValue - Page, Large, Large, Page, 0, out ulong found).ShouldBeTrue();
            tree.LastVisits.ShouldBeLessThanOrEqualTo(3 * 2 * tree.Depth);
            (found % Large == 0).ShouldBe(i < aligned);
            tree.Add(found, found + Large - 1, value);
        }

        tree.Validate();
    }

    // Every hole is larger than what is looked for, and lies so that its aligned part is a page too short; only behind all of them
    // is room.
    [Fact]
    [Trait("Requirement", "S3.12")]
    public void Every_alignment_to_2_MiB_costs_one_way_down_however_many_large_holes_are_misaligned()
    {
        object value = new();
        for (ulong alignment = 2 * Page; alignment <= 512 * Page; alignment *= 2)
        {
            AreaTree<object> tree = new();
            ulong end = 0;
            for (int i = 0; i < 50_000; i++)
            {
                tree.Add(end, end + Page - 1, value);
                end += 2 * alignment;
                tree.Add(end - Page, end - 1, value);
            }

            tree.TryFindHole(Page, ulong.MaxValue - Page, alignment, alignment, alignment, 0, out ulong found).ShouldBeTrue();
            found.ShouldBe(end);
            tree.LastVisits.ShouldBeLessThanOrEqualTo(2 * tree.Depth, $"0x{alignment:x}");
        }
    }

    private static ulong? FindByLooking(
        List<AddressRange> used, ulong lowest, ulong highest, ulong length, ulong alignment, ulong least, ulong offset)
    {
        List<AddressRange> holes = [];
        UInt128 next = lowest;
        foreach (AddressRange range in used)
        {
            if (range.Start > next && next <= highest)
            {
                holes.Add(new((ulong)next, Math.Min(highest, range.Start - 1)));
            }

            next = UInt128.Max(next, (UInt128)range.Last + 1);
        }

        if (next <= highest)
        {
            holes.Add(new((ulong)next, highest));
        }

        foreach (ulong leaf in ((ulong[])[1ul << 30, 1ul << 21, 1ul << 16, Page]).Where(leaf => leaf > least).Append(least))
        {
            foreach (AddressRange hole in holes)
            {
                UInt128 start = hole.Start + (UInt128)((offset - hole.Start) & (leaf - 1));
                if (leaf <= alignment && start + length - 1 <= hole.Last)
                {
                    return (ulong)start;
                }
            }
        }

        return null;
    }
}
