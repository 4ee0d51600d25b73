using System.CommandLine;
using Ioasis.Cli.Rendering;
using Ioasis.Linux.Discovery;
using Ioasis.Primitives;

namespace Ioasis.Cli.Commands;

/// <summary><c>ioasis bind</c>: gives PCI devices of this machine to vfio-pci, or back.</summary>
internal static class BindCommand
{
    /// <summary>Makes the command.</summary>
    /// <param name="environment">The world around it.</param>
    /// <param name="open">Opens the kernel's files below a root.</param>
    public static Command Create(CliEnvironment environment, Func<string, Sysfs> open)
    {
        Argument<string[]> devices = new("ADDRESS")
        {
            Description = "PCI devices, as 0000:00:02.0, 00:02.0 or 10000:01:00.0.",
            Arity = ArgumentArity.OneOrMore,
        };
        Option<bool> back = new("--back") { Description = "Let the kernel choose the driver again." };
        Option<bool> dryRun = new("--dry-run") { Description = "Only say what would be written, and where." };
        Option<string> root = new("--root")
        {
            HelpName = "FOLDER",
            Description = "Where sys, proc and dev are.",
            DefaultValueFactory = _ => "/",
        };
        Command command = new("bind", "Gives PCI devices to vfio-pci, so that a program can use them; --back returns them.")
        {
            devices, back, dryRun, root,
        };
        command.SetAction(parsed => Run(
            open(parsed.GetRequiredValue(root)),
            parsed.GetRequiredValue(devices),
            parsed.GetValue(back) ? null : DriverBinding.VfioPci,
            parsed.GetValue(dryRun),
            environment));
        return command;
    }

    // All plans before the first write: a mistake in the last address must not leave the first device bound.
    private static int Run(Sysfs sysfs, string[] names, string? driver, bool isDryRun, CliEnvironment environment)
    {
        var platform = LinuxPlatform.Discover(sysfs);
        List<BindingPlan> plans = [];
        foreach (string name in names)
        {
            if (!DriverBinding.TryPlan(sysfs, platform, name, driver, out BindingPlan? plan, out string? problem))
            {
                return Complain(problem!, environment);
            }

            plans.Add(plan!);
        }

        foreach (BindingPlan plan in plans)
        {
            foreach (string warning in plan.Warnings)
            {
                environment.Error.WriteLine($"ioasis: {Format.Printable(warning)}");
            }

            if (plan.Steps.Count == 0)
            {
                environment.Out.WriteLine($"{plan.Device.Name}: nothing to do, {plan.Device.Driver ?? "no driver"} has it");
                continue;
            }

            if (isDryRun)
            {
                foreach (BindingStep step in plan.Steps)
                {
                    environment.Out.WriteLine($"echo '{Format.Printable(step.Text)}' > {step.Path}    # {step.Why}");
                }

                continue;
            }

            Errno error = DriverBinding.Apply(sysfs, plan, out string? problem);
            if (error != Errno.Success)
            {
                return Complain(problem!, environment);
            }

            string now = sysfs.TryReadLinkName($"/sys/bus/pci/devices/{plan.Device.Name}/driver") ?? "no driver";
            environment.Out.WriteLine($"{plan.Device.Name}: {now} has it");
        }

        return ExitStatus.Ok;
    }

    private static int Complain(string problem, CliEnvironment environment)
    {
        environment.Error.WriteLine($"ioasis: {Format.Printable(problem)}");
        return ExitStatus.BadInput;
    }
}
