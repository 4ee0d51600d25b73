namespace Ioasis.Mistakes;

/// <summary>A mutant that no test can notice, because it does the same as the product, and why.</summary>
/// <param name="Project">Without "Ioasis.", as <c>./mutate</c> names it.</param>
/// <param name="File">The file's name, without folders.</param>
/// <param name="Mutator">What kind of change it is, in the tool's words.</param>
/// <param name="Original">The text of the product that changes, in one line; a part of its beginning with "…" behind it will do.</param>
/// <param name="Replacement">What the mutant has in its place, likewise.</param>
/// <param name="Reason">Why it does the same, for people.</param>
internal sealed record Equivalent(string Project, string File, string Mutator, string Original, string Replacement, string Reason)
{
    // A mutant may have nothing in the text's place.
    private const int ReplacementPart = 4;

    /// <summary>Reads entries: one a line, its parts separated by tabs, in the order of this type. A line that begins with # is for people.</summary>
    /// <exception cref="FormatException">With the line and the rule.</exception>
    public static List<Equivalent> Parse(string path)
    {
        List<Equivalent> entries = [];
        string[] lines = System.IO.File.ReadAllLines(path);
        for (int i = 0; i < lines.Length; i++)
        {
            if (string.IsNullOrWhiteSpace(lines[i]) || lines[i].StartsWith('#'))
            {
                continue;
            }

            string[] parts = lines[i].Split('\t');
            if (parts.Length != 6 || parts.Where(static (part, i) => i != ReplacementPart && string.IsNullOrWhiteSpace(part)).Any())
            {
                throw new FormatException(
                    $"{path}({i + 1}): an entry is project, file, mutator, original text, replacement and reason, with a tab between.");
            }

            entries.Add(new(parts[0], parts[1], parts[2], Mutant.InOneLine(parts[3]), Mutant.InOneLine(parts[ReplacementPart]), parts[5]));
        }

        return entries;
    }

    /// <summary>Whether this is the entry of a mutant.</summary>
    public bool Names(Mutant mutant) =>
        File == mutant.File && Mutator == mutant.Mutator && IsOf(Original, mutant.Original) && IsOf(Replacement, mutant.Replacement);

    /// <summary>For messages.</summary>
    public override string ToString() => $"'{Project}, {File}, {Mutator}: {Original} → {Replacement}'";

    private static bool IsOf(string wanted, string text) =>
        wanted.EndsWith('…') ? text.StartsWith(wanted[..^1], StringComparison.Ordinal) : wanted == text;
}
