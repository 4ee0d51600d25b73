using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>The IOMMU that belongs to the machine (-M virt,iommu-sys=on), with wires and with messages.</summary>
public class SystemIommuTests
{
    private const ulong Iova = 0x4000_0000;

    [Theory]
    [InlineData("virt", true)]
    [InlineData("virt,aia=aplic", true)]
    [InlineData("virt,aia=aplic-imsic", true)]
    [InlineData("virt,aia=aplic-imsic", false)]
    [Trait("Requirement", "S4.16")]
    public void Its_devices_reach_what_is_mapped_and_its_interrupts_arrive_by_wire_or_by_message(string machine, bool isWired)
    {
        using QemuRig rig = new(new()
        {
            IsSystemIommu = true,
            Machine = machine,
            Driver = new() { PreferWiredInterrupts = isWired },
        });
        rig.ProbeResult.ShouldBe(Errno.Success, rig.LogText);
        new Capabilities(rig.Driver.CapabilitiesRegister).Igs.ShouldBe(InterruptGeneration.Both);
        ((rig.Registers.Read32(RegisterOffset.FeaturesControl) & FeaturesControl.WiredInterruptsBit) != 0).ShouldBe(isWired);
        EduDevice edu = rig.Edus[0];
        rig.ShouldFault(edu, Iova, FaultCause.DdtEntryNotValid);
        RiscVPagingDomain domain = rig.NewAttachedDomain(edu);
        domain.ShouldMap(Iova, QemuRig.DataStart, 3 * QemuRig.Page);
        rig.ShouldReach(edu, Iova + 0xff0, QemuRig.DataStart + 0xff0);
        domain.ShouldUnmap(Iova + QemuRig.Page);
        rig.ShouldFault(edu, Iova + QemuRig.Page, FaultCause.WritePageFault, write: true);
        rig.ShouldReach(edu, Iova + (2 * QemuRig.Page), QemuRig.DataStart + (2 * QemuRig.Page));
        rig.WireInterrupts.ShouldBe(isWired ? rig.Interrupts : 0);
        rig.Interrupts.ShouldBeGreaterThanOrEqualTo(2);
    }

    [Fact]
    public void Its_devices_behind_bridges_have_the_numbers_of_their_buses()
    {
        using QemuRig rig = new(new()
        {
            IsSystemIommu = true,
            Devices = [QemuRig.Edu, "pcie-root-port,id=rp", $"{QemuRig.Edu},bus=rp"],
            ChooseBus = _ => 0x9a,
        });
        rig.Edus[1].Id.Bus.ShouldBe(0x9a);
        for (int i = 0; i < 2; i++)
        {
            rig.NewAttachedDomain(rig.Edus[i]).ShouldMap(Iova, QemuRig.DataStart + ((ulong)i << 12));
        }

        rig.ShouldReach(rig.Edus[0], Iova, QemuRig.DataStart);
        rig.ShouldReach(rig.Edus[1], Iova, QemuRig.DataStart + QemuRig.Page);
    }
}
