using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>Bounds to the byte: allowed ranges, the last page, counts, apertures that differ.</summary>
public sealed class BoundaryTests
{
    private static int Allow(Rig rig, int iommu, uint ioas, params AddressRange[] ranges)
    {
        for (int i = 0; i < ranges.Length; i++)
        {
            MemoryMarshal.Write(rig.Memory.Arguments[(i * 16)..], new IommuIovaRange { Start = ranges[i].Start, Last = ranges[i].Last });
        }

        IommuIoasAllowIovas argument = new() { IoasId = ioas, NumIovas = (uint)ranges.Length, AllowedIovas = FakeUserMemory.ArgumentStart };
        return rig.Call(iommu, ref argument);
    }

    [Theory]
    [Trait("Requirement", "S3.12")]
    [InlineData(0x7000ul, 0x7ffful, true)]
    [InlineData(0x7000ul, 0x8000ul, false)]
    [InlineData(0x9ffful, 0xaffful, false)]
    [InlineData(0xa000ul, 0xaffful, true)]
    public void A_reserved_region_may_touch_what_is_allowed_and_not_overlap_it_by_a_byte(ulong start, ulong last, bool fits)
    {
        Rig rig = new();
        int iommu = rig.OpenIommu();
        uint ioas = rig.AllocateSpace(iommu);
        Allow(rig, iommu, ioas, new AddressRange(0x8000, 0x9fff)).ShouldBe(0);
        int device = rig.Kernel.Open(rig.AddDevice(null, new ReservedRegion(new(start, last), ReservedRegionKind.Reserved)).Path, OpenFlags.ReadWrite);
        VfioTests.Bind(rig, device, iommu).Result.ShouldBe(0);
        VfioTests.Attach(rig, device, ioas).Result.ShouldBe(fits ? 0 : -(int)Errno.AddressInUse);
        rig.Kernel.CloseAll();
        rig.ShouldBeClean();
    }

    [Fact]
    public void Two_allowed_ranges_may_touch_and_not_overlap_by_a_byte()
    {
        Rig rig = new();
        int iommu = rig.OpenIommu();
        uint ioas = rig.AllocateSpace(iommu);
        Allow(rig, iommu, ioas, new(0x8000, 0x9fff), new(0xa000, 0xafff)).ShouldBe(0);
        Allow(rig, iommu, ioas, new(0x8000, 0x9fff), new(0x9fff, 0xafff)).ShouldBe(-(int)Errno.InvalidArgument);
        Allow(rig, iommu, ioas, new(0xa000, 0xafff), new(0x8000, 0xa000)).ShouldBe(-(int)Errno.InvalidArgument);
    }

    [Fact]
    public void Neither_the_first_page_nor_the_last_is_ever_chosen()
    {
        Rig rig = new();
        int iommu = rig.OpenIommu();
        uint ioas = rig.AllocateSpace(iommu);
        Allow(rig, iommu, ioas, new(0, 0x1fff), new(ulong.MaxValue - 0x1fff, ulong.MaxValue)).ShouldBe(0);
        ulong iova = 0;
        foreach (ulong expected in new[] { 0x1000ul, ulong.MaxValue - 0x1fff })
        {
            rig.Map(iommu, ioas, FakeUserMemory.Start, 4096, ref iova, IoasMapFlags.Readable).ShouldBe(0);
            iova.ShouldBe(expected);
        }

        rig.Map(iommu, ioas, FakeUserMemory.Start, 4096, ref iova, IoasMapFlags.Readable).ShouldBe(-(int)Errno.NoSpace);
    }

    [Fact]
    [Trait("Requirement", "S3.9")]
    public void Room_for_exactly_as_many_ranges_as_there_are_is_enough()
    {
        Rig rig = new();
        using Rig.Attached attached = rig.Attach(new ReservedRegion(new(0x10000, 0x1ffff), ReservedRegionKind.Reserved));
        foreach ((uint room, int result) in new[] { (0u, -(int)Errno.MessageTooLong), (1u, -(int)Errno.MessageTooLong), (2u, 0), (3u, 0) })
        {
            IommuIoasIovaRanges argument = new() { IoasId = attached.Space.Id, NumIovas = room, AllowedIovas = FakeUserMemory.ArgumentStart };
            rig.Call(attached.Fd, ref argument).ShouldBe(result, $"room for {room}");
            argument.NumIovas.ShouldBe(2u);
        }
    }

