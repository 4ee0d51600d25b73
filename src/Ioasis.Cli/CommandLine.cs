using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using System.CommandLine.Parsing;
using Ioasis.Cli.Commands;
using Ioasis.Linux.Discovery;
using Ioasis.Recorder;

namespace Ioasis.Cli;

/// <summary>The program as a function: arguments and streams in, exit status out. No exception leaves it.</summary>
internal static class CommandLine
{
    /// <summary>Runs the command that <paramref name="args"/> name.</summary>
    public static int Invoke(
        IReadOnlyList<string> args,
        CliEnvironment environment,
        ReplayRunner? replay = null,
        Func<string, Sysfs>? openSysfs = null,
        Func<string, TracingFiles>? openTracing = null)
    {
        RootCommand root = Create(
            environment, replay ?? EngineRunner.Run, openSysfs ?? (static folder => new(folder)), openTracing ?? (static folder => new(folder)));
        InvocationConfiguration invocation = new()
        {
            Output = environment.Out,
            Error = environment.Error,
            EnableDefaultExceptionHandler = false,
        };
        ParseResult parsed = root.Parse(args);
        try
        {
            if (args.Count == 0)
            {
                root.Parse(["--help"]).Invoke(invocation);
                return ExitStatus.BadInput;
            }

            return parsed.Errors.Count > 0 && !AsksForHelp(parsed) ? Complain(parsed, environment) : parsed.Invoke(invocation);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            environment.Error.WriteLine($"ioasis: {e.Message}");
            return ExitStatus.BadInput;
        }
#pragma warning disable CA1031 // The last line of defence: whatever it is, the user gets a sentence and not a stack trace.
        catch (Exception e)
#pragma warning restore CA1031
        {
            environment.Error.WriteLine(
                $"ioasis: this should not have happened ({e.GetType().Name}: {Rendering.Format.Printable(e.Message)}). Please report it with the command and its input.");
            return ExitStatus.BadInput;
        }
    }

    private static RootCommand Create(
        CliEnvironment environment, ReplayRunner replay, Func<string, Sysfs> openSysfs, Func<string, TracingFiles> openTracing)
    {
        RootCommand root = new("Ioasis: an operating system's I/O address space (IOMMU) subsystem, in user space.")
        {
            RunCommand.Create(environment, replay),
            StudyCommand.Create(environment),
            RecordCommand.Create(environment, openTracing),
            ExplainCommand.Create(environment),
            ExecCommand.Create(environment),
            ServeCommand.Create(environment),
            ConformCommand.Create(),
            CampaignCommand.Create(environment),
            DemoCommand.Create(environment),
            GroupsCommand.Create(environment, openSysfs),
            BindCommand.Create(environment, openSysfs),
        };
        foreach (HelpOption help in root.Options.OfType<HelpOption>())
        {
            HelpAction plain = new() { MaxWidth = environment.Width };
            help.Action = new HelpWithExamples(plain);
        }

        return root;
    }

    private static bool AsksForHelp(ParseResult parsed) => parsed.Action is HelpWithExamples;

    private static int Complain(ParseResult parsed, CliEnvironment environment)
    {
        foreach (ParseError error in parsed.Errors)
        {
            string message = string.Join(' ', error.Message.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
            environment.Error.WriteLine($"ioasis: {Rendering.Format.Printable(message)}");
        }

        Command command = parsed.CommandResult.Command;
        string name = command is RootCommand ? "ioasis" : $"ioasis {command.Name}";
        environment.Error.WriteLine($"Try '{name} --help'.");
        return ExitStatus.BadInput;
    }

    /// <summary>The help of <c>run</c>, <c>study</c> and <c>record</c> shows what one can do with it, not only which options there are.</summary>
    private sealed class HelpWithExamples(HelpAction plain) : SynchronousCommandLineAction
    {
        public override int Invoke(ParseResult parseResult)
        {
            int status = plain.Invoke(parseResult);
            string? examples = parseResult.CommandResult.Command.Name switch
            {
                "run" => RunCommand.Examples,
                "study" => StudyCommand.Examples,
                "record" => RecordCommand.Examples,
                _ => null,
            };
            if (examples is not null)
            {
                parseResult.InvocationConfiguration.Output.WriteLine(examples);
            }

            return status;
        }
    }
}
