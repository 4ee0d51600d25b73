using Ioasis.Testing;

[assembly: CollectionBehavior(DisableTestParallelization = true)]

namespace Ioasis.Mistakes.Tests;

/// <summary>Makes one of the mistakes of tests/Ioasis.Mistakes/*.md. One at a time: the switch is the process's.</summary>
internal sealed class MadeMistake : IDisposable
{
    private static readonly string?[] s_made = Shared();

    public MadeMistake(string name) => Volatile.Write(ref s_made[0], name);

    public void Dispose() => Volatile.Write(ref s_made[0], null);

    // As in Ioasis.Mistakes, SourceCopy.
    private static string?[] Shared()
    {
        const string Key = "Ioasis.Mistake";
        if (AppContext.GetData(Key) is string?[] made)
        {
            return made;
        }

        made = new string?[1];
        AppContext.SetData(Key, made);
        return made;
    }
}

/// <summary>What must be found, and within which budget.</summary>
internal static class Explorer
{
    private static ExplorerOptions Options { get; } = new()
    {
        MaxSchedules = 20_000,
    };

    /// <summary>The explorer finds the mistake, no deeper than said, and the schedule that it names repeats it.</summary>
    public static void Finds(string mistake, Func<Scenario> create, int atMostPreemptions = 2)
    {
        using MadeMistake made = new(mistake);
        ScheduleFailure failure = ScheduleExplorer.Explore(create, Options).ShouldFail();
        failure.Kind.ShouldBeOneOf(FailureKind.Invariant, FailureKind.Exception);
        failure.Preemptions.ShouldBeLessThanOrEqualTo(atMostPreemptions, failure.ToString());
        ScheduleExplorer.Replay(create, failure.Schedule.ToString(), Options).ShouldNotBeNull();
    }
}
