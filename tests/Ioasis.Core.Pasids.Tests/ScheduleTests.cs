using Ioasis.Testing;

namespace Ioasis.Core.Pasids.Tests;

/// <summary>Calls that meet, in every order up to two preemptions and in random ones. Mistakes: tests/Ioasis.Mistakes.</summary>
public sealed class ScheduleTests
{
    private static ExplorerOptions Options { get; } = new()
    {
        RequiredPreemptions = 2,
        MaxSchedules = ExplorerOptions.All ? 200_000 : 4000,
        RandomSchedules = ExplorerOptions.All ? 5000 : 200,
    };

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    [Trait("Requirement", "S0.10")]
    [Trait("Requirement", "S0.11")]
    public void A_set_that_is_destroyed_takes_every_allocation_along(bool observed, bool held) =>
        Holds(() => new FreeSetAgainstAllocate(observed, held));

    [Fact]
    [Trait("Requirement", "S0.1")]
    public void A_quota_never_falls_below_what_is_allocated_meanwhile() => Holds(static () => new QuotaAgainstAllocate());

    [Fact]
    [Trait("Requirement", "S0.1")]
    [Trait("Requirement", "S0.4")]
    public void Two_reservations_never_overbook_what_is_above_them() => Holds(static () => new TwoReservations());

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S0.13")]
    [Trait("Requirement", "S1.3")]
    public void A_look_up_gets_a_reference_or_nothing(bool free) => Holds(() => new PutAgainstGet(free));

    [Fact]
    [Trait("Requirement", "S0.14")]
    [Trait("Requirement", "S0.15")]
    public void What_is_read_by_a_handle_is_of_its_own_life() => Holds(static () => new ReadersAgainstReuse());

    [Fact]
    [Trait("Requirement", "S2.1")]
    [Trait("Requirement", "S1.8")]
    public void Nobody_gets_a_number_of_which_a_request_is_on_its_way() => Holds(static () => new StopAgainstDrain());

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S1.13")]
    public void Nobody_gets_a_number_that_a_submission_was_translated_to(bool free) => Holds(() => new UnmapAgainstSubmit(free));

    [Fact]
    public void No_free_number_is_hidden_for_good() => Holds(static () => new SummaryAgainstRelease());

    [Fact]
    public void Calls_that_overlap_are_as_calls_one_after_the_other()
    {
        for (int seed = 0; seed < (ExplorerOptions.All ? 200 : 12); seed++)
        {
            int own = seed;
            ScheduleExplorer.Explore(() => new RecordedCalls(own), Options with { RequiredPreemptions = 1, MaxSchedules = 150, RandomSchedules = 30 }).ShouldHold();
        }
    }

    private static void Holds(Func<Scenario> create) =>
        TestContext.Current.TestOutputHelper?.WriteLine(ScheduleExplorer.Explore(create, Options).ShouldHold().ToString());
}
