using System.Globalization;
using Ioasis.Explain;
using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;
using Ioasis.Testing;

namespace Ioasis.Lab.Recordings.Tests;

/// <summary>
/// A program in a Linux guest makes one mistake with DMA after the other (lab/recorder/mistakes.c); the kernel logs what its IOMMU refuses, and
/// <c>explain</c> names each mistake, with what <c>ioasis record</c> recorded of the same run.
/// </summary>
public sealed class ExplainedMistakesTests
{
    /// <summary>Options of lab/record.</summary>
    public static TheoryData<string> Machines { get; } = MakeMachines();

    [Theory]
    [MemberData(nameof(Machines))]
    public void Each_mistake_is_named(string machine)
    {
        string name = Path.Combine(
            ExternalProgram.RepositoryRoot, "artifacts", "recordings", ("mistakes " + machine).Replace("--", "", StringComparison.Ordinal).Replace(' ', '-'));
        ExternalProgram ended = ExternalProgram.Run(
            "lab/record", TimeSpan.FromMinutes(15), null, [name, "--recorder", "ioasis", "--workload", "mistakes", .. machine.Split(' ')]);
        Assert.SkipWhen(ended.LacksSomething, $"lab/record: {ended.Describe()}");
        Assert.True(ended.Status == 0, $"lab/record {machine}: {ended.Describe()}");

        string[] console = File.ReadAllLines(name + ".console");
        Dictionary<string, ulong> mistakes = console.Select(static line => line.Split(' '))
            .Where(static words => words is ["mistake", _, _])
            .ToDictionary(static words => words[1], static words => ulong.Parse(words[2].AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture));
        mistakes.Keys.ShouldBe(["never-mapped", "past-end", "direction", "after-unmap"], ignoreOrder: true);

        string log = string.Join('\n', console
            .SkipWhile(static line => !line.StartsWith("guest: the log of the kernel begins", StringComparison.Ordinal)).Skip(1)
            .TakeWhile(static line => !line.StartsWith("guest: the log of the kernel ends", StringComparison.Ordinal)));
        KernelTrace trace = RecordingReader.Read(name + ".ioasis", cancellationToken: TestContext.Current.CancellationToken).Trace.ShouldNotBeNull();
        IReadOnlyList<Explanation> explanations = Explanation.Of(FaultLog.Read(new StringReader(log), TestContext.Current.CancellationToken), new(trace));

        // One fault for each mistake, of the test device, and no other.
        string device = explanations.Select(static explanation => explanation.Group.First.Device).Distinct(StringComparer.Ordinal).ShouldHaveSingleItem().ShouldNotBeNull();
        console.ShouldContain(line => line.Contains($"{device}: [1234:11e8]", StringComparison.Ordinal) || line.Contains($"{device}: enabling device", StringComparison.Ordinal));
        explanations.Sum(static explanation => explanation.Group.Pages).ShouldBe(mistakes.Count, log);
        foreach ((string mistake, ulong iova) in mistakes)
        {
            (HistoryVerdict verdict, string cause) = mistake switch
            {
                "never-mapped" => (HistoryVerdict.NeverMapped, "never mapped"),
                "past-end" => (HistoryVerdict.PastEnd, "went past the end"),
                "direction" => (HistoryVerdict.Mapped, "Direction: the buffer is mapped, and the device wrote it"),
                _ => (HistoryVerdict.UseAfterUnmap, "Use after unmap"),
            };
            Explanation explanation = explanations.Where(found => found.Group.Addresses.Any(address => address >> 12 == iova >> 12)).ShouldHaveSingleItem(mistake);
            explanation.Histories.Single(history => history.Address >> 12 == iova >> 12).Verdict.ShouldBe(verdict, mistake);
            explanation.Causes.ShouldContain(text => text.Contains(cause, StringComparison.Ordinal), mistake);
        }
    }

    private static TheoryData<string> MakeMachines()
    {
        TheoryData<string> machines = ["--iommu intel --disk ahci --seed 41"];
        if (string.Equals(Environment.GetEnvironmentVariable("IOASIS_TEST_ALL"), "1", StringComparison.Ordinal))
        {
            // Not behind AMD's: QEMU 11.1 leaves the address out of the events that it writes, so that Linux logs address=0x0 for each.
            machines.Add("--arch arm64 --disk ahci --seed 43");
        }

        return machines;
    }
}
