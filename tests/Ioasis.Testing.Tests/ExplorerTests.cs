using System.Globalization;
using Ioasis.Platform;

namespace Ioasis.Testing.Tests;

/// <summary>The explorer finds what is wrong, shortens it, repeats it, and finds nothing where nothing is wrong.</summary>
public sealed class ExplorerTests
{
    private static readonly ExplorerOptions s_exhaustive = new() { RandomSchedules = 0 };

    [Fact]
    public void The_seam_is_switched_on() => Injection.IsSupported.ShouldBeTrue();

    [Fact]
    public void A_lost_update_is_found_with_one_preemption()
    {
        ScheduleFailure failure = ScheduleExplorer.Explore(static () => new Counting(locked: false), s_exhaustive).ShouldFail();
        failure.Kind.ShouldBe(FailureKind.Invariant);
        failure.Preemptions.ShouldBe(1);
        failure.Schedule.Deviations.Count.ShouldBe(1);
        failure.Trace.ShouldContain("preempts counter");
        failure.Trace.ShouldContain("MemoryWrite 0x10 = 0x1");
    }

    [Fact]
    public void No_update_is_lost_under_a_lock_in_any_order_of_three_threads()
    {
        ExplorationResult result = ScheduleExplorer.Explore(
            static () => new Counting(locked: true, threads: 3), s_exhaustive with { MaxPreemptions = 3 }).ShouldHold();
        result.CompletedBound.ShouldBe(3);
        result.Schedules.ShouldBeGreaterThan(100);
    }

    [Fact]
    public void What_needs_two_preemptions_is_not_found_with_one_and_found_with_two()
    {
        ScheduleExplorer.Explore(static () => new ThereAndBack(), s_exhaustive with { MaxPreemptions = 1 }).ShouldHold()
            .CompletedBound.ShouldBe(1);
        ScheduleFailure failure = ScheduleExplorer.Explore(static () => new ThereAndBack(), s_exhaustive).ShouldFail();
        failure.Preemptions.ShouldBe(2);
        failure.Schedule.Deviations.Count.ShouldBe(2);
    }

    [Fact]
    public void Locks_in_opposite_order_are_a_deadlock_and_the_message_says_who_holds_what()
    {
        ScheduleFailure failure = ScheduleExplorer.Explore(static () => new TwoLocks(sameOrder: false), s_exhaustive).ShouldFail();
        failure.Kind.ShouldBe(FailureKind.Deadlock);
        failure.Preemptions.ShouldBe(1);
        failure.Message.ShouldContain("first waits for lock 2, holds lock 1");
        failure.Message.ShouldContain("second waits for lock 1, holds lock 2");
        ScheduleExplorer.Explore(static () => new TwoLocks(sameOrder: true), s_exhaustive).ShouldHold().CompletedBound.ShouldBe(2);
    }

    [Fact]
    public void A_missed_wake_up_is_found_as_a_thread_that_polls_for_ever()
    {
        ScheduleFailure failure = ScheduleExplorer.Explore(static () => new WakeUp(announceFirst: false), s_exhaustive).ShouldFail();
        failure.Kind.ShouldBe(FailureKind.Deadlock);
        failure.Message.ShouldContain("sleeper polls");
        ScheduleExplorer.Explore(static () => new WakeUp(announceFirst: true), s_exhaustive).ShouldHold().CompletedBound.ShouldBe(2);
    }

    [Fact]
    public void A_failing_schedule_replays_from_its_text_and_so_does_its_trace()
    {
        ScheduleFailure failure = ScheduleExplorer.Explore(static () => new ThereAndBack(), s_exhaustive).ShouldFail();
        ScheduleFailure? again = ScheduleExplorer.Replay(static () => new ThereAndBack(), failure.Schedule.ToString());
        again.ShouldNotBeNull();
        again.Trace.ShouldBe(failure.Trace);
        again.Message.ShouldBe(failure.Message);
        ScheduleExplorer.Replay(static () => new ThereAndBack(), "undisturbed").ShouldBeNull();
    }

    [Fact]
    public void The_same_seed_gives_the_same_exploration()
    {
        ExplorerOptions options = new() { MaxPreemptions = 1, RequiredPreemptions = 0, MaxSchedules = 10, RandomSchedules = 2000 };
        string first = ScheduleExplorer.Explore(static () => new DepthThree(), options).ToString();
        ScheduleExplorer.Explore(static () => new DepthThree(), options).ToString().ShouldBe(first);
    }

    [Fact]
    public void Random_runs_find_a_bug_of_depth_three_within_their_budget()
    {
        ExplorerOptions options = new() { MaxPreemptions = 0, RandomSchedules = 2000 };
        for (int seed = 1; seed <= 5; seed++)
        {
            ExplorationResult result = ScheduleExplorer.Explore(static () => new DepthThree(), options with { Seed = seed });
            ScheduleFailure failure = result.ShouldFail();
            result.RandomSchedules.ShouldBeGreaterThan(0);

            // Shortest: one is stopped after its first write, two after its first read; the rest follows.
            failure.Schedule.Deviations.Count.ShouldBe(2);
            ScheduleExplorer.Replay(static () => new DepthThree(), failure.Schedule.ToString()).ShouldNotBeNull();
        }
    }

    [Fact]
    public void A_shortened_schedule_does_not_fail_without_any_one_of_its_departures()
    {
        ScheduleFailure failure = ScheduleExplorer.Explore(
            static () => new DepthThree(), new() { MaxPreemptions = 0, RandomSchedules = 2000 }).ShouldFail();
        IReadOnlyList<Deviation> all = failure.Schedule.Deviations;
        all.ShouldNotBeEmpty();
        for (int i = 0; i < all.Count; i++)
        {
            Schedule shorter = new([.. all.Where((_, index) => index != i)]);
            ScheduleExplorer.Replay(static () => new DepthThree(), shorter.ToString()).ShouldBeNull();
        }
    }

