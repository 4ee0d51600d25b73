using Ioasis.Testing;

namespace Ioasis.AbiSuite.Tests;

/// <summary>
/// The same suite by real system calls: the client on its Linux transport, in a process that takes our kernel for the machine's
/// (docs/foreign-programs.md).
/// </summary>
public sealed class ExecTests
{
    private const string OtherCalls = "ioctls that are not of VFIO's type are the machine's kernel's to answer";

    // Where the answer by system calls is another than the embedded kernel's, and why.
    private static readonly (string Case, string Label, string Reason)[] s_differences =
    [
        ("container-empty", "not-of-vfio", OtherCalls),
        ("cdev-before-bind", "0x5401", OtherCalls),
    ];

    [Fact]
    public void All_conversations_by_real_system_calls_are_those_recorded_from_Linux_but_for_what_is_listed()
    {
        string configuration = AppContext.BaseDirectory.Contains("/Debug/", StringComparison.Ordinal) ? "Debug" : "Release";
        string output = Path.Combine(AppContext.BaseDirectory, "exec.txt");
        File.WriteAllText(output, "");
        ExternalProgram run = ExternalProgram.Run(
            "dotnet",
            TimeSpan.FromMinutes(3),
            null,
            Built("Ioasis.AbiSuite.Exec"),
            "dotnet",
            Built("Ioasis.AbiSuite.Guest"),
            "0000:00:01.0",
            "0000:00:02.0",
            "--output",
            output);
        run.Status.ShouldBe(0, run.Describe());
        run.Errors.ShouldContain("nothing is left");
        IReadOnlyDictionary<string, CaseRecord> records = CaseRecord.Parse(File.ReadLines(output));
        records.Keys.ShouldBe(SuiteRunner.Cases.Select(static @case => @case.Name), ignoreOrder: true);
        records.Values.SelectMany(static record => Recording.Linux[record.Name].Compare(record))
            .Where(static difference => !KnownDifferences.IsKnown(difference)
                && !s_differences.Any(known => known.Case == difference.Case && known.Label == difference.Label.Trim()))
            .Select(static difference => difference.ToString())
            .ShouldBeEmpty();

        string Built(string name) =>
            Path.Combine(ExternalProgram.RepositoryRoot, "tests", name, "bin", configuration, "net10.0", name + ".dll");
    }
}
