using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Kernel.Tests;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Vfio.Tests;

/// <summary>/dev/iommu in the place of a container: a personality of its own, with the answers that Linux 7.2 was measured to give.</summary>
public sealed class CompatibilityTests
{
    private const ulong Memory = FakeUserMemory.Start;

    private static Type1 New(VfioExtension kind, out int group, out IommuDevice device)
    {
        Type1 type1 = new(new(), kind, "/dev/iommu");
        group = type1.OpenGroup([], out device);
        type1.Join(group).ShouldBe(Errno.Success);
        type1.SetIommu().ShouldBe(Errno.Success);
        return type1;
    }

    [Fact]
    public void Without_a_group_or_an_address_space_there_is_no_device()
    {
        Type1 type1 = new(new(), VfioExtension.Type1V2, "/dev/iommu");
        type1.Rig.Kernel.Ioctl(type1.Container, VfioRequests.GetApiVersion, 0).ShouldBe(0);
        int Has(int extension) => type1.Rig.Kernel.Ioctl(type1.Container, VfioRequests.CheckExtension, extension);
        Enumerable.Range(0, 16).Where(static extension => extension != 4).Where(extension => Has(extension) == 1).ShouldBe([1, 3, 9]);
        type1.SetIommu().ShouldBe(Errno.NoDevice);
        new Type1(type1.Rig, (VfioExtension)99, "/dev/iommu").SetIommu().ShouldBe(Errno.InvalidArgument);
        type1.Map(Memory, 0x4000, 4096).ShouldBe(Errno.NoDevice);
        type1.Unmap(0x4000, 4096, out _).ShouldBe(Errno.NoDevice);
        type1.Call(type1.Container, VfioRequests.IommuGetInfo, new byte[] { 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 })
            .ShouldBe(Errno.NoDevice);
        type1.Call(type1.Container, VfioRequests.IommuDirtyPages, new byte[8]).ShouldBe(Errno.NotTypewriter);
        type1.Call(type1.Container, VfioRequests.GroupGetStatus, new byte[8]).ShouldBe(Errno.NotTypewriter);
    }

    [Fact]
    [Trait("Requirement", "S3.9")]
    public void Information_is_written_as_far_as_it_fits_and_the_chain_is_found_if_all_of_it_does()
    {
        Type1 type1 = New(VfioExtension.Type1V2, out _, out _);
        byte[] full = [];
        for (int argsz = 256; argsz >= 0; argsz--)
        {
            byte[] bytes = new byte[256];
            bytes.AsSpan().Fill(0xa5);
            MemoryMarshal.Write(bytes, argsz);
            Errno error = type1.Call(type1.Container, VfioRequests.IommuGetInfo, bytes);
            if (argsz < 16)
            {
                error.ShouldBe(Errno.InvalidArgument);
                continue;
            }

            error.ShouldBe(Errno.Success);
            if (argsz == 256)
            {
                full = bytes;
                Convert.ToHexStringLower(bytes.AsSpan(0, 72)).ShouldBe(
                    "480000000300000000f0ffffffffffff1800000000000000"
                    + "0300010028000000ffffffffa5a5a5a50100010000000000"
                    + "01000000000000000000000000000000ffffffffffffffff");
            }

            // As measured: nothing behind 24, then the first capability, its link from 40 on, then all.
            int written = argsz >= 72 ? 72 : argsz >= 36 ? 36 : Math.Min(argsz, 24);
            byte[] expected = [.. full.AsSpan(0, written)];
            if (argsz < 72)
            {
                expected.AsSpan(16, Math.Min(8, written - 16)).Clear();
            }

            if (argsz is >= 36 and < 40)
            {
                expected[28] = 0;
            }

            bytes.AsSpan(0, written).ToArray().ShouldBe(expected, $"argsz {argsz}");
            bytes.AsSpan(written).ToArray().ShouldAllBe(static value => value == 0xa5);
        }
    }

