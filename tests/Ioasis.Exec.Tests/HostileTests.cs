using System.Globalization;
using Ioasis.Testing;

namespace Ioasis.Exec.Tests;

/// <summary>A program that does what it can to do harm (invariant 7).</summary>
public sealed class HostileTests
{
    private static readonly bool s_all = string.Equals(Environment.GetEnvironmentVariable("IOASIS_TEST_ALL"), "1", StringComparison.Ordinal);

    // Ten million with IOASIS_TEST_ALL=1: some hours on a machine that does other things too.
    private static readonly string s_calls = s_all ? "10000000" : "100000";
    private static readonly TimeSpan s_limit = s_all ? TimeSpan.FromHours(12) : TimeSpan.FromMinutes(10);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Random_calls_from_four_threads_and_killed_children_harm_nobody_and_leave_nothing(int seed)
    {
        ExecRun.Of(["--device", "edu"], s_limit, null, Hostile, seed.ToString(CultureInfo.InvariantCulture), s_calls, s_all ? "100" : "10")
            .ShouldEnd(0).Ended.Output.ShouldEndWith("survived\n");
    }

    [Fact]
    public void A_program_beside_it_notices_nothing()
    {
        // Again and again until the other ends.
        string driver = Programs.Build("beside.c");
        string script = $"{Hostile} 3 {s_calls} 5 >/dev/null & other=$!; {driver} /dev/vfio/devices/vfio1 || exit 9; "
            + $"while kill -0 $other 2>/dev/null; do {driver} /dev/vfio/devices/vfio1 >/dev/null || exit 9; done; wait $other";
        ExecRun.Of(["--device", "edu", "--device", "edu"], s_limit, null, "sh", "-c", script)
            .ShouldEnd(0).Ended.Output.ShouldBe("undisturbed\n");
    }

    private static string Hostile => Programs.Build("hostile.c", "-Wno-unused-result");
}
