using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;

namespace Ioasis.Lab.Qemu.Tests;

/// <summary>Device directories of one to three levels, with contexts of both formats, and the devices that each reaches.</summary>
public class DirectoryTests
{
    private const ulong Iova = 0x7000_0000;

    [Theory]
    [InlineData(3, "", 0xc8)]
    [InlineData(3, ",intremap=off", 0xff)]
    [InlineData(2, "", 0x7f)]
    [InlineData(2, ",intremap=off", 0xff)]
    [InlineData(1, "", 0)]
    [InlineData(1, ",intremap=off", 0)]
    public void A_device_is_found_through_a_directory_of_any_depth(int levels, string iommu, int bus)
    {
        using QemuRig rig = new(new()
        {
            Iommu = iommu,
            Devices = bus == 0 ? [$"{QemuRig.Edu},addr=2"] : [$"{QemuRig.Edu},addr=2", "pcie-root-port,id=rp,addr=3", $"{QemuRig.Edu},bus=rp"],
            ChooseBus = _ => bus,
            Registers = registers => new ShallowDirectory(registers, levels),
        });
        rig.Driver.DirectoryLevels.ShouldBe(levels);
        rig.Edus.Count.ShouldBe(bus == 0 ? 1 : 2);
        rig.Edus[^1].Id.Bus.ShouldBe(bus);
        foreach (EduDevice edu in rig.Edus)
        {
            rig.ShouldFault(edu, Iova, FaultCause.DdtEntryNotValid);
        }

        ulong target = QemuRig.DataStart;
        foreach (EduDevice edu in rig.Edus)
        {
            rig.NewAttachedDomain(edu).ShouldMap(Iova, target);
            rig.ShouldReach(edu, Iova, target);
            target += QemuRig.Page;
        }

        // Each is still its own.
        target = QemuRig.DataStart;
        foreach (EduDevice edu in rig.Edus)
        {
            rig.ShouldReach(edu, Iova, target);
            rig.ShouldFault(edu, Iova + QemuRig.Page, FaultCause.ReadPageFault);
            target += QemuRig.Page;
        }
    }

    [Theory]
    [InlineData(1, "", 0x40u)]
    [InlineData(1, ",intremap=off", 0x80u)]
    [InlineData(2, "", 0x8000u)]
    public void A_device_beyond_the_directory_is_refused_by_the_driver_and_by_the_IOMMU(int levels, string iommu, uint firstBeyond)
    {
        using QemuRig rig = new(new()
        {
            Iommu = iommu,
            Devices = [$"{QemuRig.Edu},addr=2", "pcie-root-port,id=rp,addr=3", $"{QemuRig.Edu},bus=rp,addr=0"],
            ChooseBus = _ => 0xfe,
            Registers = registers => new ShallowDirectory(registers, levels),
            AddDevices = false,
        });
        rig.Driver.DirectoryLevels.ShouldBe(levels);
        EduDevice edu = rig.Edus[1];
        edu.Id.Value.ShouldBeGreaterThanOrEqualTo(firstBeyond);
        rig.Core.TryAddDevice(rig.Driver, new(firstBeyond), "beyond", null, new(), out _).ShouldBe(Errno.NoDeviceOrAddress);
        rig.Core.TryAddDevice(rig.Driver, new(firstBeyond - 1), "last", null, new(), out _).ShouldBe(Errno.Success);
        rig.Core.TryGetDevice("beyond", out _).ShouldBeFalse();

        // Section 2.1.3.1: an ID that the directory does not cover is a transaction of a type that is not allowed.
        rig.ShouldFault(edu, Iova, FaultCause.TransactionTypeDisallowed);
    }

    [Fact]
    public void Devices_behind_a_conventional_bridge_are_one_requester()
    {
        using QemuRig rig = new(new()
        {
            Devices =
            [
                "pcie-root-port,id=rp,addr=3", "pcie-pci-bridge,id=bridge,bus=rp", $"{QemuRig.Edu},bus=bridge,addr=2",
                $"{QemuRig.Edu},bus=bridge,addr=3",
            ],
        });
        rig.Edus.Count.ShouldBe(2);
        rig.Edus[0].Id.Bus.ShouldBe(2);

        // A bridge from PCIe to conventional PCI takes the requests over under an ID of its own (PCIe-to-PCI bridge 1.0, 2.3):
        // function 0 of device 0 of its secondary bus. QEMU does that.
        IommuDevice alias = rig.AddDevice(DeviceId.FromPci(0, rig.Edus[0].Id.Bus, 0, 0));
        RiscVPagingDomain domain = rig.NewDomain(alias);
        domain.ShouldMap(Iova, QemuRig.DataStart);
        alias.Group.Attach(domain).ShouldBe(Errno.Success);
        rig.ShouldReach(rig.Edus[0], Iova, QemuRig.DataStart);
        rig.ShouldReach(rig.Edus[1], Iova, QemuRig.DataStart);
    }

    [Fact]
    [Trait("Requirement", "S4.3")]
    public void A_removed_device_faults_and_comes_back_blocked()
    {
        using QemuRig rig = new();
        EduDevice edu = rig.Edus[0];
        RiscVPagingDomain domain = rig.NewAttachedDomain(edu);
        domain.ShouldMap(Iova, QemuRig.DataStart);
        rig.ShouldReach(edu, Iova, QemuRig.DataStart);
        rig.Core.RemoveDevice(rig.Devices[edu.Id]);
        rig.Devices.Remove(edu.Id);
        rig.ShouldFault(edu, Iova, FaultCause.DdtEntryNotValid).Device.ShouldBeNull();
        domain.BondCount.ShouldBe(0);
        rig.Devices[edu.Id] = rig.AddDevice(edu.Id);
        rig.ShouldFault(edu, Iova, FaultCause.DdtEntryNotValid);
        rig.Devices[edu.Id].Group.Attach(domain).ShouldBe(Errno.Success);
        rig.ShouldReach(edu, Iova, QemuRig.DataStart);
    }

    /// <summary>
    /// An IOMMU whose directory has fewer levels than QEMU's: <c>ddtp.iommu_mode</c> is WARL (section 5.5), so a mode that it
    /// lacks is not kept.
    /// </summary>
    private sealed class ShallowDirectory(IRegisterWindow inner, int levels) : IRegisterWindow
    {
        public uint Read32(uint offset) => inner.Read32(offset);

        public ulong Read64(uint offset) => inner.Read64(offset);

        public void Write32(uint offset, uint value) => inner.Write32(offset, value);

        public void Write64(uint offset, ulong value)
        {
            if (offset != RegisterOffset.DeviceDirectoryTablePointer
                || (int)(value & DeviceDirectoryTablePointer.ModeMask) <= (int)IommuMode.Bare + levels)
            {
                inner.Write64(offset, value);
            }
        }
    }
}
