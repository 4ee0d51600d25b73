using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>VFIO containers and groups: type 1, versions 1 and 2.</summary>
public sealed class ContainerTests
{
    private static int Open(Rig rig, string path) => rig.Kernel.Open(path, OpenFlags.ReadWrite);

    internal static int SetContainer(Rig rig, int group, int container) =>
        rig.Kernel.Ioctl(group, VfioRequests.GroupSetContainer, MemoryMarshal.AsBytes(new Span<int>(ref container)));

    internal static int SetIommu(Rig rig, int container, VfioExtension kind = VfioExtension.Type1V2) =>
        rig.Kernel.Ioctl(container, VfioRequests.SetIommu, (nint)kind);

    internal static int Map(
        Rig rig,
        int container,
        ulong vaddr,
        ulong iova,
        ulong size,
        VfioDmaMapFlags flags = VfioDmaMapFlags.Read | VfioDmaMapFlags.Write,
        uint argsz = 32)
    {
        VfioIommuType1DmaMap map = new() { Argsz = argsz, Flags = flags, Vaddr = vaddr, Iova = iova, Size = size };
        return rig.Kernel.Ioctl(
            container, VfioRequests.IommuMapDma, MemoryMarshal.AsBytes(new Span<VfioIommuType1DmaMap>(ref map)));
    }

    internal static (int Result, ulong Size) Unmap(
        Rig rig, int container, ulong iova, ulong size, VfioDmaUnmapFlags flags = 0, uint argsz = 24)
    {
        VfioIommuType1DmaUnmap unmap = new() { Argsz = argsz, Flags = flags, Iova = iova, Size = size };
        int result = rig.Kernel.Ioctl(
            container, VfioRequests.IommuUnmapDma, MemoryMarshal.AsBytes(new Span<VfioIommuType1DmaUnmap>(ref unmap)));
        return (result, unmap.Size);
    }

    private static byte[] GetInfo(Rig rig, int container, int argsz, int expected = 0)
    {
        byte[] bytes = new byte[Math.Max(argsz, 16) + 64];
        bytes.AsSpan().Fill(0xa5);
        BinaryPrimitives.WriteInt32LittleEndian(bytes, argsz);
        rig.Kernel.Ioctl(container, VfioRequests.IommuGetInfo, bytes).ShouldBe(expected);
        return bytes;
    }

    // A container with one group of one device.
    private static (int Container, int Group, IommuDevice Device) Prepare(
        Rig rig, VfioExtension kind = VfioExtension.Type1V2, params ReservedRegion[] regions)
    {
        (IommuDevice device, _) = rig.AddDevice(null, regions);
        int container = Open(rig, "/dev/vfio/vfio");
        int group = Open(rig, $"/dev/vfio/{device.Group.Id}");
        SetContainer(rig, group, container).ShouldBe(0);
        SetIommu(rig, container, kind).ShouldBe(0);
        return (container, group, device);
    }

    [Fact]
    public void A_container_without_groups_can_only_be_asked_what_it_knows()
    {
        Rig rig = new();
        int container = Open(rig, "/dev/vfio/vfio");
        rig.Kernel.Ioctl(container, VfioRequests.GetApiVersion, 0).ShouldBe(0);
        int Check(int extension) => rig.Kernel.Ioctl(container, VfioRequests.CheckExtension, extension);
        Check(1).ShouldBe(1);
        Check(3).ShouldBe(1);
        Check(9).ShouldBe(1);
        foreach (int unknown in (int[])[0, 2, 4, 6, 7, 8, 10, 99, -1])
        {
            Check(unknown).ShouldBe(0);
        }

        SetIommu(rig, container).ShouldBe(-(int)Errno.InvalidArgument);
        Map(rig, container, FakeUserMemory.Start, 0, 4096).ShouldBe(-(int)Errno.InvalidArgument);
        _ = GetInfo(rig, container, 256, -(int)Errno.InvalidArgument);
        rig.Kernel.Close(container).ShouldBe(0);
        rig.ShouldBeClean();
    }

