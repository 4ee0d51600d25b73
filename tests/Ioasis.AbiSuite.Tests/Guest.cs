using Ioasis.Testing;

namespace Ioasis.AbiSuite.Tests;

/// <summary>Linux in QEMU, with the suite as its only program (lab/linux-guest, docs/lab.md).</summary>
internal static class Guest
{
    /// <summary>Boots a kernel and gives what the suite recorded there, or skips the test with what was missing.</summary>
    /// <param name="kernel">Image of a kernel with everything built in, or null for Debian's.</param>
    public static string[] Run(string? kernel = null)
    {
        string folder = Path.Combine(ExternalProgram.RepositoryRoot, "artifacts", "linux-guest");
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
        Dictionary<string, string> environment = new(StringComparer.Ordinal) { ["IOASIS_GUEST_KERNEL"] = kernel ?? string.Empty };
        ExternalProgram ended = ExternalProgram.Run(program, limit, environment, arguments);
        Assert.SkipWhen(ended.LacksSomething, $"{program}: {ended.Describe()}");
        Assert.True(ended.Status == 0, $"{program}: {ended.Describe()}");
        return ended.Output;
    }
}
