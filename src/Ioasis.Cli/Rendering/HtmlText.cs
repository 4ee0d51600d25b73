using System.Globalization;
using System.Text.Encodings.Web;

namespace Ioasis.Cli.Rendering;

/// <summary>
/// Writes HTML in which foreign text is only ever text: every value passes <see cref="Escape"/>, and only constants of
/// this folder are written as markup.
/// </summary>
internal sealed class HtmlText(TextWriter output)
{
    /// <summary>Text as it stands in an element or a quoted attribute.</summary>
    public static string Escape(string text) => HtmlEncoder.Default.Encode(Format.Printable(text));

    /// <summary>Writes markup of our own.</summary>
    public HtmlText Raw(string markup)
    {
        output.Write(markup);
        return this;
    }

    /// <summary>Writes foreign text.</summary>
    public HtmlText Text(string text)
    {
        output.Write(Escape(text));
        return this;
    }

    /// <summary>An element that holds text only.</summary>
    public HtmlText Element(string name, string text, string? cssClass = null) =>
        Raw(cssClass is null ? $"<{name}>" : $"<{name} class=\"{cssClass}\">").Text(text).Raw($"</{name}>\n");

    /// <summary>A section with a heading, and a sentence on what it shows.</summary>
    public HtmlText Section(string id, string title, string? explanation = null)
    {
        Raw($"<section class=\"card\" id=\"{id}\" aria-labelledby=\"{id}-h\">\n<h2 id=\"{id}-h\">").Text(title).Raw("</h2>\n");
        return explanation is null ? this : Element("p", explanation, "note");
    }

    /// <summary>Ends a section.</summary>
    public HtmlText EndSection() => Raw("</section>\n");

    /// <summary>
    /// A table that a narrow screen shows as one block for each row. A column whose header starts with <c>&lt;</c>
    /// holds words, one with <c>#</c> an address, and the others numbers.
    /// </summary>
    public HtmlText Table(string caption, string[] headers, IEnumerable<string[]> rows, bool captionHidden = false)
    {
        string[] names = [.. headers.Select(h => h.TrimStart('<', '#'))];
        string[] classes = [.. headers.Select((h, i) => h.StartsWith('#') ? "mono" : i == 0 || h.StartsWith('<') ? "word" : "num")];
        Raw("<table role=\"table\"><caption").Raw(captionHidden ? " class=\"hidden\">" : ">").Text(caption)
            .Raw("</caption><thead role=\"rowgroup\"><tr role=\"row\">");
        for (int i = 0; i < names.Length; i++)
        {
            Raw($"<th role=\"columnheader\" scope=\"col\" class=\"{classes[i]}\">").Text(names[i]).Raw("</th>");
        }

        Raw("</tr></thead>\n<tbody role=\"rowgroup\">\n");
        foreach (string[] row in rows)
        {
            Raw("<tr role=\"row\">");
            for (int i = 0; i < row.Length; i++)
            {
                string element = i == 0 ? "th role=\"rowheader\" scope=\"row\"" : "td role=\"cell\"";
                Raw($"<{element} class=\"{classes[i]}\" data-label=\"").Text(names[i]).Raw("\">").Text(row[i]).Raw(i == 0 ? "</th>" : "</td>");
            }

            Raw("</tr>\n");
        }

        return Raw("</tbody></table>\n");
    }

    /// <summary>A table whose first number is drawn as a bar too.</summary>
    public HtmlText Bars(string caption, string first, string[] headers, IEnumerable<(string Label, double Fraction, string[] Cells)> rows)
    {
        Raw("<table role=\"table\" class=\"bars\"><caption>").Text(caption)
            .Raw("</caption><thead role=\"rowgroup\"><tr role=\"row\"><th role=\"columnheader\" scope=\"col\" class=\"word\">").Text(first)
            .Raw("</th><th role=\"presentation\" class=\"bar\"></th>");
        foreach (string header in headers)
        {
            Raw("<th role=\"columnheader\" scope=\"col\" class=\"num\">").Text(header).Raw("</th>");
        }

        Raw("</tr></thead>\n<tbody role=\"rowgroup\">\n");
        foreach ((string label, double fraction, string[] cells) in rows)
        {
            string width = (Math.Clamp(fraction, 0, 1) * 100).ToString("0.##", CultureInfo.InvariantCulture);
            Raw("<tr role=\"row\"><th role=\"rowheader\" scope=\"row\" class=\"word\">").Text(label)
                .Raw($"</th><td role=\"presentation\" class=\"bar\"><span style=\"width:{width}%\"></span></td>");
            foreach (string cell in cells)
            {
                Raw("<td role=\"cell\" class=\"num\">").Text(cell).Raw("</td>");
            }

            Raw("</tr>\n");
        }

        return Raw("</tbody></table>\n");
    }
}
