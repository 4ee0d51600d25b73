using System.Globalization;
using Ioasis.Replay.Report;
using static Ioasis.Cli.Rendering.Format;

namespace Ioasis.Cli.Rendering;

/// <content>The sections with plots; each has its figures as a table too.</content>
internal sealed partial class HtmlReport
{
    private const int TableRows = 20;

    private void MemoryPlot()
    {
        SeriesReport s = _report.Series;
        MappingReport m = _report.Mappings;
        _html.Section(
            "memory",
            "Mapped memory over time",
            $"Peak {Bytes(m.PeakLiveBytes)} at {Seconds(m.PeakLiveBytesAtSeconds)} of the recording's clock; {Bytes(m.EndLiveBytes)} in {Plural(m.EndLiveRanges, "range")} when it ends. "
            + (s.StartSeconds.Count > 0 ? $"0 s is {Timestamp(s.StartSeconds[0])} on that clock." : ""));
        Plot("memory", $"Line plot of mapped bytes over time, in all and for each device. The peak is {Bytes(m.PeakLiveBytes)}, the end {Bytes(m.EndLiveBytes)}.");
        Marks();
        (string Name, IReadOnlyList<long> Values)[] devices =
            [.. PlotData.BusiestDevices(s).Select(d => (d.Device, d.Values))];
        SeriesTable(
            ["time", "all devices", .. devices.Select(d => d.Name), "page tables"],
            (first, last) => [
                Bytes(Max(s.LiveBytes, first, last)), .. devices.Select(d => Bytes(Max(d.Values, first, last))),
                Bytes(Max(s.PageTableBytes, first, last))]);
        _html.EndSection();
    }

    private void Marks()
    {
        IReadOnlyList<RecordedMark> marks = PlotData.ShownMarks(_report.Series);
        if (marks.Count == 0)
        {
            return;
        }

        double start = _report.Series.StartSeconds.Count > 0 ? _report.Series.StartSeconds[0] : 0;
        _html.Raw("<details><summary>").Text($"Phases of the recording ({marks.Count}), the numbered lines in the plots").Raw("</summary>\n<ol class=\"marks\">\n");
        foreach (RecordedMark mark in marks)
        {
            _html.Raw("<li><span class=\"num\">").Text(Seconds(mark.Seconds - start)).Raw("</span> ").Text(mark.Text).Raw("</li>\n");
        }

        _html.Raw("</ol></details>\n");
    }

    private void IovaMaps()
    {
        IReadOnlyList<IovaMap> maps = PlotData.ShownMaps(_report.Series);
        if (maps.Count == 0)
        {
            return;
        }

        _html.Section(
            "iova",
            "IOVA map per device",
            "Where each device's mappings lay: addresses upwards, time to the right, stronger where more of the band was mapped. Bands that were never used are left out; a line marks where they are. Point at a map, or use the arrow keys on it, to read a value.");
        _html.Raw("<p class=\"ramp\" aria-hidden=\"true\"><span>1 %</span><i></i><span>100 % mapped</span></p>\n<div class=\"maps\">\n");
        for (int i = 0; i < maps.Count; i++)
        {
            IovaMap map = maps[i];
            DeviceReport? device = _report.Devices.FirstOrDefault(d => Same(d.Name, map.Device));
            ulong last = map.Bands[^1].Start.Value + (ulong)(map.BandBytes - 1);
            string range = $"0x{map.Bands[0].Start.Value:x} to 0x{last:x}";
            _html.Raw("<figure class=\"map\"><figcaption><b>").Text(map.Device).Raw("</b><span>")
                .Text($"{Plural(map.Bands.Count, "band")} of {Bytes(map.BandBytes)}"
                    + (device is { PeakFragmentation.SpanBytes: > 0 } d ? $", {Percent(d.PeakFragmentation.HoleFraction)} holes at the peak" : ""))
                .Raw("</span></figcaption>\n<p class=\"address\">").Text($"0x{last:x}").Raw($"</p>\n<div class=\"mapbox\"><canvas tabindex=\"0\" role=\"img\" data-map=\"{i}\" aria-label=\"")
                .Text($"IOVA map of {map.Device}: {map.Bands.Count} bands between {range} over time.")
                .Raw("\"></canvas></div>\n<p class=\"address\"><span>").Text(Address(map.Bands[0].Start)).Raw("</span></p>\n<output aria-live=\"polite\">&nbsp;</output>\n");
            _html.Raw("<details><summary>Fullest bands as a table</summary>\n");
            _html.Table(
                $"Fullest bands of {map.Device}",
                ["#first address", "mapped on average", "at most"],
                map.Bands.OrderByDescending(b => b.OccupancyPercent.Sum(p => p)).Take(TableRows).Select(b => (string[])[
                    Address(b.Start),
                    Percent(b.OccupancyPercent.Count == 0 ? 0 : b.OccupancyPercent.Average(p => p) / 100),
                    Percent(b.OccupancyPercent.Count == 0 ? 0 : b.OccupancyPercent.Max() / 100.0)]),
                captionHidden: true);
            _html.Raw("</details></figure>\n");
        }

        _html.Raw("</div>\n").EndSection();
    }

