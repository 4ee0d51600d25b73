using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.Testing;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>What QEMU's address translation cache keeps, and that our invalidations take out exactly what must go.</summary>
public class InvalidationTests
{
    private const ulong Iova = 0x4000_0000;
    private const ulong Old = QemuRig.DataStart;
    private const ulong New = QemuRig.DataStart + 0x10_0000;
    private const ulong Huge = 2ul << 20;

    [Fact]
    [Trait("Requirement", "S4.6")]
    public void Without_the_invalidation_the_device_still_reaches_the_old_page_and_with_it_no_more()
    {
        CommandFilter filter = CommandFilter.LosesInvalidations();
        filter.IsOn = false;
        using QemuRig rig = new(new() { Registers = filter.Registers, DriverMemory = filter.Memory });
        EduDevice edu = rig.Edus[0];
        RiscVPagingDomain domain = rig.NewAttachedDomain(edu);
        domain.ShouldMap(Iova, Old);
        rig.ShouldReach(edu, Iova, Old);

        // The very mistake that the tests look for can be seen: QEMU caches.
        filter.IsOn = true;
        domain.ShouldUnmap(Iova);
        rig.ShouldReach(edu, Iova, Old);
        domain.ShouldMap(Iova, New);
        rig.ShouldReach(edu, Iova, Old);

        filter.IsOn = false;
        domain.ShouldUnmap(Iova);
        rig.ShouldFault(edu, Iova, FaultCause.ReadPageFault);
        domain.ShouldMap(Iova, New);
        rig.ShouldReach(edu, Iova, New);
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
        using QemuRig rig = new(new() { Driver = new() { UseNapot = false } });
        EduDevice edu = rig.Edus[0];
        RiscVPagingDomain domain = rig.NewAttachedDomain(edu);
        ulong length = (ulong)count << 12;
        const ulong start = Iova + (7 * QemuRig.Page);

        // Scattered, so that each page is a leaf of its own.
        for (ulong page = 0; page < (ulong)count + 2; page++)
        {
            domain.ShouldMap(start - QemuRig.Page + (page << 12), QemuRig.DataStart + (page << 13));
        }

        ulong[] probes = [.. new[] { 0, 1, count / 2, count - 2, count - 1 }.Where(p => p >= 0 && p < count).Distinct().Select(static p => (ulong)p << 12)];
        ulong[] neighbours = [start - QemuRig.Page, start + length];
        foreach (ulong probe in probes)
        {
            rig.ShouldReach(edu, start + probe, QemuRig.DataStart + ((probe + QemuRig.Page) * 2), 8);
        }

        foreach (ulong neighbour in neighbours)
        {
            rig.ShouldReach(edu, neighbour, QemuRig.DataStart + ((neighbour - start + QemuRig.Page) * 2), 8);
        }

        RiscVDriverStatistics before = rig.Driver.Statistics;
        domain.ShouldUnmap(start, length);
        RiscVDriverStatistics after = rig.Driver.Statistics;
        long commands = after.FirstStageInvalidations - before.FirstStageInvalidations;
        commands.ShouldBeInRange(1, rig.Driver.Options.InvalidationCommandLimit);
        (after.AddressSpaceFlushes - before.AddressSpaceFlushes)
            .ShouldBe(count > rig.Driver.Options.InvalidationCommandLimit ? 1 : 0, $"{commands} commands");
        (after.Fences - before.Fences).ShouldBe(1);
        foreach (ulong probe in probes)
        {
            rig.ShouldFault(edu, start + probe, FaultCause.ReadPageFault);
        }

        foreach (ulong neighbour in neighbours)
        {
            rig.ShouldReach(edu, neighbour, QemuRig.DataStart + ((neighbour - start + QemuRig.Page) * 2), 8);
        }
    }

    [Fact]
    [Trait("Requirement", "S4.14")]
    public void A_table_whose_pages_all_went_can_become_a_superpage_and_that_a_table_again()
    {
        using QemuRig rig = new(new() { Driver = new() { Quirks = RiscVQuirks.SuperpagesInPieces } });
        EduDevice edu = rig.Edus[0];
        RiscVPagingDomain domain = rig.NewAttachedDomain(edu);
        const ulong target = QemuRig.DataStart + (8 * Huge);
        long empty = domain.TableBytes;
        for (int round = 0; round < 3; round++)
        {
            // 512 pages, backwards, so that no larger leaf comes of them; two are in the cache.
            for (ulong page = 0; page < 512; page++)
            {
                domain.ShouldMap(Iova + (page << 12), Old + ((511 - page) << 12));
            }

            rig.ShouldReach(edu, Iova, Old + (511 << 12));
            rig.ShouldReach(edu, Iova + (100 << 12), Old + (411 << 12));
            domain.ShouldUnmap(Iova, Huge);
            rig.ShouldFault(edu, Iova, FaultCause.ReadPageFault);
            domain.ShouldMap(Iova, target, Huge);
            rig.ShouldReach(edu, Iova, target);
            rig.ShouldReach(edu, Iova + (100 << 12), target + (100 << 12));
            domain.ShouldUnmap(Iova, Huge);
            rig.ShouldFault(edu, Iova + (100 << 12), FaultCause.WritePageFault, write: true);
        }

        domain.TableBytes.ShouldBeLessThanOrEqualTo(empty + (3 * 4096));
    }

