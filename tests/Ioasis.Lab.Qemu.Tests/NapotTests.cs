using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>Leaves of 64 KiB (Svnapot).</summary>
public class NapotTests
{
    private const ulong Leaf = 64 * 1024;
    private const ulong Iova = 0x80_0000;

    [Fact]
    public void A_leaf_of_64_KiB_leads_each_of_its_pages_to_its_own_place()
    {
        using QemuRig rig = new(new() { Driver = new() { UseNapot = true } });
        EduDevice edu = rig.Edus[0];
        RiscVPagingDomain domain = rig.NewAttachedDomain(edu);
        ulong target = QemuRig.DataStart + (5 * Leaf);
        domain.ShouldMap(Iova, target, Leaf);
        domain.TryTranslate(new(Iova + 0x5000), out _, out _, out ulong size).ShouldBeTrue();
        size.ShouldBe(Leaf);
        for (ulong offset = 0; offset < Leaf; offset += QemuRig.Page)
        {
            rig.ShouldReach(edu, Iova + offset, target + offset);
        }
    }
}
