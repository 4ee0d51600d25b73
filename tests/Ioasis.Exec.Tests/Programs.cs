using System.Collections.Concurrent;
using Ioasis.Testing;

namespace Ioasis.Exec.Tests;

/// <summary>Compiles the C programs beside the tests, and runs them by <c>ioasis exec</c>.</summary>
internal static class Programs
{
    private static readonly ConcurrentDictionary<string, Lazy<string>> s_built = new(StringComparer.Ordinal);

    /// <summary>The folder of the sources.</summary>
    public static string Sources { get; } = Path.Combine(AppContext.BaseDirectory, "programs");

    /// <summary>Compiles a program.</summary>
    public static string Build(string source, params string[] options) =>
        s_built.GetOrAdd(source + ' ' + string.Join(' ', options), _ => new(() =>
        {
            string program = Path.Combine(Sources, $"{Path.GetFileNameWithoutExtension(source)}{s_built.Count}");
            ExternalProgram compiled = ExternalProgram.Run(
                "gcc", TimeSpan.FromMinutes(1), null, ["-Wall", "-Werror", "-O1", "-pthread", .. options, "-o", program, Path.Combine(Sources, source)]);
            compiled.Status.ShouldBe(0, compiled.Describe());
            return program;
        })).Value;

    /// <summary>Runs a program on a machine with one edu device at 0000:00:01.0.</summary>
    public static ExecRun Execute(params string[] program) => ExecuteOn(["--device", "edu"], program);

    /// <summary>Runs a program with options of exec.</summary>
    public static ExecRun ExecuteOn(string[] options, params string[] program) => ExecRun.Of(options, TimeSpan.FromMinutes(10), null, program);

    /// <summary>The program ended so, and nothing was left of it.</summary>
    public static ExecRun ShouldEnd(this ExecRun run, int status)
    {
        run.Ended.Status.ShouldBe(status, run.Ended.Describe());
        run.Left.ShouldBeEmpty();
        return run;
    }
}
