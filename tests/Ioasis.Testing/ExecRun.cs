using System.Text.Json;

namespace Ioasis.Testing;

/// <summary>A program that ran under <c>ioasis exec</c>, and the command's summary.</summary>
/// <param name="Ended">How the command ended.</param>
/// <param name="Summary">What <c>--json</c> wrote; null if nothing.</param>
public sealed record ExecRun(ExternalProgram Ended, JsonElement? Summary)
{
    /// <summary>What was left of the program, as <c>name: count</c>; empty if nothing was.</summary>
    /// <exception cref="InvalidOperationException">There is no summary.</exception>
    public IReadOnlyList<string> Left =>
    [
        .. Summary!.Value.GetProperty("left").EnumerateObject().Where(static figure => figure.Value.GetInt64() != 0)
            .Select(static figure => $"{figure.Name}: {figure.Value}"),
    ];

    /// <summary>Runs a program with the command that was built beside the tests.</summary>
    /// <param name="options">Options of exec.</param>
    /// <param name="limit">How long it may take.</param>
    /// <param name="environment">Variables on top of this process's own.</param>
    /// <param name="program">The program and its arguments.</param>
    /// <exception cref="TimeoutException">It did not end in time.</exception>
    public static ExecRun Of(
        IEnumerable<string> options, TimeSpan limit, IReadOnlyDictionary<string, string>? environment, params IEnumerable<string> program)
    {
        string summary = Path.Combine(Path.GetTempPath(), $"ioasis-exec-{Guid.NewGuid():N}.json");
        try
        {
            ExternalProgram ended = ExternalProgram.Run(
                "dotnet", limit, environment, [ExternalProgram.IoasisCommand, "exec", .. options, "--json", summary, "--", .. program]);
            if (!File.Exists(summary))
            {
                return new(ended, null);
            }

            using JsonDocument document = JsonDocument.Parse(File.ReadAllText(summary));
            return new(ended, document.RootElement.Clone());
        }
        finally
        {
            File.Delete(summary);
        }
    }
}
