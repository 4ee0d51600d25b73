using Spectre.Console;

namespace Ioasis.Cli.Rendering;

/// <summary>A progress bar on the error stream, when somebody is there to look at it.</summary>
internal static class ProgressBar
{
    /// <summary>Does the work; it is given something to tell its progress to, or null when nobody looks.</summary>
    public static T Show<T>(CliEnvironment environment, Func<Action<string, double>?, T> work)
    {
        if (!environment.ErrorIsTerminal)
        {
            return work(null);
        }

        IAnsiConsole console = AnsiConsole.Create(new() { Out = new AnsiConsoleOutput(environment.Error) });
        Progress progress = console.Progress();
        progress.RefreshRate = TimeSpan.FromMilliseconds(200);
        progress.AutoClear = true;
        progress.Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn());
        return progress.Start(context =>
        {
            ProgressTask task = context.AddTask("Reading");
            return work((phase, fraction) =>
            {
                task.Description = Markup.Escape(phase);
                task.Value = Math.Clamp(fraction, 0, 1) * 100;
            });
        });
    }
}
