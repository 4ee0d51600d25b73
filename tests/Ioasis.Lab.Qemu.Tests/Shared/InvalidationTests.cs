using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Primitives;

namespace Ioasis.Lab.Qemu.Tests.Shared;

/// <summary>What an IOMMU's cache keeps, and that our invalidations take out exactly what must go.</summary>
public abstract class InvalidationTests
{
    private const ulong Iova = 0x4000_0000;
    private const ulong Far = 0x10_0000;
    private const ulong Huge = 2ul << 20;

    private protected abstract LabRig NewRig(LabNeeds needs);

    [Fact]
    [Trait("Requirement", "S4.6")]
    public void Without_the_invalidation_the_device_still_reaches_the_old_page_and_with_it_no_more()
    {
        using LabRig rig = NewRig(new() { CanLoseInvalidations = true });
        EduDevice edu = rig.Edus[0];
        PagingDomain domain = rig.NewAttachedDomain(edu);
        domain.ShouldMap(Iova, rig.Data.Start);
        rig.ShouldReach(edu, Iova, rig.Data.Start);

        // The very mistake that the tests look for can be seen: QEMU caches.
        rig.LosesInvalidations = true;
        domain.ShouldUnmap(Iova);
        rig.ShouldReach(edu, Iova, rig.Data.Start);
        domain.ShouldMap(Iova, (rig.Data.Start + Far));
        rig.ShouldReach(edu, Iova, rig.Data.Start);

        rig.LosesInvalidations = false;
        domain.ShouldUnmap(Iova);
        rig.ShouldFault(edu, Iova, Refusal.NotMapped);
        domain.ShouldMap(Iova, (rig.Data.Start + Far));
        rig.ShouldReach(edu, Iova, (rig.Data.Start + Far));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(31)]
    [InlineData(32)]
    [InlineData(33)]
    [InlineData(200)]
    [InlineData(512)]
    [InlineData(1500)]
    [Trait("Requirement", "S4.13")]
    public void However_many_pages_are_unmapped_none_of_them_is_reached_and_their_neighbours_still_are(int count)
    {
        using LabRig rig = NewRig(new());
        EduDevice edu = rig.Edus[0];
        PagingDomain domain = rig.NewAttachedDomain(edu);
        ulong length = (ulong)count << 12;
        const ulong start = Iova + (7 * LabRig.Page);

        // Scattered, so that each page is a leaf of its own.
        for (ulong page = 0; page < (ulong)count + 2; page++)
        {
            domain.ShouldMap(start - LabRig.Page + (page << 12), rig.Data.Start + (page << 13));
        }

        ulong[] probes = [.. new[] { 0, 1, count / 2, count - 2, count - 1 }.Where(p => p >= 0 && p < count).Distinct().Select(static p => (ulong)p << 12)];
        ulong[] neighbours = [start - LabRig.Page, start + length];
        foreach (ulong probe in probes)
        {
            rig.ShouldReach(edu, start + probe, rig.Data.Start + ((probe + LabRig.Page) * 2), 8);
        }

        foreach (ulong neighbour in neighbours)
        {
            rig.ShouldReach(edu, neighbour, rig.Data.Start + ((neighbour - start + LabRig.Page) * 2), 8);
        }

        (long commands, long flushes, long waits) = (rig.Iommu.Usage.TranslationInvalidations, rig.Flushes, rig.Waits);
        domain.ShouldUnmap(start, length);
        commands = rig.Iommu.Usage.TranslationInvalidations - commands;
        commands.ShouldBeInRange(1, rig.InvalidationLimit);
        (rig.Flushes - flushes).ShouldBe(count > rig.MostPagesWithoutFlush ? 1 : 0, $"{commands} commands");
        (rig.Waits - waits).ShouldBe(1);
        foreach (ulong probe in probes)
        {
            rig.ShouldFault(edu, start + probe, Refusal.NotMapped);
        }

        foreach (ulong neighbour in neighbours)
        {
            rig.ShouldReach(edu, neighbour, rig.Data.Start + ((neighbour - start + LabRig.Page) * 2), 8);
        }
    }