    [Fact]
    public void A_group_goes_into_one_container_and_out_again()
    {
        Rig rig = new();
        (IommuDevice device, string path) = rig.AddDevice();
        string groupPath = $"/dev/vfio/{device.Group.Id}";
        int container = Open(rig, "/dev/vfio/vfio");
        int group = Open(rig, groupPath);
        Open(rig, groupPath).ShouldBe(-(int)Errno.Busy);
        VfioGroupFlags Status()
        {
            VfioGroupStatus status = new() { Argsz = 8 };
            rig.Kernel.Ioctl(group, VfioRequests.GroupGetStatus, MemoryMarshal.AsBytes(new Span<VfioGroupStatus>(ref status)))
                .ShouldBe(0);
            return status.Flags;
        }

        Status().ShouldBe(VfioGroupFlags.Viable);
        rig.Kernel.Ioctl(group, VfioRequests.GroupUnsetContainer, 0).ShouldBe(-(int)Errno.InvalidArgument);
        SetContainer(rig, group, -1).ShouldBe(-(int)Errno.BadDescriptor);
        SetContainer(rig, group, 99).ShouldBe(-(int)Errno.BadDescriptor);
        SetContainer(rig, group, group).ShouldBe(-(int)Errno.WrongDescriptor);
        SetContainer(rig, group, container).ShouldBe(0);
        SetContainer(rig, group, container).ShouldBe(-(int)Errno.InvalidArgument);
        Status().ShouldBe(VfioGroupFlags.Viable | VfioGroupFlags.ContainerSet);
        SetIommu(rig, container, VfioExtension.UnmapAll).ShouldBe(-(int)Errno.InvalidArgument);
        SetIommu(rig, container).ShouldBe(0);
        SetIommu(rig, container).ShouldBe(-(int)Errno.InvalidArgument);
        rig.Iommu.DomainOf(device).Kind.ShouldBe(DomainKind.Paging);

        // The other way to the device is barred meanwhile.
        int cdev = Open(rig, path);
        VfioTests.Bind(rig, cdev, rig.OpenIommu()).Result.ShouldBe(-(int)Errno.Busy);
        byte[] name = [.. Encoding.UTF8.GetBytes(device.Name), 0];
        int opened = rig.Kernel.Ioctl(group, VfioRequests.GroupGetDeviceFd, name);
        opened.ShouldBeGreaterThan(2);
        rig.Kernel.Ioctl(group, VfioRequests.GroupGetDeviceFd, "nobody\0"u8.ToArray()).ShouldBe(-(int)Errno.NoDevice);
        rig.Kernel.Ioctl(group, VfioRequests.GroupGetDeviceFd, "nobody"u8.ToArray()).ShouldBe(-(int)Errno.InvalidArgument);
        byte[] info = new byte[24];
        info[0] = 24;
        rig.Kernel.Ioctl(opened, VfioRequests.DeviceGetInfo, info).ShouldBe(0);
        VfioTests.Bind(rig, opened, 3).Result.ShouldBe(-(int)Errno.InvalidArgument);
        rig.Kernel.Ioctl(group, VfioRequests.GroupUnsetContainer, 0).ShouldBe(-(int)Errno.Busy);
        rig.Kernel.Close(opened).ShouldBe(0);
        rig.Kernel.Ioctl(group, VfioRequests.GroupUnsetContainer, 0).ShouldBe(0);
        rig.Iommu.DomainOf(device).ShouldBe(BlockedDomain.Instance);

        // Without a group the container forgot its kind.
        Map(rig, container, FakeUserMemory.Start, 0, 4096).ShouldBe(-(int)Errno.InvalidArgument);
        SetContainer(rig, group, container).ShouldBe(0);
        SetIommu(rig, container, VfioExtension.Type1).ShouldBe(0);
        rig.Kernel.CloseAll();
        rig.ShouldBeClean();
    }

    [Fact]
    public void A_group_with_a_device_bound_by_its_own_descriptor_cannot_be_opened()
    {
        Rig rig = new();
        (IommuDevice device, string path) = rig.AddDevice();
        int cdev = Open(rig, path);
        VfioTests.Bind(rig, cdev, rig.OpenIommu()).Result.ShouldBe(0);
        Open(rig, $"/dev/vfio/{device.Group.Id}").ShouldBe(-(int)Errno.Busy);
        rig.Kernel.Close(cdev).ShouldBe(0);
        Open(rig, $"/dev/vfio/{device.Group.Id}").ShouldBeGreaterThan(0);
    }

