using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>
/// Process directories. No device of QEMU's sends PASIDs here, so requests with one are made in the IOMMU's debug registers
/// (section 5.25 to 5.27), which go through the same contexts and tables; requests without one come from edu.
/// </summary>
public class ProcessTests
{
    private const ulong Iova = 0x4000_0000;
    private static readonly Pasid One = new(1);
    private static readonly Pasid Last = new(255);

    [Fact]
    [Trait("Requirement", "S4.17")]
    public void Each_PASID_of_a_device_has_tables_of_its_own_and_so_has_none()
    {
        using QemuRig rig = new(new() { PasidBits = 8 });
        EduDevice edu = rig.Edus[0];
        IommuDevice device = rig.Devices[edu.Id];
        rig.ShouldFault(edu, Iova, FaultCause.PdtEntryNotValid);
        RiscVPagingDomain none = rig.NewAttachedDomain(edu);
        RiscVPagingDomain one = rig.NewDomain(device);
        RiscVPagingDomain last = rig.NewDomain(device);
        none.ShouldMap(Iova, QemuRig.DataStart);
        one.ShouldMap(Iova, QemuRig.DataStart + QemuRig.Page);
        last.ShouldMap(Iova, QemuRig.DataStart + (2 * QemuRig.Page));
        device.Group.AttachPasid(One, one).ShouldBe(Errno.Success);
        device.Group.AttachPasid(Last, last).ShouldBe(Errno.Success);
        rig.ShouldReach(edu, Iova, QemuRig.DataStart);
        rig.Translate(edu.Id, One, Iova).ShouldBe(QemuRig.DataStart + QemuRig.Page);
        rig.Translate(edu.Id, Last, Iova).ShouldBe(QemuRig.DataStart + (2 * QemuRig.Page));
        rig.Translate(edu.Id, new(2), Iova).ShouldBeNull();
        rig.Translate(edu.Id, new(254), Iova).ShouldBeNull();

        // The wrong page of the right process, and the right page of another device.
        rig.Translate(edu.Id, One, Iova + QemuRig.Page).ShouldBeNull();
        rig.Translate(new(edu.Id.Value + 1), One, Iova).ShouldBeNull();

        // A change in one is none in the others.
        one.ShouldUnmap(Iova);
        rig.Translate(edu.Id, One, Iova).ShouldBeNull();
        rig.Translate(edu.Id, Last, Iova).ShouldBe(QemuRig.DataStart + (2 * QemuRig.Page));
        rig.ShouldReach(edu, Iova, QemuRig.DataStart);
        one.ShouldMap(Iova, QemuRig.DataStart + (5 * QemuRig.Page));
        rig.Translate(edu.Id, One, Iova).ShouldBe(QemuRig.DataStart + (5 * QemuRig.Page));
    }

    [Fact]
    [Trait("Requirement", "S4.17")]
    public void A_PASID_that_is_replaced_and_detached_leaves_nothing_behind()
    {
        using QemuRig rig = new(new() { PasidBits = 8 });
        EduDevice edu = rig.Edus[0];
        IommuGroup group = rig.Devices[edu.Id].Group;
        RiscVPagingDomain none = rig.NewAttachedDomain(edu);
        none.ShouldMap(Iova, QemuRig.DataStart);
        RiscVPagingDomain[] domains = [rig.NewDomain(rig.Devices[edu.Id]), rig.NewDomain(rig.Devices[edu.Id])];
        domains[0].ShouldMap(Iova, QemuRig.DataStart + QemuRig.Page);
        domains[1].ShouldMap(Iova, QemuRig.DataStart + (2 * QemuRig.Page));
        for (int round = 0; round < 3; round++)
        {
            group.AttachPasid(One, domains[0]).ShouldBe(Errno.Success);
            rig.Translate(edu.Id, One, Iova).ShouldBe(QemuRig.DataStart + QemuRig.Page);
            group.ReplacePasid(One, domains[1]).ShouldBe(Errno.Success);
            rig.Translate(edu.Id, One, Iova).ShouldBe(QemuRig.DataStart + (2 * QemuRig.Page));
            group.DetachPasid(One).ShouldBe(Errno.Success);
            rig.Translate(edu.Id, One, Iova).ShouldBeNull();
            rig.ShouldReach(edu, Iova, QemuRig.DataStart);
        }

        rig.Driver.Statistics.PscidsInUse.ShouldBe(1);
    }

    [Fact]
    public void A_PASID_beyond_those_of_the_IOMMU_is_refused()
    {
        using QemuRig rig = new(new() { PasidBits = 20 });
        IommuDevice device = rig.Devices[rig.Edus[0].Id];
        int bits = rig.Driver.Capabilities.PasidBits;
        bits.ShouldBeLessThan(20);
        RiscVPagingDomain domain = rig.NewDomain(device);
        device.Group.AttachPasid(new((1u << bits) - 1), domain).ShouldBe(Errno.Success);
        device.Group.AttachPasid(new(1u << bits), domain).ShouldBe(Errno.InvalidArgument);
    }
}
