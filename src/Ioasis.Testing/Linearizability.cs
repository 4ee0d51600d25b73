using System.Globalization;
using System.Text;

namespace Ioasis.Testing;

/// <summary>A call of a recorded history: it took effect at some moment from its start to its end.</summary>
/// <param name="Thread">Who called.</param>
/// <param name="Start">When it began, in ticks of the recorder.</param>
/// <param name="End">When it had returned.</param>
/// <param name="Call">What was asked.</param>
/// <param name="Result">What was answered.</param>
public sealed record HistoryCall<TCall, TResult>(int Thread, long Start, long End, TCall Call, TResult Result);

/// <summary>Records calls of concurrent threads. Thread-safe.</summary>
public sealed class HistoryRecorder<TCall, TResult>
{
    private readonly List<HistoryCall<TCall, TResult>> _calls = [];
    private long _clock;

    /// <summary>The calls that have returned.</summary>
    public IReadOnlyList<HistoryCall<TCall, TResult>> Calls
    {
        get
        {
            lock (_calls)
            {
                return [.. _calls];
            }
        }
    }

    /// <summary>Runs a call and records it.</summary>
    public TResult Run(int thread, TCall call, Func<TCall, TResult> run)
    {
        ArgumentNullException.ThrowIfNull(run);
        long start = Interlocked.Increment(ref _clock);
        TResult result = run(call);
        long end = Interlocked.Increment(ref _clock);
        lock (_calls)
        {
            _calls.Add(new(thread, start, end, call, result));
        }

        return result;
    }
}

/// <summary>
/// Looks for an order of a history's calls that keeps to their times and that a sequential model explains (Wing, Gong: Testing
/// and verifying concurrent objects, JPDC 1993), with the memory of visited configurations that Lowe added (Testing for
/// linearizability, 2017). Finds one or proves that there is none.
/// </summary>
public static class Linearizability
{
    /// <summary>Checks a history of at most 64 calls.</summary>
    /// <param name="history">The calls, in any order.</param>
    /// <param name="initial">The model's state before them; compared by value.</param>
    /// <param name="step">
    /// Whether the model can answer a call so in a state, and the state after it. Must not change the state that it gets.
    /// </param>
    /// <returns>Null if there is an order; else a text that shows the history.</returns>
    public static string? Check<TState, TCall, TResult>(
        IReadOnlyList<HistoryCall<TCall, TResult>> history,
        TState initial,
        Func<TState, TCall, TResult, (bool Possible, TState Next)> step)
        where TState : IEquatable<TState>
    {
        ArgumentNullException.ThrowIfNull(history);
        ArgumentNullException.ThrowIfNull(step);
        if (history.Count > 64)
        {
            throw new ArgumentException("More than 64 calls.", nameof(history));
        }

        HistoryCall<TCall, TResult>[] calls = [.. history.OrderBy(static call => call.Start)];
        HashSet<(ulong Done, TState State)> seen = [];
        return Search(calls, 0, initial, step, seen) ? null : Describe(calls);
    }

    private static bool Search<TState, TCall, TResult>(
        HistoryCall<TCall, TResult>[] calls,
        ulong done,
        TState state,
        Func<TState, TCall, TResult, (bool Possible, TState Next)> step,
        HashSet<(ulong Done, TState State)> seen)
        where TState : IEquatable<TState>
    {
        // Only a call that began before the first end of those left can be next.
        long firstEnd = long.MaxValue;
        bool left = false;
        for (int i = 0; i < calls.Length; i++)
        {
            if ((done >> i & 1) == 0)
            {
                left = true;
                firstEnd = Math.Min(firstEnd, calls[i].End);
            }
        }

        if (!left)
        {
            return true;
        }

        for (int i = 0; i < calls.Length; i++)
        {
            if ((done >> i & 1) != 0 || calls[i].Start > firstEnd)
            {
                continue;
            }

            (bool possible, TState next) = step(state, calls[i].Call, calls[i].Result);
            ulong after = done | (1ul << i);
            if (possible && seen.Add((after, next)) && Search(calls, after, next, step, seen))
            {
                return true;
            }
        }

        return false;
    }

    private static string Describe<TCall, TResult>(HistoryCall<TCall, TResult>[] calls)
    {
        StringBuilder text = new("No sequential order explains:\n");
        foreach (HistoryCall<TCall, TResult> call in calls)
        {
            _ = text.AppendLine(
                CultureInfo.InvariantCulture, $"  thread {call.Thread} [{call.Start}, {call.End}] {call.Call} = {call.Result}");
        }

        return text.ToString();
    }
}
