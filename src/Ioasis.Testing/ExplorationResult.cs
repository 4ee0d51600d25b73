using System.Globalization;

namespace Ioasis.Testing;

/// <summary>What a run can be guilty of.</summary>
public enum FailureKind
{
    /// <summary>A check of the scenario threw.</summary>
    Invariant,

    /// <summary>A logical thread threw.</summary>
    Exception,

    /// <summary>Every thread waits.</summary>
    Deadlock,

    /// <summary>The run has no end.</summary>
    Livelock,

    /// <summary>A thread blocks or computes without passing a point.</summary>
    Hang,

    /// <summary>The scenario did not repeat itself when its schedule was repeated.</summary>
    NotDeterministic,
}

/// <summary>A schedule that breaks something, made as short as the budget allowed.</summary>
/// <param name="Kind">In general.</param>
/// <param name="Message">In particular.</param>
/// <param name="Schedule">What to give to <see cref="ScheduleExplorer.Replay"/>.</param>
/// <param name="Preemptions">Times that a thread was stopped which could have gone on.</param>
/// <param name="Steps">Points of the run.</param>
/// <param name="Trace">Who did what, in order.</param>
/// <param name="Error">What was thrown, if something was.</param>
public sealed record ScheduleFailure(
    FailureKind Kind, string Message, Schedule Schedule, int Preemptions, int Steps, string Trace, Exception? Error)
{
    /// <inheritdoc/>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"{Kind}: {Message}\nschedule: {Schedule}  ({Preemptions} preemptions, {Steps} steps)\n{Trace}");
}

/// <summary>A scenario failed; the message has the schedule and the trace.</summary>
public sealed class ScheduleFailedException : Exception
{
    /// <summary>Makes the exception.</summary>
    public ScheduleFailedException(string message, Exception? inner)
        : base(message, inner)
    {
    }
}

/// <summary>What was tried of the orders with one number of preemptions.</summary>
/// <param name="Preemptions">The number.</param>
/// <param name="Tried">Orders that were run.</param>
/// <param name="Known">Orders that are known: all, if all were tried; else there may be more behind those that were not.</param>
public readonly record struct LevelCoverage(int Preemptions, int Tried, int Known)
{
    /// <summary>Whether nothing is left.</summary>
    public bool IsComplete => Tried == Known;

    /// <inheritdoc/>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"{(IsComplete ? "all" : $"{Tried:N0}")} of {Preemptions} preemption{(Preemptions == 1 ? "" : "s")} ({(IsComplete ? "" : "of at least ")}{Known:N0} schedules)");
}

/// <summary>How an exploration went.</summary>
public sealed record ExplorationResult
{
    /// <summary>Runs of the exhaustive part.</summary>
    public required int Schedules { get; init; }

    /// <summary>The class of the scenario.</summary>
    public required string Scenario { get; init; }

    /// <summary>What was covered, fewest preemptions first.</summary>
    public required IReadOnlyList<LevelCoverage> Coverage { get; init; }

    /// <summary>The floor: see <see cref="ExplorerOptions.RequiredPreemptions"/>.</summary>
    public required int RequiredBound { get; init; }

    /// <summary>Whether <see cref="ExplorerOptions.TimeLimit"/> ended it.</summary>
    public required bool ReachedTimeLimit { get; init; }

    /// <summary>Every order with up to so many preemptions was tried; -1 if not even all of those without any.</summary>
    public int CompletedBound => Coverage.Count(static level => level.IsComplete) - 1;

    /// <summary>Random runs.</summary>
    public required int RandomSchedules { get; init; }

    /// <summary>Points of the longest run.</summary>
    public required int LongestRun { get; init; }

    /// <summary>What was found, or null.</summary>
    public ScheduleFailure? Failure { get; init; }

    /// <summary>Throws if something was found, or if less was tried than the floor asks for or than the time limit allowed.</summary>
    /// <exception cref="ScheduleFailedException">With the schedule and the trace, or with what was covered.</exception>
    public ExplorationResult ShouldHold()
    {
        if (Failure is not null)
        {
            throw new ScheduleFailedException(ToString(), Failure.Error);
        }

        if (CompletedBound < RequiredBound)
        {
            throw new ScheduleFailedException(
                string.Create(CultureInfo.InvariantCulture, $"Fewer orders were tried than the floor, all of {RequiredBound} preemptions: {this}"), null);
        }

        return ReachedTimeLimit
            ? throw new ScheduleFailedException($"The time limit came before the end of the budget of schedules: {this}", null)
            : this;
    }

    /// <summary>Throws if nothing was found: for code that is wrong on purpose.</summary>
    /// <exception cref="ScheduleFailedException">With how far the exploration went.</exception>
    public ScheduleFailure ShouldFail() =>
        Failure ?? throw new ScheduleFailedException($"The defect was not found: {this}", null);

    /// <inheritdoc/>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"{Scenario}: covered: {string.Join(", ", Coverage)}; {RandomSchedules:N0} random; floor: all of {RequiredBound}; longest {LongestRun} steps{(ReachedTimeLimit ? "; time limit reached" : "")}{(Failure is null ? "" : "\n" + Failure)}");
}
