using System.Diagnostics;

namespace Ioasis.Testing;

/// <summary>What a program outside of .NET said: a script of the lab, or the SDK itself.</summary>
/// <param name="Status">The exit status.</param>
/// <param name="Output">Standard output.</param>
/// <param name="Errors">Standard error.</param>
public sealed record ExternalProgram(int Status, string Output, string Errors)
{
    private static readonly string[] s_missing = [": needs ", "NU1101", "NU1301"];

    /// <summary>The folder of the repository that the tests run in.</summary>
    /// <exception cref="InvalidOperationException">They do not run inside of one.</exception>
    public static string RepositoryRoot { get; } = FindRoot();

    /// <summary>The command <c>ioasis</c>, as it was built beside the tests: an argument for <c>dotnet</c>.</summary>
    public static string IoasisCommand { get; } = Path.Combine(
        RepositoryRoot,
        "src",
        "Ioasis.Cli",
        "bin",
        AppContext.BaseDirectory.Contains("/Debug/", StringComparison.Ordinal) ? "Debug" : "Release",
        "net10.0",
        "ioasis.dll");

    /// <summary>
    /// True if the program failed for something that cannot be had on this machine, and a test may say so and be skipped; never
    /// with CI=true, where nothing may be missing.
    /// </summary>
    public bool LacksSomething => Status != 0
        && (s_missing.Any(sign => (Errors + Output).Contains(sign, StringComparison.Ordinal)) || FetchFailed)
        && !string.Equals(Environment.GetEnvironmentVariable("CI"), "true", StringComparison.Ordinal);

    // Its last words: lab/fetch also tells what it does while it succeeds.
    private bool FetchFailed => Errors.TrimEnd().Split('\n')[^1].StartsWith("lab/fetch:", StringComparison.Ordinal);

    /// <summary>Runs a program in the repository's folder and waits for it.</summary>
    /// <param name="program">A path below the repository's folder, or a name for the shell's path.</param>
    /// <param name="limit">How long it may take; then it is killed with all that it started.</param>
    /// <param name="environment">Variables on top of this process's own.</param>
    /// <param name="arguments">Its arguments.</param>
    /// <exception cref="TimeoutException">It did not end in time.</exception>
    public static ExternalProgram Run(
        string program, TimeSpan limit, IReadOnlyDictionary<string, string>? environment, params ReadOnlySpan<string> arguments)
    {
        string path = program.Contains('/', StringComparison.Ordinal) ? Path.Combine(RepositoryRoot, program) : program;
        ProcessStartInfo start = new(path, arguments.ToArray())
        {
            WorkingDirectory = RepositoryRoot,
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach ((string name, string value) in environment ?? new Dictionary<string, string>(StringComparer.Ordinal))
        {
            start.Environment[name] = value;
        }

        using Process process = Process.Start(start)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        if (!process.WaitForExit(limit))
        {
            process.Kill(entireProcessTree: true);
            throw new TimeoutException($"{program} did not end within {limit}.");
        }

        return new(process.ExitCode, output.GetAwaiter().GetResult(), errors.GetAwaiter().GetResult());
    }

    /// <summary>The status and all that was said, for a message.</summary>
    public string Describe() => $"status {Status}: {Errors.Trim()} {Output.Trim()}".Trim();

    private static string FindRoot()
    {
        DirectoryInfo? directory = new(AppContext.BaseDirectory);
        while (directory is not null && !File.Exists(Path.Combine(directory.FullName, "Ioasis.slnx")))
        {
            directory = directory.Parent;
        }

        return directory?.FullName ?? throw new InvalidOperationException("Ioasis.slnx is in no parent folder of the tests.");
    }
}
