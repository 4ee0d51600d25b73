using System.Diagnostics;
using System.Globalization;
using Ioasis.Testing;

namespace Ioasis.Campaigns.Tests;

/// <summary>The command, killed in the middle of its shards and started again as a scheduler does.</summary>
public sealed class KilledTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("ioasis-campaign").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public void Shards_that_are_killed_and_started_again_give_the_unsharded_result()
    {
        const int Shards = 3;
        string cut = Path.Combine(_root, "cut"), whole = Path.Combine(_root, "whole");
        string[] campaign = ["campaign", "fuzz", "--seeds", "320"];
        int killed = 0;
        for (int shard = 0; shard < Shards; shard++)
        {
            // Killed as soon as it has done something, twice; at last it may finish.
            for (int life = 0; life < 2; life++)
            {
                int before = Done(cut);
                using Process process = Start([.. campaign, "--shards", $"{Shards}", "--out", cut], shard);
                while (!process.HasExited && Done(cut) == before)
                {
                    Thread.Sleep(5);
                }

                if (!process.HasExited)
                {
                    process.Kill();
                    killed++;
                }

                process.WaitForExit();
            }

            if (shard == 0)
            {
                ExternalProgram early = Command(null, "campaign", "merge", cut);
                early.Status.ShouldBe(2, early.Describe());
                early.Errors.ShouldContain("shards are missing");
                early.Errors.ShouldContain(", 1, 2.");
            }

            ExternalProgram last = Command(shard, [.. campaign, "--shards", $"{Shards}", "--out", cut]);
            last.Status.ShouldBe(0, last.Describe());
        }

        killed.ShouldBeGreaterThan(0);
        Command(null, [.. campaign, "--out", whole]).Status.ShouldBe(0);
        ExternalProgram merged = Command(null, "campaign", "merge", cut);
        merged.Status.ShouldBe(0, merged.Describe());
        merged.Output.ShouldContain("everything held");
        Command(null, "campaign", "merge", whole).Status.ShouldBe(0);
        File.ReadAllBytes(Path.Combine(cut, "merged.json")).ShouldBe(File.ReadAllBytes(Path.Combine(whole, "merged.json")));
    }

    [Fact]
    public void The_command_explores()
    {
        string folder = Path.Combine(_root, "explore");
        ExternalProgram run = Command(
            null, "campaign", "explore", "--scenario", "name-taken*", "--preemptions", "1", "--parts", "2", "--random", "4", "--out", folder);
        run.Status.ShouldBe(0, run.Describe());
        run.Errors.ShouldContain("2 of 2: name-taken-against-event.riscv 2/2");
        Command(null, "campaign", "merge", folder).Output.ShouldContain("explore: 2 units, everything held");
    }

    [Fact]
    public void Studies_of_recordings_are_those_of_the_command_study()
    {
        string folder = Path.Combine(_root, "study");
        string[] traces = ["examples/traces/riscv-middle.dma.log.gz", "examples/traces/x86-faults.ftrace.txt.gz"];
        Command(0, ["campaign", "study", .. traces, "--shards", "2", "--out", folder]).Status.ShouldBe(0);
        Command(1, ["campaign", "study", .. traces, "--shards", "2", "--out", folder]).Status.ShouldBe(0);
        Command(null, "campaign", "merge", folder).Status.ShouldBe(0);
        string merged = File.ReadAllText(Path.Combine(folder, "merged.json"));
        merged.ShouldContain("\"elapsedSeconds\": 0,");
        merged.ShouldContain("\"recordings\": 2");
    }

    [Theory]
    [InlineData("which of the 3 shards?", "campaign", "fuzz", "--shards", "3", "--out", "{}")]
    [InlineData("shard 3: there are 3 shards, 0 to 2", "campaign", "fuzz", "--shards", "3", "--shard", "3", "--out", "{}")]
    [InlineData("--shards 0: expected 1 or more", "campaign", "fuzz", "--shards", "0", "--out", "{}")]
    [InlineData("--seeds 'none'", "campaign", "fuzz", "--seeds", "none", "--out", "{}")]
    [InlineData("no such file", "campaign", "conform", "nowhere.jsonl", "--out", "{}")]
    [InlineData("no scenario matches", "campaign", "explore", "--scenario", "zebra", "--out", "{}")]
    public void Wrong_use_is_a_sentence(string sentence, params string[] arguments)
    {
        ExternalProgram run = Command(null, [.. arguments.Select(argument => argument == "{}" ? Path.Combine(_root, "wrong") : argument)]);
        run.Status.ShouldBe(2, run.Describe());
        run.Errors.ShouldContain(sentence);
    }

    private static int Done(string folder) =>
        Directory.Exists(Path.Combine(folder, "units")) ? Directory.GetFiles(Path.Combine(folder, "units"), "*.json").Length : 0;

    // As Kubernetes says which pod of an indexed job it is.
    private static Dictionary<string, string> Environment(int? shard) => shard is { } index
        ? new(StringComparer.Ordinal) { ["JOB_COMPLETION_INDEX"] = index.ToString(CultureInfo.InvariantCulture) }
        : new(StringComparer.Ordinal);

    private static ExternalProgram Command(int? shard, params IEnumerable<string> arguments) =>
        ExternalProgram.Run("dotnet", TimeSpan.FromMinutes(5), Environment(shard), [ExternalProgram.IoasisCommand, .. arguments]);

    private static Process Start(IEnumerable<string> arguments, int shard)
    {
        ProcessStartInfo start = new("dotnet", [ExternalProgram.IoasisCommand, .. arguments])
        {
            WorkingDirectory = ExternalProgram.RepositoryRoot,
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach ((string name, string value) in Environment(shard))
        {
            start.Environment[name] = value;
        }

        return Process.Start(start)!;
    }
}
