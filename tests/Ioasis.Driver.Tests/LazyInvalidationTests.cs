using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests;

/// <summary>Deferred invalidations: nothing is released before the fence, and everything is in the end.</summary>
public class LazyInvalidationTests
{
    private const ulong Iova = 0x10_0000;
    private const ulong Target = 0x8000_0000;

    [Fact]
    public void The_release_runs_after_the_flush_and_not_before()
    {
        using Rig rig = new();
        (IommuDevice device, RiscVPagingDomain domain) = Attach(rig);
        LazyInvalidation lazy = new(domain, new());
        Releases releases = new();
        domain.ShouldMap(Iova, Target);
        rig.ShouldReach(device, Iova, Target);
        Defer(domain, lazy, releases, Iova, 7, 9);

        // Until then the device may still reach the page: that is why it is not released.
        rig.ShouldReach(device, Iova, Target);
        releases.Done.ShouldBeEmpty();
        lazy.PendingCount.ShouldBe(1);
        lazy.Flush().ShouldBe(Errno.Success);
        releases.Done.ShouldBe([(new AddressRange(Iova, Iova + 0xfff), 7ul, 9ul)]);
        lazy.PendingCount.ShouldBe(0);
        rig.ShouldFault(device, Iova, FaultCause.ReadPageFault);
        lazy.Flush().ShouldBe(Errno.Success);
        lazy.Statistics.ShouldBe(new LazyFlushStatistics(1, 1, 0, 1, 0, 0, 0));
    }

    [Fact]
    public void One_flush_covers_everything_that_waits()
    {
        using Rig rig = new();
        (IommuDevice device, RiscVPagingDomain domain) = Attach(rig);
        LazyInvalidation lazy = new(domain, new());
        Releases releases = new();
        ulong[] iovas = [.. Enumerable.Range(0, 50).Select(i => Iova + ((ulong)i * 0x123_0000))];
        foreach (ulong iova in iovas)
        {
            domain.ShouldMap(iova, Target);
            rig.ShouldReach(device, iova, Target);
            Defer(domain, lazy, releases, iova, iova, 0);
        }

        long fences = rig.Driver.Statistics.Fences;
        lazy.Flush().ShouldBe(Errno.Success);
        rig.Driver.Statistics.Fences.ShouldBe(fences + 1);
        releases.Done.Select(r => r.Cookie0).ShouldBe(iovas);
        foreach (ulong iova in iovas)
        {
            rig.ShouldFault(device, iova, FaultCause.ReadPageFault);
        }
    }

    [Fact]
    public void A_full_queue_flushes_itself()
    {
        using Rig rig = new();
        (_, RiscVPagingDomain domain) = Attach(rig);
        LazyInvalidation lazy = new(domain, new() { Capacity = 4 });
        Releases releases = new();
        for (ulong i = 0; i < 10; i++)
        {
            domain.ShouldMap(Iova + (i << 12), Target);
            Defer(domain, lazy, releases, Iova + (i << 12), i, 0);
        }

        releases.Done.Select(r => r.Cookie0).ShouldBe([0ul, 1, 2, 3, 4, 5, 6, 7]);
        lazy.PendingCount.ShouldBe(2);
        lazy.Statistics.QueueFullFlushes.ShouldBe(2);
    }

    [Fact]
    public void A_map_of_waiting_IOVAs_flushes_and_one_beside_them_does_not()
    {
        using Rig rig = new();
        (IommuDevice device, RiscVPagingDomain domain) = Attach(rig);
        LazyInvalidation lazy = new(domain, new());
        Releases releases = new();
        domain.ShouldMap(Iova, Target);
        domain.ShouldMap(Iova + 0x3000, Target);
        rig.ShouldReach(device, Iova, Target);
        Defer(domain, lazy, releases, Iova, 0, 0);
        Defer(domain, lazy, releases, Iova + 0x3000, 0, 0);
        lazy.FlushIfOverlaps(new(Iova + 0x1000, Iova + 0x2fff)).ShouldBe(Errno.Success);
        releases.Done.ShouldBeEmpty();
        lazy.FlushIfOverlaps(new(Iova + 0x800, Iova + 0x17ff)).ShouldBe(Errno.Success);
        releases.Done.Count.ShouldBe(2);
        lazy.Statistics.OverlapFlushes.ShouldBe(1);
        domain.ShouldMap(Iova, Target + 0x1000);
        rig.ShouldReach(device, Iova, Target + 0x1000);
    }

    [Fact]
    public void The_time_limit_counts_from_the_oldest_entry()
    {
        ManualTime time = new();
        using Rig rig = new();
        (_, RiscVPagingDomain domain) = Attach(rig);
        LazyInvalidation lazy = new(domain, new() { TimeProvider = time, TimeLimit = TimeSpan.FromMilliseconds(10) });
        Releases releases = new();
        lazy.Poll().ShouldBe(Errno.Success);
        domain.ShouldMap(Iova, Target, 0x2000);
        Defer(domain, lazy, releases, Iova, 1, 0);
        time.Advance(TimeSpan.FromMilliseconds(6));
        Defer(domain, lazy, releases, Iova + 0x1000, 2, 0);
        lazy.Poll().ShouldBe(Errno.Success);
        releases.Done.ShouldBeEmpty();
        time.Advance(TimeSpan.FromMilliseconds(4));
        lazy.Poll().ShouldBe(Errno.Success);
        releases.Done.Select(r => r.Cookie0).ShouldBe([1ul, 2]);
        lazy.Statistics.TimeLimitFlushes.ShouldBe(1);
    }

