using System.Diagnostics;
using System.Numerics;

namespace Ioasis.Testing;

/// <summary>
/// Explores the orders in which the threads of a scenario can pass the points of the injection seam. First every order
/// without preemption, then with one, with two … (iterative context bounding: Musuvathi, Qadeer, PLDI 2007), as far as the
/// bound and the budget go; then random ones. The same seed gives the same runs. What it finds is shortened and can be
/// replayed.
/// </summary>
/// <remarks>
/// A wait is not a place to spin: its thread is out of the choice until another thread has done something (for a lock:
/// until the lock was released), and going back to one that polls while others could get on counts as a preemption. So
/// polling loops neither blow up the space nor make a run endless.
/// </remarks>
public sealed class ScheduleExplorer : IDisposable
{
    private readonly Func<Scenario> _create;
    private readonly ExplorerOptions _options;
    private readonly CarrierPool _carriers = new();
    private readonly List<TraceEvent> _events = [];
    private readonly List<Decision> _decisions = [];
    private int _longest;

    private ScheduleExplorer(Func<Scenario> create, ExplorerOptions options) => (_create, _options) = (create, options);

    /// <summary>Explores a scenario.</summary>
    /// <param name="create">Makes a fresh one; called once a run.</param>
    /// <param name="options">How far to go.</param>
    public static ExplorationResult Explore(Func<Scenario> create, ExplorerOptions? options = null)
    {
        using ScheduleExplorer explorer = new(create, options ?? new());
        return explorer.Explore();
    }

    /// <summary>Runs one schedule, as a failure printed it.</summary>
    /// <returns>What is wrong with it, or null.</returns>
    public static ScheduleFailure? Replay(Func<Scenario> create, string schedule, ExplorerOptions? options = null)
    {
        using ScheduleExplorer explorer = new(create, options ?? new());
        return explorer.Run(new ScheduleChooser(Schedule.Parse(schedule).Deviations), trace: true);
    }

    /// <summary>Ends the OS threads.</summary>
    public void Dispose() => _carriers.Dispose();

    private ExplorationResult Explore()
    {
        Stopwatch watch = Stopwatch.StartNew();
        int schedules = 0, random = 0;
        bool late = false;
        List<LevelCoverage> coverage = [];
        int required = Math.Min(_options.RequiredPreemptions, _options.MaxPreemptions);
        ScheduleFailure? failure = null;
        Random order = new(_options.Seed);
        Level[] levels = [.. Enumerable.Range(0, _options.MaxPreemptions + 1).Select(
            level => new Level(level <= required ? int.MaxValue : _options.MaxSchedules, order))];
        levels[0].Add(new(null, default));
        for (int level = 0; level < levels.Length && failure is null && !late; level++)
        {
            Level items = levels[level];

            // What may not fit the budget is sampled from all over instead of tried from the front.
            bool sample = level > required && (level > 1 || items.Count > _options.MaxSchedules - schedules);
            int done = 0;
            for (; items.Waiting > 0 && failure is null && (level <= required || schedules < _options.MaxSchedules); done++)
            {
                late = schedules > 0 && watch.Elapsed >= _options.TimeLimit;
                if (late)
                {
                    break;
                }

                schedules++;
                failure = RunAndExpand(items.Take(sample), level, levels);
            }

            int repeated = level == 0 && _options.Part != 0 ? 1 : 0;
            schedules -= repeated;
            coverage.Add(new(level, done - repeated, items.Count - repeated));
            bool complete = done == items.Count;
            items.Clear();
            if (!complete)
            {
                break;
            }
        }

        int threads = 0;
        for (int index = _options.Part; index < _options.RandomSchedules && failure is null && !late; index += _options.Parts, random++)
        {
            late = watch.Elapsed >= _options.TimeLimit;
            if (late)
            {
                break;
            }

            Random seed = new(unchecked((_options.Seed * 1_000_003) + index));
            if (threads == 0)
            {
                using Scenario scenario = _create();
                threads = scenario.Threads.Count;
            }

            failure = Run(new RandomChooser(seed, threads, 1 + (index % _options.RandomDepth), _longest), trace: true);
        }

        return new()
        {
            Schedules = schedules,
            Scenario = _last?.GetType().Name ?? "nothing",
            Coverage = coverage,
            RequiredBound = required,
            ReachedTimeLimit = late,
            RandomSchedules = random,
            LongestRun = _longest,
            Failure = failure is null ? null : Shorten(failure),
        };
    }

    // Runs a schedule and queues those that depart from it once more, after its last departure.
    private ScheduleFailure? RunAndExpand(Item item, int level, Level[] levels)
    {
        Deviation[] departures = item.All();
        ScheduleChooser chooser = new(departures);
        ScheduleFailure? failure = Run(chooser, trace: true);
        if (failure is not null)
        {
            return failure;
        }

        if (chooser.Applied != departures.Length)
        {
            return new(
                FailureKind.NotDeterministic,
                "The run did not come to where its schedule departs: the scenario depends on something but the schedule.",
                new(departures), level, 0, TraceText(), null);
        }

        bool isRoot = departures.Length == 0;
        Departures? before = isRoot ? null : new(item.Before, item.Last);
        int children = 0;
        int first = 0;
        if (departures is [.., Deviation last])
        {
            first = _decisions.FindIndex(decision => decision.Thread == last.Thread && decision.Point == last.Point) + 1;
        }

        for (int i = first; i < _decisions.Count; i++)
        {
            Decision decision = _decisions[i];
            for (uint options = decision.Options & ~(1u << decision.Chosen); options != 0; options &= options - 1)
            {
                int next = BitOperations.TrailingZeroCount(options);
                int target = level + ((decision.Free >> next & 1) != 0 ? 0 : 1);
                if (target < levels.Length && (!isRoot || children++ % _options.Parts == _options.Part))
                {
                    levels[target].Add(new(before, decision.AsDeviation(next)));
                }
            }
        }

        return null;
    }

