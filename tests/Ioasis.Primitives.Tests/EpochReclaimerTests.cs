using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Primitives.Tests;

[Trait("Requirement", "S0.15")]
public sealed class EpochReclaimerTests
{
    [Fact]
    public void A_retired_object_goes_at_once_when_nobody_is_inside()
    {
        EpochReclaimer epochs = new();
        List<int> gone = [];
        epochs.Retire(7, gone.Add);
        gone.ShouldBe([7]);
        epochs.Pending.ShouldBe(0);
    }

    [Fact]
    public void A_retired_object_stays_until_the_reader_leaves()
    {
        EpochReclaimer epochs = new();
        List<int> gone = [];
        using (epochs.Enter())
        {
            epochs.Retire(1, gone.Add);
            epochs.Drain().ShouldBe(0);
            epochs.Pending.ShouldBe(1);
        }

        gone.ShouldBeEmpty();
        epochs.Drain().ShouldBe(1);
        gone.ShouldBe([1]);
    }

    [Fact]
    public void A_reader_who_enters_later_does_not_hold_up_what_was_retired_before()
    {
        EpochReclaimer epochs = new();
        List<int> gone = [];
        using Reader early = new(epochs);
        epochs.Retire(1, gone.Add);
        using Reader late = new(epochs);
        epochs.Retire(2, gone.Add);
        gone.ShouldBeEmpty();
        early.Leave();
        epochs.Drain().ShouldBe(1);
        gone.ShouldBe([1]);
        late.Leave();
        epochs.Drain().ShouldBe(1);
        gone.ShouldBe([1, 2]);
    }

    [Fact]
    public void Only_the_outermost_scope_leaves()
    {
        EpochReclaimer epochs = new();
        List<int> gone = [];
        using (epochs.Enter())
        {
            using (epochs.Enter())
            {
                epochs.Retire(1, gone.Add);
            }

            epochs.IsInside.ShouldBeTrue();
            epochs.Drain().ShouldBe(0);
        }

        epochs.IsInside.ShouldBeFalse();
        epochs.Drain().ShouldBe(1);
    }

    [Fact]
    public void Instances_do_not_hold_up_each_other()
    {
        EpochReclaimer one = new();
        EpochReclaimer other = new();
        List<int> gone = [];
        using (one.Enter())
        {
            other.Retire(1, gone.Add);
            gone.ShouldBe([1]);
        }
    }

    [Fact]
    public void A_reader_may_not_wait_for_readers()
    {
        EpochReclaimer epochs = new();
        Should.Throw<InvalidOperationException>(() =>
        {
            using (epochs.Enter())
            {
                epochs.Synchronize();
            }
        });
        epochs.IsInside.ShouldBeFalse();
    }

    [Fact]
    public void Synchronize_waits_for_the_readers_inside_and_for_no_others()
    {
        using Barrier waiting = new(2);
        int waits = 0;
        EpochReclaimer epochs = new(() =>
        {
            if (Interlocked.Increment(ref waits) == 1)
            {
                waiting.SignalAndWait();
            }

            Thread.Yield();
        });
        using Reader early = new(epochs);
        bool done = false;
        Thread waiter = new(() =>
        {
            epochs.Synchronize();
            Volatile.Write(ref done, true);
        });
        waiter.Start();
        waiting.SignalAndWait(TestContext.Current.CancellationToken);
        Volatile.Read(ref done).ShouldBeFalse();

        // It entered after the call: it does not count.
        using Reader late = new(epochs);
        early.Leave();
        waiter.Join(TimeSpan.FromSeconds(30)).ShouldBeTrue();
        done.ShouldBeTrue();
        late.Leave();
    }

    [Fact]
    public void Entering_does_not_allocate()
    {
        EpochReclaimer epochs = new();
        SteadyState.AllocatedBytes(() =>
        {
            for (int i = 0; i < 1000; i++)
            {
                epochs.Enter().Dispose();
            }
        }).ShouldBe(0);
    }

    [Fact]
    public void More_threads_than_a_chunk_has_slots_are_all_waited_for()
    {
        EpochReclaimer epochs = new();
        List<int> gone = [];
        List<Reader> readers = [.. Enumerable.Range(0, 100).Select(_ => new Reader(epochs))];
        epochs.Retire(1, gone.Add);
        foreach (Reader reader in readers)
        {
            epochs.Drain().ShouldBe(0);
            reader.Leave();
        }

        epochs.Drain().ShouldBe(1);
        readers.ForEach(reader => reader.Dispose());
    }

    [Fact]
    public void No_reader_ever_sees_a_reclaimed_object()
    {
        EpochReclaimer epochs = new();
        Node current = new();
        bool stop = false;
        int bad = 0;
        int reclaimed = 0;
        long reads = 0;
        Thread[] readers = [.. Enumerable.Range(0, 3).Select(_ => new Thread(() =>
        {
            while (!Volatile.Read(ref stop))
            {
                using (epochs.Enter())
                {
                    Node node = Volatile.Read(ref current);
                    for (int i = 0; i < 20; i++)
                    {
                        if (Volatile.Read(ref node.Freed))
                        {
                            Interlocked.Increment(ref bad);
                        }
                    }
                }

                Interlocked.Increment(ref reads);
            }
        }))];
        Array.ForEach(readers, thread => thread.Start());
        const int Writes = 20_000;
        Thread[] writers = [.. Enumerable.Range(0, 2).Select(_ => new Thread(() =>
        {
            for (int i = 0; i < Writes; i++)
            {
                Node old = Interlocked.Exchange(ref current, new());
                epochs.Retire(old, node =>
                {
                    Volatile.Write(ref node.Freed, true);
                    Interlocked.Increment(ref reclaimed);
                });
                if (i % 1000 == 0)
                {
                    epochs.Synchronize();
                }
            }
        }))];
        Array.ForEach(writers, thread => thread.Start());
        Array.ForEach(writers, thread => thread.Join());
        SpinWait.SpinUntil(() => Interlocked.Read(ref reads) > 0, TimeSpan.FromSeconds(30)).ShouldBeTrue();
        Volatile.Write(ref stop, true);
        Array.ForEach(readers, thread => thread.Join());
        epochs.Synchronize();
        bad.ShouldBe(0);
        reclaimed.ShouldBe(2 * Writes);
    }

    private sealed class Node
    {
        public bool Freed;
    }

    // A thread that stays inside until it is told to leave.
    private sealed class Reader : IDisposable
    {
        private readonly ManualResetEventSlim _leave = new();
        private readonly Thread _thread;

        public Reader(EpochReclaimer epochs)
        {
            using ManualResetEventSlim inside = new();
            _thread = new(() =>
            {
                using (epochs.Enter())
                {
                    inside.Set();
                    _leave.Wait();
                }
            });
            _thread.Start();
            inside.Wait();
        }

        public void Leave()
        {
            _leave.Set();
            _thread.Join();
        }

        public void Dispose()
        {
            Leave();
            _leave.Dispose();
        }
    }
}
