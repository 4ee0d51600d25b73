using Ioasis.Testing;

namespace Ioasis.Mistakes.Tests;

/// <summary>The lists of mistakes are of the code as it is today: those that no build of <c>./test</c> reads would go stale unseen.</summary>
public sealed class ListTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("ioasis-mistakes-").FullName;

    public static TheoryData<string> Lists { get; } =
        [.. Directory.EnumerateFiles(ListFolder, "Ioasis.*.md").Select(static path => Path.GetFileNameWithoutExtension(path)!).Order(StringComparer.Ordinal)];

    private static string ListFolder => Path.Combine(ExternalProgram.RepositoryRoot, "tests", "Ioasis.Mistakes");

    public void Dispose() => Directory.Delete(_folder, true);

    [Theory]
    [MemberData(nameof(Lists))]
    public void Every_mistake_has_exactly_one_place_in_the_sources(string project)
    {
        string list = Path.Combine(ListFolder, project + ".md");
        List<KnownMistake> mistakes = MistakeList.Parse(list);
        mistakes.ShouldNotBeEmpty();
        SourceCopy.Make(list, mistakes, Path.Combine(ExternalProgram.RepositoryRoot, "src", project), [], later: []).ShouldBeEmpty();
    }

    [Theory]
    [MemberData(nameof(Lists))]
    public void Every_mistake_is_noticed_by_tests_that_there_are(string project)
    {
        foreach (KnownMistake mistake in MistakeList.Parse(Path.Combine(ListFolder, project + ".md")))
        {
            foreach (string test in mistake.Tests.Select(static test => test.Split(':')[0]))
            {
                File.Exists(Path.Combine(ExternalProgram.RepositoryRoot, "tests", test, test + ".csproj")).ShouldBeTrue($"{mistake.Name}: {test}");
            }
        }
    }

    [Theory]
    [InlineData("        return 1;", "return 2;", "0 places in Sum.cs have its lines")]
    [InlineData("        return 1;\n        return 1;", "return 1;", "2 places in Sum.cs have its lines")]
    public void A_mistake_without_one_place_is_an_error(string source, string right, string says)
    {
        List<string> errors = Make("Sum.cs", source, right, out _);
        errors.ShouldHaveSingleItem().ShouldContain(says);
        errors[0].ShouldContain("'Wrong' has no place");
    }

    [Fact]
    public void A_mistake_of_a_file_that_is_gone_is_an_error() =>
        Make("Difference.cs", "return 1;", "return 1;", out _).ShouldHaveSingleItem().ShouldContain("there is no Sum.cs");

    [Fact]
    public void A_mistake_stands_behind_its_switch()
    {
        Make("Sum.cs", "    before();\n    return 1;\n    after();", "return 1;", out Dictionary<string, string> copy).ShouldBeEmpty();
        copy["Sum.cs"].Split('\n').ShouldBe(
        [
            "    before();", "if (global::Ioasis.Mistakes.Mistake.Is(\"Wrong\")) {", "return 0;", "} else {", "return 1;", "}", "    after();", "",
        ]);
        copy.ShouldContainKey("Mistake.g.cs");
    }

    private List<string> Make(string file, string source, string right, out Dictionary<string, string> copy)
    {
        File.WriteAllText(Path.Combine(_folder, file), source);
        string list = Path.Combine(_folder, "List.md");
        File.WriteAllText(list, $"## Wrong\nIt is wrong.\nNoticed by `Tests`.\n`Sum.cs`\n```diff\n-{right}\n+return 0;\n```\n");
        copy = [];
        return SourceCopy.Make(list, MistakeList.Parse(list), _folder, copy);
    }
}
