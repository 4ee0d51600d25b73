using System.Text.Json;
using Ioasis.Testing;

namespace Ioasis.Exec.Tests;

/// <summary>Programs in C# (tests/Ioasis.Exec.Managed) with one mistake each, and one without: found, and the method named with its lines.</summary>
public sealed class ManagedSanitizerTests
{
    private const int Found = 99;

    private static readonly string s_program = Path.Combine(
        ExternalProgram.RepositoryRoot, "tests", "Ioasis.Exec.Managed", "bin",
        AppContext.BaseDirectory.Contains("/Debug/", StringComparison.Ordinal) ? "Debug" : "Release", "net10.0", "Ioasis.Exec.Managed.dll");

    [Theory]
    [InlineData("WrittenAfterUnmap", "after-unmap", true)]
    [InlineData("ReadAfterUnmap", "after-unmap", true)]
    [InlineData("NeverMapped", "never-mapped", false)]
    [InlineData("PastTheEnd", "past-end", true)]
    [InlineData("AgainstTheDirection", "direction", true)]
    [InlineData("FreedBeforeUnmap", "freed-memory", true)]
    [InlineData("LeftMapped", "left-mapped", true)]
    [InlineData("TheSameMemoryTwice", "overlap", true)]
    [InlineData("UnmappedTwice", "nothing-unmapped", true)]
    public void A_mistake_is_found_and_its_method_named(string program, string mistake, bool isNamed)
    {
        ExecRun run = Run(program);
        run.Ended.Status.ShouldBe(Found, run.Ended.Describe());
        JsonElement[] reports = [.. run.Summary!.Value.GetProperty("mistakes").EnumerateArray()];
        reports.Select(static report => report.GetProperty("mistake").GetString()).Distinct().ShouldBe([mistake], run.Ended.Errors);
        if (isNamed)
        {
            reports[0].GetRawText().ShouldMatch($"Program\\.{program} at Program\\.cs:[0-9]+", customMessage: run.Ended.Errors);
        }
    }

    [Fact]
    public void A_careful_program_is_not_accused()
    {
        ExecRun run = Run("Careful");
        run.ShouldEnd(0).Ended.Output.ShouldBe("Careful\n");
        run.Summary!.Value.GetProperty("mistakes").GetArrayLength().ShouldBe(0, run.Ended.Errors);
    }

    [Fact]
    public void The_map_that_the_runtime_wrote_does_not_stay()
    {
        HashSet<string> before = [.. Directory.GetFiles("/tmp", "perf-*.map")];
        Run("WrittenAfterUnmap").Ended.Status.ShouldBe(Found);
        Directory.GetFiles("/tmp", "perf-*.map").Where(file => !before.Contains(file) && File.ReadAllText(file).Contains("[Ioasis.Exec.Managed]", StringComparison.Ordinal)).ShouldBeEmpty();
    }

    private static ExecRun Run(string program) => Programs.ExecuteOn(["--device", "edu", "--sanitize"], "dotnet", s_program, program);
}
