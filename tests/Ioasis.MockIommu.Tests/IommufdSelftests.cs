using System.Text.RegularExpressions;
using Ioasis.Testing;

namespace Ioasis.MockIommu.Tests;

/// <summary>The kernel's own tests of iommufd, on our kernel side with their mock devices.</summary>
public sealed partial class IommufdSelftests
{
    private static string Runner { get; } = Path.Combine(
        ExternalProgram.RepositoryRoot,
        "tests",
        "Ioasis.MockIommu",
        "bin",
        AppContext.BaseDirectory.Contains("/Debug/", StringComparison.Ordinal) ? "Debug" : "Release",
        "net10.0",
        "Ioasis.MockIommu.dll");

    [Fact]
    public void Every_one_passes_but_for_those_that_are_listed_with_a_reason()
    {
        ExternalProgram fetched = ExternalProgram.Run("lab/fetch", TimeSpan.FromMinutes(10), null, "selftests-iommu");
        Assert.SkipWhen(fetched.LacksSomething, fetched.Describe());
        fetched.Status.ShouldBe(0, fetched.Describe());

        ExternalProgram run = ExternalProgram.Run(
            "dotnet", TimeSpan.FromMinutes(10), null, [Runner, Path.Combine(fetched.Output.Trim(), "iommufd")]);
        Dictionary<string, string> results = Results().Matches(run.Output)
            .GroupBy(static match => match.Groups["name"].Value, StringComparer.Ordinal)
            .ToDictionary(
                static group => group.Key,
                static group => group.First() is var match && match.Groups["not"].Success ? "failed"
                    : match.Groups["skip"].Success ? "skipped" : "passed",
                StringComparer.Ordinal);
        (List<Exempt> always, List<Exempt> mayFail) = ReadExceptions();

        string[] failed = [.. results.Where(static entry => entry.Value == "failed").Select(static entry => entry.Key)];
        failed.Where(name => !always.Concat(mayFail).Any(exempt => exempt.Covers(name))).ShouldBeEmpty(run.Describe());

        // What the list says of the others is true too.
        results.Where(entry => entry.Value != "failed" && always.Any(exempt => exempt.Covers(entry.Key)))
            .Select(static entry => entry.Key)
            .ShouldBeEmpty("is listed, but does not fail");
        results.Count.ShouldBeGreaterThanOrEqualTo(LeastTests, run.Describe());
        results.Values.Count(static result => result == "passed").ShouldBeGreaterThanOrEqualTo(LeastPassed, run.Describe());
        run.Errors.ShouldContain("nothing is left", Case.Sensitive, run.Describe());
    }

    // Of Linux 7.2.
    private const int LeastTests = 246;
    private const int LeastPassed = 213;

    private static (List<Exempt> Always, List<Exempt> MayFail) ReadExceptions()
    {
        List<Exempt> always = [];
        List<Exempt> mayFail = [];
        foreach (string line in File.ReadLines(Path.Combine(AppContext.BaseDirectory, "exceptions.txt")))
        {
            string[] parts = line.Split(' ', 3, StringSplitOptions.RemoveEmptyEntries);
            if (parts.Length == 3 && parts[0][0] != '#')
            {
                parts[0].ShouldBeOneOf("always", "may");
                (parts[0] == "always" ? always : mayFail).Add(new(parts[1]));
            }
        }

        return (always, mayFail);
    }

    [GeneratedRegex(@"^(?<not>not )?ok \d+ (?<name>[\w.]+)(?<skip> # SKIP)?", RegexOptions.ExplicitCapture | RegexOptions.Multiline, 10000)]
    private static partial Regex Results();

    /// <summary>The names of tests that a line of the list is about; a star stands for any part of a name.</summary>
    private sealed class Exempt(string pattern)
    {
        private readonly Regex _names = new(
            "^" + Regex.Escape(pattern).Replace(@"\*", "[^.]*", StringComparison.Ordinal) + "$",
            RegexOptions.ExplicitCapture,
            TimeSpan.FromSeconds(10));

        public bool Covers(string name) => _names.IsMatch(name);
    }
}
