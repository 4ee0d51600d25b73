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

/// <summary>How an exploration went.</summary>
public sealed record ExplorationResult
{
    /// <summary>Runs of the exhaustive part.</summary>
    public required int Schedules { get; init; }

    /// <summary>Every order with up to so many preemptions was tried; -1 if not even all of those without any.</summary>
    public required int CompletedBound { get; init; }

    /// <summary>Random runs.</summary>
    public required int RandomSchedules { get; init; }

    /// <summary>Points of the longest run.</summary>
    public required int LongestRun { get; init; }

    /// <summary>What was found, or null.</summary>
    public ScheduleFailure? Failure { get; init; }

    /// <summary>Throws if something was found.</summary>
    /// <exception cref="ScheduleFailedException">With the schedule and the trace.</exception>
    public ExplorationResult ShouldHold() => Failure is null ? this : throw new ScheduleFailedException(ToString(), Failure.Error);

    /// <summary>Throws if nothing was found: for code that is wrong on purpose.</summary>
    /// <exception cref="ScheduleFailedException">With how far the exploration went.</exception>
    public ScheduleFailure ShouldFail() =>
        Failure ?? throw new ScheduleFailedException($"The defect was not found: {this}", null);

    /// <inheritdoc/>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"{Schedules} schedules (all with up to {CompletedBound} preemptions), {RandomSchedules} random, longest {LongestRun} steps{(Failure is null ? "" : "\n" + Failure)}");
}
