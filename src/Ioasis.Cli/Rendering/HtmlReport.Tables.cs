using System.Globalization;
using Ioasis.Replay.Report;
using static Ioasis.Cli.Rendering.Format;

namespace Ioasis.Cli.Rendering;

/// <content>The sections that are tables only.</content>
internal sealed partial class HtmlReport
{
    private void DeviceTable()
    {
        _html.Section("devices", "Devices");
        _html.Table(
            "Devices of the recording",
            ["device", "maps", "unmaps", "mapped in all", "peak live", "live at the end", "ranges at the end", "holes at the peak", "page tables"],
            _report.Devices.Select(d => (string[])[
                d.Name, Count(d.Maps), Count(d.Unmaps), Bytes(d.MappedBytes), Bytes(d.PeakLiveBytes), Bytes(d.EndLiveBytes),
                Count(d.EndLiveRanges), d.PeakFragmentation.SpanBytes == 0 ? "–" : Percent(d.PeakFragmentation.HoleFraction),
                Bytes(d.PageTables.PeakBytes)]),
            captionHidden: true);
        IEnumerable<DeviceReport> mapped = _report.Devices.Where(d => d.PeakFragmentation.SpanBytes > 0);
        _html.Raw("<details><summary>IOVA fragmentation</summary>\n");
        _html.Table(
            "IOVA space of each device, at its peak and at the end",
            ["device", "extents at the peak", "span", "largest hole", "extents at the end", "span", "largest hole"],
            mapped.Select(d => (string[])[
                d.Name, Count(d.PeakFragmentation.Extents), Bytes(d.PeakFragmentation.SpanBytes), Bytes(d.PeakFragmentation.LargestGapBytes),
                Count(d.EndFragmentation.Extents), Bytes(d.EndFragmentation.SpanBytes), Bytes(d.EndFragmentation.LargestGapBytes)]));
        _html.Raw("</details>\n").EndSection();
    }

    private void NeverUnmapped()
    {
        MappingReport m = _report.Mappings;
        if (m.NeverUnmapped == 0)
        {
            return;
        }

        _html.Section(
            "never-unmapped",
            "Never unmapped",
            $"{Plural(m.NeverUnmapped, "range")}, {Bytes(m.NeverUnmappedBytes)}: rings that live as long as their driver, traffic in flight when the recording ended, or leaks.");
        _html.Raw("<details><summary>").Text($"The oldest {Count(m.NeverUnmappedRanges.Count)}").Raw("</summary>\n");
        _html.Table(
            "Ranges that were mapped and never unmapped",
            ["line", "<device", "#IOVA", "length", "#physical address", "mapped at"],
            m.NeverUnmappedRanges.Select(r => (string[])[
                r.Line.ToString(CultureInfo.InvariantCulture), r.Device, Address(r.Iova), Bytes(r.LengthBytes), Address(r.PhysicalAddress),
                Timestamp(r.MappedAtSeconds)]),
            captionHidden: true);
        _html.Raw("</details>\n").EndSection();
    }

    private void DmaLog()
    {
        if (_report.DmaLog is not { } log)
        {
            return;
        }

        _html.Section(
            "dma",
            "Device-side DMA log",
            $"{Plural(log.Dmas, "DMA")}, replayed at their places in time. "
            + (log.LearnedMappings ? "The mappings were learned from the log itself: good for IOTLB studies, no evidence on maps." : "Each must reach the page that the device reached."));
        _html.Table(
            "DMAs by class",
            ["device", .. log.Classes.Select(c => c.Name)],
            log.ByDevice.Select(d => (string[])[d.Device, .. log.Classes.Select(c => Count(CountOf(d.Classes, c.Name) ?? 0))])
                .Append(["all", .. log.Classes.Select(c => Count(c.Count))]));
        if (log.Alignment is { } a)
        {
            _html.Element(
                "p",
                $"The two clocks were tied by {Plural(a.Marks, "mark")}: ratio {a.ClockRatio.ToString("0.000000", CultureInfo.InvariantCulture)}, drift {Seconds(a.DriftSeconds)}; the log's line of a mark is {Seconds(a.MedianDelaySeconds)} late (median), {Seconds(a.MaxDelaySeconds)} at most. Tolerance: {Seconds(_report.Options.ToleranceSeconds)}.",
                "note");
            if (a.Jumps.Count > 0)
            {
                _html.Element("p", $"A clock jumped {Plural(a.Jumps.Count, "time")}, as when the machine stood still; each side is tied apart: {Jumps(a.Jumps)}.", "note");
            }
        }

        _html.EndSection();
    }

    private void Oddities()
    {
        if (_report.Oddities.Count == 0)
        {
            return;
        }

        _html.Section("oddities", "Oddities", "What real recordings have beside plain maps and unmaps, and what the replay did about it.");
        _html.Table(
            "Oddities of the recording",
            ["what", "count", "first line", "<outcome"],
            _report.Oddities.Select(o => (string[])[
                o.Name, Count(o.Count), o.FirstLine?.ToString(CultureInfo.InvariantCulture) ?? "–", o.Outcome]),
            captionHidden: true);
        _html.EndSection();
    }