    [Theory]
    [InlineData(RiscVQuirks.None)]
    [InlineData(RiscVQuirks.SuperpagesInPieces)]
    [Trait("Requirement", "S4.6")]
    public void An_unmapped_superpage_is_gone_whole_if_the_driver_is_told_how_QEMU_caches_it(RiscVQuirks quirks)
    {
        using QemuRig rig = new(new() { Driver = new() { Quirks = quirks } });
        EduDevice edu = rig.Edus[0];
        RiscVPagingDomain domain = rig.NewAttachedDomain(edu);
        const ulong target = QemuRig.DataStart + (4 * Huge);
        domain.ShouldMap(Iova, target, Huge);
        ulong[] pages = [0, QemuRig.Page, 77 * QemuRig.Page, Huge - QemuRig.Page];
        foreach (ulong page in pages)
        {
            rig.ShouldReach(edu, Iova + page, target + page);
        }

        domain.ShouldUnmap(Iova, Huge);
        rig.ShouldFault(edu, Iova, FaultCause.ReadPageFault);
        foreach (ulong page in pages[1..])
        {
            // QEMU caches a superpage by the 4 KiB pages that were used, and an address takes out only its own: not what
            // section 3.1.1 says (docs/conformance.md, "QEMU").
            if (quirks == RiscVQuirks.None)
            {
                rig.ShouldReach(edu, Iova + page, target + page);
            }
            else
            {
                rig.ShouldFault(edu, Iova + page, FaultCause.ReadPageFault);
            }
        }
    }

