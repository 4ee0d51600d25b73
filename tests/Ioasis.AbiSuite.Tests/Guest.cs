using System.Diagnostics;

namespace Ioasis.AbiSuite.Tests;

/// <summary>Linux in QEMU, with the suite as its only program (lab/linux-guest, docs/lab.md).</summary>
internal static class Guest
{
    private static readonly Lazy<string> s_root = new(FindRoot);

    /// <summary>Boots a kernel and gives what the suite recorded there, or skips the test with what was missing.</summary>
    /// <param name="kernel">Image of a kernel with everything built in, or null for Debian's.</param>
    public static string[] Run(string? kernel = null)
    {
        string folder = Path.Combine(s_root.Value, "artifacts", "linux-guest");
        string suite = Path.Combine(folder, "suite");
        string records = Path.Combine(folder, kernel is null ? "debian.txt" : "iommufd.txt");
        Require(
            "dotnet",
            TimeSpan.FromMinutes(15),
            null,
            "publish",
            "tests/Ioasis.AbiSuite.Guest",
            "--runtime",
            "linux-x64",
            "--self-contained",
            "--configuration",
            "Release",
            "--nologo",
            "--verbosity",
            "quiet",
            "--artifacts-path",
            Path.Combine(folder, "build"),
            "--output",
            suite);
        Require("lab/linux-guest/run", TimeSpan.FromMinutes(25), kernel, suite, records);
        return File.ReadAllLines(records);
    }

    /// <summary>The kernel with iommufd, built once.</summary>
    public static string BuildKernel() => Require("lab/linux-guest/build-kernel", TimeSpan.FromMinutes(60), null).Trim();

    // What cannot be had here is a skip with its reason; with CI=true nothing may be missing.
    private static string Require(string program, TimeSpan limit, string? kernel, params string[] arguments)
    {
        ProcessStartInfo start = new(program.Contains('/', StringComparison.Ordinal) ? Path.Combine(s_root.Value, program) : program, arguments)
        {
            WorkingDirectory = s_root.Value,
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["IOASIS_GUEST_KERNEL"] = kernel ?? string.Empty;
        using Process process = Process.Start(start)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        Task<string> errors = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        if (!process.WaitForExit(limit))
        {
            process.Kill(entireProcessTree: true);
            Assert.Fail($"{program} did not end within {limit}.");
        }

        if (process.ExitCode != 0)
        {
            string reason = $"{program} ended with status {process.ExitCode}: {errors.Result.Trim()} {output.Result.Trim()}".Trim();
            bool missing = errors.Result.Contains("lab/fetch:", StringComparison.Ordinal)
                || errors.Result.Contains(": needs ", StringComparison.Ordinal)
                || reason.Contains("NU1101", StringComparison.Ordinal) || reason.Contains("NU1301", StringComparison.Ordinal);
            Assert.SkipWhen(
                missing && !string.Equals(Environment.GetEnvironmentVariable("CI"), "true", StringComparison.Ordinal), reason);
            Assert.Fail(reason);
        }

        return output.Result;
    }

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
