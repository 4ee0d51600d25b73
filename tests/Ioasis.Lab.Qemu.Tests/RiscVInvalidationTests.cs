using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.Lab.Qemu.Tests.Shared;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>As on every IOMMU; and what is peculiar to the cache of QEMU's.</summary>
public class RiscVInvalidationTests : InvalidationTests
{
    private const ulong Iova = 0x4000_0000;
    private const ulong Huge = 2ul << 20;

    private protected override LabRig NewRig(LabNeeds needs) => QemuRig.For(needs);

    [Theory]
    [InlineData(RiscVQuirks.None)]
    [InlineData(RiscVQuirks.SuperpagesInPieces)]
    [Trait("Requirement", "S4.6")]
    internal void An_unmapped_superpage_is_gone_whole_if_the_driver_is_told_how_QEMU_caches_it(RiscVQuirks quirks)
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
}
