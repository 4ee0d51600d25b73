using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>QEMU's walker and ours: every format, every size of leaf, and maps at random, against what the test asked for.</summary>
public class PagingTests
{
    private const ulong Kilo = 1ul << 10;
    private const ulong Mega = 1ul << 20;
    private const ulong Giga = 1ul << 30;
    private const ulong Tera = 1ul << 40;

    public static TheoryData<PagingMode> Modes { get; } = [PagingMode.Sv39, PagingMode.Sv48, PagingMode.Sv57];

    [Theory]
    [MemberData(nameof(Modes))]
    [Trait("Requirement", "S4.10")]
    public void Random_maps_reach_exactly_the_bytes_that_were_mapped(PagingMode mode)
    {
        using QemuRig rig = new(new() { Driver = new() { PreferredMode = mode, UseNapot = false } });
        EduDevice edu = rig.Edus[0];

        // Mapped before the first attach: the root is the domain's from the beginning.
        RiscVPagingDomain domain = rig.NewDomain(rig.Devices[edu.Id]);
        domain.Mode.ShouldBe(mode);
        Random random = new((int)mode);
        SortedDictionary<ulong, ulong> pages = [];
        RandomlyMap(domain, random, pages, 24);
        rig.Devices[edu.Id].Group.Attach(domain).ShouldBe(Errno.Success);
        for (int round = 0; round < 6; round++)
        {
            CheckAtRandom(rig, edu, random, pages, 12);

            // Half of it goes, other pages come, and some of the gone ones come back to another place.
            foreach (ulong gone in pages.Keys.Where(_ => random.Next(2) == 0).ToArray())
            {
                domain.ShouldUnmap(gone);
                pages.Remove(gone);
                if (random.Next(4) == 0)
                {
                    rig.ShouldFault(edu, gone + (ulong)random.Next(1023) * 4, FaultCause.ReadPageFault);
                }
            }

            RandomlyMap(domain, random, pages, 12);
        }

        rig.Driver.Statistics.QueueFailures.ShouldBe(0);
        rig.Driver.Statistics.QueueRecoveries.ShouldBe(0);
    }

    [Theory]
    [MemberData(nameof(Modes))]
    public void The_first_and_last_pages_of_the_aperture_are_translated_and_nothing_beyond(PagingMode mode)
    {
        using QemuRig rig = new(new() { Driver = new() { PreferredMode = mode } });
        EduDevice edu = rig.Edus[0];
        RiscVPagingDomain domain = rig.NewAttachedDomain(edu);
        ulong last = domain.Aperture.Last & ~(QemuRig.Page - 1);
        domain.Aperture.Last.ShouldBe((1ul << ((int)mode - 1)) - 1);
        domain.ShouldMap(0, QemuRig.DataStart);
        domain.ShouldMap(last, QemuRig.DataStart + QemuRig.Page);
        rig.ShouldReach(edu, 0, QemuRig.DataStart);
        rig.ShouldReach(edu, 0xffc, QemuRig.DataStart + 0xffc, 4);
        rig.ShouldReach(edu, last, QemuRig.DataStart + QemuRig.Page);
        rig.ShouldReach(edu, domain.Aperture.Last - 3, QemuRig.DataStart + (2 * QemuRig.Page) - 4, 4);

        // The bits above the sign bit must repeat it (Privileged specification, 12.4.1): the aliases of these pages fault.
        // QEMU's IOATC looks at no bit above 55 (docs/conformance.md, "QEMU"), so for Sv57 only its walker can be asked.
        if (mode == PagingMode.Sv57)
        {
            domain.ShouldUnmap(0);
            domain.ShouldUnmap(last);
            domain.ShouldMap(0, QemuRig.DataStart);
            domain.ShouldMap(last, QemuRig.DataStart + QemuRig.Page);
        }

        rig.ShouldFault(edu, 1ul << (int)mode, FaultCause.ReadPageFault);
        rig.ShouldFault(edu, last | (1ul << (int)mode), FaultCause.ReadPageFault);
        rig.ShouldFault(edu, 1ul << ((int)mode - 1), FaultCause.WritePageFault, write: true);
        domain.Map(new(domain.Aperture.Last + 1), new(QemuRig.DataStart), QemuRig.Page, Access.Read).ShouldBe(Errno.OutOfRange);
    }

