using System.Text;
using System.Text.Json;
using Ioasis.Replay.Study;
using static Ioasis.Cli.Rendering.Format;

namespace Ioasis.Cli.Rendering;

/// <summary>
/// Studies as one page that holds everything it needs. All words and tables are in the HTML itself; the script only draws curves, from a
/// block of JSON.
/// </summary>
internal sealed class StudyPage
{
    // Colours of the plots; a seventh curve would look as the first.
    private const int MostCurves = 6;

    // Between two powers of two, as many sizes as a plot can show.
    private const int PointsOfAPlot = 12;

    private readonly HtmlText _html;
    private readonly IReadOnlyList<StudyReport> _reports;
    private readonly List<(string Label, IReadOnlyList<(string Name, HitCurve Curve)> Curves)> _plots = [];

    private StudyPage(TextWriter output, IReadOnlyList<StudyReport> reports)
    {
        _html = new(output);
        _reports = reports;
    }

    /// <summary>Writes the page in UTF-8.</summary>
    public static void Write(Stream stream, IReadOnlyList<StudyReport> reports)
    {
        using StreamWriter writer = new(stream, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false), leaveOpen: true);
        new StudyPage(writer, reports).Page();
    }

    private void Page()
    {
        string title = string.Join(", ", _reports.Select(StudyTables.Name));
        HtmlPage.Begin(_html, $"{title}: Ioasis study");
        _html.Raw("<header>\n<p class=\"brand\"><b>ioasis</b> study</p>\n").Element("h1", title);
        foreach (StudyReport report in _reports)
        {
            _html.Element("p", _reports.Count == 1 ? StudyTables.Introduction(report) : $"{StudyTables.Name(report)}: {StudyTables.Introduction(report)}", "lede");
        }

        _html.Raw("</header>\n<main>\n");
        if (_reports.Count > 1)
        {
            Comparison();
        }

        for (int i = 0; i < _reports.Count; i++)
        {
            Study(_reports[i], _reports.Count == 1 ? "" : FormattableString.Invariant($"-{i + 1}"));
        }

        _html.Raw("</main>\n");
        HtmlPage.End(_html, _reports[0].Tool, ToJson(), "study.js");
    }

    private void Comparison()
    {
        _html.Section("comparison", "Beside each other", "IOTLB hit ratio by size, with the mappings as they were.");
        Plot("The hit ratio of every recording by IOTLB size.", [.. _reports.Select(static report => (StudyTables.Name(report), report.AsMapped))]);
        if (_reports.Count == 2)
        {
            foreach (StudyTable table in (StudyTable[])[StudyTables.Comparison(_reports[0], _reports[1]), StudyTables.ComparedFigures(_reports[0], _reports[1])])
            {
                _html.Table(table.Title, table.Headers, table.Rows);
            }
        }

        _html.EndSection();
    }

    private void Study(StudyReport report, string suffix)
    {
        foreach (StudyTable table in StudyTables.Of(report))
        {
            _html.Section(table.Id + suffix, suffix.Length == 0 ? table.Title : $"{StudyTables.Name(report)}: {table.Title}", table.Note);
            switch (table.Id)
            {
                case "sizes":
                    Plot(
                        "The hit ratio by IOTLB size under each rule for leaves, and with lazy invalidation.",
                        [.. report.Layouts.Select(static layout => (StudyTables.RuleName(layout.Rule), layout.Curve)), ("lazy", report.Invalidation.LazyCurve)]);
                    break;

                case "devices":
                    Plot(
                        "The hit ratio of each device by the size of the IOTLB that all share.",
                        [.. report.Devices.Where(static device => device.Curve.Accesses > 0).Select(static device => (device.Name, device.Curve))]);
                    break;
            }

            _html.Table(table.Title, table.Headers, table.Rows, captionHidden: true);
            _html.EndSection();
        }
    }

    private void Plot(string label, (string Name, HitCurve Curve)[] curves)
    {
        HtmlPage.Plot(_html, FormattableString.Invariant($"{_plots.Count}"), label);
        _plots.Add((label, curves[..Math.Min(curves.Length, MostCurves)]));
    }

    private string ToJson()
    {
        int[] sizes = PlottedSizes();
        using MemoryStream stream = new();
        using (Utf8JsonWriter json = new(stream))
        {
            json.WriteStartObject();
            json.WriteStartArray("sizes");
            foreach (int size in sizes)
            {
                json.WriteNumberValue(size);
            }

            json.WriteEndArray();
            json.WriteStartArray("plots");
            foreach ((_, IReadOnlyList<(string Name, HitCurve Curve)> curves) in _plots)
            {
                json.WriteStartArray();
                foreach ((string name, HitCurve curve) in curves)
                {
                    json.WriteStartObject();
                    json.WriteString("name", Printable(name));
                    json.WriteStartArray("percent");
                    foreach (int size in sizes)
                    {
                        json.WriteNumberValue(Math.Round(curve.RatioAt(size) * 100, 4));
                    }

                    json.WriteEndArray();
                    json.WriteEndObject();
                }

                json.WriteEndArray();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(stream.GetBuffer(), 0, (int)stream.Length);
    }

    private static int[] PlottedSizes()
    {
        SortedSet<int> sizes = [];
        foreach (int power in StudyTables.Sizes)
        {
            for (int part = 0; part < PointsOfAPlot && power < StudyOptions.LargestSize; part++)
            {
                sizes.Add((int)Math.Round(power * Math.Pow(2, part / (double)PointsOfAPlot)));
            }

            sizes.Add(power);
        }

        return [.. sizes];
    }
}
