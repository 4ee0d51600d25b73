using System.CommandLine;
using Ioasis.Cli.Rendering;
using Ioasis.Explain;
using Ioasis.Explain.Walks;
using Ioasis.Replay.Input;
using Ioasis.Replay.Recording;

namespace Ioasis.Cli.Commands;

/// <summary><c>ioasis explain</c>: what a kernel's lines about IOMMU faults mean, and what is probably behind them.</summary>
internal static class ExplainCommand
{
    /// <summary>Makes the command.</summary>
    public static Command Create(CliEnvironment environment)
    {
        Argument<string> file = new("FILE")
        {
            Description = "The kernel's log: dmesg, journald or syslog, with any prefix; - is standard input.",
            DefaultValueFactory = _ => "-",
        };
        Option<string?> trace = new("--trace")
        {
            HelpName = "FILE",
            Description = "A recording of the same run: the history of each address is told.",
        };
        Option<string[]> memory = new("--memory")
        {
            HelpName = "FILE[@BASE]",
            Description = "Physical memory of the machine, byte by byte, from address BASE (0) on; several times for several pieces. With --registers.",
        };
        Option<string?> registers = new("--registers")
        {
            HelpName = "FILE",
            Description = "The IOMMU's registers: names and values as text or JSON, or the bytes of the register block. With --memory: the walk step by step.",
        };
        Option<string?> json = new("--json") { HelpName = "FILE", Description = "Write everything as JSON; - is standard output.", Arity = ArgumentArity.ZeroOrOne };
        Option<string?> html = new("--html") { HelpName = "FILE", Description = "Write one self-contained page, with pictures of what was mapped near each address; - is standard output." };
        Command command = new("explain", "Explains IOMMU faults in a kernel's log: what was tried, what it means, what to do.") { file, trace, memory, registers, json, html };
        command.Validators.Add(result =>
        {
            if ((result.GetValue(memory) is { Length: > 0 }) != (result.GetValue(registers) is not null))
            {
                result.AddError("--memory and --registers go together.");
            }

            if (result.GetResult(json) is { } asked && (asked.Tokens.Count == 0 || result.GetValue(json) is "-") && result.GetValue(html) is "-")
            {
                result.AddError("Only one of --json and --html can go to standard output.");
            }
        });
        command.SetAction((parsed, cancellationToken) => Task.FromResult(Run(
            environment,
            new(
                parsed.GetRequiredValue(file),
                parsed.GetValue(trace),
                parsed.GetValue(memory) ?? [],
                parsed.GetValue(registers),
                parsed.GetResult(json) is null ? null : parsed.GetValue(json) ?? "-",
                parsed.GetValue(html)),
            cancellationToken)));
        return command;
    }

    private static int Run(CliEnvironment environment, Request request, CancellationToken cancellationToken)
    {
        foreach ((string option, string? output) in (IEnumerable<(string, string?)>)[("--json", request.JsonPath), ("--html", request.HtmlPath)])
        {
            if (OutputFile.Problem(output) is { } problem)
            {
                environment.Error.WriteLine($"ioasis: {option} {problem}");
                return ExitStatus.BadInput;
            }
        }

        FaultLog log;
        using (TextReader reader = request.Path is "-" ? new StreamReader(Console.OpenStandardInput()) : new StreamReader(request.Path))
        {
            log = FaultLog.Read(reader, cancellationToken);
        }

        if (log.Faults.Count == 0)
        {
            environment.Error.WriteLine(NothingFound(request.Path, log));
            return ExitStatus.BadInput;
        }

        IReadOnlyList<Explanation> explanations;
        try
        {
            HistoryFinder? history = request.TracePath is { } trace ? ReadHistory(trace, cancellationToken) : null;
            using MemoryImage image = MemoryImage.Open(request.Memory);
            MachineSnapshot? snapshot = request.Registers is { } registers ? new(image, ReadRegisters(registers, log)) : null;
            explanations = Explanation.Of(log, history, snapshot);
        }
        catch (Exception e) when (e is TraceInputException or FormatException)
        {
            environment.Error.WriteLine($"ioasis: {Format.Printable(e.Message)}");
            return ExitStatus.BadInput;
        }

        OutputFile.Write(request.JsonPath, environment, stream => ExplainJson.Write(stream, log, explanations));
        OutputFile.Write(request.HtmlPath, environment, stream => ExplainPage.Write(stream, request.Path, log, explanations));
        if (request.JsonPath is not "-" && request.HtmlPath is not "-")
        {
            ExplainText.Write(environment.Out, log, explanations);
        }

        return ExitStatus.Ok;
    }

    private static HistoryFinder ReadHistory(string path, CancellationToken cancellationToken) =>
        RecordingReader.Read(path, cancellationToken: cancellationToken).Trace is { } trace
            ? new(trace)
            : throw new TraceInputException(TraceInputError.WrongKind, path, null, "is a DMA log, where a kernel trace is wanted");

    // Bytes do not tell whose registers they are; the faults do.
    private static RegisterSnapshot ReadRegisters(string path, FaultLog log)
    {
        SnapshotKind kind = log.Faults.Any(static fault => fault.Source == FaultSource.RiscV) ? SnapshotKind.RiscV : SnapshotKind.Intel;
        try
        {
            return RegisterSnapshot.Parse(File.ReadAllBytes(path), kind);
        }
        catch (FormatException e)
        {
            throw new FormatException($"{path}: {e.Message}", e);
        }
    }

    private static string NothingFound(string path, FaultLog log)
    {
        string where = path is "-" ? "standard input" : Format.Printable(path);
        return log.Lines == 0 ? $"ioasis: {where}: is empty."
            : log.UnknownLines == 0 ? $"ioasis: {where}: none of {log.Lines} lines is a fault of an IOMMU (DMAR, AMD-Vi, arm-smmu, arm-smmu-v3, riscv-iommu, virtio_iommu)."
            : $"ioasis: {where}: {log.UnknownLines} of {log.Lines} lines look like faults of an IOMMU and are not understood, line {log.FirstUnknown[0].Line} first: "
                + Format.Printable(log.FirstUnknown[0].Text);
    }

    private sealed record Request(string Path, string? TracePath, string[] Memory, string? Registers, string? JsonPath, string? HtmlPath);
}
