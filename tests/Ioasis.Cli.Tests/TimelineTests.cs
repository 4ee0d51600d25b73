using Ioasis.Primitives;
using Ioasis.Replay.Report;

namespace Ioasis.Cli.Tests;

public class TimelineTests
{
    [Fact]
    public void A_long_recording_is_thinned_without_losing_a_count()
    {
        TimelineRecorder recorder = new();
        int device = recorder.AddDevice("d");
        long hits = 0;
        for (int i = 0; i < 50_000; i++)
        {
            double t = 100 + (i * 0.013);
            recorder.Mapped(device, new(0x1000), 4096, t);
            recorder.Unmapped(device, new(0x1000), 4096, 1, t);
            recorder.UnmapEvent(t);
            recorder.RecordedInvalidation(t);
            hits += 3;
            if (recorder.WantsSample(t))
            {
                recorder.Sample(t, new(hits, 0, i, i, 8192));
            }
        }

        recorder.Sample(1e6, new(hits, 7, 50_000, 50_000, 4096));
        SeriesReport series = recorder.ToReport();
        series.StartSeconds.Count.ShouldBeInRange(SeriesReport.MaxPoints / 2, SeriesReport.MaxPoints);
        series.StartSeconds[0].ShouldBe(100);
        series.Maps.Sum().ShouldBe(50_000);
        series.Unmaps.Sum().ShouldBe(50_000);
        series.RecordedInvalidations.Sum().ShouldBe(50_000);
        series.IotlbHits.Sum().ShouldBe(hits);
        series.IotlbMisses.Sum().ShouldBe(7);
        series.InvalidationCommands.Sum().ShouldBe(50_000);
        series.PageTableBytes[^1].ShouldBe(4096);
        series.LiveBytes.Max().ShouldBe(4096);
        series.LiveBytesByDevice[0].Values.ShouldAllBe(v => v == 0);
    }

    [Fact]
    public void A_level_is_carried_over_time_without_events_and_a_peak_inside_an_interval_is_kept()
    {
        TimelineRecorder recorder = new();
        int device = recorder.AddDevice("d");
        recorder.Mapped(device, new(0), 8192, 0);
        recorder.Mapped(device, new(0x10000), 4096, 5);
        recorder.Unmapped(device, new(0x10000), 4096, 1, 5);
        recorder.Mark(10, "end");
        SeriesReport series = recorder.ToReport();
        series.LiveBytes.Min().ShouldBe(8192);
        series.LiveBytes.Max().ShouldBe(12288);
        series.LiveBytesByDevice[0].Values.ShouldAllBe(v => v == 8192);
        series.LiveRanges[^1].ShouldBe(1);
    }

    [Fact]
    public void Times_that_go_backwards_count_into_the_open_interval()
    {
        TimelineRecorder recorder = new();
        int device = recorder.AddDevice("d");
        recorder.Mapped(device, new(0), 4096, 2);
        recorder.Mapped(device, new(0x1000), 4096, 1);
        SeriesReport series = recorder.ToReport();
        series.Maps.Sum().ShouldBe(2);
        series.LiveBytes[^1].ShouldBe(8192);
    }

    [Fact]
    public void A_recording_without_events_has_no_series()
    {
        SeriesReport series = new TimelineRecorder().ToReport();
        series.StartSeconds.ShouldBeEmpty();
        series.IovaMaps.ShouldBeEmpty();
    }

    [Fact]
    public void An_IOVA_map_says_how_much_of_a_band_was_mapped_for_how_long()
    {
        TimelineRecorder recorder = new();
        int device = recorder.AddDevice("d");
        recorder.Mapped(device, new(0x1000), 4096, 0);
        recorder.Mapped(device, new(0x8000), 2048, 0);
        recorder.Unmapped(device, new(0x1000), 4096, 1, 60);
        recorder.Mark(120, "end");
        IovaMap map = recorder.ToReport().IovaMaps.Single();
        map.BandBytes.ShouldBe(4096);
        map.Bands.Select(b => b.Start.Value).ShouldBe([0x1000UL, 0x8000UL]);
        int half = (int)(60 / map.ColumnSeconds);
        map.Bands[0].OccupancyPercent.Take(half).ShouldAllBe(p => p == 100);
        map.Bands[0].OccupancyPercent.Skip(half + 1).ShouldAllBe(p => p == 0);
        map.Bands[1].OccupancyPercent.ShouldAllBe(p => p == 50);
    }

    [Fact]
    public void An_IOVA_map_of_any_recording_is_bounded_and_keeps_what_was_mapped()
    {
        Random random = new(3);
        TimelineRecorder recorder = new();
        int device = recorder.AddDevice("d");
        for (int i = 0; i < 5000; i++)
        {
            recorder.Mapped(device, new((ulong)random.NextInt64() & ~0xfffUL), 4096, i);
        }

        recorder.Mapped(device, new(ulong.MaxValue - 4095), 4096, 5000);
        recorder.Mapped(device, new(0), 1L << 46, 5001);
        IovaMap map = recorder.ToReport().IovaMaps.Single();
        map.Bands.Count.ShouldBeInRange(2, IovaMap.MaxRows);
        map.Bands[0].OccupancyPercent.Count.ShouldBeLessThanOrEqualTo(IovaMap.MaxColumns);
        map.Bands.ShouldAllBe(b => b.OccupancyPercent.Any(p => p > 0));
        map.Bands[^1].Start.Value.ShouldBeGreaterThan(1UL << 63);
    }
}