    [Fact]
    public void Version_2_cuts_nothing_and_what_lies_before_a_cut_goes()
    {
        Type1 type1 = New(VfioExtension.Type1V2, out _, out _);
        type1.Map(Memory, 0x10000, 0x2000).ShouldBe(Errno.Success);
        type1.Map(Memory, 0x12000, 0x2000).ShouldBe(Errno.Success);
        type1.Map(Memory, 0x11000, 0x1000).ShouldBe(Errno.Exists);
        type1.Map(Memory, 0x20000, 0x1000, VfioDmaMapFlags.Vaddr).ShouldBe(Errno.InvalidArgument);
        type1.Unmap(0x10000, 0x1000, out _).ShouldBe(Errno.NoEntry);
        type1.Unmap(0x10000, 0x3000, out _).ShouldBe(Errno.NoEntry);
        type1.Unmap(0x10000, 0x2000, out ulong bytes).ShouldBe(Errno.Success);
        bytes.ShouldBe(0ul);
        type1.Unmap(0x11000, 0x3000, out bytes).ShouldBe(Errno.Success);
        bytes.ShouldBe(0x2000ul);
        type1.Unmap(0x11000, 0, out _).ShouldBe(Errno.InvalidArgument);
        type1.Unmap(ulong.MaxValue - 0xfff, 0x2000, out _).ShouldBe(Errno.Overflow);
        type1.Unmap(0x11000, 0, out _, VfioDmaUnmapFlags.All).ShouldBe(Errno.InvalidArgument);
        type1.Unmap(0, 0, out _, VfioDmaUnmapFlags.Vaddr).ShouldBe(Errno.InvalidArgument);
        type1.Map(Memory, 0x10000, 0x2000).ShouldBe(Errno.Success);
        type1.Unmap(0, 0, out bytes, VfioDmaUnmapFlags.All).ShouldBe(Errno.Success);
        bytes.ShouldBe(0x2000ul);
        type1.Rig.Kernel.CloseAll();
        type1.Rig.ShouldBeClean();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Version_1_cuts_a_mapping_anywhere_and_leaves_the_rest(bool attached)
    {
        Type1 type1 = New(VfioExtension.Type1, out int group, out IommuDevice device);
        int opened = attached ? type1.OpenDevice(group, device) : 0;
        foreach ((ulong start, ulong length, ulong gone) in (IEnumerable<(ulong, ulong, ulong)>)
            [(0x10000, 0x1000, 0x1000), (0x12000, 0x1000, 0x1000), (0x13000, 0x1000, 0x1000), (0xf000, 0x2000, 0x1000),
             (0x13000, 0x2000, 0x1000), (0x10000, 0x4000, 0x4000), (0xf000, 0x1000, 0), (0x11000, 0x2000, 0x2000)])
        {
            type1.Map(Memory, 0x10000, 0x4000).ShouldBe(Errno.Success);
            type1.Unmap(start, length, out ulong bytes).ShouldBe(Errno.Success);
            bytes.ShouldBe(gone);
            int left = (int)(0x4000 - gone) >> 12;

            // A device that comes after the cut sees what one sees that was there before.
            int late = attached ? 0 : type1.OpenDevice(group, device);
            late.ShouldBeGreaterThanOrEqualTo(0);
            FakeDomain domain = type1.Rig.Iommu.Domains.Single();
            domain.MappedPages.ShouldBe(left);
            type1.Rig.Iommu.DomainOf(device).ShouldBeSameAs(domain);

            // What is left is where it was.
            for (ulong iova = 0x10000; iova < 0x14000; iova += 4096)
            {
                bool isMapped = domain.TryTranslate(new(iova), out PhysicalAddress address, out _, out _);
                isMapped.ShouldBe(iova < start || iova >= start + length);
                address.Value.ShouldBe(isMapped ? type1.Rig.Memory.ToPhysical(Memory + (iova - 0x10000)) : 0);
            }

            if (!attached)
            {
                type1.Rig.Kernel.Close(late).ShouldBe(0);
            }

            type1.Unmap(0x10000, 0x4000, out bytes).ShouldBe(Errno.Success);
            bytes.ShouldBe((ulong)left << 12);
            type1.Rig.Memory.PinnedPages.ShouldBe(0);
        }

        if (attached)
        {
            type1.Rig.Kernel.Close(opened).ShouldBe(0);
            type1.Rig.Iommu.Domains.ShouldBeEmpty();
        }

        type1.Rig.Kernel.CloseAll();
        type1.Rig.ShouldBeClean();
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void Groups_come_and_go_and_the_address_space_stays()
    {
        Type1 type1 = new(new(), VfioExtension.Type1V2, "/dev/iommu");
        int group = type1.OpenGroup([], out IommuDevice device);
        type1.Join(group).ShouldBe(Errno.Success);
        type1.Join(group).ShouldBe(Errno.InvalidArgument);

        // No kind needs to be set for a device to be opened, and it can be twice.
        int opened = type1.OpenDevice(group, device);
        opened.ShouldBeGreaterThan(0);
        int again = type1.OpenDevice(group, device);
        again.ShouldBeGreaterThan(0);
        type1.Rig.Iommu.DomainOf(device).Kind.ShouldBe(DomainKind.Paging);
        type1.SetIommu().ShouldBe(Errno.Success);
        type1.SetIommu().ShouldBe(Errno.Success);
        type1.Map(Memory, 0x4000, 0x1000).ShouldBe(Errno.Success);
        type1.Leave(group).ShouldBe(Errno.Success);
        type1.Leave(group).ShouldBe(Errno.InvalidArgument);
        type1.OpenDevice(group, device).ShouldBe(-(int)Errno.InvalidArgument);

        // The device stays attached until its last descriptor goes; the mapping stays longer.
        type1.Rig.Kernel.Close(opened).ShouldBe(0);
        type1.Rig.Iommu.DomainOf(device).Kind.ShouldBe(DomainKind.Paging);
        type1.Rig.Kernel.Close(again).ShouldBe(0);
        type1.Rig.Iommu.DomainOf(device).ShouldBe(BlockedDomain.Instance);
        type1.Map(Memory, 0x4000, 0x1000).ShouldBe(Errno.Exists);
        type1.Join(group).ShouldBe(Errno.Success);
        type1.Rig.Kernel.Close(type1.Container).ShouldBe(0);
        type1.OpenDevice(group, device).ShouldBeGreaterThan(0);
        type1.Rig.Iommu.Domains.Single().MappedPages.ShouldBe(1);
        type1.Rig.Kernel.CloseAll();
        type1.Rig.ShouldBeClean();
    }

    [Fact]
    [Trait("Requirement", "S3.3")]
    public void A_device_whose_regions_lie_on_a_mapping_cannot_be_opened()
    {
        Type1 type1 = new(new(), VfioExtension.Type1V2, "/dev/iommu");
        int group = type1.OpenGroup([new(new(0x4000, 0x4fff), ReservedRegionKind.Msi)], out IommuDevice device);
        type1.Join(group).ShouldBe(Errno.Success);
        type1.Map(Memory, 0x4000, 0x1000).ShouldBe(Errno.Success);
        type1.OpenDevice(group, device).ShouldBe(-(int)Errno.AddressInUse);
        type1.Rig.Iommu.DomainOf(device).ShouldBe(BlockedDomain.Instance);
        type1.Unmap(0x4000, 0x1000, out _).ShouldBe(Errno.Success);
        type1.OpenDevice(group, device).ShouldBeGreaterThan(0);
        type1.Map(Memory, 0x4000, 0x1000).ShouldBe(Errno.InvalidArgument);
        type1.Rig.Kernel.CloseAll();
        type1.Rig.ShouldBeClean();
    }
}
