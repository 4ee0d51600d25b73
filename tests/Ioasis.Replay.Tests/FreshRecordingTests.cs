using Ioasis.Replay.Report;
using Ioasis.RiscV.Driver;
using Ioasis.Testing;

namespace Ioasis.Replay.Tests;

/// <summary>
/// Recordings that nobody has seen: Linux boots in QEMU, works for some seconds behind an emulated IOMMU (lab/record), and both
/// sides of what it did go through the whole stack. No two runs of a test replay the same recording. A failed one stays in
/// artifacts/recordings.
/// </summary>
public sealed class FreshRecordingTests
{
    /// <summary>Arguments of lab/record, accesses that the log must have at least, and faults that were provoked.</summary>
    public static TheoryData<string, int, bool> Machines { get; } = MakeMachines();

    [Theory]
    [MemberData(nameof(Machines))]
    public void What_Linux_does_now_replays_without_a_mismatch(string machine, int accesses, bool faults)
    {
        string name = Record(machine);

        ReplayReport report = TraceReplayer.Run(
            name + ".ftrace.txt",
            name + ".dma.log",
            new() { Hostile = true, Check = CheckLevel.All, Mode = PagingMode.Sv48 },
            cancellationToken: TestContext.Current.CancellationToken);

        report.Checks.MismatchCount.ShouldBe(0, string.Join('\n', report.Checks.FirstMismatches));
        report.Inputs.ShouldAllBe(input => input.UnparsedLines == 0 && input.LostMarkers == 0);
        report.Devices.Count(device => device.Maps > 0).ShouldBeGreaterThanOrEqualTo(3);
        Checked(report, "logged DMA reaches its page").ShouldBeGreaterThan(accesses);
        Checked(report, "logged fault faults").ShouldBe(faults ? report.DmaLog!.Classes.Single(c => c.Name == "faulted in the recording").Count : 0);
        (Checked(report, "logged fault faults") > 0).ShouldBe(faults);
        report.DmaLog!.Alignment.ShouldNotBeNull();
    }

    private static string Record(string machine)
    {
        string name = Path.Combine(
            ExternalProgram.RepositoryRoot, "artifacts", "recordings", machine.Replace("--", "", StringComparison.Ordinal).Replace(' ', '-'));
        ExternalProgram ended = ExternalProgram.Run("lab/record", TimeSpan.FromMinutes(15), null, [name, .. machine.Split(' ')]);
        Assert.SkipWhen(ended.LacksSomething, $"lab/record: {ended.Describe()}");
        Assert.True(ended.Status == 0, $"lab/record {machine}: {ended.Describe()}");
        return name;
    }

    private static long Checked(ReplayReport report, string kind) =>
        report.Checks.ByKind.Where(k => k.Name == kind).Sum(k => k.Count);

    private static TheoryData<string, int, bool> MakeMachines()
    {
        TheoryData<string, int, bool> machines = new()
        {
            { "--iommu intel --workload mixed --seed 11", 10_000, false },
            { "--iommu amd --workload faults --seed 12 --bridge", 200, true },
        };
        if (string.Equals(Environment.GetEnvironmentVariable("IOASIS_TEST_ALL"), "1", StringComparison.Ordinal))
        {
            machines.Add("--iommu intel --workload mixed --seed 13 --strict --bridge", 10_000, false);
            machines.Add("--iommu intel --workload faults --seed 14", 200, true);
            machines.Add("--iommu amd --workload mixed --seed 15", 10_000, false);
        }

        return machines;
    }
}
