using System.Globalization;
using Ioasis.Replay.Report;
using static Ioasis.Cli.Rendering.Format;

namespace Ioasis.Cli.Rendering;

/// <summary>The summary on a terminal or in a pipe: aligned tables that fit 80 columns, the verdict in the last line.</summary>
internal sealed partial class TextReport
{
    private const int TextWidth = 80;
    private readonly TextWriter _out;
    private readonly bool _colour;
    private readonly ReplayReport _report;

    private TextReport(TextWriter output, bool colour, ReplayReport report)
    {
        _out = output;
        _colour = colour;
        _report = report;
    }

    /// <summary>Writes the summary.</summary>
    public static void Write(TextWriter output, bool colour, ReplayReport report) =>
        new TextReport(output, colour, report).Write();

    /// <summary>One line: whether the checks held.</summary>
    public static string Verdict(ReplayReport report) =>
        report.Checks switch
        {
            { MismatchCount: > 0 } c => $"{Plural(c.MismatchCount, "mismatch", "mismatches")} in {Plural(c.CheckCount, "check")}: the IOMMU did not do what the recording says",
            { CheckCount: 0 } => "0 mismatches in 0 checks: nothing was checked",
            { } c => $"0 mismatches in {Plural(c.CheckCount, "check")}: every check held",
        };

    private void Write()
    {
        Inputs();
        Options();
        Devices();
        Mappings();
        Attribution();
        NeverUnmapped();
        Translation();
        Invalidations();
        Faults();
        DmaLog();
        Oddities();
        Checks();
        Throughput();
        _out.WriteLine();
        _out.WriteLine(Paint(Verdict(_report), _report.Passed ? "32;1" : "31;1"));
    }

    private void Inputs()
    {
        foreach (InputReport input in _report.Inputs)
        {
            string compression = input.Compression is "none" ? "" : $", {input.Compression}";
            _out.WriteLine(Paint(Printable(input.Path is "-" ? "(standard input)" : input.Path), "1"));
            Prose($"{input.Format}{compression}, {Plural(input.Lines, "line")}, {Bytes(input.TextBytes)} of text");
            string cpus = input.EventsByCpu.Count > 0 ? $", {Plural(input.EventsByCpu.Count, "CPU")}" : "";
            Prose($"{Plural(input.Events, "event")} in {Seconds(input.SpanSeconds)}{cpus}; "
                + $"{Plural(input.UnparsedLines, "unparsed line")}, {Plural(input.LostMarkers, "lost marker")}"
                + (input.LostEvents > 0 ? $" ({Plural(input.LostEvents, "event")} lost)" : "")
                + (input.BackwardSteps > 0 ? $", time goes back {Plural(input.BackwardSteps, "time")}" : ""));
            foreach (string line in Columns(input.EventsByKind))
            {
                _out.WriteLine(line);
            }

            if (input.Clock is "ticks" or "none" && input.Events > 0)
            {
                Prose(input.Clock is "ticks"
                    ? "its times are ticks of a counter; a tick counts as a nanosecond below"
                    : "it has no times: durations and rates below say nothing");
            }

            if (input.WasCutOff)
            {
                Prose("the recording was cut off before its end");
            }

            foreach (NamedCount unknown in input.UnknownEvents)
            {
                Prose($"not known here, and not replayed: {Printable(unknown.Name)} ({Plural(unknown.Count, "event")})");
            }

            if (input.CutEvents > 0)
            {
                Prose($"{Plural(input.CutEvents, "event")} did not fit the recorder's line");
            }

            foreach (NamedCount kind in input.UnparsedKinds)
            {
                Prose($"unparsed: {Count(kind.Count)} × {kind.Name}");
            }

            Listed("unparsed", input.FirstUnparsedLines, input.UnparsedLines);
            Listed("lost", input.FirstLostMarkers, input.LostMarkers);
        }
    }

