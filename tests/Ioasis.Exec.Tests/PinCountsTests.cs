using FsCheck;
using FsCheck.Fluent;

namespace Ioasis.Exec.Tests;

public sealed class PinCountsTests
{
    private const ulong Page = 4096;
    private const int Pages = 3 * 512;

    [Fact]
    public void Pages_are_counted_as_if_one_by_one_however_ranges_are_added_and_taken_back_in_parts() => Prop.ForAll(
        Gen.Choose(0, int.MaxValue).ToArbitrary(),
        seed =>
        {
            Random random = new(seed);
            PinCounts counts = new();
            int[] expected = new int[Pages];
            List<(int Start, int End)> added = [];
            for (int step = 0; step < 60; step++)
            {
                if (random.Next(3) > 0 || added.Count == 0)
                {
                    // Often whole pieces of 2 MiB.
                    int start = random.Next(2) == 0 ? random.Next(3) * 512 : random.Next(Pages);
                    int end = random.Next(2) == 0 ? Math.Min(Pages, ((start / 512) + 1 + random.Next(2)) * 512) : random.Next(start, Pages) + 1;
                    added.Add((start, end));
                    counts.Add((ulong)start * Page, (ulong)(end - start) * Page);
                    Count(expected, start, end, 1);
                }
                else
                {
                    int index = random.Next(added.Count);
                    (int start, int end) = added[index];
                    int middle = random.Next(start, end) + 1;
                    counts.Remove((ulong)start * Page, (ulong)(middle - start) * Page);
                    Count(expected, start, middle, -1);
                    added.RemoveAt(index);
                    if (middle < end)
                    {
                        added.Add((middle, end));
                    }
                }

                int from = random.Next(Pages);
                int to = random.Next(from, Pages) + 1;
                counts.IsAny((ulong)from * Page, (ulong)(to - from) * Page).ShouldBe(expected.AsSpan(from, to - from).ContainsAnyExcept(0));
            }

            foreach ((int start, int end) in added)
            {
                counts.Remove((ulong)start * Page, (ulong)(end - start) * Page);
            }

            counts.IsAny(0, Pages * Page).ShouldBeFalse();
            counts.IsExact.ShouldBeTrue();
        }).QuickCheckThrowOnFailure();

    private static void Count(int[] pages, int start, int end, int by)
    {
        for (int i = start; i < end; i++)
        {
            pages[i] += by;
        }
    }
}
