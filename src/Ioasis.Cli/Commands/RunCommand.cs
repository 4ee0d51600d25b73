using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Ioasis.Cli.Rendering;
using Ioasis.Embedded;
using Ioasis.Replay.Input;
using Ioasis.Replay.Report;

namespace Ioasis.Cli.Commands;

/// <summary><c>ioasis run</c>: replays a recording through the whole stack and shows what the IOMMU did.</summary>
internal static class RunCommand
{
    private const string Description =
        "Replay a Linux DMA trace through the whole IOMMU stack, and report what the IOMMU did. Every map and unmap goes through "
        + "the client API, the kernel ABI, the driver and its page tables; DMA through the hardware model must then reach "
        + "exactly the recorded page, and fault after the unmap.";

    /// <summary>What the help adds to the list of options.</summary>
    public const string Examples = """
        Examples:
          ioasis run trace.txt.xz --html report.html
              the summary, and a page with plots
          ioasis run trace.txt --dma qemu.log.xz
              also replay every DMA that the device side logged
          ioasis run qemu.log.xz --iotlb 256x8
              how would that workload do with another IOTLB?
          ioasis run trace.txt --invalidation lazy --hostile --check all
              hunt for stale translations
          ssh host cat /sys/kernel/tracing/trace | ioasis run -

        Exit status:
          0  every check held
          1  a check failed
          2  bad usage, or input that cannot be used: nothing in it was understood, replayed or checked
        """;

    /// <summary>Makes the command.</summary>
    public static Command Create(CliEnvironment environment, ReplayRunner replay)
    {
        Argument<string> file = new("FILE")
        {
            Description = "The recording: " + ReadingOptions.Recordings,
        };
        ReadingOptions reading = new();
        Option<string> iommu = IommuOption.Create("The IOMMU that the devices are behind.", "vtd for a recording that says it is of x86, else riscv");
        Option<string?> mode = ReadingOptions.Choice("--mode", "Paging mode of the page tables.", "the IOMMU's widest", ModesOf([.. IommuSlot.Kinds]));
        Option<Geometry?> iotlb = new("--iotlb")
        {
            HelpName = "N[xWAYS]",
            Description = "IOTLB entries, and ways of a set (fully associative without). [default: 64x4]",
            CustomParser = ParseGeometry,
        };
        Option<string?> invalidation = ReadingOptions.Choice("--invalidation", "Invalidate before an unmap returns, or batched.", "strict", "strict", "lazy");
        Option<bool> hostile = new("--hostile") { Description = "The hardware model keeps every cached entry until it is invalidated." };
        Option<string?> check = ReadingOptions.Choice("--check", "Which maps and unmaps are checked by DMA.", "sampled", "none", "sampled", "all");
        Option<long?> seed = new("--seed") { HelpName = "N", Description = "Seed of what is sampled. [default: 1]" };
        Option<string?> json = new("--json") { HelpName = "FILE", Description = "Write the whole result as JSON (docs/report-schema.md); '-' is standard output." };
        Option<string?> html = new("--html") { HelpName = "FILE", Description = "Write one self-contained page with plots; '-' is standard output." };

        Command command = new("run", Description)
        {
            file, reading.Dma, reading.Format, iommu, mode, iotlb, invalidation, hostile, check, seed, reading.Rest, reading.Tolerance, reading.StrictInput, json, html,
        };
        command.Validators.Add(result =>
        {
            if (result.GetValue(json) is "-" && result.GetValue(html) is "-")
            {
                result.AddError("Only one of --json and --html can go to standard output.");
            }

            if (result.GetResult(file) is { Tokens: [{ Value: ['-', _, ..] } option] })
            {
                result.AddError($"'{option.Value}' is no option of this command (a file of that name: ./{option.Value}).");
            }

            if (result.GetValue(mode) is { } wanted && result.GetValue(iommu) is { } kind
                && IommuSlot.TryParse(kind, out IommuSlot? slot, out _)
                && (slot.Set("mode", wanted, out slot) ?? slot.FindConflict()) is { } conflict)
            {
                result.AddError($"--mode {wanted} is not for --iommu {kind}: {conflict}.");
            }

            if (result.GetValue(file) is "-" && result.GetValue(reading.Dma) is "-")
            {
                result.AddError("Only one of FILE and --dma can be standard input.");
            }
        });
        command.SetAction(parsed => Run(
            new()
            {
                Path = parsed.GetRequiredValue(file),
                DmaLogPath = parsed.GetValue(reading.Dma),
                Format = parsed.GetValue(reading.Format),
                Iommu = parsed.GetValue(iommu),
                Mode = parsed.GetValue(mode),
                IotlbEntries = (parsed.GetValue(iotlb) ?? Geometry.Default).Entries,
                IotlbWays = (parsed.GetValue(iotlb) ?? Geometry.Default).Ways,
                Lazy = parsed.GetValue(invalidation) is "lazy",
                Hostile = parsed.GetValue(hostile),
                Check = parsed.GetValue(check) ?? "sampled",
                Seed = parsed.GetValue(seed) ?? 1,
                RestDevice = parsed.GetValue(reading.Rest),
                ToleranceSeconds = parsed.GetValue(reading.Tolerance) ?? ReadingOptions.DefaultTolerance,
                StrictInput = parsed.GetValue(reading.StrictInput),
                JsonPath = parsed.GetValue(json),
                HtmlPath = parsed.GetValue(html),
            },
            environment,
            replay));
        return command;
    }

