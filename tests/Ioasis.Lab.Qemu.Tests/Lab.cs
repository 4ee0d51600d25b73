namespace Ioasis.Lab.Qemu.Tests;

/// <summary>What the tests need of the lab. Where it cannot be had, a test is skipped and says why; in CI it fails.</summary>
internal static class Lab
{
    public static string QemuRiscV => Fetch("qemu-riscv");

    public static string QemuX86 => Fetch("qemu-x86");

    private static string Fetch(string what)
    {
        if (!LabTools.TryFetch(what, out string path, out string problem))
        {
            string text = $"QEMU is not to be had here: {problem}";
            Assert.False(string.Equals(Environment.GetEnvironmentVariable("CI"), "true", StringComparison.Ordinal), text);
            Assert.Skip(text);
        }

        return path;
    }
}
