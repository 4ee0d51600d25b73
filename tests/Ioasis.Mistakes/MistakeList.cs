namespace Ioasis.Mistakes;

/// <summary>One place of a mistake: lines of a source file, and what stands there if the mistake is made.</summary>
/// <param name="File">The file's name in the project, without folders.</param>
/// <param name="Before">Lines that stay, in front of those that change.</param>
/// <param name="Right">The lines of the product that change.</param>
/// <param name="Wrong">What the mistake makes of them.</param>
/// <param name="After">Lines that stay, behind.</param>
/// <param name="Line">Where it stands in the list.</param>
internal sealed record Change(string File, string[] Before, string[] Right, string[] Wrong, string[] After, int Line);

/// <summary>A mistake that the product could have and that the tests must notice.</summary>
/// <param name="Name">One word.</param>
/// <param name="Says">What is wrong, in a sentence or two.</param>
/// <param name="Tests">Names of test projects, with a filter behind a colon, that notice it; none if it is noticed in Ioasis.Mistakes.Tests alone.</param>
/// <param name="Changes">All of its places.</param>
/// <param name="IsAlone">Made without a switch, in a build of its own: for what is seen in the code and not when it runs.</param>
internal sealed record KnownMistake(
    string Name, string Says, IReadOnlyList<string> Tests, IReadOnlyList<Change> Changes, bool IsAlone);

/// <summary>
/// A list of mistakes of one project, as a page that people read: a heading with the name, a sentence, the tests that notice it, and for
/// each place the name of the file and the lines as a diff. See README.md beside it.
/// </summary>
internal static class MistakeList
{
    private const string TestsPrefix = "Noticed by ";

    /// <exception cref="FormatException">With the line and the rule.</exception>
    public static List<KnownMistake> Parse(string path)
    {
        string[] lines = File.ReadAllLines(path);
        List<KnownMistake> result = [];
        for (int i = 0; i < lines.Length; i++)
        {
            if (!lines[i].StartsWith("## ", StringComparison.Ordinal))
            {
                continue;
            }

            string name = lines[i][3..].Trim();
            List<string> says = [];
            List<string> tests = [];
            List<Change> changes = [];
            string file = string.Empty;
            bool isAlone = false;
            for (i++; i < lines.Length && !lines[i].StartsWith("## ", StringComparison.Ordinal); i++)
            {
                string line = lines[i];
                if (line.StartsWith("```diff", StringComparison.Ordinal))
                {
                    int start = i + 1;
                    i = Array.FindIndex(lines, start, static l => l.StartsWith("```", StringComparison.Ordinal));
                    changes.Add(ParseChange(path, file, lines[start..i], start));
                }
                else if (line.StartsWith('`') && line.Contains(".cs`", StringComparison.Ordinal))
                {
                    file = line[1..line.IndexOf('`', 1)];
                }
                else if (line.StartsWith(TestsPrefix, StringComparison.Ordinal))
                {
                    tests.AddRange(line[TestsPrefix.Length..].TrimEnd('.').Split(", ").Select(static t => t.Trim('`')));
                }
                else if (line == "Built alone.")
                {
                    isAlone = true;
                }
                else if (line.Length > 0)
                {
                    says.Add(line);
                }
            }

            i--;
            result.Add(new(name, string.Join(' ', says), tests, changes, isAlone));
        }

        string? twice = result.GroupBy(static m => m.Name, StringComparer.Ordinal).FirstOrDefault(static g => g.Count() > 1)?.Key;
        return twice is null ? result : throw new FormatException($"{path}: '{twice}' is there twice.");
    }

    private static Change ParseChange(string path, string file, string[] diff, int line)
    {
        int first = Array.FindIndex(diff, static l => l.StartsWith('-') || l.StartsWith('+'));
        int last = Array.FindLastIndex(diff, static l => l.StartsWith('-') || l.StartsWith('+'));
        if (file.Length == 0 || first < 0)
        {
            throw new FormatException($"{path}({line}): a change needs the name of a file and a line with + or -.");
        }

        string[] middle = diff[first..(last + 1)];
        return new(
            file,
            Kept(diff[..first]),
            Kept([.. middle.Where(static l => !l.StartsWith('+'))]),
            Kept([.. middle.Where(static l => !l.StartsWith('-'))]),
            Kept(diff[(last + 1)..]),
            line);
    }

    private static string[] Kept(string[] diff) => [.. diff.Select(static l => l.Length == 0 ? l : l[1..])];
}