    [Fact]
    [Trait("Requirement", "S4.14")]
    public void Table_pages_and_releases_wait_until_a_failed_flush_succeeds()
    {
        FailingSync domain = new();
        LazyInvalidation lazy = new(domain, new() { Capacity = 2 });
        Releases releases = new();
        domain.Fails = true;
        InvalidationGather gather = default;
        gather.AddLeaves(0x1000, 0x1fff, 12);
        gather.AddFreedTable(new(0x7000), 12, 0, 0x1f_ffff);
        lazy.Defer(ref gather, new(0x1000, 0x1fff), releases, 1, 0).ShouldBe(Errno.Success);
        gather.IsEmpty.ShouldBeTrue();
        for (ulong i = 2; i <= 5; i++)
        {
            gather.AddLeaves(i << 12, (i << 12) + 0xfff, 12);
            lazy.Defer(ref gather, new(i << 12, (i << 12) + 0xfff), releases, i, 0).ShouldBe(Errno.IoError);
        }

        releases.Done.ShouldBeEmpty();
        lazy.PendingCount.ShouldBe(5);
        lazy.Statistics.FailedFlushes.ShouldBe(4);
        lazy.FlushIfOverlaps(new(0x3000, 0x3fff)).ShouldBe(Errno.IoError);
        domain.Fails = false;
        lazy.Flush().ShouldBe(Errno.Success);
        releases.Done.Select(r => r.Cookie0).ShouldBe([1ul, 2, 3, 4, 5]);
        domain.Last.ShouldBe((new AddressRange(0, 0x1f_ffff), 1));
    }

    [Fact]
    [Trait("Requirement", "S4.14")]
    public void A_flush_that_failed_at_its_time_limit_is_tried_again_at_the_next_look()
    {
        ManualTime time = new();
        FailingSync domain = new() { Fails = true };
        LazyInvalidation lazy = new(domain, new() { TimeProvider = time, TimeLimit = TimeSpan.FromMilliseconds(10) });
        Releases releases = new();
        InvalidationGather gather = default;
        gather.AddLeaves(0x1000, 0x1fff, 12);
        lazy.Defer(ref gather, new(0x1000, 0x1fff), releases, 1, 0).ShouldBe(Errno.Success);
        time.Advance(TimeSpan.FromMilliseconds(10));
        lazy.Poll().ShouldBe(Errno.IoError);
        lazy.Poll().ShouldBe(Errno.IoError);
        releases.Done.ShouldBeEmpty();
        domain.Fails = false;
        lazy.Poll().ShouldBe(Errno.Success);
        releases.Done.Count.ShouldBe(1);
    }

    private static void Defer(
        RiscVPagingDomain domain, LazyInvalidation lazy, ILazyRelease release, ulong iova, ulong cookie0, ulong cookie1)
    {
        InvalidationGather gather = default;
        domain.Unmap(new(iova), Rig.Page, ref gather).ShouldBe(Rig.Page);
        lazy.Defer(ref gather, new(iova, iova + 0xfff), release, cookie0, cookie1).ShouldBe(Errno.Success);
        gather.IsEmpty.ShouldBeTrue();
    }

    private static (IommuDevice Device, RiscVPagingDomain Domain) Attach(Rig rig)
    {
        IommuDevice device = rig.AddDevice(0x10);
        RiscVPagingDomain domain = rig.NewDomain(device);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        return (device, domain);
    }

    private sealed class Releases : ILazyRelease
    {
        public List<(AddressRange Range, ulong Cookie0, ulong Cookie1)> Done { get; } = [];

        public void Release(AddressRange range, ulong cookie0, ulong cookie1) => Done.Add((range, cookie0, cookie1));
    }

    /// <summary>A domain that is nothing but its synchronisation.</summary>
    private sealed class FailingSync : PagingDomain
    {
        public bool Fails { get; set; }

        public (AddressRange Range, int Tables) Last { get; private set; }

        public override AddressRange Aperture => AddressRange.All;

        public override ulong PageSizes => 0x1000;

        public override long TableBytes => 0;

        public override Errno Map(Iova iova, PhysicalAddress address, ulong length, Access access) => Errno.NotSupported;

        public override Errno MapGranules(Iova iova, PhysicalAddress address, ulong length, Access access) => Errno.NotSupported;

        public override Errno Unmap(Iova iova, ulong length, ref InvalidationGather gather, out ulong unmapped)
        {
            unmapped = 0;
            return Errno.Success;
        }

        public override Errno Sync(ref InvalidationGather gather)
        {
            if (Fails)
            {
                return Errno.IoError;
            }

            Last = (gather.Range, gather.FreedTables.Length);
            gather.Clear();
            return Errno.Success;
        }

        public override bool TryTranslate(Iova iova, out PhysicalAddress address, out Access access, out ulong leafSize)
        {
            (address, access, leafSize) = (default, default, 0);
            return false;
        }
    }
}
