using System.Reflection;
using System.Text;

namespace Ioasis.Cli.Rendering;

/// <summary>What every page of ours begins and ends with: it holds styles, plots and data itself, and forbids itself the network.</summary>
internal static class HtmlPage
{
    /// <summary>Begins a page, up to its body.</summary>
    public static void Begin(HtmlText html, string title)
    {
        html.Raw("""
            <!doctype html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta name="color-scheme" content="light dark">
            <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
            <link rel="icon" href="data:,">

            """);
        html.Element("title", title);
        html.Raw("<style>\n").Raw(Asset("uPlot.css")).Raw("\n").Raw(Asset("report.css")).Raw("</style>\n</head>\n<body>\n");
    }

    /// <summary>Ends a page whose plots a script draws.</summary>
    /// <param name="html">The page.</param>
    /// <param name="tool">Who made it.</param>
    /// <param name="data">What the script draws, as JSON in which every character that HTML gives a meaning is escaped.</param>
    /// <param name="script">The name of the script.</param>
    public static void End(HtmlText html, string tool, string data, string script) => html
        .Raw("<footer><p>").Text($"Made by {tool}. ")
        .Raw("Plots by uPlot, MIT licence, © Leon Sorokin.</p></footer>\n<script type=\"application/json\" id=\"report-data\">")
        .Raw(data)
        .Raw("</script>\n<script>\n/*\n").Raw(Asset("uPlot.LICENSE")).Raw("*/\n").Raw(Asset("uPlot.js")).Raw("</script>\n<script>\n")
        .Raw(Asset(script)).Raw("</script>\n</body>\n</html>\n");

    /// <summary>Ends a page without a script.</summary>
    /// <param name="html">The page.</param>
    /// <param name="tool">Who made it.</param>
    public static void End(HtmlText html, string tool) => html.Raw("<footer><p>").Text($"Made by {tool}.").Raw("</p></footer>\n</body>\n</html>\n");

    /// <summary>A place for a plot, with words for those who do not see it.</summary>
    public static void Plot(HtmlText html, string name, string label) =>
        html.Raw($"<div class=\"plot\" data-plot=\"{name}\" role=\"img\" aria-label=\"").Text(label)
            .Raw("\"></div>\n<noscript><p class=\"note\">The plot needs a script; the table holds its figures.</p></noscript>\n");

    private static string Asset(string name)
    {
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(name)
            ?? throw new InvalidOperationException($"the program was built without {name}");
        using StreamReader reader = new(stream, Encoding.UTF8);
        return reader.ReadToEnd();
    }
}
