namespace Ioasis.Testing;

/// <summary>How far the explorer goes. The defaults fit a test that runs on every build.</summary>
public sealed record ExplorerOptions
{
    /// <summary>
    /// Whether the long runs were asked for (<c>IOASIS_TEST_ALL=1</c>): budgets of schedules grow by a factor of 20.
    /// </summary>
    public static bool All { get; } =
        string.Equals(Environment.GetEnvironmentVariable("IOASIS_TEST_ALL"), "1", StringComparison.Ordinal);

    /// <summary>Every order with up to so many preemptions is tried, fewest first.</summary>
    public int MaxPreemptions { get; init; } = 2;

    /// <summary>
    /// The floor: every order with up to so many preemptions is tried, whatever <see cref="MaxSchedules"/> says, or the result does not
    /// hold. No more than <see cref="MaxPreemptions"/>.
    /// </summary>
    public int RequiredPreemptions { get; init; } = 1;

    /// <summary>
    /// Most runs before the random ones, of which what the floor needs comes first. Budgets are counts, not times, so that a loaded
    /// machine covers what an idle one does.
    /// </summary>
    public int MaxSchedules { get; init; } = All ? 2_000_000 : 100_000;

    /// <summary>
    /// No budget but a stop for what has gone wrong: an exploration that takes longer does not hold, and says what it covered.
    /// </summary>
    public TimeSpan TimeLimit { get; init; } = TimeSpan.FromMinutes(All ? 60 : 10);

    /// <summary>Random runs after the exhaustive part.</summary>
    public int RandomSchedules { get; init; } = All ? 10_000 : 500;

    /// <summary>Depth of the bugs that random runs aim at: the number of orderings that must come together.</summary>
    public int RandomDepth { get; init; } = 3;

    /// <summary>Decides the random runs and the order in which a level that may not fit the budget is tried.</summary>
    public int Seed { get; init; } = 1;

    /// <summary>Longest run, in points; a longer one is a livelock.</summary>
    public int MaxSteps { get; init; } = 20_000;

    /// <summary>How often time may pass while no thread gets on.</summary>
    public int MaxIdleRounds { get; init; } = 200;

    /// <summary>Longest time without a point before the run counts as hung.</summary>
    public TimeSpan HangTimeout { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>
    /// Into how many parts the orders are cut, so that several machines can share them: each order is in exactly one part, by the first
    /// place at which it departs from the undisturbed run. Budgets are those of a part; only <see cref="RandomSchedules"/> are of all.
    /// </summary>
    public int Parts { get; init; } = 1;

    /// <summary>Which part is explored, from 0. Only part 0 counts the undisturbed run, which each part has to make.</summary>
    public int Part { get; init; }

    /// <summary>Most runs for the search of the shortest trace.</summary>
    public int MinimizeSchedules { get; init; } = 3000;
}
