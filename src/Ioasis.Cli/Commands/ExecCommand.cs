using System.CommandLine;
using Ioasis.Cli.Exec;
using Ioasis.Exec;
using Ioasis.Embedded.Sanitizing;

namespace Ioasis.Cli.Commands;

/// <summary><c>ioasis exec</c>: runs any program on a machine that has our IOMMU and devices.</summary>
internal static class ExecCommand
{
    private const string Supervisor = "supervisor";
    private const string Preload = "preload";
    private const int DefaultMistakeStatus = 99;

    /// <summary>Makes the command.</summary>
    public static Command Create(CliEnvironment environment)
    {
        Option<string?> machine = new("--machine")
        {
            HelpName = "FILE",
            Description = "The machine: its IOMMUs, its functions, and the models of devices in their places ('device: edu').",
        };
        Option<string[]> device = new("--device")
        {
            HelpName = "KIND[,KEY=VALUE]...",
            Description = $"A device of the machine, bound to vfio-pci: {string.Join(", ", ExecMachine.Kinds.All.Select(static kind => kind.Name))}. "
                + "addr=0000:00:03.0 places it; else it goes to the next free slot.",
            AllowMultipleArgumentsPerToken = false,
        };
        Option<string> iommu = IommuOption.Create("The kind of IOMMUs of which nothing else is said.");
        Option<string> via = new("--via")
        {
            HelpName = "WAY",
            Description = "supervisor: from outside, any program; preload: in its own process, faster, programs that are linked dynamically.",
            DefaultValueFactory = static _ => Supervisor,
        };
        via.AcceptOnlyFromAmong(Supervisor, Preload);
        Option<string?> json = new("--json") { HelpName = "FILE", Description = "Write a summary at the end, as JSON." };
        Option<bool> sanitize = new("--sanitize")
        {
            Description = "Report DMA after unmap, past the end, never mapped, against the direction or into freed memory, maps over others, unmaps of nothing, mappings left.",
        };
        Option<bool> fatal = new("--fatal") { Description = "With --sanitize: end the program at the first access of a device that is wrong." };
        Option<string?> suppress = new("--suppress") { HelpName = "FILE", Description = "With --sanitize: what is not reported, a MISTAKE[:PATTERN] in each line." };
        Option<int?> status = new("--mistake-status") { HelpName = "N", Description = "With --sanitize: the exit status if anything is reported. [default: 99]" };
        Argument<string[]> program = new("PROGRAM")
        {
            Description = "The program and its arguments, after '--'.",
            Arity = ArgumentArity.OneOrMore,
        };
        Command command = new("exec", "Runs an unmodified program that finds our IOMMU and devices as those of its machine.")
        {
            machine, device, iommu, via, json, sanitize, fatal, suppress, status, program,
        };
        command.Validators.Add(result =>
        {
            if (!result.GetValue(sanitize) && (result.GetValue(fatal) || result.GetValue(suppress) is not null || result.GetValue(status) is not null))
            {
                result.AddError("--fatal, --suppress and --mistake-status go with --sanitize.");
            }
        });
        command.SetAction(parsed =>
        {
            Request request = new(
                parsed.GetValue(machine), parsed.GetValue(iommu)!, parsed.GetValue(device) ?? [], parsed.GetValue(json), parsed.GetValue(program)!)
            {
                Sanitize = parsed.GetValue(sanitize) ? new() { IsFatal = parsed.GetValue(fatal) } : null,
                Suppress = parsed.GetValue(suppress),
                MistakeStatus = parsed.GetValue(status) ?? DefaultMistakeStatus,
            };
            return string.Equals(parsed.GetValue(via), Preload, StringComparison.Ordinal)
                ? RunInProgram(request, environment)
                : Run(request, environment);
        });
        return command;
    }

    private sealed record Request(string? Machine, string Iommu, string[] Devices, string? Json, string[] Program)
    {
        public SanitizeOptions? Sanitize { get; init; }

        public string? Suppress { get; init; }

        public int MistakeStatus { get; init; }
    }

    private static int Run(Request request, CliEnvironment environment)
    {
        if (ExecMachine.TryRead(request.Machine, request.Iommu, request.Devices, out ExecOptions? options) is { } error)
        {
            return Refuse(error, environment);
        }

        if (ReadSuppressions(request, out SanitizeOptions? sanitize) is { } wrong)
        {
            return Refuse(wrong, environment);
        }

        string? problem = ExecRunner.Run(options! with { Program = request.Program, Sanitize = sanitize }, out ExecResult? result);
        if (problem is not null)
        {
            return Refuse(problem, environment);
        }

        if (request.Json is not null)
        {
            using Stream stream = File.Create(request.Json);
            ExecJson.Write(stream, result!);
        }

        if (result!.Mistakes is { Count: > 0 } mistakes)
        {
            SanitizeText.Write(environment.Error, mistakes);
            return request.MistakeStatus;
        }

        if (result.Signal != 0)
        {
            // As the program ended, so do we; whoever started us sees the same.
            ExecRunner.EndBySignal(result.Signal);
            return 128 + result.Signal;
        }

        return result.ExitStatus;
    }

    private static string? ReadSuppressions(Request request, out SanitizeOptions? options)
    {
        options = request.Sanitize;
        if (options is null || request.Suppress is not { } path)
        {
            return null;
        }

        List<Suppression> suppressions = [];
        int number = 0;
        foreach (string line in File.ReadLines(path))
        {
            number++;
            if (string.IsNullOrWhiteSpace(line) || line.TrimStart().StartsWith('#'))
            {
                continue;
            }

            if (Suppression.TryParse(line, out Suppression? suppression) is { } problem)
            {
                return FormattableString.Invariant($"{path}:{number}: {problem}");
            }

            suppressions.Add(suppression!);
        }

        options = options with { Suppressions = suppressions };
        return null;
    }

    // This process becomes the program: nothing is left to count for it.
    private static int RunInProgram(Request request, CliEnvironment environment)
    {
        if (request.Json is not null)
        {
            return Refuse("--json needs --via supervisor: by preload the machine ends with the program.", environment);
        }

        if (request.Sanitize is not null)
        {
            return Refuse("--sanitize needs --via supervisor: by preload the machine ends with the program.", environment);
        }

        return Refuse(PreloadedProgram.Become(request.Machine, request.Iommu, request.Devices, request.Program), environment);
    }

    private static int Refuse(string error, CliEnvironment environment)
    {
        environment.Error.WriteLine($"ioasis: {error}");
        return ExitStatus.BadInput;
    }
}
