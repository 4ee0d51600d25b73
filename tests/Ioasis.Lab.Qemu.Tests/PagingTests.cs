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
        rig.NewDomain(rig.Devices[rig.Edus[0].Id]).Mode.ShouldBe(mode);
        RandomMaps.Check(rig, (int)mode);
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
        SuperpageChecks.CheckLeaf(rig, edu, rig.NewAttachedDomain(edu), size);
    }

    [Fact]
    [Trait("Requirement", "S4.16")]
    public void QEMU_refuses_a_write_on_the_strength_of_what_it_has_cached_without_a_record()
    {
        // Not what section 4.2 says (docs/conformance.md, "QEMU").
        using QemuRig rig = new();
        EduDevice edu = rig.Edus[0];
        const ulong iova = 0x20_0000;
        rig.NewAttachedDomain(edu).ShouldMap(iova, QemuRig.DataStart, access: Access.Read);
        edu.ReadMemory(new(iova), 64);
        edu.WriteMemory(new(iova + 64), 64);
        rig.HandleInterrupts();
        rig.Faults.ShouldBeEmpty();
        rig.Memory.ReadBytes(new(QemuRig.DataStart + 64), 64).ShouldBe(new byte[64]);
    }
}
