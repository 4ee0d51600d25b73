using System.Text.RegularExpressions;
using Ioasis.Testing;

namespace Ioasis.Cli.Tests;

/// <summary>
/// The command as <c>./ioasis</c> compiles it, ahead of time: every command says there what it says on the just-in-time
/// compiler. What looks types up by their names at run time would not.
/// </summary>
public sealed partial class AheadOfTimeTests : IClassFixture<AheadOfTimeTests.NativeCommand>, IDisposable
{
    private const string Faults = "examples/traces/riscv-faults.ftrace.txt.gz";
    private readonly TemporaryFolder _folder = new();
    private readonly NativeCommand _native;

    public AheadOfTimeTests(NativeCommand native)
    {
        _native = native;
        Assert.SkipWhen(
            native.Missing is not null && !string.Equals(Environment.GetEnvironmentVariable("CI"), "true", StringComparison.Ordinal),
            native.Missing ?? "");
        native.Missing.ShouldBeNull();
    }

    public static TheoryData<string> Commands =>
    [
        "--version",
        "--help",
        "",
        "nonsense --really",
        $"run {Faults}",
        $"run {Faults} --dma examples/traces/riscv-faults.dma.log.gz --check all --hostile --invalidation lazy --iotlb 32x8 --mode sv39 --tolerance 2ms",
        $"run {Faults} --json -",
        $"run {Faults} --html -",
        "run examples/traces/riscv-middle.dma.log.gz",
        "run examples/traces/riscv-strict.ftrace.txt.xz",
        "run there-is-no-such-file",
        "run --help",
        "study examples/traces/riscv-middle.dma.log.gz",
        $"study {Faults} --dma examples/traces/riscv-faults.dma.log.gz --json -",
        $"study {Faults} examples/traces/x86-faults.ftrace.txt.gz --compare --simulate 32x2 --cost 1,2,3",
        $"study {Faults} --html -",
        "study --help",
        "study there-is-no-such-file",
        "conform tests/Ioasis.RiscV.Hardware.Tests/vectors/commands.jsonl.gz --caching hostile",
        "campaign --help",
        "campaign fuzz --help",
        "campaign fuzz --seeds 8 --out {campaign}",
        "campaign conform tests/Ioasis.RiscV.Hardware.Tests/vectors/commands.jsonl.gz --shards 3 --out {campaign}",
        "campaign merge {empty}",
        "demo sva --quick",
        "groups",
        "groups --json",
        "groups --print-example",
        "groups --platform {machine}",
        "groups --platform {broken}",
        "groups --backend linux --root {empty}",
        "bind 0000:00:02.0 --dry-run --root {empty}",
        "record --dry-run --root {empty}",
        "record --duration nonsense",
        "explain --help",
        "explain there-is-no-such-file",
        "explain {faults} --memory {zeros}@0x4000 --registers {registers}",
        "explain {faults} --memory {zeros}@0x4000 --registers {registers} --json -",
        "explain {faults} --trace examples/traces/x86-disk.ftrace.txt --html -",
        "exec --help",
        "serve --help",
        "serve --device edu",
    ];

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Commands))]
    public void A_command_says_the_same_compiled_ahead_of_time_and_just_in_time(string line)
    {
        string[] arguments = [.. line.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(Place)];
        var native = ExternalProgram.Run(_native.Path, TimeSpan.FromMinutes(2), null, arguments);

        // What a campaign has done in a folder, it does not do again.
        foreach (string folder in arguments.Where(static a => a.Contains("campaign-", StringComparison.Ordinal) && Directory.Exists(a)))
        {
            Directory.Delete(folder, recursive: true);
        }

        var managed = ExternalProgram.Run(
            "dotnet", TimeSpan.FromMinutes(2), null, ["exec", System.IO.Path.Combine(AppContext.BaseDirectory, "ioasis.dll"), .. arguments]);
        native.Status.ShouldBe(managed.Status, native.Describe());
        Untimed(native.Output).ShouldBe(Untimed(managed.Output));
        Untimed(native.Errors).ShouldBe(Untimed(managed.Errors));
        native.Errors.ShouldNotContain("this should not have happened");
    }

    [Theory]
    [InlineData("examples/traces/x86-faults.ftrace.txt.gz")]
    [InlineData("examples/traces/x86-disk.ftrace.txt")]
    public void Standard_input_gives_the_report_of_the_file(string file)
    {
        string Report(string command)
        {
            var run = ExternalProgram.Run("bash", TimeSpan.FromMinutes(2), null, "-c", command);
            run.Status.ShouldBe(0, run.Describe());
            return Untimed(run.Output).Replace($"\"path\":\"{file}\"", "\"path\":\"-\"", StringComparison.Ordinal);
        }

        Report($"cat {file} | {_native.Path} run - --json -").ShouldBe(Report($"{_native.Path} run {file} --json -"));
    }

    [Fact]
    public void No_command_is_left_out()
    {
        var help = ExternalProgram.Run(_native.Path, TimeSpan.FromMinutes(1), null, "--help");
        string[] names = [.. CommandName().Matches(help.Output[help.Output.IndexOf("Commands:", StringComparison.Ordinal)..]).Select(static m => m.Groups["name"].Value)];
        names.ShouldContain("groups");
        names.ShouldBeSubsetOf([.. Commands.Select(static row => row.Data.Split(' ')[0])]);
    }

    // What tells of this run's speed and memory, in text, JSON and HTML; the rest has to be the same to the byte. A number is looked for where
    // it begins, and is short: in a report's long lists of numbers nothing is tried twice.
    private static string Untimed(string output) => Speed().Replace(output, "#");

    private string Place(string argument) => argument switch
    {
        "{machine}" => _folder.Write("machine.yaml", CliRun.Of("groups", "--print-example").Out),
        "{broken}" => _folder.Write("broken.yaml", "iommu: {name: x}\nfunctions: [{id: 00:01.0, colour: red}]\n"),
        "{faults}" => _folder.Write("faults.txt", "[ 1.5] DMAR: [DMA Write NO_PASID] Request device [00:02.0] fault addr 0xffe00000 [fault reason 0x05] PTE Write access is not set\n"),
        "{registers}" => _folder.Write("registers.json", "{\"rtaddr\": \"0x4000\"}"),
        "{zeros}@0x4000" => _folder.Write("zeros.bin", new('\0', 8192)) + "@0x4000",
        "{campaign}" => _folder.File($"campaign-{Guid.NewGuid():N}"),
        "{empty}" => Directory.CreateDirectory(_folder.File("empty")).FullName,
        _ => argument,
    };

    [GeneratedRegex(
        """(?<![\d.,])[\d.,]{1,16}( ?(M|k|G)?/s| (ns|µs|&#xB5;s|ms|s) (of|in)| [KMG]iB of memory)|in [\d.,]{1,16} (ns|µs|ms|s)\b|"\w*(Seconds|PerSecond|peakMemoryBytes)":[\d.E-]+|>(reading and parsing|replay|in all|memory)</th>.*""",
        RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex Speed();

    [GeneratedRegex(@"^  (?<name>\w+)", RegexOptions.Multiline | RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex CommandName();

    /// <summary>The command that <c>./ioasis</c> built.</summary>
    public sealed class NativeCommand
    {
        public NativeCommand()
        {
            var built = ExternalProgram.Run("./ioasis", TimeSpan.FromMinutes(9), null, "--version");
            built.Status.ShouldBe(0, built.Describe());
            Path = System.IO.Path.Combine(ExternalProgram.RepositoryRoot, "artifacts/ioasis/bin/ioasis");
            Missing = File.Exists(Path)
                ? null
                : $"./ioasis is not compiled ahead of time here: {built.Errors.Trim()} (artifacts/ioasis/build-ahead-of-time.log)";
        }

        public string Path { get; }

        public string? Missing { get; }
    }
}
