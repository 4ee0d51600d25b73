using Ioasis.Testing;

namespace Ioasis.AbiSuite.Tests;

/// <summary>Linux in QEMU, with the suite as its only program (lab/linux-guest, docs/lab.md).</summary>
internal static class Guest
{
    private static readonly string s_folder = Path.Combine(ExternalProgram.RepositoryRoot, "artifacts", "linux-guest");
    private static readonly Lazy<string> s_suite = new(Publish);

    /// <summary>Boots a kernel and gives what the suite recorded there, or skips the test with what was missing.</summary>
    /// <param name="kernel">Image of a kernel with everything built in, or null for Debian's.</param>
    public static string[] Run(string? kernel = null)
    {
        string records = Path.Combine(s_folder, kernel is null ? "debian.txt" : "iommufd.txt");
        Require("lab/linux-guest/run", TimeSpan.FromMinutes(25), new() { ["IOASIS_GUEST_KERNEL"] = kernel ?? "" }, s_suite.Value, records);
        return File.ReadAllLines(records);
    }

    /// <summary>Boots a kernel with an IOMMU of some kind and gives what the conversations about VT-d recorded there.</summary>
    /// <param name="kernel">Image of a kernel with everything built in.</param>
    /// <param name="name">Name of the guest.</param>
    /// <param name="environment">What lab/linux-guest/run is told of the IOMMU.</param>
    public static string[] RunVtd(string kernel, string name, Dictionary<string, string> environment)
    {
        string records = Path.Combine(s_folder, name + ".txt");
        environment["IOASIS_GUEST_KERNEL"] = kernel;
        Require("lab/linux-guest/run", TimeSpan.FromMinutes(25), environment, s_suite.Value, records, "--", "--vtd");
        return File.ReadAllLines(records);
    }

    /// <summary>
    /// Boots Debian's kernel in a QEMU under <c>ioasis exec</c> that gives the guest two devices of ours by its <c>vfio-pci</c>, and
    /// gives what the suite recorded there.
    /// </summary>
    /// <param name="devices">QEMU's options for the devices.</param>
    /// <param name="run">The command, which ended well.</param>
    public static string[] RunOnOurDevices(string devices, out ExecRun run)
    {
        string records = Path.Combine(s_folder, $"passed-through-{Guid.NewGuid():N}.txt");
        run = ExecRun.Of(
            ["--device", "edu", "--device", "edu"],
            TimeSpan.FromMinutes(25),
            new Dictionary<string, string>(StringComparer.Ordinal) { ["IOASIS_GUEST_DEVICES"] = devices },
            "lab/linux-guest/run",
            s_suite.Value,
            records);
        Require("ioasis exec", run.Ended);
        string[] lines = File.ReadAllLines(records);
        File.Delete(records);
        File.Delete(records + ".console");
        return lines;
    }

    private static string Publish()
    {
        string suite = Path.Combine(s_folder, "suite");
        Require(
            "dotnet",
            TimeSpan.FromMinutes(15),
            [],
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
            "-p:RunAnalyzers=false",
            "--artifacts-path",
            Path.Combine(s_folder, "build"),
            "--output",
            suite);
        return suite;
    }

    /// <summary>The kernel with iommufd, built once.</summary>
    public static string BuildKernel() => Require("lab/linux-guest/build-kernel", TimeSpan.FromMinutes(60), []).Trim();

    // What cannot be had here is a skip with its reason; with CI=true nothing may be missing.
    private static string Require(string program, TimeSpan limit, Dictionary<string, string> environment, params string[] arguments)
    {
        ExternalProgram ended = ExternalProgram.Run(program, limit, environment, arguments);
        Require(program, ended);
        return ended.Output;
    }

    private static void Require(string program, ExternalProgram ended)
    {
        Assert.SkipWhen(ended.LacksSomething, $"{program}: {ended.Describe()}");
        Assert.True(ended.Status == 0, $"{program}: {ended.Describe()}");
    }
}