    [Fact]
    [Trait("Requirement", "S4.14")]
    public void A_table_whose_pages_all_went_can_become_a_superpage_and_that_a_table_again()
    {
        using LabRig rig = NewRig(new());
        EduDevice edu = rig.Edus[0];
        PagingDomain domain = rig.NewAttachedDomain(edu);
        ulong target = rig.Data.Start + (8 * Huge);
        long empty = domain.TableBytes;
        for (int round = 0; round < 3; round++)
        {
            // 512 pages, backwards, so that no larger leaf comes of them; two are in the cache.
            for (ulong page = 0; page < 512; page++)
            {
                domain.ShouldMap(Iova + (page << 12), rig.Data.Start + ((511 - page) << 12));
            }

            rig.ShouldReach(edu, Iova, rig.Data.Start + (511 << 12));
            rig.ShouldReach(edu, Iova + (100 << 12), rig.Data.Start + (411 << 12));
            domain.ShouldUnmap(Iova, Huge);
            rig.ShouldFault(edu, Iova, Refusal.NotMapped);
            domain.ShouldMap(Iova, target, Huge);
            rig.ShouldReach(edu, Iova, target);
            rig.ShouldReach(edu, Iova + (100 << 12), target + (100 << 12));
            domain.ShouldUnmap(Iova, Huge);
            rig.ShouldFault(edu, Iova + (100 << 12), Refusal.NotMapped, write: true);
        }

        domain.TableBytes.ShouldBeLessThanOrEqualTo(empty + (3 * 4096));
    }

