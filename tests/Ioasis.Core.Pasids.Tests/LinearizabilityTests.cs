using Ioasis.Platform;
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
}

/// <summary>A call on one of two sets, and what it was given.</summary>
internal readonly record struct PasidCall(CallKind Kind, int Set, uint Value);

/// <summary>The sequential allocator: two quotas, and which number is in which set. Numbers below 32.</summary>
internal readonly record struct SequentialState(uint Quota0, uint Quota1, uint Live0, uint Live1)
{
    public static (bool Possible, SequentialState Next) Step(SequentialState state, PasidCall call, (Errno Error, uint Value) result)
    {
        (uint quota, uint live) = call.Set == 0 ? (state.Quota0, state.Live0) : (state.Quota1, state.Live1);
        uint used = (uint)System.Numerics.BitOperations.PopCount(live);
        uint all = state.Live0 | state.Live1 | 1;
        (Errno error, uint value) expected = (Errno.Success, 0);
        switch (call.Kind)
        {
            case CallKind.Allocate:
                expected = used >= quota
                    ? (Errno.NoSpace, 0u)
                    : (Errno.Success, (uint)System.Numerics.BitOperations.TrailingZeroCount(~all));
                live |= expected.error == Errno.Success ? 1u << (int)expected.value : 0;
                break;
            case CallKind.AllocateFixed:
                expected = used >= quota ? (Errno.NoSpace, 0u)
                    : (all >> (int)call.Value & 1) != 0 ? (Errno.Exists, 0u)
                    : (Errno.Success, call.Value);
                live |= expected.error == Errno.Success ? 1u << (int)call.Value : 0;
                break;
            case CallKind.Free:
                expected = (live >> (int)call.Value & 1) != 0 ? (Errno.Success, 0u) : (Errno.NoEntry, 0u);
                live &= ~(1u << (int)call.Value);
                break;
            case CallKind.Count:
                expected = (Errno.Success, used);
                break;
            case CallKind.Adjust:
                uint other = call.Set == 0 ? state.Quota1 : state.Quota0;
                expected = (call.Value < used ? Errno.Busy : call.Value + other > 7 ? Errno.NoSpace : Errno.Success, 0u);
                quota = expected.error == Errno.Success ? call.Value : quota;
                break;
            case CallKind.Find:
                expected = ((live >> (int)call.Value & 1) != 0 ? Errno.Success : Errno.NoEntry, 0u);
                break;
        }

        return (expected == result, call.Set == 0
            ? state with { Quota0 = quota, Live0 = live }
            : state with { Quota1 = quota, Live1 = live });
    }
}

/// <summary>Random calls of three threads on two sets, recorded.</summary>
internal sealed class RecordedCalls : PasidScenario
{
    private readonly HistoryRecorder<PasidCall, (Errno, uint)> _history = new();
    private readonly PasidSet[] _sets;
    private readonly uint[] _quotas;

    public RecordedCalls(int seed, PasidMutation mutation = PasidMutation.None, bool sameSet = false, int calls = 4)
        : base(8, mutation)
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

    public string? Verdict => Linearizability.Check(
        _history.Calls, new SequentialState(_quotas[0], _quotas[1], 0, 0), SequentialState.Step);

    // A number is taken at one moment and found from a later one: docs/ioasid.md says so. ReadersAgainstReuse switches there.
    public override bool MaySwitch(InjectionKind kind, ulong detail) =>
        base.MaySwitch(kind, detail) && (kind != InjectionKind.MemoryWrite || (detail & Ioasid.BeginPoint) == 0);

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
        SequentialState initial = new(1, 0, 0, 0);

        // The second allocation overlaps the free: it may come after it.
        string? overlapping = Linearizability.Check(
            [
                Call(0, 1, 2, CallKind.Allocate, Errno.Success, 1),
                Call(1, 3, 6, CallKind.Allocate, Errno.Success, 1),
                Call(0, 4, 7, CallKind.Free, Errno.Success, 1),
            ],
            initial,
            SequentialState.Step);
        overlapping.ShouldBeNull();

        // Here it had returned before the free began.
        Linearizability.Check(
            [
                Call(0, 1, 2, CallKind.Allocate, Errno.Success, 1),
                Call(1, 3, 4, CallKind.Allocate, Errno.Success, 1),
                Call(0, 5, 7, CallKind.Free, Errno.Success, 1),
            ],
            initial,
            SequentialState.Step).ShouldNotBeNull().ShouldContain("thread 1 [3, 4]");
    }
}
