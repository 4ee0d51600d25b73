namespace Ioasis.Testing.Tests;

/// <summary>An exploration says what it covered, and does not hold below its floor.</summary>
public sealed class CoverageTests
{
    private static readonly ExplorerOptions s_small = new() { MaxSchedules = 1, RandomSchedules = 3 };

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void The_floor_is_reached_however_small_the_budget(int floor)
    {
        ExplorationResult result =
            ScheduleExplorer.Explore(static () => new Counting(locked: true, threads: 3), s_small with { RequiredPreemptions = floor }).ShouldHold();
        result.CompletedBound.ShouldBe(floor);
        result.RequiredBound.ShouldBe(floor);
        result.RandomSchedules.ShouldBe(3);
        result.Schedules.ShouldBe(result.Coverage.Sum(static level => level.Tried));
    }

    [Fact]
    public void The_budget_is_used_up_to_its_last_schedule_and_the_result_says_of_what()
    {
        ExplorationResult whole = ScheduleExplorer.Explore(
            static () => new Counting(locked: true, threads: 3), s_small with { RequiredPreemptions = 2 }).ShouldHold();
        int floor = whole.Coverage[0].Tried + whole.Coverage[1].Tried;
        ExplorationResult part = ScheduleExplorer.Explore(
            static () => new Counting(locked: true, threads: 3), s_small with { MaxSchedules = floor + 5 }).ShouldHold();
        part.Schedules.ShouldBe(floor + 5);
        part.Coverage[2].Tried.ShouldBe(5);
        part.Coverage[2].IsComplete.ShouldBeFalse();
        part.Coverage[2].Known.ShouldBeInRange(6, whole.Coverage[2].Known);
        part.ToString().ShouldContain($"covered: all of 0 preemptions ({whole.Coverage[0].Tried} schedules), all of 1 preemption (");
        part.ToString().ShouldContain("5 of 2 preemptions (of at least ");
        part.ToString().ShouldContain("3 random; floor: all of 1;");
    }

    [Fact]
    public void Time_that_runs_out_is_a_failure_that_names_the_scenario_and_what_was_covered()
    {
        ExplorationResult result = ScheduleExplorer.Explore(
            static () => new Counting(locked: true, threads: 3), s_small with { TimeLimit = TimeSpan.Zero });
        result.ReachedTimeLimit.ShouldBeTrue();
        string message = Should.Throw<ScheduleFailedException>(() => result.ShouldHold()).Message;
        message.ShouldContain("Fewer orders were tried than the floor, all of 1 preemptions: Counting: covered: 1 of 0 preemptions (of at least ");
        message.ShouldContain("time limit reached");
    }

    [Fact]
    public void Time_that_runs_out_above_the_floor_is_a_failure_too()
    {
        ExplorationResult held = ScheduleExplorer.Explore(static () => new Counting(locked: true), s_small).ShouldHold();
        Should.Throw<ScheduleFailedException>(() => (held with { ReachedTimeLimit = true }).ShouldHold()).Message
            .ShouldContain("The time limit came before the end of the budget");
    }
}