    [Fact]
    public void QEMU_looks_at_no_bit_above_55_of_what_it_has_cached()
    {
        using QemuRig rig = new(new() { Driver = new() { PreferredMode = PagingMode.Sv57 } });
        EduDevice edu = rig.Edus[0];
        RiscVPagingDomain domain = rig.NewAttachedDomain(edu);
        const ulong alias = 1ul << 57;
        domain.ShouldMap(0x3000, QemuRig.DataStart);
        rig.ShouldFault(edu, alias | 0x3000, FaultCause.ReadPageFault);
        rig.ShouldReach(edu, 0x3000, QemuRig.DataStart);

        // Not what section 2.3 says (docs/conformance.md, "QEMU"); it never reaches more than what is mapped.
        rig.ShouldReach(edu, alias | 0x3000, QemuRig.DataStart);
        domain.ShouldUnmap(0x3000);
        rig.ShouldFault(edu, alias | 0x3000, FaultCause.ReadPageFault);
    }

    [Theory]
    [InlineData(PagingMode.Sv39, 2 * Mega)]
    [InlineData(PagingMode.Sv39, Giga)]
    [InlineData(PagingMode.Sv48, 2 * Mega)]
    [InlineData(PagingMode.Sv48, Giga)]
    [InlineData(PagingMode.Sv48, Tera / 2)]
    [InlineData(PagingMode.Sv57, 2 * Mega)]
    [InlineData(PagingMode.Sv57, Tera / 2)]
    [InlineData(PagingMode.Sv57, 256 * Tera)]
    public void A_superpage_is_one_leaf_from_its_first_to_its_last_byte(PagingMode mode, ulong size)
    {
        using QemuRig rig = new(new() { Driver = new() { PreferredMode = mode } });
        EduDevice edu = rig.Edus[0];
        RiscVPagingDomain domain = rig.NewAttachedDomain(edu);

        // The lower half has room for one leaf of the largest size, at 0.
        ulong iova = size * 3 < domain.Aperture.Last ? size * 2 : 0;
        ulong target = QemuRig.DataStart & ~(size - 1);
        long before = domain.TableBytes;
        domain.ShouldMap(iova, target, size);
        domain.TryTranslate(new(iova), out PhysicalAddress translated, out _, out ulong leaf).ShouldBeTrue();
        translated.ShouldBe(new(target));
        leaf.ShouldBe(size);

        // Three levels of tables at most lie above it: the mapping did not fall apart into pages.
        (domain.TableBytes - before).ShouldBeLessThanOrEqualTo(3 * 4096);
        foreach (ulong address in Corners(target, size))
        {
            rig.ShouldReach(edu, iova + (address - target), address);
        }

        rig.ShouldFault(edu, iova + size, FaultCause.ReadPageFault);

        // A page out of its middle splits the leaf; the rest still leads where it did.
        ulong hole = (Math.Max(target, QemuRig.DataStart) + Mega) & ~(QemuRig.Page - 1);
        domain.ShouldUnmap(iova + (hole - target));
        rig.ShouldFault(edu, iova + (hole - target), FaultCause.ReadPageFault);
        rig.ShouldFault(edu, iova + (hole - target) + 0xffc, FaultCause.WritePageFault, write: true);
        rig.ShouldReach(edu, iova + (hole - target) - 64, hole - 64);
        rig.ShouldReach(edu, iova + (hole - target) + QemuRig.Page, hole + QemuRig.Page);
        foreach (ulong address in Corners(target, size))
        {
            rig.ShouldReach(edu, iova + (address - target), address);
        }
    }

