using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Security.Cryptography;
using Ioasis.Campaigns;
using Ioasis.Cli.Rendering;
using Ioasis.Conformance;
using Ioasis.Hardware;
using Ioasis.Replay;
using Ioasis.Replay.Input;
using Ioasis.Replay.Study;
using static System.FormattableString;

namespace Ioasis.Cli.Commands;

/// <summary><c>ioasis campaign</c>: work in shards on many machines, and one result (docs/campaigns.md).</summary>
internal static class CampaignCommand
{
    private const string ShardHelp =
        "Which shard to run, from 0. [default: this task of Slurm's array (SLURM_ARRAY_TASK_ID), or this pod of a Kubernetes job (JOB_COMPLETION_INDEX)]";

    /// <summary>Makes the command.</summary>
    public static Command Create(CliEnvironment environment) =>
        new("campaign", "Runs a part of a campaign (conformance, exploration, noise, studies) whose parts are merged into one result.")
        {
            Conform(environment), Explore(environment), Fuzz(environment), Study(environment), Merge(environment),
        };

    private static Command Conform(CliEnvironment environment)
    {
        Argument<string[]> files = new("FILE") { Description = "Vector files, or directories of them.", Arity = ArgumentArity.OneOrMore };
        ShardOptions shard = new();
        Command command = new("conform", "Conformance vectors against the RISC-V IOMMU model: each file in each way of caching.") { files };
        shard.AddTo(command);
        command.SetAction((parsed, cancellationToken) => shard.Run(
            parsed, environment, () => ConformanceCampaign.Create(parsed.GetRequiredValue(files), Enum.GetValues<CachingMode>()), cancellationToken));
        return command;
    }

    private static Command Explore(CliEnvironment environment)
    {
        ExplorationLimits defaults = new();
        Option<string> scenario = new("--scenario")
        {
            HelpName = "PATTERN", Description = "Only these scenarios, with * and ?.", DefaultValueFactory = _ => defaults.Pattern,
        };
        Option<int> preemptions = Number("--preemptions", "Try every order with up to so many preemptions.", defaults.Preemptions, 0);
        Option<int> required = Number("--require", "Try all orders with so many preemptions, whatever the budget.", defaults.RequiredPreemptions, 0);
        Option<int> schedules = Number("--schedules", "Budget of each part of a scenario, in orders.", defaults.Schedules, 1);
        Option<int> random = Number("--random", "Random orders of each scenario besides.", defaults.RandomSchedules, 0);
        Option<int> parts = Number("--parts", "Into how many parts a scenario is cut.", defaults.Parts, 1);
        Option<int> seed = Number("--seed", "Decides what is random.", defaults.Seed, 0);
        ShardOptions shard = new();
        Command command = new("explore", "Explored schedules of the drivers' scenarios (docs/schedules.md).") { scenario, preemptions, required, schedules, random, parts, seed };
        shard.AddTo(command);
        command.SetAction((parsed, cancellationToken) => shard.Run(
            parsed,
            environment,
            () => ExplorationCampaign.Create(new()
            {
                Pattern = parsed.GetRequiredValue(scenario),
                Preemptions = parsed.GetValue(preemptions),
                RequiredPreemptions = parsed.GetValue(required),
                Schedules = parsed.GetValue(schedules),
                RandomSchedules = parsed.GetValue(random),
                Parts = parsed.GetValue(parts),
                Seed = parsed.GetValue(seed),
            }),
            cancellationToken));
        return command;
    }

