using System.Collections.Concurrent;
using System.Text.Json;
using Ioasis.Testing;

namespace Ioasis.Exec.Tests;

/// <summary>Compiles the C programs beside the tests, and runs them by <c>ioasis exec</c>.</summary>
internal static class Programs
{
    private static readonly ConcurrentDictionary<string, Lazy<string>> s_built = new(StringComparer.Ordinal);

    /// <summary>The folder of the sources.</summary>
    public static string Sources { get; } = Path.Combine(AppContext.BaseDirectory, "programs");

    /// <summary>The command line tool, as it was built beside the tests.</summary>
    public static string Tool { get; } = Path.Combine(
        ExternalProgram.RepositoryRoot,
        "src",
        "Ioasis.Cli",
        "bin",
        AppContext.BaseDirectory.Contains("/Debug/", StringComparison.Ordinal) ? "Debug" : "Release",
        "net10.0",
        "ioasis.dll");

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
    public static Run Execute(params string[] program) => ExecuteOn(["--device", "edu"], program);

    /// <summary>Runs a program with options of exec.</summary>
    public static Run ExecuteOn(string[] options, params string[] program)
    {
        string summary = Path.Combine(Sources, Guid.NewGuid().ToString("N") + ".json");
        ExternalProgram ended = ExternalProgram.Run(
            "dotnet", TimeSpan.FromMinutes(2), null, [Tool, "exec", .. options, "--json", summary, "--", .. program]);
        JsonElement? json = null;
        if (File.Exists(summary))
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllText(summary));
            json = document.RootElement.Clone();
            File.Delete(summary);
        }

        return new(ended, json);
    }
}

/// <summary>What a program did, and what was left of it.</summary>
internal sealed record Run(ExternalProgram Ended, JsonElement? Summary)
{
    /// <summary>The program ended so, and nothing was left of it.</summary>
    public Run ShouldEnd(int status)
    {
        Ended.Status.ShouldBe(status, Ended.Describe());
        foreach (JsonProperty figure in Summary!.Value.GetProperty("left").EnumerateObject())
        {
            figure.Value.GetInt64().ShouldBe(0, figure.Name);
        }

        return this;
    }
}
