using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using Ioasis.Cli.Rendering;
using Ioasis.Recorder;

namespace Ioasis.Cli.Commands;

/// <summary><c>ioasis record</c>: records the maps and unmaps of this machine's IOMMUs, for <c>ioasis run</c>.</summary>
internal static class RecordCommand
{
    /// <summary>What one can do with it.</summary>
    public const string Examples =
        """
        Examples:
          ioasis record -o disk.ioasis -- dd if=/dev/nvme0n1 of=/dev/null bs=1M count=500 iflag=direct
          ioasis record --duration 10            ten seconds of whatever the machine does
          ioasis record --dry-run                what would be changed, and how it is changed back
          ioasis run disk.ioasis                 replays it, on any machine
        """;

    /// <summary>Makes the command.</summary>
    /// <param name="environment">The world around it.</param>
    /// <param name="open">Opens the kernel's files below a root.</param>
    public static Command Create(CliEnvironment environment, Func<string, TracingFiles> open)
    {
        Option<string?> output = new("--output", "-o") { HelpName = "FILE", Description = "The recording; - is standard output. [default: recording-DATE-TIME.ioasis]" };
        Option<double?> duration = new("--duration") { HelpName = "SECONDS", Description = "Record for so long. Without it and without a command: until Ctrl-C." };
        Option<int?> buffer = new("--buffer") { HelpName = "MIB", Description = "Room for events of each CPU that were not written yet." };
        Option<bool> dryRun = new("--dry-run") { Description = "Only say what would be changed on the machine, and how it would be changed back." };
        Option<bool> anyway = new("--anyway") { Description = "Record also where no IOMMU is in use, or maps cannot be given their devices." };
        Option<bool> clean = new("--clean") { Description = "Only remove what a recorder left that was killed. Each recording does so when it begins." };
        Option<string> root = new("--root") { HelpName = "FOLDER", Description = "Where sys and proc are.", DefaultValueFactory = _ => "/" };
        Argument<string[]> work = new("COMMAND") { Description = "After --: the program to run while recording, and its arguments.", Arity = ArgumentArity.ZeroOrMore };
        Command command = new("record", "Records what this machine's IOMMUs map and unmap, and for which devices. Needs root.")
        {
            output, duration, buffer, dryRun, anyway, clean, root, work,
        };
        command.Validators.Add(result =>
        {
            // What is no number is the parser's to report: asking it for the value would throw here.
            if (TextOf(result, duration) is { } text
                && double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double seconds)
                && !(seconds is > 0 and <= 31_536_000))
            {
                result.AddError("--duration is more than 0 seconds and at most a year.");
            }

            if (TextOf(result, duration) is not null && result.GetValue(work) is { Length: > 0 })
            {
                result.AddError("--duration and a command exclude each other: a recording of a command ends with it.");
            }

            if (TextOf(result, buffer) is { } size
                && int.TryParse(size, NumberStyles.Integer, CultureInfo.InvariantCulture, out int mebibytes)
                && mebibytes is < 1 or > 1 << 20)
            {
                result.AddError("--buffer is from 1 to 1048576 MiB.");
            }

            if (result.GetValue(output) is "-" && result.GetValue(work) is { Length: > 0 })
            {
                result.AddError("a command writes to standard output too: give the recording a file.");
            }
        });
        command.SetAction(parsed =>
        {
            RecordRequest request = new()
            {
                Output = parsed.GetValue(output),
                Duration = parsed.GetValue(duration) is { } seconds ? TimeSpan.FromSeconds(seconds) : null,
                Command = parsed.GetValue(work) ?? [],
                IsDryRun = parsed.GetValue(dryRun),
                IsClean = parsed.GetValue(clean),
                Options = new()
                {
                    BufferKib = parsed.GetValue(buffer) is { } mib ? (int)Math.Min((long)mib << 10, int.MaxValue) : null,
                    Anyway = parsed.GetValue(anyway),
                    Version = typeof(RecordCommand).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "",
                },
            };
            try
            {
                return Run(open(parsed.GetRequiredValue(root)), request, environment);
            }
            catch (RecorderException error)
            {
                Say(environment, error.Message);
                return ExitStatus.BadInput;
            }
        });
        return command;
    }

    /// <summary>What was written behind an option, readable or not; null without the option or its value.</summary>
    private static string? TextOf(CommandResult result, Option option) =>
        result.GetResult(option) is { Tokens: [{ Value: var text }] } ? text : null;

    private static int Run(TracingFiles files, RecordRequest request, CliEnvironment environment)
    {
        string tracing = TracingFolder.Find(files);
        if (!request.IsDryRun)
        {
            IReadOnlyList<string> cleaned = Leftovers.Clean(files, tracing);
            foreach (string line in cleaned)
            {
                Say(environment, line);
            }

            if (request.IsClean)
            {
                environment.Out.WriteLine(cleaned.Count == 0 ? "nothing to remove" : "done");
                return ExitStatus.Ok;
            }
        }

        TracingSession session = new(tracing, Environment.ProcessId, files.StartOfProcess(Environment.ProcessId) ?? 0);
        var plan = RecordingPlan.Create(files, session, request.Options);
        if (request.IsDryRun)
        {
            DryRun(plan, environment.Out);
            return ExitStatus.Ok;
        }

        return Record(files, plan, request, environment);
    }

    private static int Record(TracingFiles files, RecordingPlan plan, RecordRequest request, CliEnvironment environment)
    {
        using RecordingOutput output = new(request.Output, environment);
        using CancellationTokenSource stop = new();
        using RecordedWork work = request.Command.Count > 0 ? new CommandWork(request.Command) : new TimedWork(request.Duration);
        List<PosixSignalRegistration> signals = [];
        try
        {
            foreach (PosixSignal signal in new[] { PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGHUP, PosixSignal.SIGQUIT })
            {
                // Never the default: the machine is changed, and must be changed back.
                signals.Add(PosixSignalRegistration.Create(signal, context =>
                {
                    context.Cancel = true;
                    stop.Cancel();
                }));
            }

            if (request.Command.Count == 0 && request.Duration is null)
            {
                Say(environment, "recording; Ctrl-C ends it");
            }

            RecordingResult result = RecordingRun.Record(files, plan, request.Options, output.Open, work, stop.Token);
            output.Keep();
            return Report(result, plan, output.Name, environment);
        }
        finally
        {
            foreach (PosixSignalRegistration signal in signals)
            {
                signal.Dispose();
            }
        }
    }

    private static int Report(RecordingResult result, RecordingPlan plan, string name, CliEnvironment environment)
    {
        foreach (string text in result.Notes.Concat(result.Problems))
        {
            Say(environment, text);
        }

        long lost = result.Lost.Values.Sum();
        if (lost > 0)
        {
            Say(environment, string.Create(
                CultureInfo.InvariantCulture,
                $"{lost:N0} events were lost, on CPU {string.Join(", ", result.Lost.Keys)}: they came faster than they were written; a larger --buffer may help"));
        }

        foreach (ProbeMiss miss in result.Missed)
        {
            Say(environment, string.Create(
                CultureInfo.InvariantCulture,
                $"{miss.Event} missed {miss.Misses:N0} of {miss.Hits + miss.Misses:N0} times: those maps may have no device"));
        }

        Say(environment, string.Create(
            CultureInfo.InvariantCulture,
            $"{result.Events:N0} events{(lost == 0 && result.Missed.Count == 0 ? ", none lost" : "")}, {plan.Platform.Groups.Count} groups, {Rendering.Format.Bytes(result.Bytes)} in {name}"));
        return result.Problems.Count > 0 ? ExitStatus.BadInput : result.Status ?? ExitStatus.Ok;
    }

    private static void DryRun(RecordingPlan plan, TextWriter text)
    {
        foreach (RecordingStep step in plan.Setup)
        {
            text.WriteLine($"{step.ToShell()}    # {step.Why}");
        }

        if (plan.ReadsGroups)
        {
            text.WriteLine("cat /sys/kernel/iommu_groups/*/type    # a probe notes the domain of each group");
        }

        foreach (RecordingStep step in plan.Start)
        {
            text.WriteLine($"{step.ToShell()}    # {step.Why}");
        }

        text.WriteLine($"cat /{plan.Session.Instance}/trace_pipe    # into the file, until the recording ends");
        text.WriteLine($"echo 0 > /{plan.Session.Instance}/tracing_on");
        foreach (RecordingStep step in plan.Setup.Concat(plan.Start).Reverse())
        {
            if (step.UndoToShell() is { } undo)
            {
                text.WriteLine(undo);
            }
        }

        foreach (string note in plan.Notes)
        {
            text.WriteLine($"# {note}");
        }
    }

    private static void Say(CliEnvironment environment, string text) =>
        environment.Error.WriteLine($"ioasis: {Rendering.Format.Printable(text)}");
}