    [Theory]
    [Trait("Requirement", "S1.15")]
    [InlineData(0, 1, 2)]
    [InlineData(0, 2, 1)]
    [InlineData(1, 0, 2)]
    [InlineData(1, 2, 0)]
    [InlineData(2, 0, 1)]
    [InlineData(2, 1, 0)]
    public void Container_group_and_device_can_be_closed_in_any_order(int first, int second, int third)
    {
        Rig rig = new();
        (int container, int group, IommuDevice device) = Prepare(rig);
        byte[] name = [.. Encoding.UTF8.GetBytes(device.Name), 0];
        int opened = rig.Kernel.Ioctl(group, VfioRequests.GroupGetDeviceFd, name);
        Map(rig, container, FakeUserMemory.Start, 0x10000, 0x4000).ShouldBe(0);
        int[] descriptors = [container, group, opened];
        rig.Kernel.Close(descriptors[first]).ShouldBe(0);
        rig.Kernel.Close(descriptors[second]).ShouldBe(0);

        // Mappings live as long as a group is in the container; a device keeps its group there.
        rig.Memory.PinnedPages.ShouldBe(third == 0 ? 0 : 4);
        rig.Kernel.Close(descriptors[third]).ShouldBe(0);
        rig.ShouldBeClean();
    }

    [Fact]
    [Trait("Requirement", "S3.5")]
    public void Every_wrong_map_has_VFIOs_error_number()
    {
        Rig rig = new();
        (int container, _, _) = Prepare(
            rig, VfioExtension.Type1V2, new ReservedRegion(new(0x20000, 0x20fff), ReservedRegionKind.Msi));
        ulong memory = FakeUserMemory.Start;
        Map(rig, container, memory, 0x10000, 0x2000).ShouldBe(0);
        Map(rig, container, memory, 0x40000, 0x1000, argsz: 31).ShouldBe(-(int)Errno.InvalidArgument);
        Map(rig, container, memory, 0x40000, 0x1000, 0).ShouldBe(-(int)Errno.InvalidArgument);
        Map(rig, container, memory, 0x40000, 0x1000, VfioDmaMapFlags.Vaddr).ShouldBe(-(int)Errno.NoEntry);
        Map(rig, container, memory, 0x40000, 0x1000, (VfioDmaMapFlags)8).ShouldBe(-(int)Errno.InvalidArgument);
        Map(rig, container, memory, 0x40000, 0).ShouldBe(-(int)Errno.InvalidArgument);
        Map(rig, container, memory, 0x40001, 0x1000).ShouldBe(-(int)Errno.InvalidArgument);
        Map(rig, container, memory + 1, 0x40000, 0x1000).ShouldBe(-(int)Errno.InvalidArgument);
        Map(rig, container, memory, 0x40000, 0x1001).ShouldBe(-(int)Errno.InvalidArgument);
        Map(rig, container, memory, ulong.MaxValue - 0xfff, 0x2000).ShouldBe(-(int)Errno.Overflow);
        Map(rig, container, ulong.MaxValue - 0xfff, 0x40000, 0x2000).ShouldBe(-(int)Errno.Overflow);
        Map(rig, container, memory, 0x11000, 0x1000).ShouldBe(-(int)Errno.Exists);
        Map(rig, container, memory, 0x11000, 0x20000).ShouldBe(-(int)Errno.Exists);
        Map(rig, container, memory, 0x20000, 0x1000).ShouldBe(-(int)Errno.InvalidArgument);
        Map(rig, container, memory, 1ul << 47, 0x1000).ShouldBe(-(int)Errno.InvalidArgument);
        Map(rig, container, 0x1000, 0x40000, 0x1000).ShouldBe(-(int)Errno.BadAddress);
        Map(rig, container, memory, 0x1f000, 0x1000).ShouldBe(0);
        Map(rig, container, memory, 0x21000, 0x1000).ShouldBe(0);
        rig.Memory.PinsOf(memory).ShouldBe(3);
    }

    [Fact]
    public void Version_2_unmaps_whole_mappings_only_and_reports_how_much()
    {
        Rig rig = new();
        (int container, _, _) = Prepare(rig);
        for (ulong i = 0; i < 4; i++)
        {
            Map(rig, container, FakeUserMemory.Start, 0x10000 + (i * 0x4000), 0x2000).ShouldBe(0);
        }

        Unmap(rig, container, 0x10000, 0x1000).Result.ShouldBe(-(int)Errno.InvalidArgument);
        Unmap(rig, container, 0x11000, 0x1000).Result.ShouldBe(-(int)Errno.InvalidArgument);
        Unmap(rig, container, 0xf000, 0x2000).Result.ShouldBe(-(int)Errno.InvalidArgument);
        Unmap(rig, container, 0x10000, 0).Result.ShouldBe(-(int)Errno.InvalidArgument);
        Unmap(rig, container, 0x10001, 0x2000).Result.ShouldBe(-(int)Errno.InvalidArgument);
        Unmap(rig, container, 0x10000, 0x2000, argsz: 23).Result.ShouldBe(-(int)Errno.InvalidArgument);
        Unmap(rig, container, 0x10000, 0x2000, (VfioDmaUnmapFlags)8).Result.ShouldBe(-(int)Errno.InvalidArgument);
        Unmap(rig, container, ulong.MaxValue - 0xfff, 0x2000).Result.ShouldBe(-(int)Errno.Overflow);
        Unmap(rig, container, 0x12000, 0x2000).ShouldBe((0, 0ul));
        Unmap(rig, container, 0x10000, 0x6000).ShouldBe((0, 0x4000ul));
        Unmap(rig, container, 0x1000, 0, VfioDmaUnmapFlags.All).Result.ShouldBe(-(int)Errno.InvalidArgument);
        Unmap(rig, container, 0, 0, VfioDmaUnmapFlags.All).ShouldBe((0, 0x4000ul));
        rig.Memory.PinnedPages.ShouldBe(0);
    }

