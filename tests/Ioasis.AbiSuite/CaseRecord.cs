using System.Text;

namespace Ioasis.AbiSuite;

/// <summary>
/// What a case noted on a kernel, and its form as text: a line <c>case NAME (REQUIREMENT)</c>, then a line for each note, each
/// with two blanks before it.
/// </summary>
public sealed record CaseRecord(string Name, string Requirement, IReadOnlyList<Observation> Notes)
{
    /// <summary>What stands for a note that only the other record has.</summary>
    public const string Nothing = "nothing";

    private const string Head = "case ";

    /// <summary>Reads records; lines before the first and lines that begin otherwise (a console's noise) are passed over.</summary>
    public static IReadOnlyDictionary<string, CaseRecord> Parse(IEnumerable<string> lines)
    {
        Dictionary<string, CaseRecord> records = new(StringComparer.Ordinal);
        List<Observation>? notes = null;
        foreach (string line in lines)
        {
            if (line.StartsWith(Head, StringComparison.Ordinal) && line.EndsWith(')'))
            {
                int open = line.LastIndexOf(" (", StringComparison.Ordinal);
                notes = [];
                string name = line[Head.Length..open];
                records[name] = new(name, line[(open + 2)..^1], notes);
            }
            else if (notes is not null && line.StartsWith("  ", StringComparison.Ordinal))
            {
                int colon = line.IndexOf(": ", StringComparison.Ordinal);
                if (colon > 0)
                {
                    notes.Add(new(line[2..colon], line[(colon + 2)..]));
                }
            }
        }

        return records;
    }

    /// <summary>The record as text.</summary>
    public string Format()
    {
        StringBuilder text = new();
        _ = text.Append(Head).Append(Name).Append(" (").Append(Requirement).Append(")\n");
        foreach (Observation note in Notes)
        {
            _ = text.Append("  ").Append(note).Append('\n');
        }

        return text.ToString();
    }

    /// <summary>
    /// Where another kernel's record differs, one line for each difference. Where the conversations part, because one took another
    /// turn, they are compared again from where they meet: one difference hides nothing that comes after it.
    /// </summary>
    public IEnumerable<Difference> Compare(CaseRecord other)
    {
        ArgumentNullException.ThrowIfNull(other);
        int[,] common = CountCommon(Notes, other.Notes);
        int mine = 0;
        int theirs = 0;
        while (mine < Notes.Count || theirs < other.Notes.Count)
        {
            if (mine < Notes.Count && theirs < other.Notes.Count
                && string.Equals(Notes[mine].Label, other.Notes[theirs].Label, StringComparison.Ordinal))
            {
                if (!string.Equals(Notes[mine].Value, other.Notes[theirs].Value, StringComparison.Ordinal))
                {
                    yield return new(Name, Notes[mine].Label, Notes[mine].Value, other.Notes[theirs].Value);
                }

                mine++;
                theirs++;
            }
            else if (theirs == other.Notes.Count || (mine < Notes.Count && common[mine + 1, theirs] >= common[mine, theirs + 1]))
            {
                yield return new(Name, Notes[mine].Label, Notes[mine++].Value, Nothing);
            }
            else
            {
                yield return new(Name, other.Notes[theirs].Label, Nothing, other.Notes[theirs++].Value);
            }
        }
    }

    // How many notes the ends of both have in common, by their labels and in their order.
    private static int[,] CountCommon(IReadOnlyList<Observation> one, IReadOnlyList<Observation> two)
    {
        int[,] common = new int[one.Count + 1, two.Count + 1];
        for (int i = one.Count - 1; i >= 0; i--)
        {
            for (int j = two.Count - 1; j >= 0; j--)
            {
                common[i, j] = string.Equals(one[i].Label, two[j].Label, StringComparison.Ordinal)
                    ? common[i + 1, j + 1] + 1
                    : Math.Max(common[i + 1, j], common[i, j + 1]);
            }
        }

        return common;
    }
}

/// <summary>One note that two kernels answered differently.</summary>
public readonly record struct Difference(string Case, string Label, string Expected, string Found)
{
    /// <inheritdoc/>
    public override string ToString() => $"{Case} / {Label}: expected {Expected}, found {Found}";
}
