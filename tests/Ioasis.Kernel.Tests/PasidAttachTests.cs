using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>PASIDs of devices attached to tables.</summary>
public sealed class PasidAttachTests
{
    [Fact]
    public void A_PASID_is_attached_replaced_and_detached_beside_the_device_itself()
    {
        using HardwareRig rig = new();
        uint one = rig.AllocateTable(HwptAllocFlags.Pasid);
        uint two = rig.AllocateTable(HwptAllocFlags.Pasid);
        rig.TryAttachPasid(rig.DeviceFd, 5, one).ShouldBe(0);
        rig.TryAttachPasid(rig.DeviceFd, 6, one).ShouldBe(0);
        rig.Attach(two);
        rig.Iommu.DomainOf(rig.Device, new(5)).ShouldBe(rig.Iommu.Domains[0]);
        rig.TryAttachPasid(rig.DeviceFd, 5, two).ShouldBe(0);
        rig.Iommu.DomainOf(rig.Device, new(5)).ShouldBe(rig.Iommu.Domains[1]);
        rig.Destroy(one).ShouldBe(-(int)Errno.Busy);
        rig.TryDetachPasid(rig.DeviceFd, 6).ShouldBe(0);
        rig.Destroy(one).ShouldBe(0);
        rig.TryDetachPasid(rig.DeviceFd, 6).ShouldBe(0);
        rig.Detach();
        rig.Iommu.DomainOf(rig.Device, new(5)).ShouldBe(rig.Iommu.Domains[0]);
        rig.Destroy(two).ShouldBe(-(int)Errno.Busy);
        rig.Kernel.Close(rig.DeviceFd).ShouldBe(0);
        rig.Iommu.DomainOf(rig.Device, new(5)).ShouldBe(BlockedDomain.Instance);
        rig.Destroy(two).ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S3.4")]
    public void Regions_of_a_device_stay_reserved_and_mapped_while_PASIDs_of_it_come_and_go()
    {
        using HardwareRig rig = new(null, null, [new(new(0xfee0_0000, 0xfeef_ffff), ReservedRegionKind.Msi), new(new(0x9000_0000, 0x9000_0fff), ReservedRegionKind.Direct)]);
        uint table = rig.AllocateTable(HwptAllocFlags.Pasid);
        rig.Attach(table);
        string before = RigState.Of(rig.Rig);
        rig.TryAttachPasid(rig.DeviceFd, 5, table).ShouldBe(0);
        rig.TryDetachPasid(rig.DeviceFd, 5).ShouldBe(0);
        RigState.Of(rig.Rig).ShouldBe(before);

        rig.TryAttachPasid(rig.DeviceFd, 5, table).ShouldBe(0);
        rig.Detach();
        rig.Iommu.DomainOf(rig.Device, new(5)).ShouldBe(rig.Iommu.Domains[0]);
        rig.TryDetachPasid(rig.DeviceFd, 5).ShouldBe(0);
        rig.Attach(table);
        RigState.Of(rig.Rig).ShouldBe(before);
    }

    [Fact]
    public void Only_tables_made_for_PASIDs_go_together_with_PASIDs()
    {
        using HardwareRig rig = new();
        uint made = rig.AllocateTable(HwptAllocFlags.Pasid);
        uint plain = rig.AllocateTable();
        rig.TryAttachPasid(rig.DeviceFd, 5, plain).ShouldBe(-(int)Errno.InvalidArgument);
        rig.TryAttachPasid(rig.DeviceFd, 5, rig.Space).ShouldBe(-(int)Errno.InvalidArgument);
        rig.TryAttachPasid(rig.DeviceFd, 5, rig.DeviceNumber).ShouldBe(-(int)Errno.InvalidArgument);
        rig.TryAttachPasid(rig.DeviceFd, 5, 99).ShouldBe(-(int)Errno.NoEntry);
        rig.TryAttachPasid(rig.DeviceFd, 0, made).ShouldBe(-(int)Errno.InvalidArgument);
        rig.TryAttachPasid(rig.DeviceFd, 1 << 20, made).ShouldBe(-(int)Errno.InvalidArgument);
        rig.TryAttachPasid(rig.DeviceFd, 1 << 8, made).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Attach(plain);
        rig.TryAttachPasid(rig.DeviceFd, 5, made).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Attach(made);
        rig.TryAttachPasid(rig.DeviceFd, 5, made).ShouldBe(0);
        rig.TryAttach(rig.DeviceFd, plain).ShouldBe(-(int)Errno.InvalidArgument);
        (int fd, _) = rig.BindPlainDevice();
        rig.TryAttachPasid(fd, 5, made).ShouldBe(-(int)Errno.NotSupported);
    }

    [Fact]
    public void The_PASID_counts_only_with_its_flag_and_then_must_be_in_the_structure()
    {
        using HardwareRig rig = new();
        uint made = rig.AllocateTable(HwptAllocFlags.Pasid);
        VfioDeviceAttachIommufdPt argument = new() { Argsz = 12, Flags = VfioAttachFlags.Pasid, PageTableId = made, Pasid = 5 };
        Span<byte> bytes = MemoryMarshal.AsBytes(new Span<VfioDeviceAttachIommufdPt>(ref argument));
        rig.Kernel.Ioctl(rig.DeviceFd, VfioRequests.DeviceAttachIommufdPt, bytes).ShouldBe(-(int)Errno.InvalidArgument);
        argument.Argsz = 16;
        rig.Kernel.Ioctl(rig.DeviceFd, VfioRequests.DeviceAttachIommufdPt, bytes[..12]).ShouldBe(-(int)Errno.BadAddress);
        rig.Kernel.Ioctl(rig.DeviceFd, VfioRequests.DeviceAttachIommufdPt, bytes).ShouldBe(0);
        rig.Iommu.DomainOf(rig.Device, new(5)).ShouldBe(rig.Iommu.Domains[0]);
        rig.Iommu.DomainOf(rig.Device).ShouldBe(BlockedDomain.Instance);
    }

    [Fact]
    public void Devices_of_a_group_share_what_a_PASID_is_attached_to()
    {
        using HardwareRig rig = new();
        (IommuDevice first, int firstFd, _) = rig.BindCapableDevice(40);
        (IommuDevice second, int secondFd, _) = rig.BindCapableDevice(40);
        uint one = rig.AllocateTable(HwptAllocFlags.Pasid);
        uint two = rig.AllocateTable(HwptAllocFlags.Pasid);
        rig.TryAttachPasid(firstFd, 9, one).ShouldBe(0);
        rig.TryAttachPasid(secondFd, 9, two).ShouldBe(-(int)Errno.InvalidArgument);
        rig.TryAttachPasid(secondFd, 9, one).ShouldBe(0);
        rig.TryDetachPasid(firstFd, 9).ShouldBe(0);
        rig.Iommu.DomainOf(first, new(9)).ShouldBe(rig.Iommu.Domains[0]);
        rig.TryAttachPasid(secondFd, 9, two).ShouldBe(0);
        rig.Iommu.DomainOf(first, new(9)).ShouldBe(rig.Iommu.Domains[1]);
        rig.TryDetachPasid(secondFd, 9).ShouldBe(0);
        rig.Iommu.DomainOf(first, new(9)).ShouldBe(BlockedDomain.Instance);
        rig.Iommu.DomainOf(second, new(9)).ShouldBe(BlockedDomain.Instance);
    }
}