    [Fact]
    public void Version_1_cuts_nothing_at_the_start_and_takes_the_last_mapping_whole()
    {
        Rig rig = new();
        (int container, _, _) = Prepare(rig, VfioExtension.Type1);
        Map(rig, container, FakeUserMemory.Start, 0x10000, 0x4000).ShouldBe(0);
        Map(rig, container, FakeUserMemory.Start, 0x14000, 0x4000).ShouldBe(0);
        Unmap(rig, container, 0x11000, 0x10000).ShouldBe((0, 0ul));
        Unmap(rig, container, 0x10000, 0x5000).ShouldBe((0, 0x8000ul));
        rig.Memory.PinnedPages.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S3.7")]
    [Trait("Requirement", "S3.10")]
    [Trait("Requirement", "S3.11")]
    public void The_information_is_a_chain_of_aligned_versioned_capabilities_with_one_for_all_ranges()
    {
        Rig rig = new();
        (int container, _, _) = Prepare(
            rig,
            VfioExtension.Type1V2,
            new(new(0xfee0_0000, 0xfeef_ffff), ReservedRegionKind.Msi),
            new(new(0x1000, 0x1fff), ReservedRegionKind.Reserved));
        Map(rig, container, FakeUserMemory.Start, 0x10000, 0x1000).ShouldBe(0);
        byte[] bytes = GetInfo(rig, container, 256);
        VfioIommuType1Info info = MemoryMarshal.Read<VfioIommuType1Info>(bytes);
        (info.Argsz, info.Flags, info.CapOffset).ShouldBe((256u, VfioIommuInfoFlags.PageSizes | VfioIommuInfoFlags.Caps, 24u));
        info.IovaPageSizes.ShouldBe(rig.Iommu.PageSizes);
        List<(ushort Id, ushort Version, uint Offset)> chain = [];
        for (uint offset = info.CapOffset; offset != 0;)
        {
            (offset % 8).ShouldBe(0u);
            VfioInfoCapHeader header = MemoryMarshal.Read<VfioInfoCapHeader>(bytes.AsSpan((int)offset));
            chain.Add((header.Id, header.Version, offset));
            offset = header.Next;
        }

        chain.Select(static capability => (capability.Id, capability.Version)).ShouldBe(
            [((ushort)2, (ushort)1), ((ushort)3, (ushort)1), ((ushort)1, (ushort)1)]);
        Span<byte> migration = bytes.AsSpan((int)chain[0].Offset + 8);
        MemoryMarshal.Cast<byte, ulong>(migration[..24]).ToArray().ShouldBe([0ul, 0x1000, 1 << 28]);
        BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan((int)chain[1].Offset + 8)).ShouldBe(65534u);
        Span<byte> ranges = bytes.AsSpan((int)chain[2].Offset + 8);
        BinaryPrimitives.ReadUInt32LittleEndian(ranges).ShouldBe(3u);
        MemoryMarshal.Cast<byte, VfioIovaRange>(ranges[8..56]).ToArray().Select(static range => (range.Start, range.End))
            .ShouldBe([(0ul, 0xffful), (0x2000ul, 0xfedf_fffful), (0xfef0_0000ul, (1ul << 47) - 1)]);
    }

