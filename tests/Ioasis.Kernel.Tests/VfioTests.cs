using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>Bind, attach, replace and detach of a device by its character device.</summary>
public sealed class VfioTests
{
    internal static (int Result, uint Id) Bind(Rig rig, int device, int iommu) => Bind(rig.Kernel, device, iommu);

    internal static (int Result, uint Id) Bind(IKernelAbi kernel, int device, int iommu)
    {
        VfioDeviceBindIommufd argument = new() { Argsz = 24, Iommufd = iommu };
        int result = kernel.Ioctl(
            device, VfioRequests.DeviceBindIommufd, MemoryMarshal.AsBytes(new Span<VfioDeviceBindIommufd>(ref argument)));
        return (result, argument.OutDeviceId);
    }

    internal static (int Result, uint Id) Attach(Rig rig, int device, uint target) => Attach(rig.Kernel, device, target);

    internal static (int Result, uint Id) Attach(IKernelAbi kernel, int device, uint target)
    {
        VfioDeviceAttachIommufdPt argument = new() { Argsz = 16, PageTableId = target };
        int result = kernel.Ioctl(
            device,
            VfioRequests.DeviceAttachIommufdPt,
            MemoryMarshal.AsBytes(new Span<VfioDeviceAttachIommufdPt>(ref argument)));
        return (result, argument.PageTableId);
    }

    internal static int Detach(Rig rig, int device)
    {
        VfioDeviceDetachIommufdPt argument = new() { Argsz = 12 };
        return rig.Kernel.Ioctl(
            device,
            VfioRequests.DeviceDetachIommufdPt,
            MemoryMarshal.AsBytes(new Span<VfioDeviceDetachIommufdPt>(ref argument)));
    }

    private static int Destroy(Rig rig, int fd, uint id)
    {
        IommuDestroy argument = new() { Id = id };
        return rig.Call(fd, ref argument);
    }

    private static (int Result, uint Id) AllocateTable(Rig rig, int fd, uint device, uint target, HwptAllocFlags flags = 0)
    {
        IommuHwptAlloc argument = new() { Flags = flags, DeviceId = device, PageTableId = target };
        return (rig.Call(fd, ref argument), argument.OutHwptId);
    }

    [Fact]
    public void Before_the_bind_every_other_call_is_EINVAL()
    {
        Rig rig = new();
        int device = rig.Kernel.Open(rig.AddDevice().Path, OpenFlags.ReadWrite);
        Attach(rig, device, 1).Result.ShouldBe(-(int)Errno.InvalidArgument);
        Detach(rig, device).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Kernel.Ioctl(device, VfioRequests.DeviceGetInfo, new byte[24]).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Kernel.Ioctl(device, 0x1234, new byte[24]).ShouldBe(-(int)Errno.InvalidArgument);
    }

    [Fact]
    public void A_bind_checks_its_argument_before_anything_else()
    {
        Rig rig = new();
        int device = rig.Kernel.Open(rig.AddDevice().Path, OpenFlags.ReadWrite);
        int other = rig.Kernel.Open(rig.AddDevice().Path, OpenFlags.ReadWrite);
        int iommu = rig.OpenIommu();
        int Try(uint argsz, uint flags, int fd, int length = 24)
        {
            VfioDeviceBindIommufd argument = new() { Argsz = argsz, Flags = flags, Iommufd = fd };
            return rig.Kernel.Ioctl(
                device,
                VfioRequests.DeviceBindIommufd,
                MemoryMarshal.AsBytes(new Span<VfioDeviceBindIommufd>(ref argument))[..length]);
        }

        Try(16, 0, iommu, 15).ShouldBe(-(int)Errno.BadAddress);
        Try(15, 0, iommu).ShouldBe(-(int)Errno.InvalidArgument);
        Try(16, 2, iommu).ShouldBe(-(int)Errno.InvalidArgument);
        Try(16, 0, -1).ShouldBe(-(int)Errno.InvalidArgument);
        Try(16, 0, 99).ShouldBe(-(int)Errno.BadDescriptor);
        Try(16, 0, other).ShouldBe(-(int)Errno.WrongDescriptor);
        Try(16, 0, iommu, 16).ShouldBe(0);
        Try(16, 0, iommu).ShouldBe(-(int)Errno.InvalidArgument);
    }

