using System.Globalization;
using System.Text;
using Ioasis.Replay.Report;
using static Ioasis.Cli.Rendering.Format;

namespace Ioasis.Cli.Rendering;

/// <summary>
/// One page that holds everything it needs: styles, plots and data. All words and tables are in the HTML itself; the
/// script only draws, from a block of JSON. The page forbids itself the network.
/// </summary>
internal sealed partial class HtmlReport
{
    private readonly HtmlText _html;
    private readonly ReplayReport _report;

    private HtmlReport(TextWriter output, ReplayReport report)
    {
        _html = new(output);
        _report = report;
    }

    /// <summary>Writes the page in UTF-8.</summary>
    public static void Write(Stream stream, ReplayReport report)
    {
        using StreamWriter writer = new(stream, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false), leaveOpen: true);
        new HtmlReport(writer, report).Page();
    }

    private void Page()
    {
        string name = InputName();
        HtmlPage.Begin(_html, $"{name}: Ioasis replay");
        Header(name);
        _html.Raw("<main>\n");
        Figures();
        Mismatches();
        MemoryPlot();
        IovaMaps();
        PageSizes();
        IotlbPlot();
        InvalidationPlot();
        DeviceTable();
        NeverUnmapped();
        DmaLog();
        Oddities();
        Attribution();
        Run();
        _html.Raw("</main>\n");
        HtmlPage.End(_html, _report.Tool, PlotData.ToJson(_report), "report.js");
    }

    private void Header(string name)
    {
        InputReport? input = _report.Inputs.Count > 0 ? _report.Inputs[0] : null;
        ReportOptions o = _report.Options;
        CheckReport c = _report.Checks;
        _html.Raw("<header>\n<p class=\"brand\"><b>ioasis</b> replay</p>\n").Element("h1", name);
        string sources = _report.Inputs.Count > 1
            ? " with the device-side log " + string.Join(", ", _report.Inputs.Skip(1).Select(i => Path.GetFileName(i.Path)))
            : "";
        _html.Element(
            "p",
            $"{Plural(input?.Events ?? 0, "event")} of {Seconds(input?.SpanSeconds ?? 0)}{sources}, replayed through an IOMMU with {ModeName(o.Mode)} "
            + $"page tables, {o.Invalidation} invalidation and a {o.IotlbEntries}-entry IOTLB ({Ways(o)}, {o.Caching} caching).",
            "lede");
        (string css, string mark, string title) = c switch
        {
            { MismatchCount: > 0 } => ("fail", "✕", $"{Plural(c.MismatchCount, "check")} of {Count(c.CheckCount)} failed"),
            { CheckCount: 0 } => ("none", "–", "Nothing was checked"),
            _ => ("pass", "✓", $"Every one of {Plural(c.CheckCount, "check")} held"),
        };
        string detail = c.ByKind.Count > 0
            ? string.Join(" · ", c.ByKind.Select(k => $"{k.Name}: {Count(k.Count)}"))
            : "The replay ran with --check none.";
        _html.Raw($"<div class=\"verdict {css}\" id=\"verdict\"><span class=\"mark\" aria-hidden=\"true\">{mark}</span><div>")
            .Element("p", title, "title").Element("p", detail, "detail").Raw("</div></div>\n</header>\n");
    }

    private void Figures()
    {
        MappingReport m = _report.Mappings;
        HardwareReport h = _report.Hardware;
        ThroughputReport t = _report.Throughput;
        long commands = h.Commands.Sum(c => c.Commands);
        _html.Raw("<section aria-label=\"Key figures\"><dl class=\"figures\">\n");
        Figure("Mapped at the peak", Bytes(m.PeakLiveBytes), $"{Plural(m.PeakLiveRanges, "range")} at most, {Plural(_report.Devices.Count(d => d.Maps > 0), "device")}");
        Figure("Maps and unmaps", Count(m.Maps + m.Unmaps), $"{Count(m.Maps)} maps, {Count(m.Unmaps)} unmaps");
        Figure("Never unmapped", Bytes(m.NeverUnmappedBytes), Plural(m.NeverUnmapped, "range"));
        Figure("IOTLB hits", Percent(h.Total.HitRatio), $"{Count(h.Total.IotlbMisses)} misses, {Count(h.Total.IotlbEvictions)} evictions");
        Figure("Reads per walk", h.Total.Walks == 0 ? "–" : Ratio(h.Total.MemoryReadsPerWalk), Plural(h.Total.Walks, "walk"));
        Figure("Commands", Count(commands), $"{Count(h.Commands.Sum(c => c.EntriesRemoved))} cached entries removed");
        Figure("Page tables", Bytes(_report.PageTables.PeakBytes), $"at the peak, {Bytes(_report.PageTables.EndBytes)} at the end");
        Figure("Replay speed", Rate(t.EventsPerSecond), $"events; {Rate(t.TranslationsPerSecond)} translations");
        _html.Raw("</dl></section>\n");
    }

    private void Figure(string name, string value, string detail) =>
        _html.Raw("<div><dt>").Text(name).Raw("</dt><dd>").Text(value).Raw("</dd><dd class=\"detail\">").Text(detail).Raw("</dd></div>\n");

    private void Mismatches()
    {
        CheckReport c = _report.Checks;
        if (c.MismatchCount == 0)
        {
            return;
        }

        _html.Section("mismatches", "Mismatches", $"The first {Count(c.FirstMismatches.Count)} of {Count(c.MismatchCount)}, by line of the recording.");
        _html.Table(
            "Checks that did not hold",
            ["line", "<device", "#IOVA", "<check", "<expected", "<got"],
            c.FirstMismatches.Select(m => (string[])[
                m.Line.ToString(CultureInfo.InvariantCulture), m.Device, Address(m.Iova), m.Kind, m.Expected, m.Got]),
            captionHidden: true);
        _html.EndSection();
    }

    private string InputName() => _report.Inputs.Count == 0 ? "empty" :
        _report.Inputs[0].Path is "-" ? "standard input" : Path.GetFileName(_report.Inputs[0].Path);

    private static string ModeName(string mode) => mode.Length > 1 ? char.ToUpperInvariant(mode[0]) + mode[1..] : mode;

    private static string Ways(ReportOptions o) => o.IotlbWays >= o.IotlbEntries ? "fully associative" : $"{o.IotlbWays} ways";
}