    [Fact]
    [Trait("Requirement", "S4.8")]
    public void After_a_switch_only_the_new_domain_is_seen_and_after_the_way_back_only_the_old()
    {
        using QemuRig rig = new();
        EduDevice edu = rig.Edus[0];
        IommuGroup group = rig.Devices[edu.Id].Group;
        RiscVPagingDomain one = rig.NewDomain(rig.Devices[edu.Id]);
        RiscVPagingDomain two = rig.NewDomain(rig.Devices[edu.Id]);
        one.ShouldMap(Iova, Old);
        one.ShouldMap(Iova + QemuRig.Page, Old + QemuRig.Page);
        two.ShouldMap(Iova, New);
        for (int round = 0; round < 3; round++)
        {
            group.Attach(one).ShouldBe(Errno.Success);
            rig.ShouldReach(edu, Iova, Old);
            rig.ShouldReach(edu, Iova + QemuRig.Page, Old + QemuRig.Page);
            group.Attach(two).ShouldBe(Errno.Success);
            rig.ShouldReach(edu, Iova, New);
            rig.ShouldFault(edu, Iova + QemuRig.Page, FaultCause.ReadPageFault);
        }

        group.Detach().ShouldBe(Errno.Success);
        rig.ShouldFault(edu, Iova, FaultCause.DdtEntryNotValid);
        rig.Driver.Statistics.PscidsInUse.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S4.8")]
    [Trait("Requirement", "S4.1")]
    public void An_address_space_identifier_that_is_used_again_brings_no_translation_of_its_former_life()
    {
        // One PSCID only: each attach must take the one that the last detach gave back.
        using QemuRig rig = new(new() { Driver = new() { PscidBits = 1 } });
        EduDevice edu = rig.Edus[0];
        IommuGroup group = rig.Devices[edu.Id].Group;
        for (ulong life = 0; life < 6; life++)
        {
            RiscVPagingDomain domain = rig.NewDomain(rig.Devices[edu.Id]);
            group.Attach(domain).ShouldBe(Errno.Success);
            rig.ShouldFault(edu, Iova, FaultCause.ReadPageFault);
            domain.ShouldMap(Iova, QemuRig.DataStart + (life << 12));
            rig.ShouldReach(edu, Iova, QemuRig.DataStart + (life << 12));
            group.Detach().ShouldBe(Errno.Success);
            domain.Dispose();
        }
    }

    [Fact]
    [Trait("Requirement", "S4.4")]
    [Trait("Requirement", "S4.5")]
    public void Devices_that_share_a_domain_are_told_once_and_all_obey()
    {
        using QemuRig rig = new(new() { Devices = [QemuRig.Edu, QemuRig.Edu, QemuRig.Edu] });
        RiscVPagingDomain domain = rig.NewDomain(rig.Devices[rig.Edus[0].Id]);
        foreach (EduDevice edu in rig.Edus)
        {
            rig.Devices[edu.Id].Group.Attach(domain).ShouldBe(Errno.Success);
        }

        domain.BondCount.ShouldBe(1);
        domain.ShouldMap(Iova, Old);
        foreach (EduDevice edu in rig.Edus)
        {
            rig.ShouldReach(edu, Iova, Old);
        }

        long before = rig.Driver.Statistics.FirstStageInvalidations;
        domain.ShouldUnmap(Iova);
        (rig.Driver.Statistics.FirstStageInvalidations - before).ShouldBe(1);
        foreach (EduDevice edu in rig.Edus)
        {
            rig.ShouldFault(edu, Iova, FaultCause.ReadPageFault);
        }

        // One leaves: the others keep theirs.
        domain.ShouldMap(Iova, New);
        rig.Devices[rig.Edus[0].Id].Group.Detach().ShouldBe(Errno.Success);
        rig.ShouldFault(rig.Edus[0], Iova, FaultCause.DdtEntryNotValid);
        rig.ShouldReach(rig.Edus[1], Iova, New);
        rig.ShouldReach(rig.Edus[2], Iova, New);
    }

    [Fact]
    public void Two_domains_with_the_same_addresses_do_not_see_each_other()
    {
        using QemuRig rig = new(new() { Devices = [QemuRig.Edu, QemuRig.Edu] });
        RiscVPagingDomain one = rig.NewAttachedDomain(rig.Edus[0]);
        RiscVPagingDomain two = rig.NewAttachedDomain(rig.Edus[1]);
        for (ulong page = 0; page < 8; page++)
        {
            one.ShouldMap(Iova + (page << 12), Old + (page << 12));
            two.ShouldMap(Iova + (page << 12), New + (page << 12));
        }

        for (ulong page = 0; page < 8; page++)
        {
            rig.ShouldReach(rig.Edus[0], Iova + (page << 12), Old + (page << 12));
            rig.ShouldReach(rig.Edus[1], Iova + (page << 12), New + (page << 12));
        }

        one.ShouldUnmap(Iova, 4 * QemuRig.Page);
        rig.ShouldFault(rig.Edus[0], Iova, FaultCause.ReadPageFault);
        rig.ShouldReach(rig.Edus[1], Iova, New);
    }

    [Fact]
    public void A_deferred_invalidation_releases_the_page_only_when_no_device_reaches_it()
    {
        using QemuRig rig = new();
        EduDevice edu = rig.Edus[0];
        RiscVPagingDomain domain = rig.NewAttachedDomain(edu);
        LazyInvalidation queue = new(domain, new() { Capacity = 4 });
        Releases releases = new(range =>
        {
            // Released means: safe to give to somebody else, at this very moment.
            rig.ShouldFault(edu, range.Start, FaultCause.ReadPageFault);
        });
        ulong[] pages = [Iova, Iova + (2 * QemuRig.Page), Iova + (9 * QemuRig.Page)];
        foreach (ulong page in pages)
        {
            domain.ShouldMap(page, Old + (page - Iova));
            rig.ShouldReach(edu, page, Old + (page - Iova));
        }

        long fences = rig.Driver.Statistics.Fences;
        foreach (ulong page in pages)
        {
            InvalidationGather gather = default;
            domain.Unmap(new(page), QemuRig.Page, ref gather).ShouldBe(QemuRig.Page);
            queue.Defer(ref gather, new(page, page + 0xfff), releases, 0, 0).ShouldBe(Errno.Success);
        }

        // Until the flush, the device still reaches the old pages through the cache: so nothing may have been released.
        rig.Driver.Statistics.Fences.ShouldBe(fences);
        rig.ShouldReach(edu, pages[1], Old + (pages[1] - Iova));
        releases.Count.ShouldBe(0);
        queue.FlushIfOverlaps(new(pages[1], pages[1] + 0xfff)).ShouldBe(Errno.Success);
        releases.Count.ShouldBe(3);
        rig.Driver.Statistics.Fences.ShouldBe(fences + 1);
        domain.ShouldMap(pages[1], New);
        rig.ShouldReach(edu, pages[1], New);
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
