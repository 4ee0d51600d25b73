using System.Text.Json;
using Ioasis.Testing;

namespace Ioasis.Mistakes.Tests;

/// <summary>What <c>./mutate</c> makes of a report: equivalents count neither way, and their list does not go stale.</summary>
public sealed class ScoreTests : IDisposable
{
    private const string Source = "int Sum(int a,\n    int b)\n{\n    return a < b ? a : b;\n    return a < b ? a : b;\n}\n";
    private const string First = "Core\tSum.cs\tEquality mutation\ta < b\ta <= b\tThe same where both are equal.";

    private readonly string _folder = Directory.CreateTempSubdirectory("ioasis-score-").FullName;

    public void Dispose() => Directory.Delete(_folder, true);

    [Fact]
    public void What_does_not_compile_or_was_left_out_does_not_count_and_a_timeout_is_noticed()
    {
        Score score = Read([], Less(4, "Killed"), Less(5, "Timeout"), Less(4, "Survived"), Less(5, "NoCoverage"), Less(4, "CompileError"), Less(5, "Ignored"));
        (score.Noticed, score.Timeouts, score.Valid, score.Explained, score.Percent).ShouldBe((2, 1, 4, 0, 50.0));
        score.Survivors.ShouldBe(
        [
            "Sum.cs(4,12): Survived: Equality mutation: a < b → a <= b", "Sum.cs(5,12): NoCoverage: Equality mutation: a < b → a <= b",
        ]);
    }

    [Fact]
    public void An_explained_survivor_does_not_count()
    {
        Score score = Read([First], Less(4, "Killed"), Less(5, "Survived"));
        (score.Noticed, score.Valid, score.Explained, score.Percent).ShouldBe((1, 1, 1, 100.0));
        score.Survivors.ShouldBeEmpty();
        score.Stale.ShouldBeEmpty();
    }

    [Fact]
    public void An_entry_explains_one_survivor()
    {
        Score score = Read([First], Less(4, "Survived"), Less(5, "Survived"));
        (score.Valid, score.Explained, score.Survivors.Count).ShouldBe((1, 1, 1));
        Read([First, First], Less(4, "Survived"), Less(5, "Survived")).Valid.ShouldBe(0);
    }

    [Theory]
    [InlineData("Sun.cs", "Equality mutation", "a < b", "a <= b")]
    [InlineData("Sum.cs", "Logical mutation", "a < b", "a <= b")]
    [InlineData("Sum.cs", "Equality mutation", "a < c", "a <= b")]
    [InlineData("Sum.cs", "Equality mutation", "a < b", "a >= b")]
    public void An_entry_of_another_mutant_is_stale_and_explains_nothing(string file, string mutator, string original, string replacement)
    {
        Score score = Read([$"Core\t{file}\t{mutator}\t{original}\t{replacement}\tBecause."], Less(4, "Survived"));
        (score.Valid, score.Explained).ShouldBe((1, 0));
        score.Stale.ShouldHaveSingleItem().ShouldContain("names no mutant of the report");
    }

    [Theory]
    [InlineData("Killed")]
    [InlineData("Timeout")]
    [InlineData("CompileError")]
    public void An_entry_of_what_survives_no_more_is_stale(string status) =>
        Read([First], Less(4, status)).Stale.ShouldHaveSingleItem().ShouldContain($"survives no more ({status})");

    [Fact]
    public void An_entry_of_what_a_run_leaves_out_is_not_judged() => Read([First], Less(4, "Ignored")).Stale.ShouldBeEmpty();

    [Theory]
    [InlineData("int Sum(int a, int b) { return a < b ? a : b; return a < b ? a : b; }")]
    [InlineData("int Sum(int a, int b) {…")]
    public void A_text_of_several_lines_is_written_in_one(string original)
    {
        object body = Mutant(1, 1, 6, 2, "Block removal mutation", "{ }", "Survived");
        Read([$"Core\tSum.cs\tBlock removal mutation\t{original}\t{{ }}\tBecause."], body).Explained.ShouldBe(1);
    }

    [Fact]
    public void A_text_may_have_nothing_in_its_place() =>
        Read(["Core\tSum.cs\tStatement mutation\treturn a < b ? a : b;\t\tBecause."], Mutant(4, 5, 4, 26, "Statement mutation", "", "Survived"))
            .Explained.ShouldBe(1);

    [Theory]
    [InlineData("Core\tSum.cs\tEquality mutation\ta < b\ta <= b")]
    [InlineData("Core\tSum.cs\tEquality mutation\ta < b\ta <= b\t ")]
    public void An_entry_without_a_reason_is_an_error(string entry) => Should.Throw<FormatException>(() => Read([entry])).Message.ShouldContain("(1): an entry is");

    [Theory]
    [InlineData("Core\t50\tall", "", 0)]
    [InlineData("Core\t50.1\tall", "", 1)]
    [InlineData("Core\t100\tall", First, 0)]
    [InlineData("Kernel\t100\tall", "", 0)]
    [InlineData("Core\t50\tall", "Core\tSum.cs\tEquality mutation\tb < a\ta <= b\tBecause.", 1)]
    [InlineData("Core\t50\tall", "# For people.\n\nKernel\tSum.cs\tEquality mutation\tb < a\ta <= b\tBecause.", 0)]
    public void A_score_below_the_baseline_or_a_stale_entry_is_an_error(string known, string entries, int status)
    {
        string baseline = Path.Combine(_folder, "baseline.tsv");
        string equivalents = Path.Combine(_folder, "equivalents.tsv");
        File.WriteAllText(baseline, known);
        File.WriteAllText(equivalents, entries);
        Score.Compare("Core", Report(Less(4, "Killed"), Less(5, "Survived")), baseline, equivalents).ShouldBe(status);
    }

    [Fact]
    public void The_file_of_equivalents_can_be_read_and_names_sources_that_there_are()
    {
        foreach (Equivalent entry in Equivalent.Parse(Path.Combine(ExternalProgram.RepositoryRoot, "tests/Ioasis.Mistakes/equivalents.tsv")))
        {
            Directory.EnumerateFiles(Path.Combine(ExternalProgram.RepositoryRoot, "src", "Ioasis." + entry.Project), entry.File, SearchOption.AllDirectories)
                .ShouldNotBeEmpty(entry.ToString());
        }
    }

    private static object Less(int line, string status) => Mutant(line, 12, line, 17, "Equality mutation", "a <= b", status);

    private static object Mutant(int line, int column, int lastLine, int end, string mutator, string replacement, string status) => new
    {
        mutatorName = mutator,
        replacement,
        status,
        location = new { start = new { line, column }, end = new { line = lastLine, column = end } },
    };

    private Score Read(string[] entries, params object[] mutants)
    {
        string equivalents = Path.Combine(_folder, "equivalents.tsv");
        File.WriteAllLines(equivalents, entries);
        return Score.Read(Report(mutants), Equivalent.Parse(equivalents));
    }

    // As Stryker writes it, with what the score reads.
    private string Report(params object[] mutants)
    {
        string report = Path.Combine(_folder, "report.json");
        Dictionary<string, object> files = new(StringComparer.Ordinal) { ["Folder/Sum.cs"] = new { source = Source, mutants } };
        File.WriteAllText(report, JsonSerializer.Serialize(new { files }));
        return report;
    }
}
