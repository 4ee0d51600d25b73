using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Driver;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests.Dma;

/// <summary>What is unmapped lazily is invalidated in time, all at once, and given back after that and not before.</summary>
public class DmaFlushQueueTests
{
    private const ulong Buffer = 0x8_0000_0000;

    [Fact]
    public void A_full_ring_flushes_once_for_what_waits_in_every_ring()
    {
        int processor = 0;
        using DmaRig rig = new(DmaMode.Lazy, domain: new()
        {
            UseTimer = false, Slots = 2, QueueCapacity = 8, SlotChooser = () => processor, Iova = new() { Slots = 1 },
        });
        Iova[] other = MapAll(rig, 4);
        processor = 1;
        UnmapAll(rig, other);
        processor = 0;
        Iova[] own = MapAll(rig, 8);
        long fences = rig.Rig.Driver.Statistics.Fences;
        UnmapAll(rig, own);
        rig.Rig.Driver.Statistics.Fences.ShouldBe(fences + 1);
        rig.Domain.FlushStatistics.ShouldBe(new LazyFlushStatistics(12, 8, 0, 0, 0, 1, 0));

        // Those of the other ring are covered too: when it fills, it needs no flush of its own for them.
        foreach (Iova address in other)
        {
            rig.ShouldNotReach(address);
        }

        processor = 1;
        UnmapAll(rig, MapAll(rig, 4));
        rig.Rig.Driver.Statistics.Fences.ShouldBe(fences + 1);
        rig.Domain.FlushStatistics.Released.ShouldBe(12);
        rig.Domain.PendingCount.ShouldBe(4);
    }

    [Fact]
    public void Nothing_waits_longer_than_the_time_limit()
    {
        using DmaRig rig = new(DmaMode.Lazy);
        Iova address = rig.Map(Buffer, 4096);
        rig.ShouldLeadTo(address, 4096, Buffer);
        rig.Domain.Poll().ShouldBe(Errno.Success);
        rig.Dma.Unmap(address, 4096).ShouldBe(Errno.Success);
        rig.Time.Advance(TimeSpan.FromMilliseconds(9));
        rig.Domain.Poll().ShouldBe(Errno.Success);
        rig.Domain.PendingCount.ShouldBe(1);
        rig.Time.Advance(TimeSpan.FromMilliseconds(1));
        rig.Domain.Poll().ShouldBe(Errno.Success);
        rig.Domain.PendingCount.ShouldBe(0);
        rig.ShouldNotReach(address);
        rig.Domain.FlushStatistics.TimeLimitFlushes.ShouldBe(1);
    }