    [Fact]
    public void A_DMA_that_crosses_pages_follows_each_of_them_and_stops_nothing_but_the_part_that_faults()
    {
        using QemuRig rig = new();
        EduDevice edu = rig.Edus[0];
        RiscVPagingDomain domain = rig.NewAttachedDomain(edu);
        const ulong iova = 0x10_0000;
        ulong first = QemuRig.DataStart + (7 * QemuRig.Page);
        ulong second = QemuRig.DataStart + (3 * QemuRig.Page);
        domain.ShouldMap(iova, first);
        domain.ShouldMap(iova + QemuRig.Page, second);
        byte[] noise = QemuRig.Noise(1, 2048);
        rig.Memory.Write(new(first + 3072), noise.AsSpan(0, 1024));
        rig.Memory.Write(new(second), noise.AsSpan(1024));
        edu.ReadMemory(new(iova + 3072), 2048);
        edu.WriteMemory(new(iova + 1024), 2048);
        rig.Memory.ReadBytes(new(first + 1024), 2048).ShouldBe(noise);
        rig.HandleInterrupts();
        rig.Faults.ShouldBeEmpty();

        // The second page goes: what lies in the first still arrives.
        domain.ShouldUnmap(iova + QemuRig.Page);
        byte[] before = rig.Memory.ReadBytes(new(second), 1024);
        edu.WriteMemory(new(iova + 3072), 2048);
        rig.HandleInterrupts();
        rig.Memory.ReadBytes(new(first + 3072), 1024).ShouldBe(noise.AsSpan(0, 1024).ToArray());
        rig.Memory.ReadBytes(new(second), 1024).ShouldBe(before);
        rig.Faults.ShouldNotBeEmpty();
        rig.Faults.ShouldAllBe(f => f.Iova.Value >= iova + QemuRig.Page && f.Iova.Value < iova + (2 * QemuRig.Page)
            && f.Cause == (int)FaultCause.WritePageFault);
        rig.Faults[0].Iova.Value.ShouldBe(iova + QemuRig.Page);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S4.16")]
    public void A_page_that_was_mapped_for_reading_is_never_written(bool isCached)
    {
        using QemuRig rig = new();
        EduDevice edu = rig.Edus[0];
        RiscVPagingDomain domain = rig.NewAttachedDomain(edu);
        const ulong iova = 0x20_0000;
        domain.ShouldMap(iova, QemuRig.DataStart, access: Access.Read);
        byte[] noise = QemuRig.Noise(2, 64);
        rig.Memory.Write(new(QemuRig.DataStart), noise);
        if (isCached)
        {
            // QEMU then refuses the write on the strength of its IOATC, and records no fault (docs/conformance.md, "QEMU").
            edu.ReadMemory(new(iova), 64);
            edu.WriteMemory(new(iova + 64), 64);
            rig.HandleInterrupts();
            rig.Faults.ShouldBeEmpty();
            rig.Memory.ReadBytes(new(QemuRig.DataStart + 64), 64).ShouldBe(new byte[64]);
        }
        else
        {
            rig.ShouldFault(edu, iova, FaultCause.WritePageFault, write: true);
            edu.ReadMemory(new(iova), 64);
            rig.HandleInterrupts();
            rig.Faults.ShouldBeEmpty();
        }

        rig.Memory.ReadBytes(new(QemuRig.DataStart), 64).ShouldBe(noise);
    }

    [Fact]
    public void The_identity_domain_passes_addresses_unchanged()
    {
        using QemuRig rig = new();
        EduDevice edu = rig.Edus[0];
        rig.Devices[edu.Id].Group.Attach(IdentityDomain.Instance).ShouldBe(Errno.Success);
        rig.ShouldReach(edu, QemuRig.DataStart + 0x1234_5678 % Mega, QemuRig.DataStart + 0x1234_5678 % Mega, 256);
        rig.Devices[edu.Id].Group.Detach().ShouldBe(Errno.Success);
        rig.ShouldFault(edu, QemuRig.DataStart, FaultCause.DdtEntryNotValid);
    }

    private static IEnumerable<ulong> Corners(ulong target, ulong size)
    {
        ulong last = Math.Min(target + (size - 1), QemuRig.DataLast);
        ulong first = Math.Max(target, QemuRig.DataStart);
        return [first, first + (QemuRig.Page - 32), last - 63];
    }

    private static void RandomlyMap(
        RiscVPagingDomain domain, Random random, SortedDictionary<ulong, ulong> pages, int count)
    {
        ulong top = domain.Aperture.Last;
        for (int i = 0; i < count; i++)
        {
            // Close together, and anywhere; runs of a few pages, so that neighbours are mapped and not.
            ulong page = random.Next(2) == 0
                ? (ulong)random.Next(0, 64) << 12
                : ((ulong)random.NextInt64() & top) & ~(QemuRig.Page - 1);
            ulong target = QemuRig.DataStart + ((ulong)random.Next(0, 32 * 1024) << 12);
            int run = random.Next(1, 5);
            for (int n = 0; n < run; n++, page += QemuRig.Page, target += QemuRig.Page)
            {
                if (page <= top && target <= QemuRig.DataLast && pages.TryAdd(page, target))
                {
                    domain.ShouldMap(page, target);
                }
            }
        }
    }

    private static void CheckAtRandom(
        QemuRig rig, EduDevice edu, Random random, SortedDictionary<ulong, ulong> pages, int count)
    {
        ulong[] all = [.. pages.Keys];
        for (int i = 0; i < count; i++)
        {
            ulong page = all[random.Next(all.Length)];
            int offset = random.Next(0, 4096);
            rig.ShouldReach(edu, page + (ulong)offset, pages[page] + (ulong)offset, random.Next(1, 4097 - offset));
        }

        ulong near = all[random.Next(all.Length)] + QemuRig.Page;
        if (!pages.ContainsKey(near))
        {
            rig.ShouldFault(edu, near, FaultCause.WritePageFault, write: true);
        }
    }
}
