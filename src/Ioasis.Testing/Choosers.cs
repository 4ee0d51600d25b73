using System.Numerics;

namespace Ioasis.Testing;

/// <summary>Follows a schedule and takes the default where it says nothing.</summary>
internal sealed class ScheduleChooser(IReadOnlyList<Deviation> deviations) : IChooser
{
    private readonly Dictionary<(int Thread, int Point), int> _next =
        deviations.ToDictionary(static item => (item.Thread, item.Point), static item => item.Next);

    /// <summary>Departures that came to pass.</summary>
    public int Applied { get; private set; }

    public int Choose(in Decision decision, int step)
    {
        if (_next.TryGetValue((decision.Thread, decision.Point), out int next) && (decision.Options >> next & 1) != 0)
        {
            Applied++;
            return next;
        }

        return decision.Default;
    }

    public void OnYield(int thread)
    {
    }
}

/// <summary>
/// Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatte: "A Randomized Scheduler with Probabilistic
/// Guarantees of Finding Bugs", ASPLOS 2010): random priorities, the highest that can runs, and at d-1 random steps the
/// running thread falls below all. A bug of depth d in n threads and k steps is hit with a probability of 1/(n k^(d-1)).
/// Who finds that it must wait falls below all as well, so that nobody starves another by polling.
/// </summary>
internal sealed class RandomChooser : IChooser
{
    private readonly int[] _priorities;
    private readonly HashSet<int> _changes = [];
    private int _lowest;

    public RandomChooser(Random random, int threads, int depth, int steps)
    {
        _priorities = [.. Enumerable.Range(1, threads)];
        random.Shuffle(_priorities);
        for (int i = 1; i < depth; i++)
        {
            _ = _changes.Add(random.Next(1, Math.Max(2, steps + 1)));
        }
    }

    public int Choose(in Decision decision, int step)
    {
        // The steps between two choices have only one thread that can run: a change there comes due at the choice.
        if (decision.Thread >= 0 && _changes.RemoveWhere(change => change <= step) > 0)
        {
            OnYield(decision.Thread);
        }

        int best = -1;
        for (uint options = decision.Options; options != 0; options &= options - 1)
        {
            int thread = BitOperations.TrailingZeroCount(options);
            if (best < 0 || _priorities[thread] > _priorities[best])
            {
                best = thread;
            }
        }

        return best;
    }

    public void OnYield(int thread) => _priorities[thread] = --_lowest;
}
