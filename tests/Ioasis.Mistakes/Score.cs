using System.Globalization;
using System.Text.Json;

namespace Ioasis.Mistakes;

/// <summary>What a report of Stryker says of a project, beside what the baseline says.</summary>
/// <param name="Noticed">Mutants that a test noticed, those in <paramref name="Timeouts"/> among them.</param>
/// <param name="Timeouts">Mutants that are noticed because a run with them did not end in time.</param>
/// <param name="Valid">Mutants that count: noticed and not; without those that do not compile, and without equivalents.</param>
/// <param name="Explained">Survivors that are left out, because an entry says why they are equivalent.</param>
/// <param name="Survivors">The others, for people.</param>
/// <param name="Stale">Entries of this project that name no survivor, for people.</param>
internal sealed record Score(
    int Noticed, int Timeouts, int Valid, int Explained, IReadOnlyList<string> Survivors, IReadOnlyList<string> Stale)
{
    /// <summary>Of what counts, what is noticed.</summary>
    public double Percent => Valid == 0 ? 0 : 100.0 * Noticed / Valid;

    /// <summary>Reads a report.</summary>
    /// <param name="report">In the mutation-testing report schema.</param>
    /// <param name="equivalents">The entries of the project.</param>
    public static Score Read(string report, IReadOnlyList<Equivalent> equivalents)
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(report));
        Dictionary<string, int> counts = new(StringComparer.Ordinal);
        List<Equivalent> unused = [.. equivalents];
        List<Mutant> others = [];
        List<string> survivors = [];
        int explained = 0;
        foreach (JsonProperty file in document.RootElement.GetProperty("files").EnumerateObject())
        {
            string[] lines = file.Value.GetProperty("source").GetString()!.Split('\n');
            foreach (JsonElement element in file.Value.GetProperty("mutants").EnumerateArray())
            {
                Mutant mutant = Mutant.Read(file.Name, lines, element);
                if (mutant.Status is not ("Survived" or "NoCoverage"))
                {
                    counts[mutant.Status] = counts.GetValueOrDefault(mutant.Status) + 1;
                    others.Add(mutant);
                }
                else if (unused.Find(e => e.Names(mutant)) is { } equivalent)
                {
                    // One entry is one mutant: where the same text stands twice, the other one is not explained by it.
                    _ = unused.Remove(equivalent);
                    explained++;
                }
                else
                {
                    survivors.Add(mutant.ToString());
                }
            }
        }

        int timeouts = counts.GetValueOrDefault("Timeout");
        int noticed = counts.GetValueOrDefault("Killed") + timeouts;
        return new(
            noticed, timeouts, noticed + survivors.Count, explained, survivors, [.. unused.Select(e => Describe(e, others)).OfType<string>()]);
    }

    /// <summary>Writes what a report says, and compares it.</summary>
    /// <param name="project">The project.</param>
    /// <param name="report">The report, in the mutation-testing report schema.</param>
    /// <param name="baseline">Lines of: project, tab, percent, tab, what was covered.</param>
    /// <param name="equivalents">The file of <see cref="Equivalent.Parse"/>.</param>
    /// <returns>0 unless the score is below the baseline or an entry names no survivor.</returns>
    public static int Compare(string project, string report, string baseline, string equivalents)
    {
        Score score = Read(report, Equivalent.Parse(equivalents).FindAll(e => e.Project == project));
        string[]? known = File.Exists(baseline)
            ? File.ReadLines(baseline).Select(static line => line.Split('\t')).FirstOrDefault(line => line[0] == project)
            : null;
        foreach (string line in score.Survivors.Concat(score.Stale))
        {
            Console.WriteLine(line);
        }

        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{project}: {score.Noticed} of {score.Valid} noticed ({score.Timeouts} of them by a timeout), {score.Percent:F1} %; "
            + $"{score.Explained} explained as equivalent; baseline {known?[1] ?? "none"}"));
        bool isBelow = known is not null && score.Percent < double.Parse(known[1], CultureInfo.InvariantCulture) - 0.05;
        return isBelow || score.Stale.Count > 0 ? 1 : 0;
    }

    // A run of some files alone reports the mutants of the others as ignored: their entries are not judged.
    private static string? Describe(Equivalent entry, List<Mutant> others)
    {
        List<Mutant> same = others.FindAll(entry.Names);
        return same.Exists(static m => m.Status == "Ignored") ? null
            : same.Count > 0 ? $"error MISTAKE: {entry} survives no more ({same[0].Status}): delete the entry."
            : $"error MISTAKE: {entry} names no mutant of the report: write it for the code as it is now, or delete it.";
    }
}
