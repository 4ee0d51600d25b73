using System.Globalization;
using System.Security.Cryptography;
using Ioasis.Conformance;
using Ioasis.Hardware;

namespace Ioasis.Campaigns;

/// <summary>Files of conformance vectors, each in each caching mode a unit.</summary>
internal static class ConformanceCampaign
{
    /// <summary>Makes the campaign.</summary>
    /// <param name="paths">Vector files; a folder stands for the vector files in it.</param>
    /// <param name="modes">Ways of caching.</param>
    /// <exception cref="VectorFormatException">A file is missing.</exception>
    /// <exception cref="ArgumentException">Two files have one name.</exception>
    public static Campaign Create(IEnumerable<string> paths, IReadOnlyList<CachingMode> modes)
    {
        ArgumentNullException.ThrowIfNull(modes);
        string[] files = [.. ConformanceRunner.FindFiles(paths).OrderBy(Path.GetFileName, StringComparer.Ordinal)];
        return new(
            "conform",
            [
                new("modes", string.Join(',', modes.Select(NameOf))),
                .. files.Select(static file => KeyValuePair.Create($"file {Path.GetFileName(file)}", HashOf(file))),
            ],
            files.SelectMany(file => modes.Select(mode => new CampaignUnit($"{Path.GetFileName(file)} {NameOf(mode)}", _ => Run(file, mode)))));
    }

    private static UnitOutcome Run(string file, CachingMode mode)
    {
        ConformanceReport report = ConformanceRunner.Run([file], new() { Modes = [mode], Parallelism = 1 });
        return new()
        {
            Figures = new Dictionary<string, long>(StringComparer.Ordinal)
            {
                ["passed"] = report.Passed,
                ["failed"] = report.Failed,
                ["skipped"] = report.Skipped,
            },

            // Not all of many are shown, but that there are more is said.
            Findings =
            [
                .. report.Topics.SelectMany(static topic => topic.Differences).Select(static difference => difference.ToString()),
                .. report.Failed == 0 ? Array.Empty<string>() : [string.Create(CultureInfo.InvariantCulture, $"{report.Failed} cases differ")],
            ],
        };
    }

    private static string NameOf(CachingMode mode) => mode.ToString().ToLowerInvariant();

    private static string HashOf(string file)
    {
        using FileStream stream = File.OpenRead(file);
        return $"sha256 {Convert.ToHexStringLower(SHA256.HashData(stream))}";
    }
}