    private Scenario? _last;

    private ScheduleFailure? Run(IChooser chooser, bool trace)
    {
        using Scenario scenario = _create();
        ScheduleRun run = new(scenario, chooser, _options, _events, _decisions);
        run.Execute(_carriers);
        _longest = Math.Max(_longest, run.Steps);
        _last = scenario;
        if (run.Failure is not { } failure)
        {
            return null;
        }

        // Threads that were cut off may have left something thread-local behind.
        _carriers.Dispose();
        Schedule schedule = new([.. _decisions.Where(static item => item.Deviates).Select(static item => item.AsDeviation(item.Chosen))]);
        int preemptions = _decisions.Count(static item => item.Deviates && TraceWriter.IsPreemption(item));
        return new(failure.Kind, failure.Message, schedule, preemptions, run.Steps, trace ? TraceText() : "", failure.Error);
    }

    private string TraceText() => _last is null ? "" : TraceWriter.Write(_last, _events, _decisions);

    // Delta debugging over the departures (Zeller, Hildebrandt, TSE 2002): the result fails, and without any one of its
    // departures it does not, as far as the budget went.
    private ScheduleFailure Shorten(ScheduleFailure found)
    {
        if (found.Kind is FailureKind.Hang or FailureKind.NotDeterministic)
        {
            return found;
        }

        ScheduleFailure best = found;
        int runs = 0;
        int parts = 2;
        while (best.Schedule.Deviations.Count > 0 && runs < _options.MinimizeSchedules)
        {
            IReadOnlyList<Deviation> all = best.Schedule.Deviations;
            parts = Math.Min(parts, all.Count);
            bool shorter = false;
            for (int part = 0; part < parts && !shorter && runs < _options.MinimizeSchedules; part++)
            {
                int from = part * all.Count / parts;
                int to = (part + 1) * all.Count / parts;
                runs++;
                ScheduleFailure? failure =
                    Run(new ScheduleChooser([.. all.Where((_, index) => index < from || index >= to)]), trace: true);
                if (failure is not null && failure.Schedule.Deviations.Count < all.Count)
                {
                    best = failure;
                    shorter = true;
                }
            }

            if (shorter)
            {
                parts = Math.Max(2, parts - 1);
            }
            else if (parts >= all.Count)
            {
                break;
            }
            else
            {
                parts *= 2;
            }
        }

        ScheduleFailure? again = Run(new ScheduleChooser(best.Schedule.Deviations), trace: true);
        return again ?? best with
        {
            Kind = FailureKind.NotDeterministic,
            Message = $"Failed once and not again with the same schedule. Once: {best.Message}",
        };
    }

    /// <summary>The departures that schedules of one run's expansion have in common, the last one first.</summary>
    private sealed class Departures(Departures? before, Deviation last)
    {
        public Departures? Before { get; } = before;

        public Deviation Last { get; } = last;

        public int Count { get; } = before is null ? 1 : before.Count + 1;
    }

    /// <summary>A schedule to try: millions may wait, so what they have in common is kept once.</summary>
    /// <param name="Before">All departures but the last; null: there are none.</param>
    /// <param name="Last">The last departure; nothing (the default) for the undisturbed run.</param>
    private readonly record struct Item(Departures? Before, Deviation Last)
    {
        /// <summary>The departures in their order.</summary>
        public Deviation[] All()
        {
            if (Before is null && Last == default)
            {
                return [];
            }

            int count = Before?.Count ?? 0;
            Deviation[] all = new Deviation[count + 1];
            all[count] = Last;
            for (Departures? node = Before; node is not null; node = node.Before)
            {
                all[--count] = node.Last;
            }

            return all;
        }
    }
    /// <summary>The schedules with a number of preemptions. A budget that cannot try all of them keeps a random choice of them.</summary>
    /// <param name="budget">How many can be tried.</param>
    /// <param name="random">Makes the choice.</param>
    private sealed class Level(int budget, Random random)
    {
        private readonly List<Item> _items = [];
        private int _taken;

        /// <summary>All that were added, those not kept too.</summary>
        public int Count { get; private set; }

        /// <summary>What is kept and was not taken yet.</summary>
        public int Waiting => _items.Count - _taken;

        public void Add(Item item)
        {
            Count++;
            if (_items.Count < budget)
            {
                _items.Add(item);
                return;
            }

            // Each of those that were added stays with the same probability (Vitter, ACM TOMS 1985, algorithm R).
            int slot = random.Next(Count);
            if (slot >= _taken && slot < _items.Count)
            {
                _items[slot] = item;
            }
        }

        /// <summary>The next one, or any of those that wait.</summary>
        public Item Take(bool any)
        {
            if (any)
            {
                int other = random.Next(_taken, _items.Count);
                (_items[_taken], _items[other]) = (_items[other], _items[_taken]);
            }

            Item item = _items[_taken];
            _items[_taken++] = default;
            return item;
        }

        public void Clear()
        {
            _items.Clear();
            _items.TrimExcess();
            _taken = 0;
        }
    }
}
