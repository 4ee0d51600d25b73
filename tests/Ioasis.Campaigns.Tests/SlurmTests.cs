using Ioasis.Testing;

namespace Ioasis.Campaigns.Tests;

/// <summary>A real Slurm on this machine (<c>lab/slurm</c>), whose nodes die in the middle of a campaign.</summary>
public sealed class SlurmTests
{
    /// <summary>Campaigns with their options.</summary>
    public static TheoryData<string> Campaigns { get; } = ExplorerOptions.All
        ?
        [
            Noise,
            "conform " + string.Join(' ', Vectors()),
            "explore --scenario *attach* --random 40",
        ]
        : [Noise];

    private const string Noise = "fuzz --seeds 640";

    [Theory]
    [MemberData(nameof(Campaigns))]
    public void A_campaign_whose_nodes_are_killed_gives_the_unsharded_result(string campaign)
    {
        string folder = Directory.CreateTempSubdirectory("ioasis-slurm-campaign").FullName;
        try
        {
            // Minutes are for a machine with much else to do; alone it takes less than one.
            Dictionary<string, string> kills = new(StringComparer.Ordinal)
            {
                ["IOASIS_SLURM_CAMPAIGN"] = campaign,
                ["IOASIS_SLURM_KILLS"] = ExplorerOptions.All ? "2" : "1",
            };
            ExternalProgram run = ExternalProgram.Run(
                "lab/slurm/run", TimeSpan.FromMinutes(ExplorerOptions.All ? 40 : 10), kills, "3", "lab/slurm/campaign", folder, "dotnet", ExternalProgram.IoasisCommand);
            Assert.SkipWhen(run.LacksSomething, run.Errors.Trim());
            run.Status.ShouldBe(0, run.Describe());
            string[] lines = run.Output.TrimEnd().Split('\n');
            lines[^1].ShouldBe("merged equals unsharded");
            lines.Any(static line => line.Contains("is killed, and given back at once", StringComparison.Ordinal)).ShouldBe(ExplorerOptions.All);
            lines.ShouldContain(static line => line.Contains("is killed, and stays away", StringComparison.Ordinal));
            lines.ShouldContain(static line => line.StartsWith("task ", StringComparison.Ordinal) && line.Contains("restart 1", StringComparison.Ordinal));
            TestContext.Current.TestOutputHelper?.WriteLine(run.Output);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static IEnumerable<string> Vectors() => Directory
        .EnumerateFiles(Path.Combine(ExternalProgram.RepositoryRoot, "tests", "Ioasis.RiscV.Hardware.Tests", "vectors"), "*.jsonl.gz")
        .Order(StringComparer.Ordinal);
}