    private static Command Fuzz(CliEnvironment environment)
    {
        Option<string[]> target = new("--target")
        {
            HelpName = "TARGET",
            Description = $"What is fed with noise: {string.Join(", ", FuzzCampaign.Targets)}. [default: all]",
        };
        target.AcceptOnlyFromAmong([.. FuzzCampaign.Targets]);
        Option<int> first = Number("--first-seed", "The first seed.", 0, 0);
        Option<int> count = Number("--seeds", "How many seeds.", 1000, 1);
        ShardOptions shard = new();
        Command command = new("fuzz", "Noise for the models of IOMMUs (tables, registers, requests) and for the ABI (calls), by seeds.") { target, first, count };
        shard.AddTo(command);
        command.SetAction((parsed, cancellationToken) => shard.Run(
            parsed,
            environment,
            () => parsed.GetValue(first) > int.MaxValue - parsed.GetValue(count)
                ? throw new CampaignException($"--first-seed and --seeds: the last seed is at most {int.MaxValue}")
                : FuzzCampaign.Create(
                    parsed.GetValue(target) is { Length: > 0 } targets ? [.. targets.Distinct(StringComparer.Ordinal)] : FuzzCampaign.Targets,
                    parsed.GetValue(first), parsed.GetValue(count)),
            cancellationToken));
        return command;
    }

    private static Command Study(CliEnvironment environment)
    {
        Argument<string[]> files = new("TRACE") { Description = "Recordings: " + ReadingOptions.Recordings, Arity = ArgumentArity.OneOrMore };
        ShardOptions shard = new();
        Command command = new("study", "Studies of many recordings (docs/study.md), with the defaults of ioasis study.") { files };
        shard.AddTo(command);
        command.SetAction((parsed, cancellationToken) => shard.Run(parsed, environment, () => Studies(parsed.GetRequiredValue(files)), cancellationToken));
        return command;
    }

    private static Command Merge(CliEnvironment environment)
    {
        Argument<string> folder = new("DIR") { Description = "The folder of the campaign." };
        Command command = new("merge", $"Merges what the shards did into DIR/{CampaignRunner.ResultName}. The exit status is 1 if something does not hold.") { folder };
        command.SetAction(parsed => Guarded(environment, () =>
        {
            CampaignResult result = CampaignRunner.Merge(parsed.GetRequiredValue(folder));
            foreach ((string name, long value) in result.Figures)
            {
                environment.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{value,16:N0}  {name}"));
            }

            foreach ((string unit, string finding) in result.Findings)
            {
                environment.Out.WriteLine();
                environment.Out.WriteLine($"{Format.Printable(unit)}:");
                environment.Out.WriteLine(finding);
            }

            environment.Out.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{result.Kind}: {result.Units:N0} units, {(result.Findings.Count == 0 ? "everything held" : $"{result.Findings.Count:N0} findings")}; {result.Path}"));
            return result.Findings.Count == 0 ? ExitStatus.Ok : ExitStatus.CheckFailed;
        }));
        return command;
    }

    private static Campaign Studies(string[] paths)
    {
        if (paths.Contains("-", StringComparer.Ordinal))
        {
            throw new CampaignException("a campaign reads its recordings again when a shard is restarted: standard input cannot be one of them");
        }

        return new(
            "study",
            paths.Select(static path => KeyValuePair.Create($"recording {path}", HashOf(path))),
            paths.Select(static path => new CampaignUnit(path, cancellationToken =>
            {
                // How long it took and how much memory is no outcome.
                StudyReport report = TraceStudy.Run(path, cancellationToken: cancellationToken);
                report = report with { Throughput = report.Throughput with { ElapsedSeconds = 0, ParseSeconds = 0, ReplaySeconds = 0, PeakMemoryBytes = 0 } };
                using MemoryStream stream = new();
                StudyJson.Write(stream, [report]);
                return new()
                {
                    Figures = new Dictionary<string, long>(StringComparer.Ordinal) { ["recordings"] = 1 },
                    Document = stream.ToArray(),
                };
            })));
    }

    private static string HashOf(string path)
    {
        using FileStream stream = File.OpenRead(path);
        return $"sha256 {Convert.ToHexStringLower(SHA256.HashData(stream))}";
    }