    [Theory]
    [Trait("Requirement", "S3.1")]
    [Trait("Requirement", "S3.2")]
    [InlineData(false)]
    [InlineData(true)]
    public void A_second_device_whose_aperture_excludes_a_mapping_by_a_byte_is_refused_and_changes_nothing(bool excludes)
    {
        const ulong Iova = 1ul << 39;
        FakeIommu hardware = new() { FormatOf = static device => (int)device.Id.Value };
        Rig rig = new(iommu: hardware);
        int iommu = rig.OpenIommu();
        uint ioas = rig.AllocateSpace(iommu);
        int first = rig.Kernel.Open(rig.AddDevice().Path, OpenFlags.ReadWrite);
        int second = rig.Kernel.Open(rig.AddDevice().Path, OpenFlags.ReadWrite);
        VfioTests.Bind(rig, first, iommu).Result.ShouldBe(0);
        VfioTests.Bind(rig, second, iommu).Result.ShouldBe(0);
        VfioTests.Attach(rig, first, ioas).Result.ShouldBe(0);
        rig.MapFixed(iommu, ioas, FakeUserMemory.Start, 0x1000, Iova - 0x1000).ShouldBe(0);
        AddressRange[] wide = rig.Ranges(iommu, ioas, out _);
        string before = RigState.Of(rig);
        hardware.Aperture = new(0, Iova - (excludes ? 0x1001ul : 1));
        VfioTests.Attach(rig, second, ioas).Result.ShouldBe(excludes ? -(int)Errno.AddressInUse : 0);
        if (excludes)
        {
            RigState.Of(rig).ShouldBe(before);
        }
        else
        {
            rig.Ranges(iommu, ioas, out _).ShouldBe([new AddressRange(0, Iova - 1)]);
            rig.MapFixed(iommu, ioas, FakeUserMemory.Start, 0x1000, Iova).ShouldBe(-(int)Errno.InvalidArgument);
            VfioTests.Detach(rig, second).ShouldBe(0);
        }

        rig.Ranges(iommu, ioas, out _).ShouldBe(wide);
        rig.MapFixed(iommu, ioas, FakeUserMemory.Start, 0x1000, Iova).ShouldBe(0);
        rig.Kernel.CloseAll();
        rig.ShouldBeClean();
    }

    [Theory]
    [Trait("Requirement", "S3.2")]
    [Trait("Requirement", "S3.3")]
    [InlineData(false)]
    [InlineData(true)]
    public void A_second_group_whose_aperture_excludes_a_mapping_is_EINVAL_and_changes_nothing(bool excludes)
    {
        const ulong Iova = 1ul << 39;
        FakeIommu hardware = new() { FormatOf = static device => (int)device.Id.Value };
        Rig rig = new(iommu: hardware);
        (IommuDevice first, _) = rig.AddDevice();
        (IommuDevice second, _) = rig.AddDevice(null, new ReservedRegion(new(0x5000, 0x5fff), ReservedRegionKind.Msi));
        int container = rig.Kernel.Open("/dev/vfio/vfio", OpenFlags.ReadWrite);
        int one = rig.Kernel.Open($"/dev/vfio/{first.Group.Id}", OpenFlags.ReadWrite);
        int two = rig.Kernel.Open($"/dev/vfio/{second.Group.Id}", OpenFlags.ReadWrite);
        ContainerTests.SetContainer(rig, one, container).ShouldBe(0);
        ContainerTests.SetIommu(rig, container).ShouldBe(0);
        ContainerTests.Map(rig, container, FakeUserMemory.Start, Iova - 0x1000, 0x1000).ShouldBe(0);
        string before = RigState.Of(rig);
        hardware.Aperture = new(0, Iova - (excludes ? 0x1001ul : 1));
        ContainerTests.SetContainer(rig, two, container).ShouldBe(excludes ? -(int)Errno.InvalidArgument : 0);
        if (!excludes)
        {
            ContainerTests.Map(rig, container, FakeUserMemory.Start, Iova, 0x1000).ShouldBe(-(int)Errno.InvalidArgument);
            ContainerTests.Map(rig, container, FakeUserMemory.Start, 0x5000, 0x1000).ShouldBe(-(int)Errno.InvalidArgument);
            rig.Kernel.Ioctl(two, VfioRequests.GroupUnsetContainer, 0).ShouldBe(0);
        }

        RigState.Of(rig).ShouldBe(before);
        ContainerTests.Map(rig, container, FakeUserMemory.Start, Iova, 0x1000).ShouldBe(0);
        rig.Kernel.CloseAll();
        rig.ShouldBeClean();
    }
}