    private void PageSizes()
    {
        MappingReport m = _report.Mappings;
        _html.Section("sizes", "Sizes", "What drivers map, and the page-table leaves that it takes: the largest that alignment and length allow.");
        _html.Raw("<div class=\"pair\">\n");
        const int Listed = 12;
        long most = m.BySize.Count == 0 ? 0 : m.BySize.Max(s => s.Maps);
        IEnumerable<(string, double, string[])> sizes = m.BySize.Take(Listed).Select(s =>
            (Bytes(s.SizeBytes), most == 0 ? 0 : s.Maps / (double)most, (string[])[Count(s.Maps), Count(s.Unmaps)]));
        if (m.BySize.Count > Listed)
        {
            long maps = m.BySize.Skip(Listed).Sum(s => s.Maps);
            sizes = sizes.Append((
                $"{m.BySize.Count - Listed} others", most == 0 ? 0 : maps / (double)most,
                [Count(maps), Count(m.BySize.Skip(Listed).Sum(s => s.Unmaps))]));
        }

        _html.Bars("Ranges by size", "range", ["maps", "unmaps"], sizes);
        long leaves = m.Leaves.Count == 0 ? 0 : m.Leaves.Max(l => l.Installed);
        _html.Bars(
            "Page-table leaves by page size",
            "page",
            ["installed", "live at the end"],
            m.Leaves.Select(l => (
                Bytes(l.SizeBytes), leaves == 0 ? 0 : l.Installed / (double)leaves, (string[])[Count(l.Installed), Count(l.EndLive)])));
        _html.Raw("</div>\n");
        if (m.Lifetimes is { } life)
        {
            _html.Element("p", $"Of {Plural(life.Count, "range")} that were unmapped, half were mapped for no longer than {Seconds(life.MedianSeconds)}, 90 % for {Seconds(life.P90Seconds)}, 99 % for {Seconds(life.P99Seconds)}, and the longest for {Seconds(life.MaxSeconds)}.", "note");
        }

        _html.EndSection();
    }

    private void IotlbPlot()
    {
        SeriesReport s = _report.Series;
        HardwareReport h = _report.Hardware;
        _html.Section(
            "iotlb",
            "IOTLB hit ratio over time",
            $"{Percent(h.Total.HitRatio)} of {Plural(h.Total.IotlbHits + h.Total.IotlbMisses, "look-up")} over the whole run; no line where there was no look-up. The bars are look-ups.");
        Plot("iotlb", $"Line plot of the IOTLB hit ratio over time. Over the whole run it is {Percent(h.Total.HitRatio)}.");
        SeriesTable(
            ["time", "hit ratio", "hits", "misses"],
            (first, last) =>
            {
                long hits = Sum(s.IotlbHits, first, last), misses = Sum(s.IotlbMisses, first, last);
                return [hits + misses == 0 ? "–" : Percent(hits / (double)(hits + misses)), Count(hits), Count(misses)];
            });
        _html.Table(
            "IOTLB by device",
            ["device", "translations", "hits", "misses", "evictions", "walks", "reads", "reads/walk", "faults"],
            _report.Devices.Where(d => d.Translation.Translations > 0).Select(d => Row(d.Name, d.Translation)).Append(Row("all", h.Total)));
        if (h.DirectoryHits + h.DirectoryMisses > 0)
        {
            _html.Element("p", $"Device directory cache: {Plural(h.DirectoryHits, "hit")}, {Plural(h.DirectoryMisses, "miss", "misses")}.", "note");
        }

        _html.EndSection();

        static string[] Row(string name, TranslationReport t) =>
        [
            name, Count(t.Translations), Percent(t.HitRatio), Count(t.IotlbMisses), Count(t.IotlbEvictions), Count(t.Walks),
            Count(t.WalkMemoryReads), t.Walks == 0 ? "–" : Ratio(t.MemoryReadsPerWalk), Count(t.Faults),
        ];
    }