    [Fact]
    public void A_device_is_bound_by_one_open_file_at_a_time()
    {
        Rig rig = new();
        string path = rig.AddDevice().Path;
        int first = rig.Kernel.Open(path, OpenFlags.ReadWrite);
        int second = rig.Kernel.Open(path, OpenFlags.ReadWrite);
        int iommu = rig.OpenIommu();
        Bind(rig, first, iommu).Result.ShouldBe(0);
        Bind(rig, second, iommu).Result.ShouldBe(-(int)Errno.InvalidArgument);
        rig.KernelSide.RemoveDevice(path).ShouldBe(Errno.Busy);
        rig.Kernel.Close(first).ShouldBe(0);
        Bind(rig, second, iommu).Result.ShouldBe(0);
        rig.Kernel.CloseAll();
        rig.ShouldBeClean();
        rig.KernelSide.RemoveDevice(path).ShouldBe(Errno.Success);
        rig.KernelSide.RemoveDevice(path).ShouldBe(Errno.NoEntry);
    }

    [Fact]
    public void A_group_has_one_owner()
    {
        Rig rig = new();
        int first = rig.Kernel.Open(rig.AddDevice(7).Path, OpenFlags.ReadWrite);
        int second = rig.Kernel.Open(rig.AddDevice(7).Path, OpenFlags.ReadWrite);
        int mine = rig.OpenIommu();
        int theirs = rig.OpenIommu();
        Bind(rig, first, mine).Result.ShouldBe(0);
        Bind(rig, second, theirs).Result.ShouldBe(-(int)Errno.Busy);
        Bind(rig, second, mine).Result.ShouldBe(0);
        rig.Kernel.CloseAll();
        rig.ShouldBeClean();
    }

    [Fact]
    public void A_bound_device_cannot_be_destroyed_by_number()
    {
        Rig rig = new();
        int device = rig.Kernel.Open(rig.AddDevice().Path, OpenFlags.ReadWrite);
        int iommu = rig.OpenIommu();
        uint id = Bind(rig, device, iommu).Id;
        Destroy(rig, iommu, id).ShouldBe(-(int)Errno.Busy);
        rig.Kernel.Close(device).ShouldBe(0);
        Destroy(rig, iommu, id).ShouldBe(-(int)Errno.NoEntry);
    }

    [Fact]
    public void Devices_that_can_share_a_table_get_one_automatic_table()
    {
        Rig rig = new();
        int iommu = rig.OpenIommu();
        uint ioas = rig.AllocateSpace(iommu);
        int first = rig.Kernel.Open(rig.AddDevice().Path, OpenFlags.ReadWrite);
        int second = rig.Kernel.Open(rig.AddDevice().Path, OpenFlags.ReadWrite);
        _ = Bind(rig, first, iommu);
        _ = Bind(rig, second, iommu);
        (int result, uint table) = Attach(rig, first, ioas);
        result.ShouldBe(0);
        table.ShouldNotBe(ioas);
        Attach(rig, second, ioas).ShouldBe((0, table));
        rig.Iommu.Domains.Count.ShouldBe(1);

        // It goes with the last device, not before.
        Detach(rig, first).ShouldBe(0);
        rig.Iommu.Domains.Count.ShouldBe(1);
        Detach(rig, second).ShouldBe(0);
        rig.Iommu.Domains.ShouldBeEmpty();
        Detach(rig, second).ShouldBe(0);
        Destroy(rig, iommu, ioas).ShouldBe(0);
    }