    [Fact]
    public void A_timer_of_its_own_flushes_at_the_time_limit_and_again_after_the_next_unmap()
    {
        TimerTime time = new();
        using DmaRig rig = new(DmaMode.Lazy, domain: new() { TimeProvider = time });
        for (int round = 1; round <= 3; round++)
        {
            Iova address = rig.Map(Buffer, 4096);
            rig.ShouldLeadTo(address, 4096, Buffer);
            rig.Dma.Unmap(address, 4096).ShouldBe(Errno.Success);
            time.Due.ShouldBe(TimeSpan.FromMilliseconds(10));
            time.Fire();
            rig.Domain.PendingCount.ShouldBe(0);
            rig.ShouldNotReach(address);
            rig.Domain.FlushStatistics.TimeLimitFlushes.ShouldBe(round);
        }

        time.Due.ShouldBeNull("nothing waits");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S4.14")]
    public void A_flush_at_the_time_limit_that_fails_is_tried_again_after_the_next(bool hasTimer)
    {
        TimerTime timer = new();
        using DmaRig rig = new(DmaMode.Lazy, domain: hasTimer ? new() { TimeProvider = timer } : null);
        Iova address = rig.Map(Buffer, 4096);
        rig.ShouldLeadTo(address, 4096, Buffer);
        rig.Dma.Unmap(address, 4096).ShouldBe(Errno.Success);
        for (int failures = 1; failures <= 3; failures++)
        {
            Injection.Current = new FailAtStep(1, Errno.IoError, new HashSet<InjectionKind> { InjectionKind.QueueSpace }, andAllAfter: true);
            AfterLimit();
            Injection.Current = null;
            rig.Domain.FlushStatistics.FailedFlushes.ShouldBe(failures);
            rig.Domain.PendingCount.ShouldBe(1);
        }

        AfterLimit();
        rig.Domain.PendingCount.ShouldBe(0);
        rig.ShouldNotReach(address);

        void AfterLimit()
        {
            if (hasTimer)
            {
                timer.Due.ShouldBe(TimeSpan.FromMilliseconds(10), "nobody would try it again");
                timer.Fire();
            }
            else
            {
                rig.Time.Advance(TimeSpan.FromMilliseconds(10));
                _ = rig.Domain.Poll();
            }
        }
    }

    [Fact]
    public void When_only_waiting_IOVAs_are_left_a_map_flushes_and_takes_them()
    {
        using DmaRig rig = new(DmaMode.Lazy, device: new() { AddressMask = 0x1ffff });
        Iova[] all = [.. Enumerable.Range(0, 31).Select(_ => rig.Map(Buffer, 4096))];
        rig.Dma.Map(new(Buffer), 4096, DmaDirection.ToDevice, out _).ShouldBe(Errno.NoSpace);
        UnmapAll(rig, all);
        Iova again = rig.Map(Buffer + 0x1000, 4096);
        rig.Domain.FlushStatistics.OverlapFlushes.ShouldBe(1);
        rig.ShouldLeadTo(again, 4096, Buffer + 0x1000);
    }

    [Fact]
    [Trait("Requirement", "S4.14")]
    public void Tables_and_IOVAs_of_a_flush_that_failed_wait_for_the_next()
    {
        using DmaRig rig = new(DmaMode.Lazy);
        Iova address = rig.Map(Buffer + 0x1000, 0x40_0000);
        rig.ShouldLeadTo(address, 4096, Buffer + 0x1000);
        long tables = rig.Rig.Pages.AllocatedBytes;
        rig.Dma.Unmap(address, 0x40_0000).ShouldBe(Errno.Success);
        rig.Rig.Pages.AllocatedBytes.ShouldBe(tables);
        FailAtStep failing = new(1, Errno.IoError, new HashSet<InjectionKind> { InjectionKind.QueueSpace }, andAllAfter: true);
        Injection.Current = failing;
        Errno error = rig.Domain.Flush();
        Injection.Current = null;
        error.ShouldNotBe(Errno.Success);
        rig.Rig.Pages.AllocatedBytes.ShouldBe(tables);
        rig.Domain.PendingCount.ShouldBe(1);
        rig.Map(Buffer, 0x40_0000).ShouldNotBe(address);
        rig.Domain.Flush().ShouldBe(Errno.Success);
        rig.Domain.PendingCount.ShouldBe(0);
        rig.Domain.FlushStatistics.FailedFlushes.ShouldBe(1);
        rig.ShouldNotReach(address);
    }

    [Fact]
    public void A_strict_unmap_that_the_IOMMU_does_not_confirm_keeps_its_IOVA_until_one_is()
    {
        using DmaRig rig = new();
        Iova address = rig.Map(Buffer, 4096);
        Injection.Current = new FailAtStep(1, Errno.IoError, new HashSet<InjectionKind> { InjectionKind.QueueSpace }, andAllAfter: true);
        Errno error = rig.Dma.Unmap(address, 4096);
        Injection.Current = null;
        error.ShouldNotBe(Errno.Success);
        rig.Domain.PendingCount.ShouldBe(1);
        rig.Map(Buffer, 4096).ShouldNotBe(address);
        rig.Domain.Flush().ShouldBe(Errno.Success);
        rig.ShouldNotReach(address);
        rig.Map(Buffer, 4096).ShouldBe(address);
    }

    [Fact]
    public void Threads_that_map_and_unmap_never_see_each_others_pages()
    {
        using DmaRig rig = new(DmaMode.Lazy, domain: new() { QueueCapacity = 16, UseTimer = false });
        int wrong = 0;
        Parallel.For(0, 4, thread =>
        {
            Random random = new(thread);
            List<(Iova Address, ulong Length, ulong Buffer)> held = [];
            for (int i = 0; i < 10_000; i++)
            {
                if (held.Count < 50 && random.Next(2) == 0)
                {
                    ulong buffer = ((ulong)(thread + 1) << 33) + ((ulong)random.Next(1 << 20) << 8);
                    ulong length = (ulong)random.Next(1, 0x8000);
                    wrong += rig.Dma.Map(new(buffer), length, DmaDirection.Bidirectional, out Iova address) == Errno.Success ? 0 : 1;
                    held.Add((address, length, buffer));
                }
                else if (held.Count > 0)
                {
                    (Iova address, ulong length, ulong buffer) = held[^1];
                    held.RemoveAt(held.Count - 1);
                    wrong += rig.Domain.Paging.TryTranslate(address + (length - 1), out PhysicalAddress at, out _, out _)
                        && at.Value == buffer + length - 1 ? 0 : 1;
                    wrong += rig.Dma.Unmap(address, length) == Errno.Success ? 0 : 1;
                }
            }

            held.ForEach(entry => wrong += rig.Dma.Unmap(entry.Address, entry.Length) == Errno.Success ? 0 : 1);
        });
        wrong.ShouldBe(0);
        rig.ShouldBeEmpty();
    }

    private static Iova[] MapAll(DmaRig rig, int count) => [.. Enumerable.Range(0, count).Select(i =>
    {
        Iova address = rig.Map(Buffer + ((ulong)i << 12), 4096);
        rig.ShouldLeadTo(address, 4096, Buffer + ((ulong)i << 12));
        return address;
    })];

    private static void UnmapAll(DmaRig rig, Iova[] addresses)
    {
        foreach (Iova address in addresses)
        {
            rig.Dma.Unmap(address, 4096).ShouldBe(Errno.Success);
        }
    }

    /// <summary>A clock with one timer, which a test fires.</summary>
    private sealed class TimerTime : TimeProvider
    {
        private Action? _callback;

        public TimeSpan? Due { get; private set; }

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            _callback = () => callback(state);
            return new OneTimer(this);
        }

        public void Fire()
        {
            Due = null;
            _callback!();
        }

        private sealed class OneTimer(TimerTime owner) : ITimer
        {
            public bool Change(TimeSpan dueTime, TimeSpan period)
            {
                owner.Due = dueTime == Timeout.InfiniteTimeSpan ? null : dueTime;
                return true;
            }

            public void Dispose()
            {
            }

            public ValueTask DisposeAsync() => ValueTask.CompletedTask;
        }
    }
}
