using System.Globalization;
using System.Text.Json;

namespace Ioasis.Mistakes;

/// <summary>What a report of Stryker says of a project, beside what the baseline says.</summary>
internal static class Score
{
    /// <param name="project">The project.</param>
    /// <param name="report">The report, in the mutation-testing report schema.</param>
    /// <param name="baseline">Lines of: project, tab, percent, tab, what was covered.</param>
    /// <returns>0 unless the score is below the baseline.</returns>
    public static int Compare(string project, string report, string baseline)
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(report));
        Dictionary<string, int> counts = new(StringComparer.Ordinal);
        List<string> survivors = [];
        foreach (JsonProperty file in document.RootElement.GetProperty("files").EnumerateObject())
        {
            foreach (JsonElement mutant in file.Value.GetProperty("mutants").EnumerateArray())
            {
                string status = mutant.GetProperty("status").GetString()!;
                counts[status] = counts.GetValueOrDefault(status) + 1;
                if (status is "Survived" or "NoCoverage")
                {
                    JsonElement start = mutant.GetProperty("location").GetProperty("start");
                    survivors.Add(
                        $"{Path.GetFileName(file.Name)}({start.GetProperty("line")},{start.GetProperty("column")}): {status}: "
                        + mutant.GetProperty("mutatorName").GetString());
                }
            }
        }

        int noticed = counts.GetValueOrDefault("Killed") + counts.GetValueOrDefault("Timeout");
        int valid = noticed + counts.GetValueOrDefault("Survived") + counts.GetValueOrDefault("NoCoverage");
        double score = valid == 0 ? 0 : 100.0 * noticed / valid;
        string[]? known = File.Exists(baseline)
            ? File.ReadLines(baseline).Select(static line => line.Split('\t')).FirstOrDefault(line => line[0] == project)
            : null;
        survivors.ForEach(Console.WriteLine);
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{project}: {noticed} of {valid} noticed, {score:F1} %; baseline {known?[1] ?? "none"}"));
        return known is not null && score < double.Parse(known[1], CultureInfo.InvariantCulture) - 0.05 ? 1 : 0;
    }
}