    [Fact]
    public void Polling_loops_do_not_blow_up_the_space()
    {
        ExplorationResult result = ScheduleExplorer.Explore(static () => new Polling(pollers: 2, set: true), s_exhaustive).ShouldHold();
        result.CompletedBound.ShouldBe(2);
        result.Schedules.ShouldBeLessThan(5000);
        result.LongestRun.ShouldBeLessThan(100);
    }

    [Fact]
    public void Polling_for_what_never_comes_is_a_deadlock_unless_time_ends_it()
    {
        ScheduleExplorer.Explore(static () => new Polling(pollers: 2, set: false), s_exhaustive).ShouldFail()
            .Kind.ShouldBe(FailureKind.Deadlock);
        ScheduleExplorer.Explore(static () => new Polling(pollers: 2, set: false, timesOut: true), s_exhaustive with { MaxPreemptions = 1 })
            .ShouldHold().CompletedBound.ShouldBe(1);
    }

    [Fact]
    public void A_run_without_end_is_a_livelock()
    {
        ScheduleFailure failure = ScheduleExplorer.Explore(static () => new Endless(), s_exhaustive with { MaxSteps = 500 }).ShouldFail();
        failure.Kind.ShouldBe(FailureKind.Livelock);
        failure.Trace.Split('\n').Length.ShouldBeLessThan(60);
    }

    [Fact]
    public void A_thread_that_blocks_outside_of_the_seam_is_a_hang()
    {
        ScheduleFailure failure = ScheduleExplorer.Explore(
            static () => new BlocksOutside(), s_exhaustive with { HangTimeout = TimeSpan.FromMilliseconds(300) }).ShouldFail();
        failure.Kind.ShouldBe(FailureKind.Hang);
        failure.Message.ShouldContain("second");
    }

    [Fact]
    public void A_scenario_that_does_not_repeat_itself_is_reported()
    {
        int runs = 0;
        ScheduleExplorer.Explore(() => new Counting(locked: true, threads: 2, rounds: ++runs % 3 == 0 ? 1 : 3), s_exhaustive).ShouldFail()
            .Kind.ShouldBe(FailureKind.NotDeterministic);
    }

    [Fact]
    public void A_thread_that_throws_is_a_finding_and_the_others_are_unwound_and_the_scenario_disposed()
    {
        Throwing.Disposed = Throwing.Made = 0;
        ScheduleFailure failure = ScheduleExplorer.Explore(static () => new Throwing(), s_exhaustive).ShouldFail();
        failure.Kind.ShouldBe(FailureKind.Exception);
        failure.Message.ShouldContain("on purpose");
        Throwing.Made.ShouldBeGreaterThan(0);
        Throwing.Disposed.ShouldBe(Throwing.Made);
        Throwing.Unwound.ShouldBeTrue();
    }

    [Fact]
    public void A_schedule_survives_its_text()
    {
        Schedule schedule = new([new(-1, 0, 2), new(0, 12, 1), new(2, 4, 0)]);
        schedule.ToString().ShouldBe("start>2 0.12>1 2.4>0");
        Schedule.Parse(schedule.ToString()).Deviations.ShouldBe(schedule.Deviations);
        Should.Throw<FormatException>(static () => Schedule.Parse("nonsense"));
    }

    [Fact]
    public void The_invariant_is_checked_whenever_another_thread_takes_over()
    {
        ScheduleFailure failure = ScheduleExplorer.Explore(static () => new BrokenInBetween(), s_exhaustive).ShouldFail();
        failure.Kind.ShouldBe(FailureKind.Invariant);
        failure.Preemptions.ShouldBe(1);
    }

    private sealed class Endless : Scenario
    {
        public Endless() => AddThread("endless", static () =>
        {
            while (true)
            {
                _ = Injection.Hit(InjectionKind.MemoryRead, 1);
            }
        });
    }

    private sealed class BlocksOutside : Scenario
    {
        private readonly Lock _lock = new();

        public BlocksOutside()
        {
            AddThread("first", () =>
            {
                lock (_lock)
                {
                    _ = Injection.Hit(InjectionKind.MemoryRead, 1);
                }
            });
            AddThread("second", () =>
            {
                lock (_lock)
                {
                    Note("has the lock");
                }
            });
        }
    }

    private sealed class BrokenInBetween : Scenario
    {
        private readonly Cell _left = new(1);
        private readonly Cell _right = new(2);

        public BrokenInBetween()
        {
            AddThread("mover", () =>
            {
                _left.Write(1);
                _right.Write(-1);
            });
            AddThread("other", static () => Injection.Hit(InjectionKind.Allocate));
        }

        public override void CheckAlways() => (_left.Peek + _right.Peek).ShouldBe(0);
    }

    private sealed class Throwing : Scenario
    {
        public Throwing()
        {
            Made++;
            AddThread("patient", static () =>
            {
                Unwound = false;
                try
                {
                    _ = Injection.Hit(InjectionKind.MemoryRead, 1);
                    _ = Injection.Hit(InjectionKind.MemoryRead, 2);
                }
                finally
                {
                    Unwound = true;
                }
            });
            AddThread("thrower", static () =>
            {
                if (!Unwound)
                {
                    throw new InvalidOperationException(string.Create(CultureInfo.InvariantCulture, $"on purpose"));
                }
            });
        }

        public static int Made { get; set; }

        public static int Disposed { get; set; }

        public static bool Unwound { get; set; }

        protected override void Dispose(bool disposing)
        {
            Disposed++;
            base.Dispose(disposing);
        }
    }
}
