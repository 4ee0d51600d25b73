using Ioasis.Cli.Commands;
using Ioasis.Cli.Tests;
using Ioasis.Replay.Report;
using Ioasis.Testing;

namespace Ioasis.Lab.Recordings.Tests;

/// <summary>
/// A recording that nobody has seen: Linux boots in QEMU, works for some seconds behind an emulated IOMMU (lab/record), and both
/// sides of what it did go through the command and the whole stack, with hostile caching and every page checked. No two runs of a
/// test replay the same recording. The files stay in artifacts/recordings.
/// </summary>
internal sealed record FreshRecording(CliRun Run, ReplayReport Report)
{
    /// <summary>Records and replays, or skips the test with what was missing.</summary>
    /// <param name="machine">Options of lab/record.</param>
    /// <param name="suffix">Of the kernel's side: what lab/record calls it.</param>
    public static FreshRecording Of(string machine, string suffix)
    {
        string[] options = machine.Split(' ');
        string name = Path.Combine(
            ExternalProgram.RepositoryRoot, "artifacts", "recordings", string.Join('-', options).Replace("--", "", StringComparison.Ordinal));
        Dictionary<string, string> environment = new(StringComparer.Ordinal)
        {
            // What a guest's devices are served by, where they are ours.
            ["IOASIS"] = $"dotnet exec {Path.Combine(AppContext.BaseDirectory, "ioasis.dll")}",
        };
        ExternalProgram ended = ExternalProgram.Run("lab/record", TimeSpan.FromMinutes(15), environment, [name, .. options]);
        Assert.SkipWhen(ended.LacksSomething, $"lab/record: {ended.Describe()}");
        Assert.True(ended.Status == 0, $"lab/record {machine}: {ended.Describe()}");

        ReplayReport? report = null;
        CliRun run = CliRun.With(
            (request, progress) => report = EngineRunner.Run(request, progress),
            "run", name + suffix, "--dma", name + ".dma.log", "--check", "all", "--hostile");
        report.ShouldNotBeNull(run.Error);
        return new(run, report);
    }

    /// <summary>Everything in both files was understood, and every check held; of the logged accesses at least so many were checked.</summary>
    public void ShouldHold(int accesses)
    {
        Report.Checks.MismatchCount.ShouldBe(0, string.Join('\n', Report.Checks.FirstMismatches));
        Run.Status.ShouldBe(0, Run.Error);
        Run.Out.TrimEnd().Split('\n')[^1].ShouldMatch("^0 mismatches in [1-9][0-9,]* checks: every check held$");
        Report.Inputs.ShouldAllBe(static input => input.UnparsedLines == 0 && input.LostMarkers == 0 && input.LostEvents == 0);
        Report.Mappings.Unmaps.ShouldBeGreaterThan(10);
        Checked("reaches its page").ShouldBeGreaterThan(Report.Mappings.Maps);
        Checked("logged DMA reaches its page").ShouldBeGreaterThan(accesses);
        Report.DmaLog!.Alignment.ShouldNotBeNull().Marks.ShouldBeGreaterThan(5);
    }

    /// <summary>How many checks there were of a kind, or of all kinds whose name begins so.</summary>
    public long Checked(string kind) =>
        Report.Checks.ByKind.Where(k => k.Name.StartsWith(kind, StringComparison.Ordinal)).Sum(static k => k.Count);

    /// <summary>The logged accesses of a class.</summary>
    public long Logged(string name) => Report.DmaLog!.Classes.Where(c => string.Equals(c.Name, name, StringComparison.Ordinal)).Sum(static c => c.Count);

    /// <summary>The devices that the kernel mapped anything for.</summary>
    public int MappedDevices => Report.Devices.Count(static device => device.Maps > 0);
}
