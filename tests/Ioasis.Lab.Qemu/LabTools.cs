using System.Collections.Concurrent;
using System.Diagnostics;
using System.Reflection;

namespace Ioasis.Lab.Qemu;

/// <summary>
/// Programs that <c>lab/fetch</c> brings here. A program is fetched once a process; a failure is remembered as the line that
/// the script gave for it.
/// </summary>
public static class LabTools
{
    private static readonly ConcurrentDictionary<string, Lazy<(string? Path, string Problem)>> Fetched = new(StringComparer.Ordinal);

    /// <summary>The folder of the repository, if the tests run inside of one.</summary>
    public static string? RepositoryRoot { get; } = FindRoot();

    /// <summary>Fetches a program, if it is not there yet.</summary>
    /// <param name="what">What <c>lab/fetch</c> calls it.</param>
    /// <param name="path">Where it is.</param>
    /// <param name="problem">Why it is not there, in a line.</param>
    public static bool TryFetch(string what, out string path, out string problem)
    {
        (string? Path, string Problem) fetched = Fetched.GetOrAdd(what, static name => new(() => Fetch(name))).Value;
        path = fetched.Path ?? "";
        problem = fetched.Problem;
        return fetched.Path is not null;
    }

    private static (string? Path, string Problem) Fetch(string what)
    {
        if (RepositoryRoot is null)
        {
            return (null, "not inside the repository: lab/fetch is out of reach");
        }

        ProcessStartInfo start = new(Path.Combine(RepositoryRoot, "lab", "fetch"))
        {
            ArgumentList = { what },
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        try
        {
            using var process = Process.Start(start)!;
            Task<string> errors = process.StandardError.ReadToEndAsync();
            string output = process.StandardOutput.ReadToEnd().Trim();
            process.WaitForExit();
            string lastError = errors.GetAwaiter().GetResult().Trim().Split('\n')[^1];
            return process.ExitCode == 0 && File.Exists(output)
                ? (output, "")
                : (null, lastError.Length > 0 ? lastError : $"lab/fetch {what} ended with {process.ExitCode}");
        }
        catch (System.ComponentModel.Win32Exception error)
        {
            return (null, $"lab/fetch does not start: {error.Message}");
        }
    }

    private static string? FindRoot()
    {
        string? folder = Path.GetDirectoryName(Assembly.GetExecutingAssembly().Location);
        while (folder is not null && !File.Exists(Path.Combine(folder, "lab", "fetch")))
        {
            folder = Path.GetDirectoryName(folder);
        }

        return folder;
    }
}
