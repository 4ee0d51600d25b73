using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>What a call that failed, a replaced table or a domain that went must not leave behind, and what each must leave as it was.</summary>
public sealed class UndoTests
{
    private static readonly AddressRange Firmware = new(0x9000_0000, 0x9000_1fff);
    private static readonly ReservedRegion Direct = new(Firmware, ReservedRegionKind.Direct);
    private static readonly ReservedRegion Message = new(new(0xfed0_0000, 0xfed0_0fff), ReservedRegionKind.Msi);

    private static int Copy(Rig rig, int fd, uint from, ulong sourceIova, uint to, ulong iova, ulong length)
    {
        IommuIoasCopy copy = new()
        {
            Flags = IoasMapFlags.FixedIova | IoasMapFlags.Readable | IoasMapFlags.Writable,
            SourceIoasId = from, SourceIova = sourceIova, DestinationIoasId = to, DestinationIova = iova, Length = length,
        };
        return rig.Call(fd, ref copy);
    }

    [Fact]
    [Trait("Requirement", "S3.3")]
    public void A_copy_across_a_hole_holds_nothing_of_what_lies_before_it()
    {
        Rig rig = new();
        int iommu = rig.OpenIommu();
        uint space = rig.AllocateSpace(iommu);
        rig.MapFixed(iommu, space, FakeUserMemory.Start, 0x1000, 0x10000).ShouldBe(0);
        rig.MapFixed(iommu, space, FakeUserMemory.Start + 0x4000, 0x1000, 0x11000).ShouldBe(0);
        Copy(rig, iommu, space, 0x10000, space, 0x80000, 0x3000).ShouldBe(-(int)Errno.NoEntry);
        rig.Unmap(iommu, space, 0, ulong.MaxValue, out _).ShouldBe(0);
        rig.KernelSide.Audit.Memories.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S3.4")]
    public void A_replace_within_one_address_space_keeps_the_devices_regions_reserved()
    {
        using HardwareRig rig = new(regions: [Message, Direct]);
        uint first = rig.AllocateTable();
        uint second = rig.AllocateTable();
        rig.Attach(first);
        AddressRange[] usable = rig.Rig.Ranges(rig.Fd, rig.Space, out _);
        usable.Any(static range => range.Overlaps(Firmware)).ShouldBeFalse();
        rig.Attach(second);
        rig.Rig.Ranges(rig.Fd, rig.Space, out _).ShouldBe(usable);
        rig.Rig.MapFixed(rig.Fd, rig.Space, FakeUserMemory.Start, 0x1000, Message.Range.Start).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Detach();
        rig.Rig.Ranges(rig.Fd, rig.Space, out _).Any(static range => range.Contains(Firmware)).ShouldBeTrue();
    }

    [Fact]
    [Trait("Requirement", "S3.3")]
    public void What_firmware_reaches_by_another_device_of_the_group_is_mapped_and_reserved_too()
    {
        Rig rig = new();
        (_, string path) = rig.AddDevice(1);
        rig.AddDevice(1, Direct, Message);
        int iommu = rig.OpenIommu();
        uint space = rig.AllocateSpace(iommu);
        int device = rig.Kernel.Open(path, OpenFlags.ReadWrite);
        VfioTests.Bind(rig, device, iommu).Result.ShouldBe(0);
        VfioTests.Attach(rig, device, space).Result.ShouldBe(0);
        AddressRange[] usable = rig.Ranges(iommu, space, out _);
        usable.Any(static range => range.Overlaps(Firmware)).ShouldBeFalse();
        usable.Any(static range => range.Contains(Message.Range)).ShouldBeTrue("a message window is of the device that was attached");
        rig.Iommu.Domains.ShouldHaveSingleItem().TryTranslate(new(Firmware.Start), out PhysicalAddress physical, out _, out _).ShouldBeTrue();
        physical.Value.ShouldBe(Firmware.Start);
        rig.Kernel.CloseAll();
        rig.ShouldBeClean();
    }

    [Fact]
    [Trait("Requirement", "S3.4")]
    public void What_was_not_confirmed_in_a_domain_is_usable_again_when_nothing_is_attached_to_it()
    {
        Rig rig = new();
        int[] devices = [.. new ReservedRegion[][] { [Direct], [] }.Select(regions => rig.Kernel.Open(rig.AddDevice(null, regions).Path, OpenFlags.ReadWrite))];
        int iommu = rig.OpenIommu();
        uint space = rig.AllocateSpace(iommu);
        foreach (int device in devices)
        {
            VfioTests.Bind(rig, device, iommu).Result.ShouldBe(0);
            VfioTests.Attach(rig, device, space).Result.ShouldBe(0);
        }

        // The region cannot be taken out of the tables until the domain goes with the last device.
        rig.Iommu.FailsUnmapAt = rig.Iommu.Unmaps + 1;
        VfioTests.Detach(rig, devices[0]).ShouldBe(0);
        rig.Ranges(iommu, space, out _).Any(static range => range.Overlaps(Firmware)).ShouldBeFalse();
        rig.Iommu.FailsUnmapAt = rig.Iommu.Unmaps + 1;
        VfioTests.Detach(rig, devices[1]).ShouldBe(0);
        rig.Ranges(iommu, space, out _).Any(static range => range.Contains(Firmware)).ShouldBeTrue();
        rig.Kernel.CloseAll();
        rig.ShouldBeClean();
    }

    [Fact]
    [Trait("Requirement", "S4.8")]
    public void What_could_not_be_taken_out_of_tables_is_unpinned_when_nothing_is_attached_to_them()
    {
        using HardwareRig rig = new();
        rig.Attach(rig.Space);
        rig.Rig.MapFixed(rig.Fd, rig.Space, FakeUserMemory.Start, 0x2000, 0x10000).ShouldBe(0);
        rig.Iommu.FailsUnmapAt = rig.Iommu.Unmaps + 1;
        rig.Rig.Unmap(rig.Fd, rig.Space, 0x10000, 0x2000, out _).ShouldBe(-(int)Errno.IoError);
        rig.Rig.Memory.PinsOf(FakeUserMemory.Start).ShouldBe(1);
        rig.Detach();
        rig.Rig.Memory.PinnedPages.ShouldBe(0);
        rig.KernelSide.Audit.Areas.ShouldBe(0);
        rig.KernelSide.Audit.Memories.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S4.17")]
    public void A_table_that_tracks_dirty_pages_is_refused_to_a_device_whose_IOMMU_cannot()
    {
        using HardwareRig rig = new();
        FakeIommu other = new() { Features = new() { PasidBits = 8 } };
        rig.Rig.Subsystem.TryAddDevice(other, new(0x1000), "other", null, new(), out IommuDevice? device).ShouldBe(Errno.Success);
        int second = rig.Kernel.Open(rig.KernelSide.AddDevice(device!), OpenFlags.ReadWrite);
        VfioTests.Bind(rig.Rig, second, rig.Fd).Result.ShouldBe(0);
        uint plain = rig.AllocateTable();
        uint tracking = rig.AllocateTable(HwptAllocFlags.DirtyTracking);
        rig.TryAttach(second, plain).ShouldBe(0);
        rig.TryAttach(second, tracking).ShouldBe(-(int)Errno.InvalidArgument);
        VfioTests.Detach(rig.Rig, second).ShouldBe(0);
        rig.TryAttach(second, tracking).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Attach(tracking);
    }

    [Fact]
    [Trait("Requirement", "S3.4")]
    public void A_group_that_leaves_a_domain_that_others_use_takes_its_direct_regions_out_of_it()
    {
        Rig rig = new();
        (IommuDevice first, _) = rig.AddDevice();
        (IommuDevice second, _) = rig.AddDevice(null, Direct);
        int container = rig.Kernel.Open("/dev/vfio/vfio", OpenFlags.ReadWrite);
        int[] groups = [.. new[] { first, second }.Select(device => rig.Kernel.Open($"/dev/vfio/{device.Group.Id}", OpenFlags.ReadWrite))];
        ContainerTests.SetContainer(rig, groups[0], container).ShouldBe(0);
        ContainerTests.SetIommu(rig, container).ShouldBe(0);
        string before = RigState.Of(rig);
        ContainerTests.SetContainer(rig, groups[1], container).ShouldBe(0);
        FakeDomain shared = rig.Iommu.Domains.ShouldHaveSingleItem();
        shared.TryTranslate(new(Firmware.Start), out _, out _, out _).ShouldBeTrue();
        rig.Kernel.Ioctl(groups[1], VfioRequests.GroupUnsetContainer, 0).ShouldBe(0);
        shared.TryTranslate(new(Firmware.Start), out _, out _, out _).ShouldBeFalse();
        RigState.Of(rig).ShouldBe(before);
        ContainerTests.Map(rig, container, FakeUserMemory.Start, Firmware.Start, 0x1000).ShouldBe(0);
        rig.Kernel.CloseAll();
        rig.ShouldBeClean();
    }
}