    private void Listed(string what, IReadOnlyList<InputLine> lines, long all)
    {
        foreach (InputLine line in lines)
        {
            _out.WriteLine(Cut($"  {what} line {line.Line.ToString(CultureInfo.InvariantCulture)}: {Printable(line.Text)}"));
        }

        if (all > lines.Count && lines.Count > 0)
        {
            Prose($"… and {Count(all - lines.Count)} more");
        }
    }

    private void Options()
    {
        ReportOptions o = _report.Options;
        string ways = o.IotlbWays >= o.IotlbEntries ? "fully associative" : $"{o.IotlbWays} ways";
        Prose($"replayed on {o.Iommu} with {o.Mode}, {o.Invalidation} invalidation, {o.Caching} caches, IOTLB of {o.IotlbEntries} ({ways}), check {o.Check}, seed {o.Seed.ToString(CultureInfo.InvariantCulture)}");
    }

    private void Devices()
    {
        TextTable table = new("device", "maps", "unmaps", "peak live", "end live", "ranges", "holes", "tables");
        foreach (DeviceReport d in _report.Devices)
        {
            table.Add(
                Printable(d.Name), Count(d.Maps), Count(d.Unmaps), Bytes(d.PeakLiveBytes), Bytes(d.EndLiveBytes),
                Count(d.EndLiveRanges), d.PeakFragmentation.SpanBytes == 0 ? "-" : Percent(d.PeakFragmentation.HoleFraction),
                Bytes(d.PageTables.PeakBytes));
        }

        MappingReport m = _report.Mappings;
        table.Add(
            "all", Count(m.Maps), Count(m.Unmaps), Bytes(m.PeakLiveBytes), Bytes(m.EndLiveBytes),
            Count(m.EndLiveRanges), "", Bytes(_report.PageTables.PeakBytes));
        Section($"Devices ({_report.Devices.Count})", table);
        Note("holes: unmapped part of the span of live IOVAs, when most was live; tables: page-table memory at its peak");
    }

    private void Mappings()
    {
        MappingReport m = _report.Mappings;
        TextTable sizes = new("range", "maps", "unmaps", "share of maps");
        const int Listed = 12;
        foreach (RangeSizeCount size in m.BySize.Take(Listed))
        {
            sizes.Add(Bytes(size.SizeBytes), Count(size.Maps), Count(size.Unmaps), Percent(m.Maps == 0 ? 0 : size.Maps / (double)m.Maps));
        }

        if (m.BySize.Count > Listed)
        {
            RangeSizeCount[] others = [.. m.BySize.Skip(Listed)];
            long maps = others.Sum(s => s.Maps);
            sizes.Add($"{others.Length} others", Count(maps), Count(others.Sum(s => s.Unmaps)), Percent(m.Maps == 0 ? 0 : maps / (double)m.Maps));
        }

        Section("Maps and unmaps by size", sizes);
        Prose($"{Bytes(m.MappedBytes)} mapped in all; most at one time {Bytes(m.PeakLiveBytes)} in up to {Plural(m.PeakLiveRanges, "range")}, at {Seconds(m.PeakLiveBytesAtSeconds)}; at the end {Bytes(m.EndLiveBytes)} in {Plural(m.EndLiveRanges, "range")}");
        if (m.Lifetimes is { } life)
        {
            Prose($"mapped for {Durations(life)}");
        }

        TextTable leaves = new("page", "leaves installed", "live at the end");
        foreach (LeafSizeCount leaf in m.Leaves)
        {
            leaves.Add(Bytes(leaf.SizeBytes), Count(leaf.Installed), Count(leaf.EndLive));
        }

        Section("Page sizes", leaves);
        Prose($"page tables take {Bytes(_report.PageTables.PeakBytes)} at their peak, {Bytes(_report.PageTables.EndBytes)} at the end");
    }

