using System.Globalization;

namespace Ioasis.Exec.Tests;

/// <summary>A program that does what it can to do harm (invariant 7).</summary>
public sealed class HostileTests
{
    private static readonly bool s_all = string.Equals(Environment.GetEnvironmentVariable("IOASIS_TEST_ALL"), "1", StringComparison.Ordinal);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Random_calls_from_four_threads_and_killed_children_harm_nobody_and_leave_nothing(int seed)
    {
        string calls = (s_all ? 10_000_000 : 100_000).ToString(CultureInfo.InvariantCulture);
        Programs.Execute(Hostile, seed.ToString(CultureInfo.InvariantCulture), calls, "10").ShouldEnd(0).Ended.Output.ShouldEndWith("survived\n");
    }

    [Fact]
    public void A_program_beside_it_notices_nothing()
    {
        string driver = Programs.Build("beside.c");
        Programs.ExecuteOn(
            ["--device", "edu", "--device", "edu"], "sh", "-c", $"{Hostile} 3 100000 5 >/dev/null & {driver} /dev/vfio/devices/vfio1; status=$?; wait; exit $status")
            .ShouldEnd(0).Ended.Output.ShouldBe("undisturbed\n");
    }

    private static string Hostile => Programs.Build("hostile.c", "-Wno-unused-result");
}
