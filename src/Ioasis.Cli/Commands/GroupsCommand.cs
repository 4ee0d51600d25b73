using System.CommandLine;
using Ioasis.Cli.Groups;
using Ioasis.Machines;
using Ioasis.Cli.Rendering;
using Ioasis.Linux.Discovery;

namespace Ioasis.Cli.Commands;

/// <summary><c>ioasis groups</c>: IOMMU groups of a machine, with what one needs to know before one maps.</summary>
internal static class GroupsCommand
{
    /// <summary>Makes the command.</summary>
    /// <param name="environment">The world around it.</param>
    /// <param name="open">Opens the kernel's files below a root.</param>
    public static Command Create(CliEnvironment environment, Func<string, Sysfs> open)
    {
        Option<string> backend = new("--backend")
        {
            Description = "Which machine: one in this process, or the one that this runs on.",
            DefaultValueFactory = _ => "embedded",
        };
        backend.AcceptOnlyFromAmong("embedded", "linux");
        Option<string?> platform = new("--platform")
        {
            HelpName = "FILE",
            Description = "With embedded: the machine, in YAML. Without, an example.",
        };
        Option<string> iommu = IommuOption.Create("With embedded: the IOMMUs of which the machine's file does not say the kind.");
        Option<bool> example = new("--print-example") { Description = "Print the example's platform file and stop." };
        Option<string?> sysfs = new("--root")
        {
            HelpName = "FOLDER",
            Description = "With linux: where sys, proc and dev are. [default: /]",
        };
        Option<bool> json = new("--json") { Description = "Write JSON." };
        Command command = new("groups", "Lists IOMMU groups: devices, reserved regions, usable IOVA ranges.")
        {
            backend, platform, iommu, sysfs, json, example,
        };
        command.Validators.Add(result =>
        {
            bool isLinux = result.GetValue(backend) is "linux";
            if (isLinux && (result.GetValue(platform) is not null || result.GetValue(example)))
            {
                result.AddError("--platform and --print-example are for the embedded backend.");
            }

            if (!isLinux && result.GetValue(sysfs) is not null)
            {
                result.AddError("--root is for the linux backend.");
            }
        });
        command.SetAction(parsed =>
        {
            if (parsed.GetValue(example))
            {
                environment.Out.Write(EmbeddedGroups.ExampleText);
                return ExitStatus.Ok;
            }

            GroupsReport report = parsed.GetValue(backend) is "linux"
                ? LinuxGroups.Report(open(parsed.GetValue(sysfs) ?? "/"))
                : Embedded(parsed.GetValue(platform), parsed.GetRequiredValue(iommu));
            return Show(report, parsed.GetValue(json), environment);
        });
        return command;
    }

    private static GroupsReport Embedded(string? path, string iommu)
    {
        using TextReader text = path is null ? new StringReader(EmbeddedGroups.ExampleText) : File.OpenText(path);
        string name = path ?? "example";
        return EmbeddedGroups.Report(MachineFile.Parse(text, name, IommuOption.SlotOf(iommu)));
    }

    private static int Show(GroupsReport report, bool isJson, CliEnvironment environment)
    {
        if (isJson)
        {
            using Stream stream = environment.OpenOut();
            GroupsJson.Write(stream, report);
        }
        else
        {
            GroupsText.Write(environment.Out, report);
        }

        if (report.Groups.Count == 0)
        {
            environment.Error.WriteLine("ioasis: no IOMMU groups here.");
        }

        foreach (string hint in report.Hints)
        {
            environment.Error.WriteLine($"ioasis: {Format.Printable(hint)}");
        }

        return report.Groups.Count == 0 ? ExitStatus.CheckFailed : ExitStatus.Ok;
    }
}
