using Ioasis.Core;
using Ioasis.Intel.Architecture;
using Ioasis.Intel.Driver;
using Ioasis.Primitives;

namespace Ioasis.Lab.Qemu.Tests.Vtd;

/// <summary>QEMU's walkers and our tables: each stage, each number of levels, each size of leaf, maps at random.</summary>
public sealed class VtdPagingTests
{
    private const ulong Mega = 1ul << 20;
    private const ulong Giga = 1ul << 30;

    public static TheoryData<VtdTables, int> Shapes { get; } = new()
    {
        { VtdTables.Legacy3, 3 }, { VtdTables.Legacy4, 3 }, { VtdTables.Legacy4, 4 }, { VtdTables.SecondStage, 3 },
        { VtdTables.SecondStage, 4 }, { VtdTables.FirstStage, 4 },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    [Trait("Requirement", "S4.10")]
    public void Random_maps_reach_exactly_the_bytes_that_were_mapped(VtdTables tables, int levels)
    {
        using VtdRig rig = NewRig(tables, levels);
        rig.NewDomain(rig.Devices[rig.Edus[0].Id]).Levels.ShouldBe(levels);
        RandomMaps.Check(rig, (10 * (int)tables) + levels);
        rig.Driver.Statistics.QueueFailures.ShouldBe(0);
        rig.Driver.Statistics.QueueRecoveries.ShouldBe(0);
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void The_first_and_last_pages_of_the_aperture_are_translated_and_nothing_beyond(VtdTables tables, int levels)
    {
        using VtdRig rig = NewRig(tables, levels);
        EduDevice edu = rig.Edus[0];
        VtdPagingDomain domain = rig.NewAttachedDomain(edu);

        // A first stage has the lower half of canonical addresses only.
        int bits = 12 + (9 * levels) - (tables == VtdTables.FirstStage ? 1 : 0);
        domain.Aperture.Last.ShouldBe((1ul << bits) - 1);
        ulong last = domain.Aperture.Last & ~(LabRig.Page - 1);
        domain.ShouldMap(0, VtdRig.DataStart);
        domain.ShouldMap(last, VtdRig.DataStart + LabRig.Page);
        rig.ShouldReach(edu, 0, VtdRig.DataStart);
        rig.ShouldReach(edu, 0xffc, VtdRig.DataStart + 0xffc, 4);
        rig.ShouldReach(edu, last, VtdRig.DataStart + LabRig.Page);
        rig.ShouldReach(edu, domain.Aperture.Last - 3, VtdRig.DataStart + (2 * LabRig.Page) - 4, 4);
        FaultReason beyond = tables == VtdTables.FirstStage ? FaultReason.NotCanonical : FaultReason.AddressBeyondWidth;
        rig.ShouldFault(edu, 1ul << bits, beyond);
        rig.ShouldFault(edu, last | (1ul << 60), beyond, write: true);
        domain.Map(new(domain.Aperture.Last + 1), new(VtdRig.DataStart), LabRig.Page, Access.Read).ShouldBe(Errno.OutOfRange);
    }

    [Theory]
    [InlineData(VtdTables.Legacy3, 2 * Mega)]
    [InlineData(VtdTables.Legacy3, Giga)]
    [InlineData(VtdTables.Legacy4, 2 * Mega)]
    [InlineData(VtdTables.Legacy4, Giga)]
    [InlineData(VtdTables.SecondStage, 2 * Mega)]
    [InlineData(VtdTables.SecondStage, Giga)]
    [InlineData(VtdTables.FirstStage, 2 * Mega)]
    [InlineData(VtdTables.FirstStage, Giga)]
    public void A_large_page_is_one_leaf_from_its_first_to_its_last_byte(VtdTables tables, ulong size)
    {
        using VtdRig rig = NewRig(tables);
        EduDevice edu = rig.Edus[0];
        VtdPagingDomain domain = rig.NewAttachedDomain(edu);
        SuperpageChecks.CheckLeaf(rig, edu, domain, size);
    }

    [Fact]
    public void Where_pages_of_1_GiB_are_missing_from_the_first_stage_smaller_ones_take_their_place()
    {
        using VtdRig rig = new(new() { Tables = VtdTables.FirstStage, Iommu = ",fs1gp=off" });
        EduDevice edu = rig.Edus[0];
        VtdPagingDomain domain = rig.NewAttachedDomain(edu);
        domain.ShouldMap(Giga, 0, Giga);
        domain.TryTranslate(new(Giga), out _, out _, out ulong leaf).ShouldBeTrue();
        leaf.ShouldBe(2 * Mega);
        rig.ShouldReach(edu, Giga + VtdRig.DataStart, VtdRig.DataStart);
    }

    [Fact]
    public void QEMU_takes_the_width_of_a_first_stage_from_a_field_that_is_not_for_it()
    {
        // Not what section 9.6 says of AW (docs/conformance.md, "QEMU's VT-d"): without the quirk, addresses of 30 bits are left.
        using VtdRig rig = new(new() { Tables = VtdTables.FirstStage, Driver = new() });
        EduDevice edu = rig.Edus[0];
        VtdPagingDomain domain = rig.NewAttachedDomain(edu);
        domain.ShouldMap((Giga / 2) - LabRig.Page, VtdRig.DataStart);
        domain.ShouldMap(Giga / 2, VtdRig.DataStart);
        rig.ShouldReach(edu, (Giga / 2) - LabRig.Page, VtdRig.DataStart);
        rig.ShouldFault(edu, Giga / 2, FaultReason.NotCanonical);
    }

    [Theory]
    [InlineData(VtdQuirks.FirstStageHasWidth)]
    [InlineData(VtdRig.Quirks)]
    internal void QEMU_passes_a_device_through_until_its_context_is_invalidated(VtdQuirks quirks)
    {
        // Not what section 6.5.3 says of PASID-table entries (docs/conformance.md, "QEMU's VT-d").
        using VtdRig rig = new(new() { Tables = VtdTables.SecondStage, Driver = new() { Quirks = quirks } });
        EduDevice edu = rig.Edus[0];
        IommuGroup group = rig.Devices[edu.Id].Group;
        group.Attach(IdentityDomain.Instance).ShouldBe(Errno.Success);
        rig.ShouldReach(edu, VtdRig.DataStart, VtdRig.DataStart);
        group.Detach().ShouldBe(Errno.Success);
        if (quirks == VtdRig.Quirks)
        {
            rig.ShouldFault(edu, VtdRig.DataStart, Refusal.NotAttached);
        }
        else
        {
            rig.ShouldReach(edu, VtdRig.DataStart, VtdRig.DataStart);
        }
    }

    private static VtdRig NewRig(VtdTables tables, int levels = 4) =>
        new(new() { Tables = tables, Driver = new() { PreferredLevels = levels, Quirks = VtdRig.Quirks } });
}
