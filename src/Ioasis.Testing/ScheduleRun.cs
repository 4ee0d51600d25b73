using System.Globalization;
using System.Numerics;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Testing;

/// <summary>A place where more than one thread could go on.</summary>
/// <param name="Thread">Who arrived, -1 at the start.</param>
/// <param name="Point">Its point.</param>
/// <param name="Default">Who goes on in the undisturbed order.</param>
/// <param name="Chosen">Who went on.</param>
/// <param name="Options">A bit for each thread that could.</param>
/// <param name="Free">Those of them that do not count as a preemption.</param>
internal readonly record struct Decision(int Thread, int Point, int Default, int Chosen, uint Options, uint Free)
{
    public bool Deviates => Chosen != Default;

    public Deviation AsDeviation(int next) => new(Thread, Point, next);
}

/// <summary>Something that a logical thread did, for the trace.</summary>
internal record struct TraceEvent(int Thread, InjectionKind Kind, ulong Detail, string? Text)
{
    public ulong? Value { get; set; }
}

/// <summary>Says who goes on.</summary>
internal interface IChooser
{
    /// <summary>Chooses among the options of a decision; the chosen one of <paramref name="decision"/> is the default.</summary>
    int Choose(in Decision decision, int step);

    /// <summary>A thread has found that it must wait for others.</summary>
    void OnYield(int thread);
}

