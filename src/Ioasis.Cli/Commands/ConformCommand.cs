using System.CommandLine;
using Ioasis.Conformance;
using Ioasis.Hardware;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Cli.Commands;

/// <summary><c>ioasis conform</c>: replays conformance vectors against the hardware model (docs/conformance.md).</summary>
internal static class ConformCommand
{
    private const int Differs = 1;
    private const int BadInput = 2;

    /// <summary>Makes the command.</summary>
    public static Command Create()
    {
        Argument<string[]> files = new("FILE")
        {
            Description = "Vector files (JSON lines, plain or gzip-compressed), or directories of them.",
            Arity = ArgumentArity.OneOrMore,
        };
        Option<string> caching = new("--caching")
        {
            Description = "What the model caches.",
            DefaultValueFactory = _ => "all",
        };
        caching.AcceptOnlyFromAmong("none", "realistic", "hostile", "all");
        Option<string?> topic = new("--topic") { Description = "Only the cases of this topic." };
        Option<string?> caseId = new("--case") { Description = "Only this case (and, uncounted, the cases that it continues)." };
        Option<int> maxDifferences = new("--max-differences")
        {
            Description = "How many differences to show for each topic.",
            DefaultValueFactory = _ => 5,
        };

        Command command = new("conform", "Replays conformance vectors against the RISC-V IOMMU model.")
        {
            files, caching, topic, caseId, maxDifferences,
        };
        command.SetAction(parsed =>
        {
            string mode = parsed.GetValue(caching)!;
            ConformanceOptions options = new()
            {
                Topic = parsed.GetValue(topic),
                CaseId = parsed.GetValue(caseId),
                MaxDifferences = Math.Max(0, parsed.GetValue(maxDifferences)),
            };
            if (mode is not "all")
            {
                options = options with { Modes = [Enum.Parse<CachingMode>(mode, ignoreCase: true)] };
            }

            return Run(parsed.GetValue(files)!, options);
        });
        return command;
    }

    private static int Run(string[] files, ConformanceOptions options)
    {
        try
        {
            ConformanceReport report = ConformanceRunner.Run(files, options);
            report.WriteTo(Console.Out);
            return report.Failed == 0 ? 0 : Differs;
        }
        catch (VectorFormatException exception)
        {
            Console.Error.WriteLine($"ioasis conform: {exception.Message}");
            return BadInput;
        }
    }
}
