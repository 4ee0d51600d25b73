using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>Lazy invalidation: an unmap returns early, and nothing is reused before the flush (invariant 2).</summary>
public sealed class LazyTests
{
    private static ulong Page(int index) => FakeUserMemory.Start + ((ulong)index * 4096);

    [Fact]
    public void Memory_stays_pinned_and_the_iova_taken_until_the_flush()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach();
        attached.Space.SetLazyInvalidation(true);
        attached.Space.Map(new(Page(0), 4096), Access.ReadWrite).ShouldBe(new Iova(0x1000));
        int before = rig.Iommu.Synchronisations;
        attached.Space.Unmap(new(0x1000), 4096).ShouldBe(4096ul);
        rig.Iommu.Synchronisations.ShouldBe(before);
        rig.Memory.PinnedPages.ShouldBe(1);
        attached.Domain.MappedPages.ShouldBe(0);
        attached.Space.GetOptionErrno(IommuOptionId.Flush, out ulong pending).ShouldBe(Errno.Success);
        pending.ShouldBe(1ul);

        // For the user it is gone, but nobody gets the IOVA.
        attached.Space.UnmapErrno(new(0x1000), 4096, out _).ShouldBe(Errno.NoEntry);
        attached.Space.CopyErrno(attached.Space, new(0x1000), 4096, Access.Read, out _).ShouldBe(Errno.NoEntry);
        attached.Space.Map(new(Page(1), 4096), Access.ReadWrite).ShouldBe(new Iova(0x2000));
        attached.Space.Flush();
        rig.Memory.PinsOf(Page(0)).ShouldBe(0);
        attached.Space.Map(new(Page(2), 4096), Access.ReadWrite).ShouldBe(new Iova(0x1000));
        rig.Memory.Violations.ShouldBeEmpty();
    }

    [Fact]
    public void A_map_of_a_pending_iova_flushes_first()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach();
        attached.Space.SetLazyInvalidation(true);
        attached.Space.Map(new(Page(0), 0x4000), new(0x10000), Access.ReadWrite);
        _ = attached.Space.Unmap(new(0x10000), 0x4000);
        attached.Space.Map(new(Page(8), 0x1000), new(0x20000), Access.ReadWrite);
        rig.Memory.PinnedPages.ShouldBe(5);
        attached.Space.Map(new(Page(9), 0x1000), new(0x13000), Access.ReadWrite);
        rig.Memory.PinnedPages.ShouldBe(2);
        rig.Memory.Violations.ShouldBeEmpty();
    }

    [Fact]
    public void A_space_that_only_pending_iovas_fill_is_flushed_before_ENOSPC()
    {
        Rig rig = new(iommu: new() { Aperture = new(0, 0x7fff) });
        using Rig.Attached attached = rig.Attach();
        attached.Space.SetLazyInvalidation(true);
        attached.Space.Map(new(Page(0), 0x7000), new(0x1000), Access.Read);
        _ = attached.Space.UnmapAll();
        attached.Space.Map(new(Page(7), 0x1000), Access.Read).ShouldBe(new Iova(0x1000));
    }

    [Fact]
    public void A_full_queue_flushes_by_itself()
    {
        Rig rig = new(lazy: new() { Capacity = 8, TimeProvider = new ManualTime() });
        using Rig.Attached attached = rig.Attach();
        attached.Space.SetLazyInvalidation(true);
        for (int i = 0; i < 100; i++)
        {
            attached.Space.Map(new(Page(i), 4096), new((ulong)(i + 1) << 16), Access.Read);
            _ = attached.Space.Unmap(new((ulong)(i + 1) << 16), 4096);
            rig.Memory.PinnedPages.ShouldBeLessThan(8);
        }

        rig.KernelSide.Audit.Areas.ShouldBe(4);
        rig.Memory.Violations.ShouldBeEmpty();
    }

    [Fact]
    public void The_time_limit_flushes_at_the_next_call_or_poll()
    {
        ManualTime time = new();
        Rig rig = new(lazy: new() { TimeProvider = time, TimeLimit = TimeSpan.FromMilliseconds(10) });
        using Rig.Attached attached = rig.Attach();
        attached.Space.SetLazyInvalidation(true);
        attached.Space.Map(new(Page(0), 4096), new(0x10000), Access.Read);
        _ = attached.Space.Unmap(new(0x10000), 4096);
        time.Advance(TimeSpan.FromMilliseconds(9));
        rig.KernelSide.Poll();
        rig.Memory.PinnedPages.ShouldBe(1);
        time.Advance(TimeSpan.FromMilliseconds(2));
        rig.KernelSide.Poll();
        rig.Memory.PinnedPages.ShouldBe(0);

        attached.Space.Map(new(Page(0), 4096), new(0x10000), Access.Read);
        _ = attached.Space.Unmap(new(0x10000), 4096);
        time.Advance(TimeSpan.FromMilliseconds(11));
        attached.Space.Map(new(Page(1), 4096), new(0x20000), Access.Read);
        rig.Memory.PinsOf(Page(0)).ShouldBe(0);
    }

    [Fact]
    public void With_two_domains_memory_waits_for_both()
    {
        FakeIommu hardware = new() { FormatOf = static device => (int)device.Id.Value };
        Rig rig = new(iommu: hardware, lazy: new() { Capacity = 4, TimeProvider = new ManualTime() });
        using Rig.Attached attached = rig.Attach();
        int second = rig.Kernel.Open(rig.AddDevice().Path, OpenFlags.ReadWrite);
        _ = VfioTests.Bind(rig, second, attached.Fd);
        VfioTests.Attach(rig, second, attached.Space.Id).Result.ShouldBe(0);
        hardware.Domains.Count.ShouldBe(2);
        attached.Space.SetLazyInvalidation(true);
        for (int i = 0; i < 21; i++)
        {
            attached.Space.Map(new(Page(i), 4096), new((ulong)(i + 1) << 16), Access.Read);
            _ = attached.Space.Unmap(new((ulong)(i + 1) << 16), 4096);
        }

        rig.Memory.PinnedPages.ShouldBe(1);
        rig.Kernel.Close(second).ShouldBe(0);
        attached.Space.Flush();
        rig.Memory.PinnedPages.ShouldBe(0);
        rig.Memory.Violations.ShouldBeEmpty();
    }

    [Fact]
    public void Leaving_lazy_mode_and_detaching_flush()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach();
        attached.Space.SetLazyInvalidation(true);
        attached.Space.Map(new(Page(0), 4096), new(0x10000), Access.Read);
        _ = attached.Space.Unmap(new(0x10000), 4096);
        attached.Space.SetLazyInvalidation(false);
        rig.Memory.PinnedPages.ShouldBe(0);

        attached.Space.SetLazyInvalidation(true);
        attached.Space.Map(new(Page(0), 4096), new(0x10000), Access.Read);
        _ = attached.Space.Unmap(new(0x10000), 4096);
        attached.Vfio.Detach();
        rig.Memory.PinnedPages.ShouldBe(0);
        rig.KernelSide.Audit.Areas.ShouldBe(0);
        rig.Memory.Violations.ShouldBeEmpty();
    }

    [Fact]
    public void A_flush_that_fails_keeps_everything_for_the_next()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach();
        attached.Space.SetLazyInvalidation(true);
        attached.Space.Map(new(Page(0), 4096), new(0x10000), Access.Read);
        _ = attached.Space.Unmap(new(0x10000), 4096);
        rig.Iommu.FailsToComplete = true;
        attached.Space.FlushErrno().ShouldBe(Errno.IoError);
        rig.Memory.PinnedPages.ShouldBe(1);
        rig.Iommu.FailsToComplete = false;
        attached.Space.FlushErrno().ShouldBe(Errno.Success);
        rig.Memory.PinnedPages.ShouldBe(0);
        rig.Memory.Violations.ShouldBeEmpty();
    }
}