/// <summary>
/// One execution of a scenario. The logical threads pass a baton: the one that arrives at a point decides, by the chooser,
/// who goes on, wakes that one and sleeps.
/// </summary>
// A semaphore of which nobody takes the wait handle has nothing to dispose of, and threads that were cut off may still release it.
#pragma warning disable CA1001
internal sealed class ScheduleRun
#pragma warning restore CA1001
{
    private readonly Scenario _scenario;
    private readonly IChooser _chooser;
    private readonly ExplorerOptions _options;
    private readonly LogicalThread[] _threads;
    private readonly SleepingSemaphore _done = new();
    private readonly SleepingSemaphore _ended = new();
    private readonly List<TraceEvent> _events;
    private readonly List<Decision> _decisions;
    private int _steps;
    private int _live;
    private int _running = -1;
    private long _progress;
    private int _waitsWithoutProgress;
    private int _idleRounds;
    private volatile bool _aborting;

    public ScheduleRun(Scenario scenario, IChooser chooser, ExplorerOptions options, List<TraceEvent> events, List<Decision> decisions)
    {
        (_scenario, _chooser, _options, _events, _decisions) = (scenario, chooser, options, events, decisions);
        events.Clear();
        decisions.Clear();
        _threads = [.. scenario.Threads.Select((thread, index) => new LogicalThread(this, index, thread.Name, thread.Body))];
        if (_threads.Length is 0 or > 30)
        {
            throw new ArgumentException("A scenario has 1 to 30 threads.", nameof(scenario));
        }
    }

    public bool Aborting => _aborting;

    public int Steps => _steps;

    /// <summary>Whether OS threads may still be inside of the scenario.</summary>
    public bool Abandoned { get; private set; }

    public (FailureKind Kind, string Message, Exception? Error)? Failure { get; private set; }

    public void Execute(CarrierPool carriers)
    {
        _live = _threads.Length;
        foreach (LogicalThread thread in _threads)
        {
            carriers.Start(thread);
        }

        int first = Decide(null);
        _running = first;
        _threads[first].Wake.Release();
        AwaitEnd();
        if (Failure is null)
        {
            Check(atEnd: true);
        }
    }

    /// <summary>A logical thread passes a point.</summary>
    public Errno Arrive(LogicalThread thread, InjectionKind kind, ulong detail)
    {
        if (_aborting)
        {
            return Unwind(kind);
        }

        _steps++;
        thread.Points++;
        _events.Add(new(thread.Index, kind, detail, null));
        Account(thread, kind, detail);
        if (_steps > _options.MaxSteps)
        {
            Abort(FailureKind.Livelock, $"No end after {_steps} steps.", null);
        }

        int next = _aborting ? -1 : Decide(thread);
        if (next >= 0 && next != thread.Index)
        {
            Switch(next);
            if (!_aborting)
            {
                thread.Wake.Wait();
            }
        }

        if (_aborting)
        {
            return Unwind(kind);
        }

        thread.State = LogicalState.Ready;
        return _scenario.Fail(kind, detail);
    }

    /// <summary>A logical thread has ended.</summary>
    public void End(LogicalThread thread)
    {
        thread.State = LogicalState.Finished;
        if (!_aborting)
        {
            thread.Points++;
            _live--;
            _progress++;
            MadeProgress();
            _events.Add(new(thread.Index, InjectionKind.Wait, 0, thread.Error is null ? "ends" : "throws " + thread.Error.GetType().Name));
            if (thread.Error is not null)
            {
                Abort(FailureKind.Exception, $"{thread.Name}: {thread.Error.Message}", thread.Error);
            }
            else if (_live == 0)
            {
                _done.Release();
            }
            else
            {
                int next = Decide(thread);
                if (next >= 0)
                {
                    Switch(next);
                }
            }
        }
    }

    /// <summary>The OS thread of a logical thread is free again.</summary>
    public void Left() => _ended.Release();

    public void Note(LogicalThread thread, string text) => _events.Add(new(thread.Index, InjectionKind.Wait, 0, text));

    /// <summary>The value that the access just made had.</summary>
    public void Annotate(LogicalThread thread, InjectionKind kind, ulong detail, ulong value)
    {
        for (int i = _events.Count - 1; i >= 0; i--)
        {
            if (_events[i].Thread == thread.Index && _events[i].Kind == kind && _events[i].Detail == detail)
            {
                _events[i] = _events[i] with { Value = value };
                return;
            }
        }
    }

    // In a run that is cut off, locks are still given back in peace; everything else ends the thread.
    private static Errno Unwind(InjectionKind kind) =>
        kind == InjectionKind.LockRelease ? Errno.Success : throw new ScheduleAbortedException();

    private void Account(LogicalThread thread, InjectionKind kind, ulong detail)
    {
        bool lockWait = kind == InjectionKind.Wait && detail != 0;
        if (thread.PendingLock != 0)
        {
            if (!lockWait)
            {
                thread.Held.Add(thread.PendingLock);
                thread.PendingLock = 0;
            }
        }

        // What the thread has just done is what it stood before at its last point.
        if (thread.LastKind != InjectionKind.Wait)
        {
            _progress++;
        }

        if (!thread.Polling || IsWriting(thread.LastKind))
        {
            thread.Polling = false;
            MadeProgress();
        }

        thread.LastKind = kind;
        thread.LastDetail = detail;
        switch (kind)
        {
            case InjectionKind.LockAcquire:
                thread.PendingLock = detail;
                break;
            case InjectionKind.LockRelease:
                _ = thread.Held.Remove(detail);
                foreach (LogicalThread other in _threads)
                {
                    if (other.State == LogicalState.LockWait && other.WaitsFor == detail)
                    {
                        other.State = LogicalState.Ready;
                    }
                }

                break;
            case InjectionKind.Wait when lockWait:
                thread.State = LogicalState.LockWait;
                thread.WaitsFor = detail;
                break;
            case InjectionKind.Wait:
                thread.State = LogicalState.PollWait;
                thread.WaitStamp = _progress;
                thread.Polling = true;
                _waitsWithoutProgress++;
                _chooser.OnYield(thread.Index);
                break;
        }
    }

    private static bool IsWriting(InjectionKind? kind) => kind is InjectionKind.MemoryWrite or InjectionKind.RegisterWrite
        or InjectionKind.Allocate or InjectionKind.QueueSpace or InjectionKind.Pin;

    private void MadeProgress()
    {
        _waitsWithoutProgress = 0;
        _idleRounds = 0;
    }

    // Who goes on, or -1 if the run has failed.
    private int Decide(LogicalThread? from)
    {
        uint ready = 0, roused = 0, polling = 0;
        foreach (LogicalThread thread in _threads)
        {
            uint bit = 1u << thread.Index;
            if (thread.State == LogicalState.Ready)
            {
                ready |= bit;
            }
            else if (thread.State == LogicalState.PollWait)
            {
                polling |= bit;
                roused |= thread.WaitStamp != _progress ? bit : 0;
            }
        }

        int index = from?.Index ?? -1;
        if (ready == 0)
        {
            return DecideAmongPollers(from, polling, roused);
        }

        bool goesOn = from is { State: LogicalState.Ready };
        uint options = ready | roused;
        int normal = goesOn ? index : NextAfter(index, ready);
        uint free = goesOn ? 1u << index : ready;
        if (goesOn && !_scenario.MaySwitch(from!.LastKind!.Value, from.LastDetail))
        {
            return index;
        }

        return Choose(new(index, from?.Points ?? 0, normal, normal, options, free));
    }

    private int DecideAmongPollers(LogicalThread? from, uint polling, uint roused)
    {
        if (polling == 0)
        {
            Abort(FailureKind.Deadlock, "Every thread waits for a lock: " + DescribeWaits(), null);
            return -1;
        }

        if (_waitsWithoutProgress > 3 * _live)
        {
            if (LetTimePass())
            {
                _waitsWithoutProgress = 0;
                _idleRounds++;
            }

            if (_waitsWithoutProgress > 16 * _live || _idleRounds > _options.MaxIdleRounds)
            {
                Abort(FailureKind.Deadlock, "No thread gets on: " + DescribeWaits(), null);
                return -1;
            }
        }

        // Taken in turn: nobody who polls may starve another who does. Another order counts as a preemption.
        int index = from?.Index ?? -1;
        int normal = NextAfter(index, roused != 0 && (roused & (1u << index)) == 0 ? roused : polling);
        return Choose(new(index, from?.Points ?? 0, normal, normal, roused | (1u << normal), 1u << normal));
    }

    private bool LetTimePass()
    {
        IInjector? injector = Injection.Current;
        Injection.Current = null;
        try
        {
            return _scenario.OnIdle();
        }
        finally
        {
            Injection.Current = injector;
        }
    }

    private int Choose(Decision decision)
    {
        int chosen = decision.Default;
        if (BitOperations.PopCount(decision.Options) > 1)
        {
            chosen = _chooser.Choose(decision, _steps);
            _decisions.Add(decision with { Chosen = chosen });
        }

        return chosen;
    }

    private static int NextAfter(int index, uint candidates)
    {
        uint above = candidates & (uint)~((2ul << index) - 1);
        return BitOperations.TrailingZeroCount(index >= 0 && above != 0 ? above : candidates);
    }

    private void Switch(int next)
    {
        Check(atEnd: false);
        if (!_aborting)
        {
            _running = next;
            _threads[next].Wake.Release();
        }
    }

    private void Check(bool atEnd)
    {
        IInjector? injector = Injection.Current;
        Injection.Current = null;
        try
        {
            _scenario.CheckAlways();
            if (atEnd)
            {
                _scenario.CheckAtEnd();
            }
        }
#pragma warning disable CA1031 // Whatever a check throws is the finding of the run.
        catch (Exception error)
#pragma warning restore CA1031
        {
            Abort(FailureKind.Invariant, error.Message, error);
        }
        finally
        {
            Injection.Current = injector;
        }
    }

    private void Abort(FailureKind kind, string message, Exception? error)
    {
        Failure = (kind, message, error);
        _aborting = true;
        _done.Release();
    }

    private void AwaitEnd()
    {
        int seen = -1;
        TimeSpan slice = _options.HangTimeout / 10;
        for (int quiet = 0; !_done.Wait(slice);)
        {
            quiet = seen == Volatile.Read(ref _steps) ? quiet + 1 : 0;
            seen = _steps;
            if (quiet >= 10)
            {
                LogicalThread stuck = _threads[Math.Max(0, _running)];
                Abort(FailureKind.Hang, $"{stuck.Name} does not come back from after its point {stuck.Points}: {DescribeWaits()}", null);
            }
        }

        if (_aborting)
        {
            // One at a time, and first the one that found the failure, which unwinds by itself.
            bool quick = Failure!.Value.Kind != FailureKind.Hang;
            foreach (LogicalThread thread in _threads.OrderBy(thread => thread.Index == _running ? 0 : 1))
            {
                thread.Wake.Release();
                Abandoned |= !SpinWait.SpinUntil(() => thread.State == LogicalState.Finished, quick ? 5000 : 50);
            }
        }

        for (int i = 0; i < _threads.Length && !Abandoned; i++)
        {
            _ended.Wait();
        }
    }

    private string DescribeWaits()
    {
        Dictionary<ulong, int> numbers = [];
        foreach (TraceEvent item in _events)
        {
            if (item.Kind == InjectionKind.LockAcquire)
            {
                _ = numbers.TryAdd(item.Detail, numbers.Count + 1);
            }
        }

        return string.Join("; ", _threads.Where(static thread => thread.State != LogicalState.Finished).Select(thread =>
        {
            string what = thread.State switch
            {
                LogicalState.LockWait => string.Create(CultureInfo.InvariantCulture, $"waits for lock {numbers.GetValueOrDefault(thread.WaitsFor)}"),
                LogicalState.PollWait => "polls",
                _ => "can run",
            };
            string held = thread.Held.Count == 0 ? "" : ", holds lock " + string.Join(", ", thread.Held.Select(id => numbers.GetValueOrDefault(id)));
            return $"{thread.Name} {what}{held}";
        }));
    }
}