    [Fact]
    [Trait("Requirement", "S4.8")]
    public void After_a_switch_only_the_new_domain_is_seen_and_after_the_way_back_only_the_old()
    {
        using LabRig rig = NewRig(new());
        EduDevice edu = rig.Edus[0];
        IommuGroup group = rig.Devices[edu.Id].Group;
        PagingDomain one = rig.NewDomain(rig.Devices[edu.Id]);
        PagingDomain two = rig.NewDomain(rig.Devices[edu.Id]);
        one.ShouldMap(Iova, rig.Data.Start);
        one.ShouldMap(Iova + LabRig.Page, rig.Data.Start + LabRig.Page);
        two.ShouldMap(Iova, (rig.Data.Start + Far));
        for (int round = 0; round < 3; round++)
        {
            group.Attach(one).ShouldBe(Errno.Success);
            rig.ShouldReach(edu, Iova, rig.Data.Start);
            rig.ShouldReach(edu, Iova + LabRig.Page, rig.Data.Start + LabRig.Page);
            group.Attach(two).ShouldBe(Errno.Success);
            rig.ShouldReach(edu, Iova, (rig.Data.Start + Far));
            rig.ShouldFault(edu, Iova + LabRig.Page, Refusal.NotMapped);
        }

        group.Detach().ShouldBe(Errno.Success);
        rig.ShouldFault(edu, Iova, Refusal.NotAttached);
        rig.Iommu.Usage.AddressSpaces.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S4.8")]
    [Trait("Requirement", "S4.1")]
    public void An_address_space_identifier_that_is_used_again_brings_no_translation_of_its_former_life()
    {
        // So few that attaches must take those which detaches gave back.
        using LabRig rig = NewRig(new() { FewAddressSpaces = true });
        EduDevice edu = rig.Edus[0];
        IommuGroup group = rig.Devices[edu.Id].Group;
        for (ulong life = 0; life < 6; life++)
        {
            PagingDomain domain = rig.NewDomain(rig.Devices[edu.Id]);
            group.Attach(domain).ShouldBe(Errno.Success);
            rig.ShouldFault(edu, Iova, Refusal.NotMapped);
            domain.ShouldMap(Iova, rig.Data.Start + (life << 12));
            rig.ShouldReach(edu, Iova, rig.Data.Start + (life << 12));
            group.Detach().ShouldBe(Errno.Success);
            domain.Dispose();
        }
    }

    [Fact]
    [Trait("Requirement", "S4.4")]
    [Trait("Requirement", "S4.5")]
    public void Devices_that_share_a_domain_are_told_once_and_all_obey()
    {
        using LabRig rig = NewRig(new() { Devices = [LabRig.Edu, LabRig.Edu, LabRig.Edu] });
        PagingDomain domain = rig.NewDomain(rig.Devices[rig.Edus[0].Id]);
        foreach (EduDevice edu in rig.Edus)
        {
            rig.Devices[edu.Id].Group.Attach(domain).ShouldBe(Errno.Success);
        }

        rig.Iommu.Usage.AddressSpaces.ShouldBe(1);
        domain.ShouldMap(Iova, rig.Data.Start);
        foreach (EduDevice edu in rig.Edus)
        {
            rig.ShouldReach(edu, Iova, rig.Data.Start);
        }

        long before = rig.Iommu.Usage.TranslationInvalidations;
        domain.ShouldUnmap(Iova);
        (rig.Iommu.Usage.TranslationInvalidations - before).ShouldBe(1);
        foreach (EduDevice edu in rig.Edus)
        {
            rig.ShouldFault(edu, Iova, Refusal.NotMapped);
        }

        // One leaves: the others keep theirs.
        domain.ShouldMap(Iova, (rig.Data.Start + Far));
        rig.Devices[rig.Edus[0].Id].Group.Detach().ShouldBe(Errno.Success);
        rig.ShouldFault(rig.Edus[0], Iova, Refusal.NotAttached);
        rig.ShouldReach(rig.Edus[1], Iova, (rig.Data.Start + Far));
        rig.ShouldReach(rig.Edus[2], Iova, (rig.Data.Start + Far));
    }

    [Fact]
    public void Two_domains_with_the_same_addresses_do_not_see_each_other()
    {
        using LabRig rig = NewRig(new() { Devices = [LabRig.Edu, LabRig.Edu] });
        PagingDomain one = rig.NewAttachedDomain(rig.Edus[0]);
        PagingDomain two = rig.NewAttachedDomain(rig.Edus[1]);
        for (ulong page = 0; page < 8; page++)
        {
            one.ShouldMap(Iova + (page << 12), rig.Data.Start + (page << 12));
            two.ShouldMap(Iova + (page << 12), (rig.Data.Start + Far) + (page << 12));
        }

        for (ulong page = 0; page < 8; page++)
        {
            rig.ShouldReach(rig.Edus[0], Iova + (page << 12), rig.Data.Start + (page << 12));
            rig.ShouldReach(rig.Edus[1], Iova + (page << 12), (rig.Data.Start + Far) + (page << 12));
        }

        one.ShouldUnmap(Iova, 4 * LabRig.Page);
        rig.ShouldFault(rig.Edus[0], Iova, Refusal.NotMapped);
        rig.ShouldReach(rig.Edus[1], Iova, (rig.Data.Start + Far));
    }

    [Fact]
    public void A_deferred_invalidation_releases_the_page_only_when_no_device_reaches_it()
    {
        using LabRig rig = NewRig(new());
        EduDevice edu = rig.Edus[0];
        PagingDomain domain = rig.NewAttachedDomain(edu);
        LazyInvalidation queue = new(domain, new() { Capacity = 4 });
        Releases releases = new(range =>
        {
            // Released means: safe to give to somebody else, at this very moment.
            rig.ShouldFault(edu, range.Start, Refusal.NotMapped);
        });
        ulong[] pages = [Iova, Iova + (2 * LabRig.Page), Iova + (9 * LabRig.Page)];
        foreach (ulong page in pages)
        {
            domain.ShouldMap(page, rig.Data.Start + (page - Iova));
            rig.ShouldReach(edu, page, rig.Data.Start + (page - Iova));
        }

        long fences = rig.Waits;
        foreach (ulong page in pages)
        {
            InvalidationGather gather = default;
            domain.Unmap(new(page), LabRig.Page, ref gather).ShouldBe(LabRig.Page);
            queue.Defer(ref gather, new(page, page + 0xfff), releases, 0, 0).ShouldBe(Errno.Success);
        }

        // Until the flush, the device still reaches the old pages through the cache: so nothing may have been released.
        rig.Waits.ShouldBe(fences);
        rig.ShouldReach(edu, pages[1], rig.Data.Start + (pages[1] - Iova));
        releases.Count.ShouldBe(0);
        queue.FlushIfOverlaps(new(pages[1], pages[1] + 0xfff)).ShouldBe(Errno.Success);
        releases.Count.ShouldBe(3);
        rig.Waits.ShouldBe(fences + 1);
        domain.ShouldMap(pages[1], (rig.Data.Start + Far));
        rig.ShouldReach(edu, pages[1], (rig.Data.Start + Far));
    }

    private sealed class Releases(Action<AddressRange> check) : ILazyRelease
    {
        public int Count { get; private set; }

        public void Release(AddressRange range, ulong cookie0, ulong cookie1)
        {
            Count++;
            check(range);
        }
    }
}
