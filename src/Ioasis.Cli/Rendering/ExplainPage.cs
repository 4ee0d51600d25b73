using System.Globalization;
using System.Text;
using Ioasis.Explain;
using Ioasis.Explain.Walks;
using static System.FormattableString;

namespace Ioasis.Cli.Rendering;

/// <summary>
/// Explanations of faults as one page without a script: words, tables, and for each address with a history a picture of what was mapped near it over
/// time.
/// </summary>
internal sealed class ExplainPage
{
    private const double Width = 1000;
    private const double Height = 260;
    private const double Left = 150;
    private const double Bottom = 30;
    private readonly HtmlText _html;
    private readonly FaultLog _log;

    private ExplainPage(TextWriter output, FaultLog log)
    {
        _html = new(output);
        _log = log;
    }

    /// <summary>Writes the page in UTF-8.</summary>
    public static void Write(Stream stream, string path, FaultLog log, IReadOnlyList<Explanation> explanations)
    {
        using StreamWriter writer = new(stream, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false), leaveOpen: true);
        new ExplainPage(writer, log).Page(path is "-" ? "standard input" : Path.GetFileName(path), explanations);
    }

    private void Page(string name, IReadOnlyList<Explanation> explanations)
    {
        HtmlPage.Begin(_html, $"{name}: Ioasis explain");
        _html.Raw("<header>\n<p class=\"brand\"><b>ioasis</b> explain</p>\n").Element("h1", name)
            .Element("p", $"{Format.Plural(_log.Faults.Count, "fault")} of {Format.Plural(explanations.Count, "kind")} in {Format.Plural(_log.Lines, "line")}.", "lede")
            .Raw("</header>\n<main>\n");
        for (int i = 0; i < explanations.Count; i++)
        {
            One(explanations[i], i + 1);
        }

        _html.Raw("</main>\n");
        HtmlPage.End(_html, "ioasis explain");
    }

    private void One(Explanation explanation, int number)
    {
        Fault first = explanation.Group.First;
        _html.Section(Invariant($"fault-{number}"), ExplainText.Headline(explanation.Group), $"{ExplainText.NameOf(first.Source)}: {first.Reason} - {first.Section}. {first.Meaning}");
        if (explanation.LookText.Length > 0)
        {
            _html.Element("p", $"The address: {explanation.LookText}");
        }

        foreach (IovaHistory history in explanation.Histories)
        {
            _html.Element("p", Invariant($"History of 0x{history.Address:x}: {history.Text}"));
            Picture(history);
        }

        if (explanation.Walk is { } walk)
        {
            Walk(walk);
        }

        Numbered("Likely causes", explanation.Causes);
        Numbered("What to try", explanation.Tries);
        _html.Raw("<details><summary>The line</summary><p>").Text(Invariant($"line {first.Line}: {first.Text}")).Raw("</p></details>\n").EndSection();
    }

    private void Numbered(string title, IReadOnlyList<string> lines)
    {
        if (lines.Count == 0)
        {
            return;
        }

        _html.Element("h3", title).Raw("<ol>\n");
        foreach (string line in lines)
        {
            _html.Element("li", line);
        }

        _html.Raw("</ol>\n");
    }

    private void Walk(WalkStory walk)
    {
        _html.Element("h3", $"The tables, for a {walk.Request}").Raw("<ol>\n");
        foreach (WalkStep step in walk.Steps)
        {
            _html.Raw(step.Fails ? "<li class=\"fail\"><b>" : "<li><b>").Text(ExplainText.StepTitle(step)).Raw("</b><br>");
            if (step.Fields.Count > 0)
            {
                _html.Text(string.Join(", ", step.Fields.Select(static field => $"{field.Name} {field.Value}"))).Raw("<br>");
            }

            _html.Text((step.Fails ? "Fails: " : "") + step.Text).Raw("</li>\n");
        }

        _html.Raw("</ol>\n").Element("p", walk.Conclusion);
    }

    /// <summary>Time to the right, addresses upwards: a bar for each mapping, a line for the address, and a cross where it faulted.</summary>
    private void Picture(IovaHistory history)
    {
        if (history.Neighbours.Count == 0)
        {
            return;
        }

        ulong low = Math.Min(history.Address, history.Neighbours.Min(static n => n.Start));
        ulong high = Math.Max(history.Address, history.Neighbours.Max(static n => n.Start + (n.Length - 1)));
        double start = history.Neighbours.Min(static n => n.FromSeconds);
        double end = Math.Max(history.FaultSeconds ?? start, history.Neighbours.Max(static n => n.ToSeconds ?? n.FromSeconds));
        double span = Math.Max(end - start, 1e-6);
        end += span / 20;
        span = end - start;
        double bytes = Math.Max(high - low, 4096);
        double X(double seconds) => Left + ((seconds - start) / span * (Width - Left));
        double Y(ulong address) => Height - ((address - low) / bytes * (Height - 20)) - 10;

        _html.Raw(Invariant($"<figure class=\"map\"><svg viewBox=\"0 0 {Width} {Height + Bottom}\" width=\"100%\" role=\"img\" aria-label=\""))
            .Text(Invariant($"What was mapped near 0x{history.Address:x} over time: {history.Neighbours.Count} mappings from 0x{low:x} to 0x{high:x}."))
            .Raw("\" fill=\"var(--ink)\" font-size=\"15\">\n");
        foreach (NeighbourMapping mapping in history.Neighbours)
        {
            double top = Y(mapping.Start + (mapping.Length - 1));
            _html.Raw(Invariant(
                $"<rect x=\"{N(X(mapping.FromSeconds))}\" y=\"{N(top)}\" width=\"{N(Math.Max(2, X(mapping.ToSeconds ?? end) - X(mapping.FromSeconds)))}\" height=\"{N(Math.Max(2, Y(mapping.Start) - top))}\" fill=\"var(--bar)\" fill-opacity=\".7\" stroke=\"var(--card)\"><title>"))
                .Text(Describe(mapping)).Raw("</title></rect>\n");
        }

        double line = Y(history.Address);
        _html.Raw(Invariant($"<line x1=\"{Left}\" x2=\"{Width}\" y1=\"{N(line)}\" y2=\"{N(line)}\" stroke=\"var(--s2)\" stroke-dasharray=\"6 4\"/>\n"));
        if (history.FaultSeconds is { } fault)
        {
            double x = X(fault);
            _html.Raw(Invariant($"<path d=\"M{N(x - 7)} {N(line - 7)}L{N(x + 7)} {N(line + 7)}M{N(x - 7)} {N(line + 7)}L{N(x + 7)} {N(line - 7)}\" stroke=\"var(--s2)\" stroke-width=\"3\"><title>"))
                .Text(Invariant($"the fault at {fault:0.000000} s")).Raw("</title></path>\n");
        }

        _html.Raw(Invariant($"<text x=\"{Left - 8}\" y=\"{N(Math.Clamp(line + 5, 20, Height - 20))}\" text-anchor=\"end\">")).Text(Invariant($"0x{history.Address:x}")).Raw("</text>\n")
            .Raw(Invariant($"<text x=\"{Left}\" y=\"{Height + 20}\">")).Text(Invariant($"{start:0.000000} s")).Raw("</text>\n")
            .Raw(Invariant($"<text x=\"{Width}\" y=\"{Height + 20}\" text-anchor=\"end\">")).Text(Invariant($"{end:0.000000} s")).Raw("</text>\n</svg></figure>\n")
            .Raw("<details><summary>This picture as a table</summary>\n");
        _html.Table(
            Invariant($"Mappings near 0x{history.Address:x}"),
            ["#first IOVA", "#bytes", "<device", "mapped at", "unmapped at"],
            history.Neighbours.Select(static n => (string[])[
                Invariant($"0x{n.Start:x}"), Invariant($"0x{n.Length:x}"), n.Device ?? "–", Format.Timestamp(n.FromSeconds), n.ToSeconds is { } to ? Format.Timestamp(to) : "–"]),
            captionHidden: true);
        _html.Raw("</details>\n");
    }

    private static string Describe(NeighbourMapping mapping) => string.Create(
        CultureInfo.InvariantCulture,
        $"0x{mapping.Start:x} +0x{mapping.Length:x}{(mapping.Device is { } device ? " " + device : "")}, {mapping.FromSeconds:0.000000} s to {(mapping.ToSeconds is { } to ? to.ToString("0.000000", CultureInfo.InvariantCulture) + " s" : "the end")}");

    private static string N(double value) => value.ToString("0.#", CultureInfo.InvariantCulture);
}
