using System.Text.RegularExpressions;

namespace Ioasis.Structure.Tests;

/// <summary>The numbers by which tests and code cite requirements.</summary>
public sealed partial class RequirementTests
{
    [Fact]
    public void Every_number_that_is_cited_is_explained_and_every_one_that_is_explained_is_cited()
    {
        string[] explained = [.. Row().Matches(File.ReadAllText(Path.Combine(Repository.Root, "docs", "requirements.md"))).Select(static match => match.Groups["number"].Value)];
        string[] cited =
        [
            .. new[] { "src", "tests" }
                .SelectMany(static folder => Directory.EnumerateFiles(Path.Combine(Repository.Root, folder), "*.cs", SearchOption.AllDirectories))
                .Where(static file => !file.Contains("/obj/", StringComparison.Ordinal))
                .SelectMany(static file => Citation().Matches(File.ReadAllText(file)).Select(static match => match.Value))
                .Distinct(StringComparer.Ordinal),
        ];
        explained.ShouldBeUnique();
        cited.ShouldBe(explained, ignoreOrder: true);
    }

    [GeneratedRegex(@"^\| (?<number>S\d\.\d+) \| .+ \|$", RegexOptions.Multiline | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Row();

    [GeneratedRegex(@"\bS[0-4]\.\d+\b", RegexOptions.None, 10_000)]
    private static partial Regex Citation();
}
