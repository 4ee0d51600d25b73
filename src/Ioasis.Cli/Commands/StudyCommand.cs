using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Ioasis.Cli.Rendering;
using Ioasis.Replay;
using Ioasis.Replay.Input;
using Ioasis.Replay.Study;

namespace Ioasis.Cli.Commands;

/// <summary><c>ioasis study</c>: what other IOTLBs, page sizes and ways of invalidating would have done with a recording.</summary>
internal static class StudyCommand
{
    private const string Description =
        "Study recordings of DMA: the hit ratio of every IOTLB size in one pass, associativity and replacement, page sizes and alignment that "
        + "would have helped, strict against lazy invalidation, reads of walks, and how IOVAs were given out.";

    /// <summary>What the help adds to the list of options.</summary>
    public const string Examples = """
        Examples:
          ioasis study trace.txt.xz --html study.html
              tables, and a page with plots
          ioasis study trace.txt --dma qemu.log.xz
              with the DMA that the device side logged in the place of an assumption
          ioasis study before.ioasis after.ioasis --compare
              did the change of the driver help the IOTLB?
          ioasis study trace.txt --simulate 64x4,128x8 --cost 40,800,100
        """;

    /// <summary>Makes the command.</summary>
    public static Command Create(CliEnvironment environment)
    {
        Argument<string[]> files = new("TRACE") { Description = "Recordings: " + ReadingOptions.Recordings, Arity = ArgumentArity.OneOrMore };
        ReadingOptions reading = new();
        Option<bool> compare = new("--compare") { Description = "Set two recordings beside each other." };
        Option<string?> use = ReadingOptions.Choice(
            "--use", "When devices use each page of a mapping, where no log tells.", "both", "both", "map", "unmap");
        Option<IReadOnlyList<CacheGeometry>?> simulate = new("--simulate")
        {
            HelpName = "N[xWAYS],…",
            Description = "IOTLBs that are simulated with LRU, FIFO and random replacement. [default: 64x4,256x8,1024x8]",
            CustomParser = ParseGeometries,
        };
        Option<int?> iotlb = new("--iotlb") { HelpName = "N", Description = "Entries of the IOTLB behind which walks are counted. [default: 64]" };
        iotlb.Validators.Add(static result =>
        {
            if (result.Tokens.Count == 1
                && (!int.TryParse(result.Tokens[0].Value, NumberStyles.None, CultureInfo.InvariantCulture, out int size) || size is < 1 or > StudyOptions.LargestSize))
            {
                result.AddError($"--iotlb '{result.Tokens[0].Value}': expected 1 to {StudyOptions.LargestSize} entries.");
            }
        });
        Option<StudyCosts?> cost = new("--cost")
        {
            HelpName = "COMMAND,WAIT,READ",
            Description = "Nanoseconds that a command of the invalidation queue, a wait for the queue and a read of a walk cost. [default: 50,500,80]",
            CustomParser = ParseCosts,
        };
        Option<string?> json = new("--json") { HelpName = "FILE", Description = "Write everything as JSON; '-' is standard output." };
        Option<string?> html = new("--html") { HelpName = "FILE", Description = "Write one self-contained page with plots; '-' is standard output." };
        Command command = new("study", Description)
        {
            files, reading.Dma, reading.Format, reading.Rest, reading.Tolerance, reading.StrictInput, compare, use, simulate, iotlb, cost, json, html,
        };
        command.Validators.Add(result =>
        {
            int count = result.GetValue(files)?.Length ?? 0;
            if (result.GetValue(compare) && count != 2)
            {
                result.AddError("--compare takes two recordings.");
            }

            if (result.GetValue(reading.Dma) is not null && count != 1)
            {
                result.AddError("--dma goes with one recording.");
            }

            if (result.GetValue(json) is "-" && result.GetValue(html) is "-")
            {
                result.AddError("Only one of --json and --html can go to standard output.");
            }

            if (result.GetValue(files)?.Concat([result.GetValue(reading.Dma)]).Count(static path => path is "-") > 1)
            {
                result.AddError("Only one input can be standard input.");
            }
        });
        command.SetAction((parsed, cancellationToken) => Task.FromResult(Run(
            environment,
            new(parsed.GetRequiredValue(files), parsed.GetValue(reading.Dma), parsed.GetValue(compare), parsed.GetValue(json), parsed.GetValue(html)),
            new()
            {
                Reading = reading.Of(parsed),
                Use = parsed.GetValue(use) switch { "map" => AssumedUse.Map, "unmap" => AssumedUse.Unmap, _ => AssumedUse.MapAndUnmap },
                Geometries = parsed.GetValue(simulate) ?? new StudyOptions().Geometries,
                WalkedIotlb = parsed.GetValue(iotlb) ?? new StudyOptions().WalkedIotlb,
                Costs = parsed.GetValue(cost) ?? StudyCosts.Default,
            },
            cancellationToken)));
        return command;
    }

