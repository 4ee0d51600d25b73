using Ioasis.Testing;

namespace Ioasis.VfioUser.Tests;

/// <summary>What lab/fetch has for these tests.</summary>
internal static class Lab
{
    public static string QemuX86 => Fetch("qemu-x86");

    /// <summary>The path of what was fetched; where it cannot be had the test is skipped, and with CI=true it fails.</summary>
    public static string Fetch(string what)
    {
        ExternalProgram fetched = ExternalProgram.Run("lab/fetch", TimeSpan.FromMinutes(15), null, what);
        Assert.SkipWhen(fetched.LacksSomething, fetched.Describe());
        fetched.Status.ShouldBe(0, fetched.Describe());
        return fetched.Output.Trim();
    }
}