    private void InvalidationPlot()
    {
        SeriesReport s = _report.Series;
        HardwareReport h = _report.Hardware;
        RecordedInvalidationReport r = _report.RecordedInvalidations;
        _html.Section(
            "invalidations",
            "Invalidations over time",
            $"Commands that the driver sent ({_report.Options.Invalidation} invalidation), the cached entries that they removed, and the invalidations that the recording itself tells of; fences are not in the plot.");
        Plot("invalidations", $"Line plot of invalidation commands per second over time; {Count(s.InvalidationCommands.Sum())} in all.");
        SeriesTable(
            ["time", "commands", "entries removed", "recorded"],
            (first, last) => [
                Count(Sum(s.InvalidationCommands, first, last)), Count(Sum(s.EntriesRemoved, first, last)),
                Count(Sum(s.RecordedInvalidations, first, last))]);
        _html.Raw("<div class=\"pair\">\n");
        _html.Table(
            "Commands by kind",
            ["command", "sent", "entries removed"],
            h.Commands.Select(c => (string[])[c.Kind, Count(c.Commands), Count(c.EntriesRemoved)]));
        if (r.ByKind.Count > 0)
        {
            _html.Table("In the recording", ["kind", "count"], r.ByKind.Select(c => (string[])[c.Name, Count(c.Count)]));
        }

        if (h.Faults.Count > 0)
        {
            _html.Table(
                "Faults by cause",
                ["cause", "<name", "count", "expected"],
                h.Faults.Select(f => (string[])[f.Cause.ToString(CultureInfo.InvariantCulture), f.Name, Count(f.Count), Count(f.Expected)]));
        }

        _html.Raw("</div>\n");
        if (h.Faults.Count > 0)
        {
            _html.Element("p", "An expected fault is one that a check provoked after an unmap, or that the recording holds.", "note");
        }

        if (r.UnmapToInvalidation is { } delay)
        {
            _html.Element("p", $"In the recording an unmap waits for its invalidation {Seconds(delay.MedianSeconds)} (median), {Seconds(delay.P90Seconds)} (90 %), {Seconds(delay.MaxSeconds)} at most.", "note");
        }

        _html.EndSection();
    }

    private void Plot(string name, string label) => HtmlPage.Plot(_html, name, label);

    /// <summary>A plot's figures as a table, at most <see cref="TableRows"/> rows.</summary>
    private void SeriesTable(string[] headers, Func<int, int, string[]> cells)
    {
        SeriesReport s = _report.Series;
        int count = s.StartSeconds.Count;
        if (count == 0)
        {
            return;
        }

        int each = (count + TableRows - 1) / TableRows;
        _html.Raw("<details><summary>This plot as a table</summary>\n");
        _html.Table(
            "Figures of the plot",
            headers,
            Enumerable.Range(0, (count + each - 1) / each).Select(i =>
            {
                int first = i * each, last = Math.Min(first + each, count) - 1;
                double start = s.StartSeconds[first] - s.StartSeconds[0];
                return (string[])[$"from {start.ToString("0.###", CultureInfo.InvariantCulture)} s", .. cells(first, last)];
            }),
            captionHidden: true);
        _html.Raw("</details>\n");
    }

    private static long Max(IReadOnlyList<long> values, int first, int last) =>
        values.Skip(first).Take(last - first + 1).DefaultIfEmpty().Max();

    private static long Sum(IReadOnlyList<long> values, int first, int last) =>
        values.Skip(first).Take(last - first + 1).Sum();
}
