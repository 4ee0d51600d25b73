using Ioasis.Cli.Rendering;
using Ioasis.Embedded.Sanitizing;

namespace Ioasis.Cli.Exec;

/// <summary>Reports of a sanitizer as text: what, where, who mapped it and who took it away.</summary>
internal static class SanitizeText
{
    /// <summary>Writes them.</summary>
    public static void Write(TextWriter output, IReadOnlyList<DmaReport> reports)
    {
        foreach (DmaReport report in reports)
        {
            string[] lines = report.ToString().Split('\n');
            output.WriteLine($"ioasis: {Format.Printable(lines[0])}");
            foreach (string line in lines.AsSpan(1))
            {
                output.WriteLine(Format.Printable(line));
            }
        }

        if (reports.Count > 0)
        {
            output.WriteLine($"ioasis: {Format.Plural(reports.Count, "mistake")} with DMA: {string.Join(", ", reports.CountBy(static r => Suppression.NameOf(r.Mistake)).Select(static c => $"{c.Key} {c.Value}"))}");
        }
    }
}