    private void Attribution()
    {
        AttributionReport a = _report.Attribution;
        _html.Section(
            "attribution",
            "How devices were known",
            (a.Spaces == 0 ? "" : $"{Plural(a.Spaces, "IOVA space")} told apart by what is mapped at the same time; which device each is, the recording does not say. ")
            + (a.MapsWithoutEvidence + a.UnmapsWithoutEvidence == 0
                ? "An event names the device of each map and unmap."
                : $"No event ties {Plural(a.MapsWithoutEvidence, "map")} and {Plural(a.UnmapsWithoutEvidence, "unmap")} to a device; "
                    + (a.RestDevice is { } rest ? $"What no other evidence places went to {rest}." : "Where they went is among the oddities.")));
        _html.Table(
            "Maps and unmaps by how they got their device",
            ["way", "maps", "unmaps"],
            a.Ways.Select(w => (string[])[w.Name, Count(w.Maps), Count(w.Unmaps)]),
            captionHidden: true);
        _html.Table(
            "Maps and unmaps by what named their device",
            ["evidence", "maps", "unmaps"],
            a.Maps.Concat(a.Unmaps).Select(c => c.Name).Distinct(StringComparer.Ordinal).Select(name => (string[])[
                name, Of(a.Maps, name), Of(a.Unmaps, name)]),
            captionHidden: true);
        _html.EndSection();

        static string Of(IReadOnlyList<NamedCount> counts, string name) =>
            CountOf(counts, name) is { } count ? Count(count) : "–";
    }

    private void Run()
    {
        ReportOptions o = _report.Options;
        ThroughputReport t = _report.Throughput;
        _html.Section("run", "Input and run");
        foreach (InputReport input in _report.Inputs)
        {
            string cpus = input.EventsByCpu.Count > 0 ? $", {Plural(input.EventsByCpu.Count, "CPU")}" : "";
            _html.Raw("<h3>").Text(input.Path is "-" ? "standard input" : input.Path).Raw("</h3>\n").Element(
                "p",
                $"{input.Format}, compression {input.Compression}, {Plural(input.Lines, "line")}, {Bytes(input.TextBytes)} of text{cpus}; "
                + $"{Plural(input.UnparsedLines, "unparsed line")}, {Plural(input.LostMarkers, "lost marker")}"
                + (input.LostEvents > 0 ? $" ({Plural(input.LostEvents, "event")} lost)" : "")
                + $"; clock from {Timestamp(input.FirstSeconds)} to {Timestamp(input.LastSeconds)}.",
                "note");
            foreach (NamedCount unknown in input.UnknownEvents)
            {
                _html.Element("p", $"Not known here, and not replayed: {unknown.Name}, {Plural(unknown.Count, "event")}.");
            }

            foreach (NamedCount kind in input.UnparsedKinds)
            {
                _html.Element("p", $"Unparsed: {Count(kind.Count)} × {kind.Name}.");
            }

            if (input.CutEvents > 0 || input.WasCutOff || input.Clock is "ticks" or "none")
            {
                _html.Element(
                    "p",
                    (input.CutEvents > 0 ? $"{Plural(input.CutEvents, "event")} did not fit the recorder's line. " : "")
                    + (input.WasCutOff ? "The recording was cut off before its end. " : "")
                    + (input.Clock is "ticks" ? "Its times are ticks of a counter; a tick counts as a nanosecond here. "
                        : input.Clock is "none" ? "It has no times. " : ""));
            }

            if (input.FirstUnparsedLines.Count + input.FirstLostMarkers.Count > 0)
            {
                _html.Table(
                    "Lines that are not events",
                    ["line", "<what", "<text"],
                    input.FirstUnparsedLines.Select(l => (string[])[l.Line.ToString(CultureInfo.InvariantCulture), "unparsed", l.Text])
                        .Concat(input.FirstLostMarkers.Select(l => (string[])[l.Line.ToString(CultureInfo.InvariantCulture), "lost events", l.Text])));
            }

            long most = input.EventsByKind.Count == 0 ? 0 : input.EventsByKind.Max(e => e.Count);
            _html.Bars(
                "Events by kind",
                "event",
                ["count"],
                input.EventsByKind.Select(e => (e.Name, most == 0 ? 0 : e.Count / (double)most, (string[])[Count(e.Count)])));
        }

        _html.Element("h3", "Options and time");
        _html.Table(
            "Options and time",
            ["name", "<value"],
            [
                ["IOMMU", o.Iommu],
                ["paging mode", ModeName(o.Mode)],
                ["invalidation", o.Invalidation],
                ["caching of the model", o.Caching],
                ["IOTLB", $"{o.IotlbEntries} entries, {Ways(o)}"],
                ["check", o.Check],
                ["seed", o.Seed.ToString(CultureInfo.InvariantCulture)],
                ["device for the rest", o.RestDevice ?? "none chosen"],
                ["reading and parsing", Seconds(t.ParseSeconds)],
                ["replay", Seconds(t.ReplaySeconds)],
                ["in all", Seconds(t.ElapsedSeconds)],
                ["memory", t.PeakMemoryBytes > 0 ? Bytes(t.PeakMemoryBytes) : "not known"],
            ],
            captionHidden: true);
        _html.EndSection();
    }
}