    private static int Run(CliEnvironment environment, Request request, StudyOptions options, CancellationToken cancellationToken)
    {
        foreach (string? output in (string?[])[request.JsonPath, request.HtmlPath])
        {
            if (OutputFile.Problem(output) is { } problem)
            {
                environment.Error.WriteLine($"ioasis: {Format.Printable(problem)}");
                return ExitStatus.BadInput;
            }
        }

        List<StudyReport> reports = [];
        try
        {
            foreach (string path in request.Paths)
            {
                reports.Add(ProgressBar.Show(environment, progress => TraceStudy.Run(
                    path, request.DmaLogPath, options, progress is null ? null : new ForwardedProgress(progress), cancellationToken)));
            }
        }
        catch (TraceInputException e)
        {
            environment.Error.WriteLine($"ioasis: {Format.Printable(e.Message)}");
            return ExitStatus.BadInput;
        }

        OutputFile.Write(request.JsonPath, environment, stream => StudyJson.Write(stream, reports));
        OutputFile.Write(request.HtmlPath, environment, stream => StudyPage.Write(stream, reports));
        if (request.JsonPath is not "-" && request.HtmlPath is not "-")
        {
            StudyText.Write(environment.Out, reports, request.Compares);
        }

        return ExitStatus.Ok;
    }

    private static List<CacheGeometry>? ParseGeometries(ArgumentResult result)
    {
        List<CacheGeometry> geometries = [];
        foreach (string text in result.Tokens[^1].Value.Split(','))
        {
            string[] parts = text.Split('x');
            if (parts.Length > 2
                || !int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out int entries)
                || !int.TryParse(parts[^1], NumberStyles.None, CultureInfo.InvariantCulture, out int ways)
                || !new CacheGeometry(entries, ways).IsValid)
            {
                result.AddError(
                    $"--simulate '{text}': expected ENTRIESxWAYS, as 64x4: up to {StudyOptions.LargestSize} entries, up to {CacheGeometry.MostWays} ways, and entries/ways a power of two.");
                return null;
            }

            geometries.Add(new(entries, ways));
        }

        return geometries;
    }

    private static StudyCosts? ParseCosts(ArgumentResult result)
    {
        string text = result.Tokens[^1].Value;
        List<double> costs = [];
        foreach (string part in text.Split(','))
        {
            if (double.TryParse(part, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double cost) && cost <= 1e9)
            {
                costs.Add(cost);
            }
        }

        if (costs.Count == 3 && text.Count(static c => c == ',') == 2)
        {
            return new(costs[0], costs[1], costs[2]);
        }

        result.AddError($"--cost '{text}': expected three numbers of nanoseconds, as 50,500,80.");
        return null;
    }

    private sealed record Request(string[] Paths, string? DmaLogPath, bool Compares, string? JsonPath, string? HtmlPath);
}
