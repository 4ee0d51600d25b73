using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Core.Pasids.Tests;

internal enum CallKind
{
    Allocate,
    AllocateFixed,
    Free,
    Count,
    Adjust,
    Find,

    // The second halves of an allocation and of an end: see SequentialState.
    Publish,
    Release,
}

/// <summary>A call on one of two sets, and what it was given.</summary>
internal readonly record struct PasidCall(CallKind Kind, int Set, uint Value);

/// <summary>
/// The sequential allocator: two quotas, which numbers each set holds, and which of them are found. Numbers below 32. An
/// allocation holds a number and then has it found; an end has it found no more and then lets go of it: each is two steps in
/// the time of one call, as docs/ioasid.md says.
/// </summary>
internal readonly record struct SequentialState(uint Quota0, uint Quota1, uint Held0, uint Held1, uint Live0, uint Live1)
{
    public static (bool Possible, SequentialState Next) Step(SequentialState state, PasidCall call, (Errno Error, uint Value) result)
    {
        (uint quota, uint held, uint live) = call.Set == 0
            ? (state.Quota0, state.Held0, state.Live0)
            : (state.Quota1, state.Held1, state.Live1);
        uint used = (uint)System.Numerics.BitOperations.PopCount(held);
        uint all = state.Held0 | state.Held1 | 1;
        uint bit = 1u << (int)call.Value;
        bool possible = true;
        (Errno error, uint value) expected = (Errno.Success, 0);
        switch (call.Kind)
        {
            case CallKind.Allocate:
                expected = used >= quota
                    ? (Errno.NoSpace, 0u)
                    : (Errno.Success, (uint)System.Numerics.BitOperations.TrailingZeroCount(~all));
                held |= expected.error == Errno.Success ? 1u << (int)expected.value : 0;
                break;
            case CallKind.AllocateFixed:
                expected = used >= quota ? (Errno.NoSpace, 0u)
                    : (all & bit) != 0 ? (Errno.Exists, 0u)
                    : (Errno.Success, call.Value);
                held |= expected.error == Errno.Success ? bit : 0;
                break;
            case CallKind.Publish:
                possible = (held & bit) != 0 && (live & bit) == 0;
                live |= bit;
                break;
            case CallKind.Free:
                expected = ((live & bit) != 0 ? Errno.Success : Errno.NoEntry, 0u);
                live &= ~bit;
                break;
            case CallKind.Release:
                possible = (held & bit) != 0 && (live & bit) == 0;
                held &= ~bit;
                break;
            case CallKind.Count:
                expected = (Errno.Success, (uint)System.Numerics.BitOperations.PopCount(live));
                break;
            case CallKind.Adjust:
                uint other = call.Set == 0 ? state.Quota1 : state.Quota0;
                expected = (call.Value < used ? Errno.Busy : call.Value + other > 7 ? Errno.NoSpace : Errno.Success, 0u);
                quota = expected.error == Errno.Success ? call.Value : quota;
                break;
            case CallKind.Find:
                expected = ((live & bit) != 0 ? Errno.Success : Errno.NoEntry, 0u);
                break;
        }

        return (possible && expected == result, call.Set == 0
            ? state with { Quota0 = quota, Held0 = held, Live0 = live }
            : state with { Quota1 = quota, Held1 = held, Live1 = live });
    }

    /// <summary>Looks for an order of the steps of all calls.</summary>
    public static string? Check(IEnumerable<HistoryCall<PasidCall, (Errno Error, uint Value)>> calls, uint quota0, uint quota1)
    {
        List<HistoryCall<PasidCall, (Errno, uint)>> steps = [];
        foreach (HistoryCall<PasidCall, (Errno Error, uint Value)> call in calls)
        {
            steps.Add(call);
            if (call.Result.Error == Errno.Success && call.Call.Kind is (CallKind.Allocate or CallKind.AllocateFixed))
            {
                steps.Add(call with { Call = call.Call with { Kind = CallKind.Publish, Value = call.Result.Value }, Result = (Errno.Success, 0) });
            }
            else if (call.Result.Error == Errno.Success && call.Call.Kind == CallKind.Free)
            {
                steps.Add(call with { Call = call.Call with { Kind = CallKind.Release } });
            }
        }

        return Linearizability.Check(steps, new SequentialState(quota0, quota1, 0, 0, 0, 0), Step);
    }
}

