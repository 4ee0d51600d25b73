using Ioasis.Replay.Study;

namespace Ioasis.Cli.Rendering;

/// <summary>Studies as text.</summary>
internal static class StudyText
{
    /// <summary>Writes them.</summary>
    /// <param name="output">Where to.</param>
    /// <param name="reports">The studies.</param>
    /// <param name="compares">Whether the first two are set beside each other, and nothing else is shown.</param>
    public static void Write(TextWriter output, IReadOnlyList<StudyReport> reports, bool compares)
    {
        foreach (StudyReport report in reports)
        {
            output.WriteLine($"{Format.Printable(StudyTables.Name(report))}: {StudyTables.Introduction(report)}");
            if (!compares)
            {
                WriteTables(output, StudyTables.Of(report));
                output.WriteLine();
            }
        }

        if (compares)
        {
            WriteTables(output, [StudyTables.Comparison(reports[0], reports[1]), StudyTables.ComparedFigures(reports[0], reports[1])]);
        }
    }

    private static void WriteTables(TextWriter output, IReadOnlyList<StudyTable> tables)
    {
        foreach (StudyTable table in tables)
        {
            output.WriteLine();
            output.WriteLine(Format.Printable(table.Title));
            TextTable text = new(table.Headers);
            foreach (string[] row in table.Rows)
            {
                text.Add(row);
            }

            foreach (string line in text.Lines())
            {
                output.WriteLine(line);
            }

            foreach (string line in Wrap(table.Note))
            {
                output.WriteLine("  " + line);
            }
        }
    }

    private static IEnumerable<string> Wrap(string text)
    {
        const int width = 110;
        string line = "";
        foreach (string word in text.Split(' '))
        {
            if (line.Length > 0 && line.Length + 1 + word.Length > width)
            {
                yield return line;
                line = "";
            }

            line = line.Length == 0 ? word : $"{line} {word}";
        }

        yield return line;
    }
}
