using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>The path of one IOVA, with every part beyond our tables and commands being QEMU's.</summary>
public class FirstDmaTests
{
    private const ulong Iova = 0x4000_0000;
    private const ulong Target = QemuRig.DataStart;

    [Fact]
    public void The_driver_takes_QEMUs_IOMMU_with_what_it_has()
    {
        using QemuRig rig = new();
        rig.ProbeResult.ShouldBe(Errno.Success, rig.LogText);
        rig.Driver.DirectoryLevels.ShouldBe(3);
        rig.Driver.Capabilities.PasidBits.ShouldBeGreaterThan(0);
    }

    [Fact]
    [Trait("Requirement", "S4.16")]
    public void Edu_reaches_what_is_mapped_and_faults_before_and_after()
    {
        using QemuRig rig = new();
        EduDevice edu = rig.Edus[0];
        (edu.Identification & 0xff).ShouldBe(0xedu);
        rig.ShouldFault(edu, Iova, FaultCause.DdtEntryNotValid);
        RiscVPagingDomain domain = rig.NewAttachedDomain(edu);
        rig.ShouldFault(edu, Iova, FaultCause.ReadPageFault);
        domain.ShouldMap(Iova, Target);
        rig.ShouldReach(edu, Iova, Target);
        rig.ShouldReach(edu, Iova + 0xfc0, Target + 0xfc0);
        domain.ShouldUnmap(Iova);
        rig.ShouldFault(edu, Iova + 0x123, FaultCause.ReadPageFault, count: 1);
        rig.ShouldFault(edu, Iova + 0x123, FaultCause.WritePageFault, write: true, count: 1);
        rig.Devices[edu.Id].Group.Detach().ShouldBe(Errno.Success);
        rig.ShouldFault(edu, Iova, FaultCause.DdtEntryNotValid);
        rig.Interrupts.ShouldBeGreaterThan(0);
    }

    [Fact]
    public void The_test_device_finds_its_pattern_where_the_table_says()
    {
        using QemuRig rig = new();
        IommuTestDevice test = rig.TestDevices[0];
        IommuDevice device = rig.Devices[test.Id];
        RiscVPagingDomain domain = rig.NewDomain(device);
        domain.ShouldMap(Iova, Target);
        device.Group.Attach(domain).ShouldBe(Errno.Success);
        test.Write(new(Iova + 0x10), new(Target + 0x10), 256).IsSuccess.ShouldBeTrue();
        rig.Memory.ReadWord(new(Target + 0x10 + 252)).ShouldBe(IommuTestDevice.Pattern);

        // The device's own check is real: told another place, it does not find the pattern.
        test.Write(new(Iova + 0x10), new(Target + 0x800), 256).IsSuccess.ShouldBeFalse();
        domain.ShouldUnmap(Iova);
        test.Write(new(Iova + 0x10), new(Target + 0x10), 16).IsSuccess.ShouldBeFalse();
        rig.HandleInterrupts();
        rig.Faults.ShouldNotBeEmpty();
        rig.Faults.ShouldAllBe(f => f.DeviceId == test.Id && f.Iova.Value >= Iova + 0x10 && f.Iova.Value < Iova + 0x20);
    }
}
