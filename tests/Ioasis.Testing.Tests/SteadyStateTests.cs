namespace Ioasis.Testing.Tests;

public sealed class SteadyStateTests
{
    [Fact]
    public void What_allocates_every_time_is_seen()
    {
        object? last = null;
        SteadyState.AllocatedBytes(() => last = new byte[1000]).ShouldBeGreaterThanOrEqualTo(1000);
        last.ShouldNotBeNull();
    }

    [Fact]
    public void What_allocated_only_while_it_warmed_up_is_not_counted()
    {
        byte[]? cache = null;
        int runs = 0;
        SteadyState.AllocatedBytes(() =>
        {
            cache ??= new byte[1000];
            runs++;
        }).ShouldBe(0);
        runs.ShouldBeInRange(3, 7);
    }

    [Fact]
    public void One_run_that_allocates_among_others_that_do_not_is_not_counted()
    {
        int runs = 0;
        object? last = null;
        SteadyState.AllocatedBytes(() => last = ++runs == 3 ? new byte[1000] : last).ShouldBe(0);
        runs.ShouldBeGreaterThan(3);
    }
}
