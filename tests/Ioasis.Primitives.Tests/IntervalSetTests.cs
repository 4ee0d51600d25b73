using FsCheck;
using FsCheck.Fluent;
using Ioasis.Primitives;

namespace Ioasis.Primitives.Tests;

/// <summary>The interval set against a bitmap, at the bottom and at the top of the 64-bit space.</summary>
[Trait("Requirement", "S3.12")]
public sealed class IntervalSetTests
{
    private const int Width = 64;

    private static readonly Gen<(bool Add, int Start, int Last)> s_step =
        from add in Gen.Elements(true, true, false)
        from one in Gen.Choose(0, Width - 1)
        from other in Gen.Choose(0, Width - 1)
        select (add, Math.Min(one, other), Math.Max(one, other));

    public static TheoryData<ulong> Bases => [0, 1ul << 40, ulong.MaxValue - (Width - 1)];

    [Theory]
    [MemberData(nameof(Bases))]
    public void Adding_and_removing_agree_with_a_bitmap(ulong start) => ForAllSteps(steps =>
    {
        (IntervalSet set, bool[] bits) = Play(steps, start);
        return Same(set, bits, start);
    });

    [Theory]
    [MemberData(nameof(Bases))]
    public void Building_from_unsorted_ranges_agrees_with_adding_them(ulong start) => ForAllSteps(steps =>
    {
        IntervalSet added = new();
        foreach ((_, int first, int last) in steps)
        {
            added.Add(Range(start, first, last));
        }

        return IntervalSet.FromUnsorted(steps.Select(s => Range(start, s.Start, s.Last))).SequenceEqual(added);
    });

    [Theory]
    [MemberData(nameof(Bases))]
    public void Questions_agree_with_a_bitmap(ulong start) => ForAllSteps(steps =>
    {
        (IntervalSet set, bool[] bits) = Play(steps, start);
        for (int first = 0; first < Width; first += 3)
        {
            if (set.Contains(start + (ulong)first) != bits[first])
            {
                return false;
            }

            for (int last = first; last < Width; last += 5)
            {
                AddressRange range = Range(start, first, last);
                bool[] part = bits[first..(last + 1)];
                bool[] inverse = [.. bits.Select((bit, i) => !bit && i >= first && i <= last)];
                if (set.Contains(range) != part.All(b => b) || set.Overlaps(range) != part.Any(b => b)
                    || !Same(set.Complement(range), inverse, start))
                {
                    return false;
                }
            }
        }

        return true;
    }, 60);

    [Theory]
    [MemberData(nameof(Bases))]
    public void Intersecting_agrees_with_a_bitmap(ulong start) => ForAllSteps(steps =>
    {
        (IntervalSet one, bool[] oneBits) = Play(steps[..(steps.Length / 2)], start);
        (IntervalSet other, bool[] otherBits) = Play(steps[(steps.Length / 2)..], start);
        return Same(one.Intersect(other), [.. oneBits.Zip(otherBits, (a, b) => a && b)], start)
            && one.Intersect(other).SequenceEqual(other.Intersect(one));
    });

    [Fact]
    public void The_whole_space_is_one_range_and_has_no_complement()
    {
        IntervalSet set = new();
        set.Add(AddressRange.All);
        set.Add(new(ulong.MaxValue, ulong.MaxValue));
        set.ShouldBe([AddressRange.All]);
        set.Complement(AddressRange.All).ShouldBeEmpty();
        set.Remove(new(5, ulong.MaxValue - 1));
        set.ShouldBe([new(0, 4), new(ulong.MaxValue, ulong.MaxValue)]);
        set.Remove(AddressRange.All);
        set.Count.ShouldBe(0);
        set.Complement(AddressRange.All).ShouldBe([AddressRange.All]);
    }

    [Fact]
    public void A_clone_changes_by_itself()
    {
        IntervalSet set = IntervalSet.FromUnsorted([new(1, 2)]);
        IntervalSet clone = set.Clone();
        clone.Add(new(10, 11));
        set.Clear();
        set.ShouldBeEmpty();
        clone.ShouldBe([new(1, 2), new(10, 11)]);
    }

    private static void ForAllSteps(Func<(bool Add, int Start, int Last)[], bool> claim, int tests = 300) =>
        Prop.ForAll(s_step.ArrayOf().ToArbitrary(), claim).Check(Config.QuickThrowOnFailure.WithMaxTest(tests));

    private static AddressRange Range(ulong start, int first, int last) => new(start + (ulong)first, start + (ulong)last);

    private static (IntervalSet Set, bool[] Bits) Play((bool Add, int Start, int Last)[] steps, ulong start)
    {
        IntervalSet set = new();
        bool[] bits = new bool[Width];
        foreach ((bool add, int first, int last) in steps)
        {
            Array.Fill(bits, add, first, last - first + 1);
            if (add)
            {
                set.Add(Range(start, first, last));
            }
            else
            {
                set.Remove(Range(start, first, last));
            }
        }

        return (set, bits);
    }

    // The same addresses, in ranges that are sorted, disjoint and do not touch.
    private static bool Same(IntervalSet set, bool[] bits, ulong start)
    {
        List<AddressRange> expected = [];
        for (int i = 0; i < Width; i++)
        {
            if (bits[i])
            {
                int first = i;
                while (i + 1 < Width && bits[i + 1])
                {
                    i++;
                }

                expected.Add(Range(start, first, i));
            }
        }

        return set.SequenceEqual(expected) && set.Count == expected.Count;
    }
}
