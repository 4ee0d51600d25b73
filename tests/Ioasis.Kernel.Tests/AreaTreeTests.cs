using System.Numerics;
using FsCheck;
using FsCheck.Fluent;
using Ioasis.Primitives;

namespace Ioasis.Kernel.Tests;

public sealed class AreaTreeTests
{
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
    public void A_hole_is_found_exactly_if_there_is_one_and_always_lies_free_aligned_and_within_limits()
    {
        Prop.ForAll(Arb.From(Gen.Choose(0, int.MaxValue)), static seed =>
        {
            Random random = new(seed);
            const int Space = 600;
            AreaTree<object> tree = new();
            bool[] used = new bool[Space];
            for (int i = 0; i < random.Next(0, 90); i++)
            {
                int start = random.Next(Space);
                int last = Math.Min(Space - 1, start + random.Next(4));
                if (!used.AsSpan(start, last - start + 1).Contains(true))
                {
                    used.AsSpan(start, last - start + 1).Fill(true);
                    tree.Add((ulong)start, (ulong)last, new());
                }
            }

            for (int i = 0; i < 30; i++)
            {
                int length = random.Next(1, 10);
                int alignment = 1 << random.Next(0, 5);
                int offset = random.Next(alignment);
                int lowest = random.Next(Space);
                int highest = random.Next(lowest, Space);
                int least = 1 << random.Next(0, BitOperations.Log2((uint)alignment) + 1);
                bool Exists(int step) => Enumerable.Range(lowest, Math.Max(0, highest - lowest - length + 2))
                    .Any(start => start % step == offset % step && !used.AsSpan(start, length).Contains(true));
                bool expected = Exists(least);
                tree.TryFindHole(
                    (ulong)lowest, (ulong)highest, (ulong)length, (ulong)alignment, (ulong)offset, 1, (ulong)least, out ulong found)
                    .ShouldBe(expected);
                if (expected)
                {
                    // So small a tree is looked through for the alignment that is only welcome.
                    int kept = Exists(alignment) ? alignment : least;
                    ((int)found % kept).ShouldBe(offset % kept);
                    ((int)found).ShouldBeInRange(lowest, highest - length + 1);
                    used.AsSpan((int)found, length).Contains(true).ShouldBeFalse();
                }
            }
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(200));
    }

    [Fact]
    [Trait("Requirement", "S3.12")]
    public void Ranges_and_holes_reach_the_last_byte_of_the_address_space()
    {
        AreaTree<object> tree = new();
        tree.Add(ulong.MaxValue, ulong.MaxValue, new());
        tree.Add(0, 0, new());
        tree.Validate();
        tree.TryFindHole(0, ulong.MaxValue, ulong.MaxValue - 1, 1, 0, 1, 1, out ulong start).ShouldBeTrue();
        start.ShouldBe(1ul);
        tree.TryFindHole(0, ulong.MaxValue, ulong.MaxValue, 1, 0, 1, 1, out _).ShouldBeFalse();
        tree.FindOverlap(1, ulong.MaxValue, out ulong found, out _).ShouldNotBeNull();
        found.ShouldBe(ulong.MaxValue);
        tree.Remove(ulong.MaxValue).ShouldBeTrue();
        tree.TryFindHole(1ul << 63, ulong.MaxValue, 1ul << 63, 1ul << 63, 0, 1, 1, out start).ShouldBeTrue();
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
        const ulong Page = 4096;
        const ulong Large = 512 * Page;
        object value = new();

        // Dense, with one hole at the end; holes that are too small everywhere; holes that are large enough but never aligned.
        (ulong Length, ulong Hole, ulong Start)[] shapes = [(Page, 0, Page), (Page, Page, Page), (Page, Large, Page)];
        foreach ((ulong length, ulong hole, ulong first) in shapes)
        {
            AreaTree<object> tree = new();
            for (int i = 0; i < count; i++)
            {
                // A page and a large hole in turn: the holes begin a page further off each time, so few are aligned.
                ulong start = first + ((ulong)i * (length + hole));
                tree.Add(start, start + length - 1, value);
            }

            foreach (ulong wanted in (ulong[])[Page, 2 * Page, Large])
            {
                tree.TryFindHole(Page, ulong.MaxValue - Page, wanted, wanted, 0, Page, Page, out ulong found).ShouldBeTrue();
                tree.FindOverlap(found, found + wanted - 1, out _, out _).ShouldBeNull();

                // A way down for each alignment, and the nodes that are looked at by luck.
                tree.LastVisits.ShouldBeLessThanOrEqualTo((tree.Depth * 12) + 17 + tree.Depth, $"{length} {hole} {wanted}");
            }
        }
    }

    [Fact]
    public void When_all_holes_of_the_right_size_are_misaligned_the_search_neither_fails_nor_visits_them_all()
    {
        const ulong Page = 4096;
        const ulong Large = 512 * Page;
        AreaTree<object> tree = new();
        object value = new();
        ulong end = Page;
        for (int i = 0; i < 200_000; i++)
        {
            tree.Add(end, end + Page - 1, value);
            end += Page + Large;
        }

        // Holes are as large as what is looked for, and (513 pages apart) aligned once in 512 times; above everything is nothing.
        tree.Add(end, ulong.MaxValue - Page, value);
        int aligned = 0;
        for (int i = 0; i < 200; i++)
        {
            tree.TryFindHole(Page, ulong.MaxValue - Page, Large, Large, 0, Page, Page, out ulong found).ShouldBeTrue();
            tree.LastVisits.ShouldBeLessThan(250);
            aligned += found % Large == 0 ? 1 : 0;
            tree.Add(found, found + Large - 1, value);
        }

        aligned.ShouldBeLessThan(200);
        tree.Validate();
    }
}