    [Fact]
    public void Devices_that_cannot_share_a_table_get_one_each_and_all_hold_every_mapping()
    {
        FakeIommu hardware = new() { FormatOf = static device => (int)device.Id.Value & 1 };
        Rig rig = new(iommu: hardware);
        int iommu = rig.OpenIommu();
        uint ioas = rig.AllocateSpace(iommu);
        rig.MapFixed(iommu, ioas, FakeUserMemory.Start, 4096, 0x1000).ShouldBe(0);
        rig.Memory.PinnedPages.ShouldBe(0);
        (IommuDevice a, string pathA) = rig.AddDevice();
        (IommuDevice b, string pathB) = rig.AddDevice();
        int first = rig.Kernel.Open(pathA, OpenFlags.ReadWrite);
        int second = rig.Kernel.Open(pathB, OpenFlags.ReadWrite);
        _ = Bind(rig, first, iommu);
        _ = Bind(rig, second, iommu);
        Attach(rig, first, ioas).Result.ShouldBe(0);
        Attach(rig, second, ioas).Result.ShouldBe(0);
        rig.MapFixed(iommu, ioas, FakeUserMemory.Start + 4096, 4096, 0x2000).ShouldBe(0);
        foreach (IommuDevice device in (IommuDevice[])[a, b])
        {
            FakeDomain domain = (FakeDomain)hardware.DomainOf(device);
            domain.MappedPages.ShouldBe(2);
            domain.TryTranslate(new(0x1008), out PhysicalAddress address, out _, out _).ShouldBeTrue();
            address.Value.ShouldBe(rig.Memory.ToPhysical(FakeUserMemory.Start) + 8);
        }

        // Pinned once, for both.
        rig.Memory.PinsOf(FakeUserMemory.Start).ShouldBe(1);
        Detach(rig, first).ShouldBe(0);
        rig.Memory.PinnedPages.ShouldBe(2);
        Detach(rig, second).ShouldBe(0);
        rig.Memory.PinnedPages.ShouldBe(0);
        rig.Kernel.CloseAll();
        rig.ShouldBeClean();
    }

    [Fact]
    public void The_second_device_of_a_group_can_only_follow_the_first()
    {
        Rig rig = new();
        int iommu = rig.OpenIommu();
        uint ioas = rig.AllocateSpace(iommu);
        uint other = rig.AllocateSpace(iommu);
        (IommuDevice device, string path) = rig.AddDevice(3);
        (IommuDevice sibling, string siblingPath) = rig.AddDevice(3);
        int first = rig.Kernel.Open(path, OpenFlags.ReadWrite);
        int second = rig.Kernel.Open(siblingPath, OpenFlags.ReadWrite);
        _ = Bind(rig, first, iommu);
        _ = Bind(rig, second, iommu);
        Attach(rig, first, ioas).Result.ShouldBe(0);
        rig.Iommu.DomainOf(sibling).ShouldBeSameAs(rig.Iommu.DomainOf(device));
        Attach(rig, second, other).Result.ShouldBe(-(int)Errno.InvalidArgument);
        Attach(rig, second, ioas).Result.ShouldBe(0);
        Detach(rig, first).ShouldBe(0);
        rig.Iommu.DomainOf(device).Kind.ShouldBe(DomainKind.Paging);
        Detach(rig, second).ShouldBe(0);
        rig.Iommu.DomainOf(device).ShouldBe(BlockedDomain.Instance);
        rig.Kernel.CloseAll();
        rig.ShouldBeClean();
    }