    [Fact]
    [Trait("Requirement", "S3.8")]
    [Trait("Requirement", "S3.9")]
    public void Every_argsz_gets_what_fits_and_a_short_one_learns_what_is_needed()
    {
        Rig rig = new();
        (int container, _, _) = Prepare(rig);
        byte[] full = GetInfo(rig, container, 256);
        const int Needed = 24 + 32 + 16 + 32;
        for (int argsz = 0; argsz <= 256; argsz++)
        {
            byte[] bytes = GetInfo(rig, container, argsz, argsz < 16 ? -(int)Errno.InvalidArgument : 0);
            if (argsz < 16)
            {
                bytes.AsSpan(4).ToArray().ShouldAllBe(static value => value == 0xa5);
                continue;
            }

            bool fits = argsz >= Needed;
            int written = fits ? Needed : Math.Min(argsz, 24);
            BinaryPrimitives.ReadUInt32LittleEndian(bytes).ShouldBe((uint)(fits ? argsz : Needed));
            bytes.AsSpan(4, 12).ToArray().ShouldBe(full.AsSpan(4, 12).ToArray());
            bytes.AsSpan(written).ToArray().ShouldAllBe(static value => value == 0xa5, $"argsz {argsz}");
            if (fits)
            {
                bytes.AsSpan(16, Needed - 16).ToArray().ShouldBe(full.AsSpan(16, Needed - 16).ToArray());
            }
            else
            {
                bytes.AsSpan(16, written - 16).ToArray().ShouldAllBe(static value => value == 0);
            }
        }
    }

    [Fact]
    [Trait("Requirement", "S3.1")]
    [Trait("Requirement", "S3.2")]
    [Trait("Requirement", "S3.3")]
    [Trait("Requirement", "S3.4")]
    public void Groups_narrow_the_ranges_widen_them_again_and_are_refused_over_live_mappings()
    {
        FakeIommu hardware = new() { FormatOf = static device => (int)device.Id.Value };
        Rig rig = new(iommu: hardware);
        (int container, int group, _) = Prepare(rig);
        byte[] before = GetInfo(rig, container, 256);
        Map(rig, container, FakeUserMemory.Start, 0x8000_0000, 0x1000).ShouldBe(0);

        foreach ((AddressRange aperture, ReservedRegion region) in (IEnumerable<(AddressRange, ReservedRegion)>)
            [(new(0, 0x7fff_ffff), new(new(0, 0xfff), ReservedRegionKind.Reserved)),
             (new(0, ulong.MaxValue >> 17), new(new(0x8000_0800, 0x8000_0fff), ReservedRegionKind.Reserved))])
        {
            hardware.Aperture = aperture;
            (IommuDevice device, _) = rig.AddDevice(null, region);
            int second = Open(rig, $"/dev/vfio/{device.Group.Id}");
            SetContainer(rig, second, container).ShouldBe(-(int)Errno.InvalidArgument);
            hardware.DomainOf(device).ShouldBe(BlockedDomain.Instance);
            hardware.Domains.Count.ShouldBe(1);
            byte[] unchanged = GetInfo(rig, container, 256);
            unchanged.AsSpan(24 + 32 + 16).ToArray().ShouldBe(before.AsSpan(24 + 32 + 16).ToArray());

            // Once the mapping is gone it may come, and it narrows the ranges while it is there.
            Unmap(rig, container, 0x8000_0000, 0x1000).ShouldBe((0, 0x1000ul));
            SetContainer(rig, second, container).ShouldBe(0);
            hardware.Domains.Count.ShouldBe(2);
            GetInfo(rig, container, 256).AsSpan(24 + 32 + 16).ToArray().ShouldNotBe(before.AsSpan(24 + 32 + 16).ToArray());
            rig.Kernel.Ioctl(second, VfioRequests.GroupUnsetContainer, 0).ShouldBe(0);
            Map(rig, container, FakeUserMemory.Start, 0x8000_0000, 0x1000).ShouldBe(0);
            rig.Kernel.Close(second).ShouldBe(0);
        }

        rig.Kernel.Close(group).ShouldBe(0);
        rig.Kernel.Close(container).ShouldBe(0);
        rig.ShouldBeClean();
    }

    [Fact]
    public void The_number_of_mappings_is_limited()
    {
        Rig rig = new();
        (int container, _, _) = Prepare(rig);
        for (ulong i = 0; i < 65535; i++)
        {
            if (Map(rig, container, FakeUserMemory.Start, i << 13, 0x1000) != 0)
            {
                Assert.Fail($"mapping {i} failed");
            }
        }

        Map(rig, container, FakeUserMemory.Start, 65535ul << 13, 0x1000).ShouldBe(-(int)Errno.NoSpace);
        Unmap(rig, container, 0, 0x1000).ShouldBe((0, 0x1000ul));
        Map(rig, container, FakeUserMemory.Start, 65535ul << 13, 0x1000).ShouldBe(0);
    }
}
