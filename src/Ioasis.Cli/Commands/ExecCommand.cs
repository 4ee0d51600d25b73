using System.CommandLine;
using Ioasis.Cli.Exec;
using Ioasis.Exec;

namespace Ioasis.Cli.Commands;

/// <summary><c>ioasis exec</c>: runs any program on a machine that has our IOMMU and devices.</summary>
internal static class ExecCommand
{
    private const string Supervisor = "supervisor";
    private const string Preload = "preload";

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
        Argument<string[]> program = new("PROGRAM")
        {
            Description = "The program and its arguments, after '--'.",
            Arity = ArgumentArity.OneOrMore,
        };
        Command command = new("exec", "Runs an unmodified program that finds our IOMMU and devices as those of its machine.")
        {
            machine, device, iommu, via, json, program,
        };
        command.SetAction(parsed =>
        {
            Request request = new(
                parsed.GetValue(machine), parsed.GetValue(iommu)!, parsed.GetValue(device) ?? [], parsed.GetValue(json), parsed.GetValue(program)!);
            return string.Equals(parsed.GetValue(via), Preload, StringComparison.Ordinal)
                ? RunInProgram(request, environment)
                : Run(request, environment);
        });
        return command;
    }

    private sealed record Request(string? Machine, string Iommu, string[] Devices, string? Json, string[] Program);

    private static int Run(Request request, CliEnvironment environment)
    {
        if (ExecMachine.TryRead(request.Machine, request.Iommu, request.Devices, out ExecOptions? options) is { } error)
        {
            return Refuse(error, environment);
        }

        string? problem = ExecRunner.Run(options! with { Program = request.Program }, out ExecResult? result);
        if (problem is not null)
        {
            return Refuse(problem, environment);
        }

        if (request.Json is not null)
        {
            using Stream stream = File.Create(request.Json);
            ExecJson.Write(stream, result!);
        }

        if (result!.Signal != 0)
        {
            // As the program ended, so do we; whoever started us sees the same.
            ExecRunner.EndBySignal(result.Signal);
            return 128 + result.Signal;
        }

        return result.ExitStatus;
    }

    // This process becomes the program: nothing is left to count for it.
    private static int RunInProgram(Request request, CliEnvironment environment)
    {
        if (request.Json is not null)
        {
            return Refuse("--json needs --via supervisor: by preload the machine ends with the program.", environment);
        }

        return Refuse(PreloadedProgram.Become(request.Machine, request.Iommu, request.Devices, request.Program), environment);
    }

    private static int Refuse(string error, CliEnvironment environment)
    {
        environment.Error.WriteLine($"ioasis: {error}");
        return ExitStatus.BadInput;
    }
}
