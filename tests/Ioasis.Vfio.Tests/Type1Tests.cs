using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Kernel.Tests;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Vfio.Tests;

/// <summary>Dirty pages and moving addresses of VFIO containers, and what keeps the kinds of them apart.</summary>
public sealed class Type1Tests
{
    private const ulong Memory = FakeUserMemory.Start;
    private const ulong Bitmap = FakeUserMemory.ArgumentStart;

    private static Span<ulong> Words(Type1 type1) => MemoryMarshal.Cast<byte, ulong>(type1.Rig.Memory.Arguments);

    [Fact]
    public void Every_mapped_page_is_dirty_and_words_without_a_mapping_are_left_alone()
    {
        Type1 type1 = Type1.Prepare();
        type1.Map(Memory, 0x10_0000, 3 * 4096).ShouldBe(Errno.Success);
        type1.Map(Memory, 0x10_0000 + (5 * 4096), 60 * 4096).ShouldBe(Errno.Success);
        type1.Map(Memory, 0x10_0000 + (200 * 4096), 4096).ShouldBe(Errno.Success);
        type1.Dirty(VfioDirtyPagesFlags.GetBitmap, 0x10_0000, 256 * 4096, 32).ShouldBe(Errno.InvalidArgument);
        type1.Dirty(VfioDirtyPagesFlags.Start).ShouldBe(Errno.Success);
        Words(type1)[..5].Fill(0xaaaa_aaaa_aaaa_aaaa);
        type1.Dirty(VfioDirtyPagesFlags.GetBitmap, 0x10_0000, 256 * 4096, 32).ShouldBe(Errno.Success);
        Words(type1)[..5].ToArray().ShouldBe(
            [~0x18ul, 1, 0xaaaa_aaaa_aaaa_aaaa, 0x1aa, 0xaaaa_aaaa_aaaa_aaaa]);
        type1.Dirty(VfioDirtyPagesFlags.Stop).ShouldBe(Errno.Success);
        type1.Dirty(VfioDirtyPagesFlags.GetBitmap, 0x10_0000, 256 * 4096, 32).ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    public void A_dirty_bitmap_is_checked_to_the_byte()
    {
        Type1 type1 = Type1.Prepare();
        type1.Map(Memory, 0, 65 * 4096).ShouldBe(Errno.Success);
        foreach (uint flags in (uint[])[0, 3, 5, 6, 7, 8])
        {
            type1.Dirty((VfioDirtyPagesFlags)flags).ShouldBe(Errno.InvalidArgument);
        }

        type1.Dirty(VfioDirtyPagesFlags.Start).ShouldBe(Errno.Success);
        Errno Get(ulong iova, ulong size, ulong bytes, ulong? address = null, ulong page = 4096) =>
            type1.Dirty(VfioDirtyPagesFlags.GetBitmap, iova, size, bytes, address, page);
        Get(0, 65 * 4096, 15).ShouldBe(Errno.InvalidArgument);
        Get(0, 65 * 4096, 16).ShouldBe(Errno.Success);
        Get(0, 65 * 4096, (1 << 28) + 1).ShouldBe(Errno.InvalidArgument);
        Get(0, 65 * 4096, 16, null, 8192).ShouldBe(Errno.InvalidArgument);
        Get(0, 65 * 4096, 16, null, 0).ShouldBe(Errno.InvalidArgument);
        Get(0, 0, 16).ShouldBe(Errno.InvalidArgument);
        Get(1, 65 * 4096, 16).ShouldBe(Errno.InvalidArgument);
        Get(0, 64 * 4096, 16).ShouldBe(Errno.InvalidArgument);
        Get(4096, 64 * 4096, 16).ShouldBe(Errno.InvalidArgument);
        Get(0, 65 * 4096, 16, ulong.MaxValue - 7).ShouldBe(Errno.InvalidArgument);
        Get(0, 65 * 4096, 16, 8).ShouldBe(Errno.BadAddress);
        Get(ulong.MaxValue - 4095, 8192, 16).ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    public void An_unmap_can_tell_the_dirty_pages_and_unmaps_nothing_if_it_cannot()
    {
        Type1 type1 = Type1.Prepare();
        type1.Map(Memory, 0x4000, 2 * 4096).ShouldBe(Errno.Success);
        type1.UnmapWithBitmap(0x4000, 8192, 8, Bitmap).ShouldBe(Errno.InvalidArgument);
        type1.Dirty(VfioDirtyPagesFlags.Start).ShouldBe(Errno.Success);
        type1.UnmapWithBitmap(0x4000, 8192, 8, 8).ShouldBe(Errno.BadAddress);
        type1.UnmapWithBitmap(0x4000, 8192, 8, Bitmap, argsz: 47).ShouldBe(Errno.InvalidArgument);
        type1.UnmapWithBitmap(0x4000, 8192, 8, Bitmap, pageSize: 8192).ShouldBe(Errno.InvalidArgument);
        type1.UnmapWithBitmap(0x4000, 4096, 8, Bitmap).ShouldBe(Errno.InvalidArgument);
        type1.Rig.Memory.PinnedPages.ShouldBe(2);
        type1.UnmapWithBitmap(0x3000, 0x4000, 8, Bitmap).ShouldBe(Errno.Success);
        Words(type1)[0].ShouldBe(6ul);
        type1.Rig.Memory.PinnedPages.ShouldBe(0);
        type1.Unmap(0, 0, out _, VfioDmaUnmapFlags.GetDirtyBitmap | VfioDmaUnmapFlags.All).ShouldBe(Errno.InvalidArgument);
        type1.Unmap(0, 4096, out _, VfioDmaUnmapFlags.GetDirtyBitmap | VfioDmaUnmapFlags.Vaddr).ShouldBe(Errno.InvalidArgument);
    }

    [Fact]
    public void Version_1_has_no_dirty_tracking()
    {
        Type1 type1 = Type1.Prepare(kind: VfioExtension.Type1);
        type1.Dirty(VfioDirtyPagesFlags.Start).ShouldBe(Errno.AccessDenied);
    }

    [Fact]
    public void A_mapping_can_lose_its_address_and_get_another_while_devices_go_on()
    {
        Type1 type1 = Type1.Prepare();
        type1.Map(Memory, 0x4000, 0x2000).ShouldBe(Errno.Success);
        type1.Map(Memory + 0x2000, 0x8000, 0x1000).ShouldBe(Errno.Success);
        FakeDomain domain = type1.Rig.Iommu.Domains.Single();

        type1.Map(Memory, 0x4000, 0x2000, VfioDmaMapFlags.Vaddr).ShouldBe(Errno.InvalidArgument);
        type1.Unmap(0x4000, 0x1000, out _, VfioDmaUnmapFlags.Vaddr).ShouldBe(Errno.InvalidArgument);
        type1.Unmap(0x4000, 0x2000, out ulong bytes, VfioDmaUnmapFlags.Vaddr).ShouldBe(Errno.Success);
        bytes.ShouldBe(0x2000ul);
        domain.MappedPages.ShouldBe(3);

        // One that has lost it already spoils the call for all.
        type1.Unmap(0, 0, out _, VfioDmaUnmapFlags.Vaddr | VfioDmaUnmapFlags.All).ShouldBe(Errno.InvalidArgument);
        type1.Map(Memory, 0x8000, 0x1000, VfioDmaMapFlags.Vaddr).ShouldBe(Errno.InvalidArgument);

        // Nobody knows what a new domain would have to pin.
        int group = type1.OpenGroup([], out _);
        type1.Join(group).ShouldBe(Errno.Busy);
        type1.Map(Memory + 0x10000, 0x4000, 0x1000, VfioDmaMapFlags.Vaddr).ShouldBe(Errno.InvalidArgument);
        type1.Map(Memory + 0x10000, 0x5000, 0x1000, VfioDmaMapFlags.Vaddr).ShouldBe(Errno.InvalidArgument);
        type1.Map(Memory + 0x10000, 0xc000, 0x1000, VfioDmaMapFlags.Vaddr).ShouldBe(Errno.NoEntry);
        type1.Map(Memory + 0x10000, 0x4000, 0x2000, VfioDmaMapFlags.Vaddr | VfioDmaMapFlags.Read).ShouldBe(Errno.InvalidArgument);
        type1.Map(Memory + 0x10000, 0x4000, 0x2000, VfioDmaMapFlags.Vaddr).ShouldBe(Errno.Success);
        type1.Join(group).ShouldBe(Errno.Success);

        // Devices saw the same pages all the time; all goes in the end.
        domain.TryTranslate(new(0x4000), out PhysicalAddress address, out _, out _).ShouldBeTrue();
        address.Value.ShouldBe(type1.Rig.Memory.ToPhysical(Memory));
        type1.Unmap(0, 0, out bytes, VfioDmaUnmapFlags.Vaddr | VfioDmaUnmapFlags.All).ShouldBe(Errno.Success);
        bytes.ShouldBe(0x3000ul);
        type1.Unmap(0x4000, 0x2000, out _).ShouldBe(Errno.Success);
        type1.Unmap(0, 0, out bytes, VfioDmaUnmapFlags.All).ShouldBe(Errno.Success);
        bytes.ShouldBe(0x1000ul);
        type1.Map(Memory, 0x4000, 0x1000).ShouldBe(Errno.Success);
        type1.Rig.Kernel.CloseAll();
        type1.Rig.ShouldBeClean();
    }

    [Fact]
    [Trait("Requirement", "S3.12")]
    [Trait("Requirement", "S3.5")]
    public void Ranges_and_mappings_are_exact_at_the_first_and_the_last_page()
    {
        FakeIommu iommu = new() { Aperture = AddressRange.All };
        Type1 type1 = Type1.Prepare(
            new(iommu: iommu),
            VfioExtension.Type1V2,
            new ReservedRegion(new(0, 0), ReservedRegionKind.Reserved),
            new ReservedRegion(new(ulong.MaxValue, ulong.MaxValue), ReservedRegionKind.Msi));
        type1.GetRanges(out _).ShouldBe([new(1, ulong.MaxValue - 1)]);
        type1.Map(Memory, 0, 4096).ShouldBe(Errno.InvalidArgument);
        type1.Map(Memory, ulong.MaxValue - 4095, 4096).ShouldBe(Errno.InvalidArgument);
        type1.Map(Memory, 4096, 4096).ShouldBe(Errno.Success);
        type1.Map(Memory, ulong.MaxValue - 8191, 4096).ShouldBe(Errno.Success);
        type1.Unmap(ulong.MaxValue - 8191, 8192, out ulong bytes).ShouldBe(Errno.Success);
        bytes.ShouldBe(4096ul);

        Type1 whole = Type1.Prepare(new(iommu: new FakeIommu { Aperture = AddressRange.All }));
        whole.GetRanges(out _).ShouldBe([AddressRange.All]);
        whole.Map(Memory, 0, 4096).ShouldBe(Errno.Success);
        whole.Map(Memory, ulong.MaxValue - 4095, 4096).ShouldBe(Errno.Success);
        whole.Unmap(0, 0, out bytes, VfioDmaUnmapFlags.All).ShouldBe(Errno.Success);
        bytes.ShouldBe(8192ul);
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void Memory_that_is_gone_cannot_be_mapped_and_leaves_no_trace()
    {
        Type1 type1 = Type1.Prepare();
        type1.Map(0x1000, 0x4000, 4096).ShouldBe(Errno.BadAddress);
        type1.GetRanges(out uint available);
        available.ShouldBe(65535u);
        type1.Rig.Iommu.Domains.Single().MappedPages.ShouldBe(0);
    }
}