    [Fact]
    public void An_attach_to_another_space_replaces_the_first_and_takes_the_whole_group_along()
    {
        Rig rig = new();
        int iommu = rig.OpenIommu();
        uint from = rig.AllocateSpace(iommu);
        uint to = rig.AllocateSpace(iommu);
        rig.MapFixed(iommu, to, FakeUserMemory.Start, 4096, 0x5000).ShouldBe(0);
        (IommuDevice device, string path) = rig.AddDevice(3, new ReservedRegion(new(0x8000, 0x8fff), ReservedRegionKind.Reserved));
        (IommuDevice sibling, string siblingPath) = rig.AddDevice(3);
        int first = rig.Kernel.Open(path, OpenFlags.ReadWrite);
        int second = rig.Kernel.Open(siblingPath, OpenFlags.ReadWrite);
        _ = Bind(rig, first, iommu);
        _ = Bind(rig, second, iommu);
        uint old = Attach(rig, first, from).Id;
        Attach(rig, second, from).Result.ShouldBe(0);
        rig.MapFixed(iommu, from, FakeUserMemory.Start, 4096, 0x8000).ShouldBe(-(int)Errno.InvalidArgument);

        (int result, uint table) = Attach(rig, second, to);
        result.ShouldBe(0);
        table.ShouldNotBe(old);
        rig.Iommu.DomainOf(device).ShouldBeSameAs(rig.Iommu.DomainOf(sibling));
        ((FakeDomain)rig.Iommu.DomainOf(device)).MappedPages.ShouldBe(1);
        rig.Iommu.Domains.Count.ShouldBe(1);
        rig.MapFixed(iommu, from, FakeUserMemory.Start, 4096, 0x8000).ShouldBe(0);
        rig.MapFixed(iommu, to, FakeUserMemory.Start, 4096, 0x8000).ShouldBe(-(int)Errno.InvalidArgument);
        Attach(rig, first, to).ShouldBe((0, table));
        rig.Kernel.CloseAll();
        rig.ShouldBeClean();
    }

