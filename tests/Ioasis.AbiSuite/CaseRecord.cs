using System.Text;

namespace Ioasis.AbiSuite;

/// <summary>
/// What a case noted on a kernel, and its form as text: a line <c>case NAME (REQUIREMENT)</c>, then a line for each note, each
/// with two blanks before it.
/// </summary>
public sealed record CaseRecord(string Name, string Requirement, IReadOnlyList<Observation> Notes)
{
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

    /// <summary>Where another kernel's record differs, one line for each difference.</summary>
    public IEnumerable<Difference> Compare(CaseRecord other)
    {
        ArgumentNullException.ThrowIfNull(other);
        int count = Math.Max(Notes.Count, other.Notes.Count);
        for (int i = 0; i < count; i++)
        {
            Observation mine = i < Notes.Count ? Notes[i] : new("nothing", "nothing");
            Observation theirs = i < other.Notes.Count ? other.Notes[i] : new("nothing", "nothing");
            if (!string.Equals(mine.Label, theirs.Label, StringComparison.Ordinal))
            {
                // The conversations parted: what follows cannot be compared line by line.
                yield return new(Name, mine.Label, mine.Value, $"{theirs.Label}: {theirs.Value}");
                yield break;
            }

            if (!string.Equals(mine.Value, theirs.Value, StringComparison.Ordinal))
            {
                yield return new(Name, mine.Label, mine.Value, theirs.Value);
            }
        }
    }
}

/// <summary>One note that two kernels answered differently.</summary>
public readonly record struct Difference(string Case, string Label, string Expected, string Found)
{
    /// <inheritdoc/>
    public override string ToString() => $"{Case} / {Label}: expected {Expected}, found {Found}";
}