    private void Attribution()
    {
        AttributionReport a = _report.Attribution;
        TextTable table = new("device known by", "maps", "unmaps");
        foreach (string name in a.Maps.Concat(a.Unmaps).Select(c => c.Name).Distinct(StringComparer.Ordinal))
        {
            table.Add(Printable(name), Of(a.Maps, name), Of(a.Unmaps, name));
        }

        TextTable ways = new("way", "maps", "unmaps");
        foreach (AttributionClass way in a.Ways)
        {
            ways.Add(way.Name, Count(way.Maps), Count(way.Unmaps));
        }

        Section("How a map got its device", ways);
        Section("Attribution", table);

        if (a.Spaces > 0)
        {
            Prose($"{Plural(a.Spaces, "IOVA space")} told apart by what is mapped at the same time; which device each is, this recording does not say: "
                + "`ioasis record` would, or a DMA log of the same run (--dma)");
        }

        if (a.MapsWithoutEvidence > 0 || a.UnmapsWithoutEvidence > 0)
        {
            string where = a.RestDevice is { } device ? $"the rest goes to {Printable(device)}" : "the oddities say where they went";
            Prose($"no event ties {Plural(a.MapsWithoutEvidence, "map")} and {Plural(a.UnmapsWithoutEvidence, "unmap")} to a device: {where}");
        }

        static string Of(IReadOnlyList<NamedCount> counts, string name) =>
            CountOf(counts, name) is { } count ? Count(count) : "-";
    }

    private void NeverUnmapped()
    {
        MappingReport m = _report.Mappings;
        TextTable table = new("line", "<device", "iova", "length", "mapped at");
        const int Listed = 10;
        foreach (NeverUnmappedRange r in m.NeverUnmappedRanges.Take(Listed))
        {
            table.Add(
                r.Line.ToString(CultureInfo.InvariantCulture), Printable(r.Device), Address(r.Iova), Bytes(r.LengthBytes),
                Timestamp(r.MappedAtSeconds));
        }

        Section($"Never unmapped: {Plural(m.NeverUnmapped, "range")}, {Bytes(m.NeverUnmappedBytes)}", table);
        if (m.NeverUnmapped > table.Count)
        {
            Prose($"… and {Count(m.NeverUnmapped - table.Count)} more (--json lists up to {MappingReport.ListedRanges})");
        }
    }

    private void Section(string title, TextTable table)
    {
        if (table.Count == 0)
        {
            return;
        }

        _out.WriteLine();
        _out.WriteLine(Paint(title, "1"));
        bool header = true;
        foreach (string line in table.Lines())
        {
            _out.WriteLine(header ? Paint(line, "2") : line);
            header = false;
        }
    }

    private void Note(string text) => Prose(text, "2");

    private void Prose(string text, string? style = null)
    {
        foreach (string line in Wrapped(text, TextWidth - 2))
        {
            _out.WriteLine(style is null ? $"  {line}" : Paint($"  {line}", style));
        }
    }

    private static string Durations(DurationReport d) =>
        $"{Seconds(d.MedianSeconds)} (median), {Seconds(d.P90Seconds)} (90 %), {Seconds(d.P99Seconds)} (99 %), {Seconds(d.MaxSeconds)} at most";

    /// <summary>Counts two or three to a line.</summary>
    private static IEnumerable<string> Columns(IReadOnlyList<NamedCount> counts)
    {
        if (counts.Count == 0)
        {
            yield break;
        }

        string[] cells = [.. counts.Select(c => $"{Count(c.Count)} {Printable(c.Name)}")];
        int width = Math.Min(cells.Max(c => c.Length) + 2, TextWidth - 4);
        int each = Math.Max(1, (TextWidth - 4) / width);
        foreach (string[] line in cells.Chunk(each))
        {
            yield return ("    " + string.Concat(line.Select(c => c.PadRight(width)))).TrimEnd();
        }
    }

    private static string Cut(string line) => line.Length <= TextWidth ? line : line[..(TextWidth - 1)] + "…";

    private string Paint(string text, string style) => _colour ? $"\e[{style}m{text}\e[0m" : text;
}
