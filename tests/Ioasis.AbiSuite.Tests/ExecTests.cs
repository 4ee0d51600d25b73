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

    // The topology of the machine that was recorded.
    private const string Machine =
        """
        iommu: { mode: sv48, msi-window: 0xfee00000-0xfeefffff }
        functions:
          - { id: "00:01.0", kind: integrated-endpoint, device: edu, reserved: [ { range: 0x8000000000-0x7fffffffffff } ] }
          - { id: "00:02.0", kind: integrated-endpoint, device: edu, reserved: [ { range: 0x8000000000-0x7fffffffffff } ] }
        """;

    // A machine file does not say which sizes of leaves a driver uses: 64 KiB and 512 GiB are among ours, in VFIO_IOMMU_GET_INFO's bitmap.
    private const string PageSizes = "0010214080000000";
    private const string RecordedPageSizes = "0010204000000000";

    private static readonly string s_configuration = AppContext.BaseDirectory.Contains("/Debug/", StringComparison.Ordinal) ? "Debug" : "Release";

    [Fact]
    public void All_conversations_by_real_system_calls_are_those_recorded_from_Linux_but_for_what_is_listed()
    {
        string output = MakeOutput("exec.txt");
        ExternalProgram run = ExternalProgram.Run(
            "dotnet", TimeSpan.FromMinutes(10), null, [Built("Ioasis.AbiSuite.Exec"), .. SuiteOn(output)]);
        run.Status.ShouldBe(0, run.Describe());
        run.Errors.ShouldContain("nothing is left");
        Compare(output);
    }

    [Fact]
    public void All_conversations_with_the_machine_in_the_process_are_those_recorded_from_Linux_but_for_what_is_listed()
    {
        ExternalProgram built = ExternalProgram.Run("./native", TimeSpan.FromMinutes(15), null);
        Assert.SkipWhen(built.LacksSomething, built.Describe());
        built.Status.ShouldBe(0, built.Describe());
        string output = MakeOutput("preload.txt");
        string machine = Path.Combine(AppContext.BaseDirectory, "preload.yaml");
        File.WriteAllText(machine, Machine);
        ExternalProgram run = ExternalProgram.Run(
            "dotnet", TimeSpan.FromMinutes(10), null, [ExternalProgram.IoasisCommand, "exec", "--via", "preload", "--machine", machine, "--", .. SuiteOn(output)]);
        run.Status.ShouldBe(0, run.Describe());
        Compare(output, static found => found.Replace(PageSizes, RecordedPageSizes, StringComparison.Ordinal));
    }

    private static string[] SuiteOn(string output) =>
        ["dotnet", Built("Ioasis.AbiSuite.Guest"), "0000:00:01.0", "0000:00:02.0", "--output", output];

    private static string MakeOutput(string name)
    {
        string output = Path.Combine(AppContext.BaseDirectory, name);
        File.WriteAllText(output, "");
        return output;
    }

    private static void Compare(string output, Func<string, string>? adjust = null)
    {
        IReadOnlyDictionary<string, CaseRecord> records = CaseRecord.Parse(File.ReadLines(output));
        records.Keys.ShouldBe(SuiteRunner.Cases.Select(static @case => @case.Name), ignoreOrder: true);
        records.Values.SelectMany(static record => Recording.Linux[record.Name].Compare(record))
            .Where(difference => !KnownDifferences.IsKnown(difference)
                && !s_differences.Any(known => known.Case == difference.Case && known.Label == difference.Label.Trim())
                && (adjust is null || !string.Equals(adjust(difference.Found), difference.Expected, StringComparison.Ordinal)))
            .Select(static difference => difference.ToString())
            .ShouldBeEmpty();
    }

    private static string Built(string name) =>
        Path.Combine(ExternalProgram.RepositoryRoot, "tests", name, "bin", s_configuration, "net10.0", name + ".dll");
}
