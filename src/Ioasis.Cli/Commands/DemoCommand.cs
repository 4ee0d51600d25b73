using System.CommandLine;
using Ioasis.Cli.Demo;

namespace Ioasis.Cli.Commands;

/// <summary><c>ioasis demo</c>: stories that a person can watch, whose every claim is checked while it is told.</summary>
internal static class DemoCommand
{
    /// <summary>Makes the command.</summary>
    public static Command Create(CliEnvironment environment)
    {
        Option<int> seed = new("--seed")
        {
            Description = "Decides addresses, sizes and the order of everything; the same seed tells the same story.",
            DefaultValueFactory = _ => 1,
        };
        Option<bool> quick = new("--quick") { Description = "A short story." };
        Option<string> iommu = IommuOption.Create("The IOMMU that the accelerator is behind.");
        Command sva = new(
            "sva",
            "Two guests with quotas, processes that share their addresses with an accelerator, one of them killed in the middle.")
        {
            seed, quick, iommu,
        };
        sva.SetAction(parsed => Run(
            environment,
            new()
            {
                Seed = parsed.GetValue(seed),
                Quick = parsed.GetValue(quick),
                Iommu = IommuOption.SlotOf(parsed.GetRequiredValue(iommu)),
            }));
        return new("demo", "Shows what the system does, and checks it.") { sva };
    }

    /// <summary>Tells the story; status 1 if a check did not hold.</summary>
    internal static int Run(CliEnvironment environment, SvaDemoOptions options)
    {
        if (SvaDemo.ReasonToRefuse(options) is { } missing)
        {
            environment.Error.WriteLine($"ioasis: this IOMMU has no {missing}, without which processes cannot share their addresses with a device.");
            return ExitStatus.BadInput;
        }

        using SvaDemo demo = new(options, environment.Out);
        return demo.Run() ? ExitStatus.Ok : ExitStatus.CheckFailed;
    }
}