    private static Option<int> Number(string name, string description, int @default, int least)
    {
        Option<int> option = new(name)
        {
            HelpName = "N",
            Description = description,
            DefaultValueFactory = _ => @default,
        };
        option.Validators.Add(result =>
        {
            if (result.Tokens.Count == 1
                && (!int.TryParse(result.Tokens[0].Value, NumberStyles.None, CultureInfo.InvariantCulture, out int value) || value < least))
            {
                result.AddError(Invariant($"{name} '{result.Tokens[0].Value}': expected a number, {least} or more."));
            }
        });
        return option;
    }

    private static int Guarded(CliEnvironment environment, Func<int> run)
    {
        try
        {
            return run();
        }
        catch (Exception e) when (e is CampaignException or VectorFormatException or TraceInputException)
        {
            environment.Error.WriteLine($"ioasis: {Format.Printable(e.Message)}");
            return ExitStatus.BadInput;
        }
        catch (OperationCanceledException)
        {
            environment.Error.WriteLine("ioasis: stopped; the same command goes on where it was");
            return ExitStatus.BadInput;
        }
    }

    /// <summary>Which shard of how many, and where they meet.</summary>
    private sealed class ShardOptions
    {
        private readonly Option<string> _out = new("--out") { HelpName = "DIR", Description = "Where the shards of the campaign meet: one folder for all of them.", Required = true };
        private readonly Option<int?> _shards = new("--shards") { HelpName = "N", Description = "How many shards there are. [default: SLURM_ARRAY_TASK_COUNT, else 1]" };
        private readonly Option<int?> _shard = new("--shard") { HelpName = "I", Description = ShardHelp };

        public void AddTo(Command command)
        {
            command.Add(_out);
            command.Add(_shards);
            command.Add(_shard);
        }

        public Task<int> Run(ParseResult parsed, CliEnvironment environment, Func<Campaign> create, CancellationToken cancellationToken) =>
            Task.FromResult(Guarded(environment, () =>
            {
                (int shard, int shards) = Place(parsed.GetValue(_shard), parsed.GetValue(_shards));
                string folder = parsed.GetRequiredValue(_out);
                int failed = CampaignRunner.Run(
                    create(),
                    folder,
                    shard,
                    shards,
                    progress => environment.Error.WriteLine(string.Create(
                        CultureInfo.InvariantCulture,
                        $"shard {shard} of {shards}: {progress.Done} of {progress.Of}: {Format.Printable(progress.Unit)}{(progress.WasDone ? " (was done)" : "")}")),
                    cancellationToken);
                environment.Out.WriteLine(string.Create(
                    CultureInfo.InvariantCulture, $"shard {shard} of {shards} is done{(failed == 0 ? "" : $", {failed} of its units have findings")}"));

                // That the work was done is what a scheduler asks; whether all held is what the merge says.
                return ExitStatus.Ok;
            }));

        private static (int Shard, int Shards) Place(int? shard, int? shards)
        {
            int count = shards ?? Variable("SLURM_ARRAY_TASK_COUNT") ?? 1;
            if (count < 1)
            {
                throw new CampaignException(Invariant($"--shards {count}: expected 1 or more"));
            }

            int? index = shard;
            if (index is null && Variable("SLURM_ARRAY_TASK_ID") is { } task)
            {
                index = task - (Variable("SLURM_ARRAY_TASK_MIN") ?? 0);
            }

            index ??= Variable("JOB_COMPLETION_INDEX") ?? (count == 1 ? 0 : null);
            return index is not { } known
                ? throw new CampaignException(Invariant($"which of the {count} shards? Say --shard, or run it as an array of Slurm or an indexed job of Kubernetes"))
                : known < 0 || known >= count
                    ? throw new CampaignException(Invariant($"shard {known}: there are {count} shards, 0 to {count - 1}"))
                    : (known, count);
        }

        private static int? Variable(string name) =>
            int.TryParse(Environment.GetEnvironmentVariable(name), NumberStyles.None, CultureInfo.InvariantCulture, out int value) ? value : null;
    }
}
