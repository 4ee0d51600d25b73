using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>Taking the IOMMU over: as it comes out of reset, as somebody else left it, and where it lacks what we need.</summary>
public class ProbeTests
{
    private const ulong Iova = 0x7000_0000;

    [Fact]
    public void The_driver_takes_QEMUs_IOMMU_with_what_it_has()
    {
        using QemuRig rig = new();
        rig.ProbeResult.ShouldBe(Errno.Success, rig.LogText);
        rig.Driver.DirectoryLevels.ShouldBe(3);
        rig.Driver.Capabilities.PasidBits.ShouldBeGreaterThan(0);
    }

    [Fact]
    public void The_driver_sees_what_the_register_says()
    {
        using QemuRig rig = new();
        Capabilities there = new(rig.Registers.Read64(RegisterOffset.Capabilities));
        rig.Driver.CapabilitiesRegister.ShouldBe(there.Value);
        (there.Sv39, there.Sv48, there.Sv57, there.MsiFlat).ShouldBe((true, true, true, true));
        there.PhysicalAddressSize.ShouldBe(56);
        rig.Driver.Capabilities.PasidBits.ShouldBe(there.Pd20 ? 20 : there.Pd17 ? 17 : there.Pd8 ? 8 : 0);
        rig.Driver.Capabilities.DirtyTracking.ShouldBe(there.AmoHwad);
    }

    [Fact]
    public void Dirty_tracking_is_refused_where_the_hardware_does_not_update_dirty_bits()
    {
        using QemuRig rig = new();
        new Capabilities(rig.Driver.CapabilitiesRegister).AmoHwad.ShouldBeFalse();
        rig.Driver.TryAllocatePagingDomain(
            rig.Devices[rig.Edus[0].Id], new() { DirtyTracking = true }, out PagingDomain? domain).ShouldBe(Errno.NotSupported);
        domain.ShouldBeNull();
    }

    [Theory]
    [InlineData(",s-stage=off", "first stage")]
    [InlineData(",version=32", "version 2.0")]
    public void An_IOMMU_that_lacks_what_we_need_is_refused_with_its_name_for_it(string properties, string says)
    {
        using QemuRig rig = new(new() { Iommu = properties });
        rig.ProbeResult.ShouldBe(Errno.NotSupported);
        rig.LogText.ShouldContain(says);
        rig.Pages.AllocatedBytes.ShouldBe(0);
    }

    [Theory]
    [InlineData(",g-stage=off")]
    [InlineData(",ats=off")]
    [InlineData(",intremap=off")]
    [InlineData(",hpm-counters=0")]
    [InlineData(",ioatc-limit=0")]
    [InlineData(",ioatc-limit=1")]
    [InlineData(",off=off")]
    [InlineData(",g-stage=off,ats=off,intremap=off,hpm-counters=0,off=off")]
    public void An_IOMMU_with_less_than_everything_still_translates(string properties)
    {
        using QemuRig rig = new(new() { Iommu = properties });
        EduDevice edu = rig.Edus[0];
        rig.ShouldFault(edu, Iova, FaultCause.DdtEntryNotValid);
        RiscVPagingDomain domain = rig.NewAttachedDomain(edu);
        domain.ShouldMap(Iova, QemuRig.DataStart);
        rig.ShouldReach(edu, Iova, QemuRig.DataStart);
        domain.ShouldUnmap(Iova);
        rig.ShouldFault(edu, Iova, FaultCause.ReadPageFault);
        domain.ShouldMap(Iova, QemuRig.DataStart + QemuRig.Page);
        rig.ShouldReach(edu, Iova, QemuRig.DataStart + QemuRig.Page);
    }

    [Fact]
    public void An_IOMMU_that_was_left_bare_is_closed()
    {
        byte[] noise = QemuRig.Noise(3, 64);
        using QemuRig rig = new(new()
        {
            BeforeProbe = rig =>
            {
                // In mode Bare, DMA passes: somebody's firmware worked like that.
                rig.Registers.Write64(RegisterOffset.DeviceDirectoryTablePointer, (ulong)IommuMode.Bare);
                rig.Memory.Write(new(QemuRig.DataStart), noise);
                EduDevice edu = new(rig.Machine, rig.Pci.Find(EduDevice.Vendor, EduDevice.Product)[0]);
                edu.ReadMemory(new(QemuRig.DataStart), 64);
                edu.WriteMemory(new(QemuRig.DataStart + 0x1000), 64);
                rig.Memory.ReadBytes(new(QemuRig.DataStart + 0x1000), 64).ShouldBe(noise);
            },
        });
        rig.ProbeResult.ShouldBe(Errno.Success, rig.LogText);
        rig.ShouldFault(rig.Edus[0], QemuRig.DataStart, FaultCause.DdtEntryNotValid);
    }

    [Fact]
    public void An_IOMMU_that_another_driver_left_running_forgets_its_tables_and_what_it_cached()
    {
        using QemuRig rig = new(new()
        {
            BeforeProbe = static rig =>
            {
                RiscVIommuInstance.TryProbe(
                    rig.Registers, rig.Memory, rig.Pages, rig.DriverOptions, out RiscVIommuInstance? gone).ShouldBe(Errno.Success);
                AbandonedDriver.UseAndLeave(rig, gone!);
                rig.Registers.Read32(RegisterOffset.FaultQueueTail).ShouldNotBe(rig.Registers.Read32(RegisterOffset.FaultQueueHead));
            },
        });
        rig.ProbeResult.ShouldBe(Errno.Success, rig.LogText);
        AbandonedDriver.ShouldBeForgotten(rig);
    }

    [Fact]
    public void An_IOMMU_that_is_given_back_is_off_and_refuses_every_DMA_and_all_its_memory_is_free()
    {
        using QemuRig rig = new();
        EduDevice edu = rig.Edus[0];
        RiscVPagingDomain domain = rig.NewAttachedDomain(edu);
        domain.ShouldMap(Iova, QemuRig.DataStart);
        rig.ShouldReach(edu, Iova, QemuRig.DataStart);
        rig.Driver.Dispose();
        domain.Dispose();
        rig.Pages.AllocatedBytes.ShouldBe(0);
        (rig.Registers.Read64(RegisterOffset.DeviceDirectoryTablePointer) & DeviceDirectoryTablePointer.ModeMask)
            .ShouldBe((ulong)IommuMode.Off);
        foreach (uint csr in (uint[])[RegisterOffset.CommandQueueCsr, RegisterOffset.FaultQueueCsr, RegisterOffset.PageRequestQueueCsr])
        {
            (rig.Registers.Read32(csr) & (QueueCsr.OnBit | QueueCsr.EnableBit)).ShouldBe(0u);
        }

        byte[] before = rig.Memory.ReadBytes(new(QemuRig.DataStart), 64);
        edu.WriteMemory(new(Iova + 0x40), 64);
        edu.WriteMemory(new(QemuRig.DataStart), 64);
        rig.Memory.ReadBytes(new(QemuRig.DataStart), 64).ShouldBe(before);
    }
}