/// <summary>Random calls of three threads on two sets, recorded.</summary>
internal sealed class RecordedCalls : PasidScenario
{
    private readonly HistoryRecorder<PasidCall, (Errno, uint)> _history = new();
    private readonly PasidSet[] _sets;
    private readonly uint[] _quotas;

    public RecordedCalls(int seed, bool sameSet = false, int calls = 4)
        : base(8)
    {
        Random random = new(seed);
        _quotas = sameSet ? [1, 4] : [3, 4];
        _sets = [Allocator.NewSet(_quotas[0]), Allocator.NewSet(_quotas[1])];
        for (int thread = 0; thread < 3; thread++)
        {
            PasidCall[] own = [.. Enumerable.Range(0, calls).Select(index => sameSet && index == 0
                ? new PasidCall(CallKind.Allocate, 0, 0)
                : new PasidCall((CallKind)random.Next(6), random.Next(2), (uint)random.Next(1, 5)))];
            int number = thread;
            AddThread($"thread {thread}", () =>
            {
                foreach (PasidCall call in own)
                {
                    _ = _history.Run(number, call, Run);
                }
            });
        }
    }

    public string? Verdict => SequentialState.Check(_history.Calls, _quotas[0], _quotas[1]);

    public override void CheckAtEnd() => Verdict.ShouldBeNull();

    private (Errno Error, uint Value) Run(PasidCall call)
    {
        PasidSet set = _sets[call.Set];
        switch (call.Kind)
        {
            case CallKind.Allocate:
                Errno error = set.TryAllocate(new() { Policy = PasidPolicy.LowestFirst }, out Ioasid made);
                return (error, made.Pasid.Value);
            case CallKind.AllocateFixed:
                error = set.TryAllocate(new() { Policy = PasidPolicy.Fixed, First = new(call.Value) }, out made);
                return (error, made.Pasid.Value);
            case CallKind.Free:
                return (Allocator.Find(new(call.Value)) is { } found && found.Set == set ? found.FreeIfUnused() : Errno.NoEntry, 0);
            case CallKind.Count:
                return (Errno.Success, set.Count);
            case CallKind.Adjust:
                return (set.AdjustQuota(call.Value), 0);
            default:
                return (Allocator.Find(new(call.Value)) is { IsLive: true } live && live.Set == set ? Errno.Success : Errno.NoEntry, 0);
        }
    }
}

/// <summary>Histories of real threads, and that the checker can tell.</summary>
public sealed class LinearizabilityTests
{
    [Fact]
    public void Histories_of_real_threads_have_a_sequential_order()
    {
        for (int seed = 0; seed < (ExplorerOptions.All ? 20_000 : 400); seed++)
        {
            using RecordedCalls scenario = new(seed, calls: 7);
            using Barrier barrier = new(scenario.Threads.Count);
            Thread[] threads = [.. scenario.Threads.Select(item => new Thread(() =>
            {
                barrier.SignalAndWait();
                item.Body();
            }))];
            Array.ForEach(threads, static thread => thread.Start());
            Array.ForEach(threads, static thread => thread.Join());
            scenario.Verdict.ShouldBeNull();
        }
    }

    [Fact]
    public void The_checker_accepts_what_an_order_explains_and_shows_what_none_does()
    {
        HistoryCall<PasidCall, (Errno, uint)> Call(int thread, long start, long end, CallKind kind, Errno error, uint value) =>
            new(thread, start, end, new(kind, 0, value), (error, kind == CallKind.Allocate ? value : 0));
        // The second allocation overlaps the free: it may come after it.
        string? overlapping = SequentialState.Check(
            [
                Call(0, 1, 2, CallKind.Allocate, Errno.Success, 1),
                Call(1, 3, 6, CallKind.Allocate, Errno.Success, 1),
                Call(0, 4, 7, CallKind.Free, Errno.Success, 1),
            ],
            1,
            0);
        overlapping.ShouldBeNull();

        // Here it had returned before the free began.
        SequentialState.Check(
            [
                Call(0, 1, 2, CallKind.Allocate, Errno.Success, 1),
                Call(1, 3, 4, CallKind.Allocate, Errno.Success, 1),
                Call(0, 5, 7, CallKind.Free, Errno.Success, 1),
            ],
            1,
            0).ShouldNotBeNull().ShouldContain("thread 1 [3, 4]");
    }
}
