using FsCheck;
using FsCheck.Fluent;
using Ioasis.Replay.Engine;
using Ioasis.Replay.Planning;
using Ioasis.Replay.Report;

namespace Ioasis.Replay.Tests;

/// <summary>What keeps the memory of a long replay small says the same as what would keep everything.</summary>
public sealed class PlanningPartsTests
{
    [Fact]
    public void Seen_pages_are_a_set()
    {
        Prop.ForAll(
            Gen.Choose(0, 3).SelectMany(static _ => Gen.Choose(0, 500), static (device, page) => (device, page)).ListOf(3000).ToArbitrary(),
            static adds =>
            {
                SeenPages seen = new();
                HashSet<(int, int)> model = [];
                return adds.All(a => seen.Add(a.device, (ulong)a.page << 17) == model.Add((a.device, a.page)));
            }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void Live_areas_find_and_measure_what_a_plain_list_does()
    {
        // Slots of 4 pages, of which an area takes 1 to 4: some touch, some leave gaps.
        Prop.ForAll(
            Gen.Choose(0, 999).SelectMany(static _ => Gen.Choose(1, 4), static (slot, pages) => (slot, pages)).ListOf(1500).ToArbitrary(),
            static steps =>
            {
                LiveAreas live = new();
                SortedDictionary<ulong, ulong> model = [];
                List<int> found = [];
                bool holds = true;
                foreach ((int slot, int pages) in steps)
                {
                    ulong start = (ulong)slot * 0x4000;
                    if (model.Remove(start))
                    {
                        live.Remove(start);
                    }
                    else
                    {
                        model.Add(start, (ulong)pages << 12);
                        live.Add(start, (ulong)pages << 12, slot);
                    }

                    if (slot % 50 == 0)
                    {
                        ulong first = start + 0x2000;
                        ulong last = first + ((ulong)pages * 0x5000) - 1;
                        live.FindOverlaps(first, last, found);
                        holds &= found.SequenceEqual(
                            model.Where(a => a.Key <= last && a.Key + a.Value - 1 >= first).Select(a => (int)(a.Key / 0x4000)));
                        holds &= live.Measure() == MeasureOf(model);
                    }
                }

                return holds && live.Count == model.Count;
            }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void Quantiles_are_exact_for_few_durations_and_within_a_quarter_of_a_percent_for_many()
    {
        DurationSketch few = new();
        DurationSketch many = new();
        const int count = 2_000_000;
        for (int i = 0; i < count; i++)
        {
            double seconds = (1 + (i * 7919L % count)) / 1e6;
            many.Add(seconds);
            if (i < 1000)
            {
                few.Add((1 + i) / 1e3);
            }
        }

        few.ToReport().ShouldBe(new DurationReport(1000, 0.501, 0.901, 0.991, 1));
        DurationReport report = many.ToReport()!;
        report.Count.ShouldBe(count);
        report.MedianSeconds.ShouldBe(1, 0.0025);
        report.P90Seconds.ShouldBe(1.8, 0.0045);
        report.P99Seconds.ShouldBe(1.98, 0.005);
        report.MaxSeconds.ShouldBe(2);
    }

    [Fact]
    public void Unmaps_wait_for_the_next_invalidation_and_old_ones_are_joined_when_very_many_wait()
    {
        FlushDelays delays = new();
        delays.Invalidation(5);
        delays.Unmap(10);
        delays.Unmap(20);
        delays.Invalidation(1_000_000_020);
        delays.Delays.ToReport().ShouldBe(new DurationReport(2, 1.00000001, 1.00000001, 1.00000001, 1.00000001));

        FlushDelays long_ = new();
        const int count = 1_000_000;
        for (int i = 0; i < count; i++)
        {
            long_.Unmap(i * 1000L);
        }

        long_.Invalidation(2_000_000_000);
        DurationReport report = long_.Delays.ToReport()!;
        report.Count.ShouldBe(count);
        report.MedianSeconds.ShouldBe(1.5, 0.01);
    }

    private static Fragmentation MeasureOf(SortedDictionary<ulong, ulong> areas)
    {
        if (areas.Count == 0)
        {
            return default;
        }

        long extents = 0;
        ulong gap = 0;
        ulong end = 0;
        foreach ((ulong start, ulong length) in areas)
        {
            if (extents == 0 || start != end)
            {
                gap = extents == 0 ? 0 : Math.Max(gap, start - end);
                extents++;
            }

            end = start + length;
        }

        return new(extents, (long)areas.Values.Aggregate(0ul, static (a, b) => a + b), end - areas.First().Key, gap);
    }
}
