using System.Diagnostics;

namespace Ioasis.Native.Tests;

/// <summary>
/// The library as <c>./native</c> builds it, once, and the compilers of those who use it. What is missing is installed where a
/// machine is nobody's (CI, as root); elsewhere the test is skipped, with the reason.
/// </summary>
internal static class Toolbox
{
    private static readonly Lazy<string> s_library = new(Build);
    private static readonly Lock s_installLock = new();
    private static readonly Dictionary<string, string> s_found = new(StringComparer.Ordinal);

    public static string Root { get; } = FindRoot();

    /// <summary>The folder with libioasis.so, ioasis.h and ioasis.pc.</summary>
    public static string Library => s_library.Value;

    /// <summary>A folder for what this run compiles.</summary>
    public static string Scratch { get; } = Directory.CreateTempSubdirectory("ioasis-native-").FullName;

    /// <summary>Finds a program that works; installs its package if that is allowed.</summary>
    /// <param name="program">Its name.</param>
    /// <param name="package">The packages of Debian that have it.</param>
    /// <param name="proof">Arguments with which it ends well if it works: what is on PATH may be a launcher of nothing.</param>
    /// <returns>How to start it.</returns>
    public static string Need(string program, string package, params string[] proof)
    {
        lock (s_installLock)
        {
            string? found = Find(program, proof);
            if (found is null && Environment.GetEnvironmentVariable("CI") == "true" && Environment.UserName == "root")
            {
                // Another program may be installing: its locks are waited for.
                (int _, string updated) = Run("apt-get", ["-q", "-o", "DPkg::Lock::Timeout=600", "update"]);
                (int status, string text) = Run(
                    "apt-get", ["-q", "-y", "-o", "DPkg::Lock::Timeout=600", "--no-install-recommends", "install", .. package.Split(' ')]);
                status.ShouldBe(0, updated + text);
                found = Find(program, proof);
            }

            Assert.SkipWhen(found is null, $"{program} is not installed (Debian: apt-get install {package}).");
            return found!;
        }
    }

    /// <summary>Compiles a C program against the library.</summary>
    public static string CompileC(string source, params string[] options)
    {
        return Compile(Need("gcc", "gcc libc6-dev linux-libc-dev"), source, ["-std=gnu11", "-pthread", .. options]);
    }

    public static string Compile(string compiler, string source, string[] options)
    {
        string program = Path.Combine(Scratch, Path.GetFileNameWithoutExtension(source) + "-" + Guid.NewGuid().ToString("N")[..8]);
        (int status, string text) = Run(
            compiler, ["-Wall", "-Wextra", "-Werror", .. options, source, "-I" + Library, "-L" + Library, "-lioasis", "-o", program]);
        status.ShouldBe(0, text);
        return program;
    }

    /// <summary>Runs a program with the library in reach.</summary>
    /// <returns>Its exit status (-1 if it did not end in ten minutes), and all that it wrote.</returns>
    public static (int Status, string Text) Run(string program, IEnumerable<string> arguments)
    {
        ProcessStartInfo start = new(program, arguments)
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = Root,
        };
        if (s_library.IsValueCreated)
        {
            start.Environment["LD_LIBRARY_PATH"] = Library;
        }

        start.Environment["DEBIAN_FRONTEND"] = "noninteractive";
        using Process process = Process.Start(start)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        if (!process.WaitForExit(TimeSpan.FromMinutes(program.StartsWith(Scratch, StringComparison.Ordinal) ? 10 : 15)))
        {
            process.Kill(entireProcessTree: true);
            return (-1, "did not end in time");
        }

        return (process.ExitCode, output.Result + errors.Result);
    }

    private static string Build()
    {
        _ = Need("gcc", "gcc libc6-dev linux-libc-dev");
        (int status, string text) = Run(Path.Combine(Root, "native"), []);
        status.ShouldBe(0, text);
        return Path.Combine(Root, "artifacts", "native");
    }

    private static string? Find(string program, string[] proof)
    {
        if (s_found.TryGetValue(program, out string? known))
        {
            return known;
        }

        IEnumerable<string> folders = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries).Append("/usr/bin");
        string? found = folders
            .Select(folder => Path.Combine(folder, program))
            .FirstOrDefault(path => File.Exists(path) && Run(path, proof.Length == 0 ? ["--version"] : proof).Status == 0);
        if (found is not null)
        {
            s_found[program] = found;
        }

        return found;
    }

    private static string FindRoot()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "Ioasis.slnx")))
        {
            folder = Path.GetDirectoryName(folder);
        }

        return folder ?? throw new InvalidOperationException("The repository's root is not above the tests.");
    }
}