    private static int Run(RunRequest request, CliEnvironment environment, ReplayRunner replay)
    {
        foreach (string? output in (string?[])[request.JsonPath, request.HtmlPath])
        {
            if (OutputFile.Problem(output) is { } problem)
            {
                environment.Error.WriteLine($"ioasis: {Format.Printable(problem)}");
                return ExitStatus.BadInput;
            }
        }

        ReplayReport report;
        try
        {
            report = ProgressBar.Show(environment, progress => replay(request, progress));
        }
        catch (TraceInputException e)
        {
            environment.Error.WriteLine($"ioasis: {Format.Printable(e.Message)}");
            return ExitStatus.BadInput;
        }

        OutputFile.Write(request.JsonPath, environment, stream => JsonReport.Write(stream, report));
        OutputFile.Write(request.HtmlPath, environment, stream => HtmlReport.Write(stream, report));
        if (request.JsonPath is "-" || request.HtmlPath is "-")
        {
            environment.Error.WriteLine(TextReport.Verdict(report));
        }
        else
        {
            TextReport.Write(environment.Out, environment.ColourOut, report);
        }

        if (report.Checks.CheckCount == 0 && request.Check is not "none")
        {
            environment.Error.WriteLine("ioasis: nothing of the recording could be checked");
            return ExitStatus.BadInput;
        }

        return report.Passed ? ExitStatus.Ok : ExitStatus.CheckFailed;
    }

    // The paging modes of kinds of IOMMUs, as the command line names them, the largest last.
    private static string[] ModesOf(params string[] kinds) =>
    [
        .. kinds.SelectMany(static kind => IommuOption.SlotOf(kind).Formats).Distinct().OrderBy(static format => format.ApertureBits)
            .Select(static format => format.Name.ToLowerInvariant()),
    ];

    private static Geometry? ParseGeometry(ArgumentResult result)
    {
        string text = result.Tokens[^1].Value;
        string[] parts = text.Split('x');
        if (parts.Length <= 2
            && int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out int entries)
            && int.TryParse(parts[^1], NumberStyles.None, CultureInfo.InvariantCulture, out int ways)
            && entries is >= 1 and <= 1 << 20 && ways >= 1 && entries % ways == 0
            && int.IsPow2(entries / ways))
        {
            return new(entries, ways);
        }

        result.AddError($"--iotlb '{text}': expected ENTRIES or ENTRIESxWAYS, as 64x4: up to 1048576 entries, and entries/ways a power of two.");
        return null;
    }

    private sealed record Geometry(int Entries, int Ways)
    {
        public static Geometry Default { get; } = new(64, 4);
    }
}