    [Fact]
    [Trait("Requirement", "S3.3")]
    public void A_failed_replace_changes_nothing()
    {
        Rig rig = new();
        int iommu = rig.OpenIommu();
        uint from = rig.AllocateSpace(iommu);
        uint to = rig.AllocateSpace(iommu);
        rig.MapFixed(iommu, to, FakeUserMemory.Start, 4096, 0x8000).ShouldBe(0);
        (IommuDevice device, string path) = rig.AddDevice(null, new ReservedRegion(new(0x8000, 0x8fff), ReservedRegionKind.Msi));
        int fd = rig.Kernel.Open(path, OpenFlags.ReadWrite);
        _ = Bind(rig, fd, iommu);
        Attach(rig, fd, from).Result.ShouldBe(0);
        Domain before = rig.Iommu.DomainOf(device);
        Attach(rig, fd, to).Result.ShouldBe(-(int)Errno.AddressInUse);
        rig.Iommu.DomainOf(device).ShouldBeSameAs(before);
        rig.Iommu.Domains.Count.ShouldBe(1);
        rig.Memory.PinnedPages.ShouldBe(0);
        rig.MapFixed(iommu, from, FakeUserMemory.Start, 4096, 0x8000).ShouldBe(-(int)Errno.InvalidArgument);
        rig.MapFixed(iommu, to, FakeUserMemory.Start, 4096, 0x9000).ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S3.3")]
    public void A_reserved_region_over_a_live_mapping_refuses_the_attach_unless_it_is_direct_relaxable()
    {
        foreach (ReservedRegionKind kind in Enum.GetValues<ReservedRegionKind>())
        {
            Rig rig = new();
            int iommu = rig.OpenIommu();
            uint ioas = rig.AllocateSpace(iommu);
            rig.MapFixed(iommu, ioas, FakeUserMemory.Start, 0x4000, 0x8000).ShouldBe(0);
            (_, string path) = rig.AddDevice(null, new ReservedRegion(new(0xb000, 0xbfff), kind));
            int device = rig.Kernel.Open(path, OpenFlags.ReadWrite);
            _ = Bind(rig, device, iommu);
            bool relaxable = kind == ReservedRegionKind.DirectRelaxable;
            Attach(rig, device, ioas).Result.ShouldBe(relaxable ? 0 : -(int)Errno.AddressInUse);
            rig.Memory.PinnedPages.ShouldBe(relaxable ? 4 : 0);
            rig.Iommu.Domains.Count.ShouldBe(relaxable ? 1 : 0);
            rig.Kernel.CloseAll();
            rig.ShouldBeClean();
        }
    }

    [Fact]
    public void A_direct_region_is_mapped_one_to_one_for_as_long_as_a_device_needs_it()
    {
        Rig rig = new();
        ReservedRegion wide = new(new(0x8000, 0xbfff), ReservedRegionKind.Direct);
        ReservedRegion narrow = new(new(0xa000, 0xd7ff), ReservedRegionKind.Direct);
        using Rig.Attached attached = rig.Attach(wide);
        (_, string path) = rig.AddDevice(null, narrow);
        int second = rig.Kernel.Open(path, OpenFlags.ReadWrite);
        _ = Bind(rig, second, attached.Fd);
        Attach(rig, second, attached.Space.Id).Result.ShouldBe(0);
        FakeDomain domain = attached.Domain;
        domain.MappedPages.ShouldBe(6);
        domain.TryTranslate(new(0xd123), out PhysicalAddress address, out _, out _).ShouldBeTrue();
        address.Value.ShouldBe(0xd123ul);
        attached.Space.MapErrno(new(FakeUserMemory.Start, 4096), new(0xb000), Access.Read).ShouldBe(Errno.InvalidArgument);

        attached.Vfio.Detach();
        domain.MappedPages.ShouldBe(4);
        domain.TryTranslate(new(0x9000), out _, out _, out _).ShouldBeFalse();
        domain.TryTranslate(new(0xa000), out _, out _, out _).ShouldBeTrue();
        rig.Kernel.CloseAll();
        rig.ShouldBeClean();
    }

    [Fact]
    public void Numbers_that_are_no_table_cannot_be_attached_to()
    {
        Rig rig = new();
        int device = rig.Kernel.Open(rig.AddDevice().Path, OpenFlags.ReadWrite);
        int iommu = rig.OpenIommu();
        uint id = Bind(rig, device, iommu).Id;
        Attach(rig, device, 0).Result.ShouldBe(-(int)Errno.NoEntry);
        Attach(rig, device, 77).Result.ShouldBe(-(int)Errno.NoEntry);
        Attach(rig, device, uint.MaxValue).Result.ShouldBe(-(int)Errno.NoEntry);
        Attach(rig, device, id).Result.ShouldBe(-(int)Errno.InvalidArgument);
    }

    [Fact]
    public void A_table_can_be_allocated_attached_and_destroyed_only_when_nothing_uses_it()
    {
        Rig rig = new();
        int device = rig.Kernel.Open(rig.AddDevice().Path, OpenFlags.ReadWrite);
        int iommu = rig.OpenIommu();
        uint ioas = rig.AllocateSpace(iommu);
        uint id = Bind(rig, device, iommu).Id;
        rig.MapFixed(iommu, ioas, FakeUserMemory.Start, 4096, 0x1000).ShouldBe(0);
        (int result, uint table) = AllocateTable(rig, iommu, id, ioas, HwptAllocFlags.NestParent);
        result.ShouldBe(0);
        rig.Memory.PinnedPages.ShouldBe(1);
        Destroy(rig, iommu, ioas).ShouldBe(-(int)Errno.Busy);
        Attach(rig, device, table).ShouldBe((0, table));
        Destroy(rig, iommu, table).ShouldBe(-(int)Errno.Busy);

        // An automatic table is never a manual one.
        uint automatic = Attach(rig, device, ioas).Id;
        automatic.ShouldNotBe(table);
        Destroy(rig, iommu, table).ShouldBe(0);
        Detach(rig, device).ShouldBe(0);
        rig.Memory.PinnedPages.ShouldBe(0);
        Destroy(rig, iommu, automatic).ShouldBe(-(int)Errno.NoEntry);
        Destroy(rig, iommu, ioas).ShouldBe(0);
    }

    [Fact]
    public void A_table_allocation_checks_its_argument_like_Linux()
    {
        Rig rig = new();
        int device = rig.Kernel.Open(rig.AddDevice().Path, OpenFlags.ReadWrite);
        int iommu = rig.OpenIommu();
        uint ioas = rig.AllocateSpace(iommu);
        uint id = Bind(rig, device, iommu).Id;
        int Try(IommuHwptAlloc argument) => rig.Call(iommu, ref argument);

        IommuHwptAlloc good = new() { DeviceId = id, PageTableId = ioas };
        Try(good with { Flags = (HwptAllocFlags)0x10 }).ShouldBe(-(int)Errno.NotSupported);
        Try(good with { Reserved = 1 }).ShouldBe(-(int)Errno.NotSupported);
        Try(good with { DataLength = 1 }).ShouldBe(-(int)Errno.InvalidArgument);
        Try(good with { DataType = (HwptDataType)1 }).ShouldBe(-(int)Errno.InvalidArgument);
        Try(good with { DataType = (HwptDataType)1, DataLength = 8 }).ShouldBe(-(int)Errno.NotSupported);
        Try(good with { DeviceId = 99 }).ShouldBe(-(int)Errno.NoEntry);
        Try(good with { DeviceId = ioas }).ShouldBe(-(int)Errno.NoEntry);
        Try(good with { PageTableId = 99 }).ShouldBe(-(int)Errno.InvalidArgument);
        Try(good with { PageTableId = id }).ShouldBe(-(int)Errno.InvalidArgument);
        Try(good with { Flags = HwptAllocFlags.FaultIdValid }).ShouldBe(-(int)Errno.NoEntry);
        Try(good with { Flags = HwptAllocFlags.FaultIdValid | HwptAllocFlags.NestParent }).ShouldBe(-(int)Errno.NotSupported);
        (_, uint plain) = AllocateTable(rig, iommu, id, ioas);
        Try(good with { PageTableId = plain }).ShouldBe(-(int)Errno.NotSupported);
        Try(good with { PageTableId = plain, DataType = (HwptDataType)1, DataLength = 8 }).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Iommu.Domains.Count.ShouldBe(1);
    }

    [Fact]
    public void Hardware_information_tells_capabilities_and_clears_the_buffer_that_it_has_nothing_for()
    {
        Rig rig = new();
        int device = rig.Kernel.Open(rig.AddDevice().Path, OpenFlags.ReadWrite);
        int iommu = rig.OpenIommu();
        uint id = Bind(rig, device, iommu).Id;
        rig.Memory.Arguments[..64].Fill(0xee);
        IommuHwInfo argument = new() { DeviceId = id, DataLength = 40, DataAddress = FakeUserMemory.ArgumentStart };
        rig.Call(iommu, ref argument).ShouldBe(0);
        argument.DataLength.ShouldBe(0u);
        argument.OutCapabilities.ShouldBe(HwCapabilities.DirtyTracking | HwCapabilities.PciAtsNotSupported);
        rig.Memory.Arguments[..40].ToArray().ShouldAllBe(static value => value == 0);
        rig.Memory.Arguments[40].ShouldBe((byte)0xee);
        argument = new() { DeviceId = id, DataLength = 40, DataAddress = 0 };
        rig.Call(iommu, ref argument).ShouldBe(-(int)Errno.BadAddress);
        argument = new() { DeviceId = id, Flags = 2 };
        rig.Call(iommu, ref argument).ShouldBe(-(int)Errno.NotSupported);
        argument = new() { DeviceId = id + 1 };
        rig.Call(iommu, ref argument).ShouldBe(-(int)Errno.NoEntry);
    }

    [Theory]
    [InlineData(0, 22)]
    [InlineData(15, 22)]
    [InlineData(16, 0)]
    [InlineData(20, 0)]
    [InlineData(24, 0)]
    [InlineData(4096, 0)]
    public void Device_information_writes_as_much_as_argsz_says(int argsz, int errno)
    {
        Rig rig = new();
        int device = rig.Kernel.Open(rig.AddDevice().Path, OpenFlags.ReadWrite);
        _ = Bind(rig, device, rig.OpenIommu());
        byte[] bytes = new byte[32];
        bytes.AsSpan().Fill(0xcc);
        BitConverter.TryWriteBytes(bytes, argsz);
        rig.Kernel.Ioctl(device, VfioRequests.DeviceGetInfo, bytes).ShouldBe(-errno);
        int written = errno != 0 ? 4 : Math.Min(argsz, Unsafe.SizeOf<VfioDeviceInfo>());
        bytes.AsSpan(written).ToArray().ShouldAllBe(static value => value == 0xcc);
        if (errno == 0)
        {
            bytes.AsSpan(8, 8).ToArray().ShouldAllBe(static value => value == 0);
        }
    }
}
