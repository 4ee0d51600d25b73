using System.CommandLine;
using Ioasis.Cli.Exec;
using Ioasis.Exec;

namespace Ioasis.Cli.Commands;

/// <summary><c>ioasis exec</c>: runs any program on a machine that has our IOMMU and devices.</summary>
internal static class ExecCommand
{
    /// <summary>Makes the command.</summary>
    public static Command Create(CliEnvironment environment)
    {
        Option<string[]> device = new("--device")
        {
            HelpName = "KIND[,KEY=VALUE]...",
            Description = "A device of the machine, bound to vfio-pci: edu. addr=0000:00:03.0 places it; else it goes to the next free slot.",
            AllowMultipleArgumentsPerToken = false,
        };
        Option<string?> json = new("--json") { HelpName = "FILE", Description = "Write a summary at the end, as JSON." };
        Argument<string[]> program = new("PROGRAM")
        {
            Description = "The program and its arguments, after '--'.",
            Arity = ArgumentArity.OneOrMore,
        };
        Command command = new("exec", "Runs an unmodified program that finds our IOMMU and devices as those of its machine.")
        {
            device, json, program,
        };
        command.SetAction(parsed => Run(
            parsed.GetValue(program)!, parsed.GetValue(device) ?? [], parsed.GetValue(json), environment));
        return command;
    }

    private static int Run(string[] program, string[] devices, string? json, CliEnvironment environment)
    {
        if (ExecDevices.TryCreate(devices, out List<ExecDevice> made) is { } error)
        {
            environment.Error.WriteLine($"ioasis: {error}");
            return ExitStatus.BadInput;
        }

        string? problem = ExecRunner.Run(new() { Program = program, Devices = made }, out ExecResult? result);
        if (problem is not null)
        {
            environment.Error.WriteLine($"ioasis: {problem}");
            return ExitStatus.BadInput;
        }

        if (json is not null)
        {
            using Stream stream = File.Create(json);
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
}
