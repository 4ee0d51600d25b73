using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Hardware;
using Ioasis.Uapi;

namespace Ioasis.Vfio.Tests;

/// <summary>
/// One device reaches the memory of another, by <c>VFIO_DEVICE_FEATURE_DMA_BUF</c> and <c>IOMMU_IOAS_MAP_FILE</c>, as long as that
/// device has it to give.
/// </summary>
public class PeerToPeerTests
{
    /// <summary>The IOMMU of the machines.</summary>
    private protected virtual IommuSlot Slot => new RiscVIommuSlot();

    private const ulong Size = 1 << 16;

    /// <summary>Two devices on one <c>/dev/iommu</c> with one address space, to which the second is attached.</summary>
    private sealed class Pair : IDisposable
    {
        public Pair(IommuSlot slot, IUserMemory? memory = null)
        {
            Platform = new(new() { Iommus = [slot], UserMemory = memory, Caching = CachingMode.Hostile });
            EmbeddedEndpoint owner = Platform.AddDevice(OwnerDevice, DeviceId.FromPci(0, 1, 0, 0));
            EmbeddedEndpoint peer = Platform.AddDevice(PeerDevice, DeviceId.FromPci(0, 2, 0, 0));
            Iommu = IommuFd.Open(Platform.Kernel);
            Owner = VfioDevice.Open(Platform.Kernel, owner.DevicePath);
            Peer = VfioDevice.Open(Platform.Kernel, peer.DevicePath);
            _ = Owner.Bind(Iommu);
            _ = Peer.Bind(Iommu);
            Space = Iommu.AllocateAddressSpace();
            _ = Peer.Attach(Space);
            Peer.GetRegion(VfioPciRegion.Config).Write(4, (ushort)6);
        }

        public EmbeddedPlatform Platform { get; }

        public TestPciDevice OwnerDevice { get; } = new();

        public TestPciDevice PeerDevice { get; } = new();

        public IommuFd Iommu { get; }

        public VfioDevice Owner { get; }

        public VfioDevice Peer { get; }

        public IoAddressSpace Space { get; }

        public VfioRegion Memory => Owner.GetRegion(VfioPciRegion.Bar2);

        public VfioDmaBuffer Export(ulong offset = 0, ulong length = Size)
        {
            Owner.ExportErrno(VfioPciRegion.Bar2, offset, length, out VfioDmaBuffer? buffer).ShouldBe(Errno.Success);
            return buffer!;
        }

        public Iova Map(VfioDmaBuffer buffer, ulong offset, ulong length, Access access = Access.ReadWrite)
        {
            Iova? iova = null;
            buffer.MapErrno(Space, offset, length, access, ref iova).ShouldBe(Errno.Success);
            return iova!.Value;
        }

        public bool Reaches(Iova iova) => PeerDevice.DoRead(iova, new byte[4]) == DmaStatus.Success;

        public void Dispose()
        {
            Space.Dispose();
            Peer.Dispose();
            Owner.Dispose();
            Iommu.Dispose();
            Platform.Audit.ShouldBe(default);
            Platform.Dispose();
        }
    }

    [Fact]
    public void A_device_writes_into_the_memory_of_another_and_reads_it()
    {
        using Pair pair = new(Slot);
        using VfioDmaBuffer buffer = pair.Export(0x4000, 0x8000);
        Iova iova = pair.Map(buffer, 0x1000, 0x2000);
        pair.PeerDevice.DoWrite(iova + 0xffe, [1, 2, 3, 4]).ShouldBe(DmaStatus.Success);
        pair.Memory.Read<uint>(0x5ffe).ShouldBe(0x0403_0201u);
        pair.Memory.Write(0x6100, 0xfeed_f00du);
        byte[] read = new byte[4];
        pair.PeerDevice.DoRead(iova + 0x1100, read).ShouldBe(DmaStatus.Success);
        read.ShouldBe([0x0d, 0xf0, 0xed, 0xfe]);

        // Neither more than was mapped nor other than was allowed; nobody pays for it, and the descriptor need not stay open.
        pair.Reaches(iova + 0x2000).ShouldBeFalse();
        Iova only = pair.Map(buffer, 0, 0x1000, Access.Read);
        pair.PeerDevice.DoWrite(only, [1]).ShouldNotBe(DmaStatus.Success);
        pair.Platform.Audit.PinnedBytes.ShouldBe(0);
        buffer.Dispose();
        pair.Reaches(iova).ShouldBeTrue();
        pair.Space.Unmap(iova, 0x2000).ShouldBe(0x2000ul);
        pair.Reaches(iova).ShouldBeFalse();
    }

    public static TheoryData<string> Endings { get; } =
        ["reset", "function-level reset", "memory disabled", "low power", "close", "hot reset"];

    [Theory]
    [MemberData(nameof(Endings))]
    public void The_memory_is_taken_back_when_the_device_loses_it(string ending)
    {
        using Pair pair = new(Slot);
        PciDevice.PlaceBehindOneBridge(pair.OwnerDevice);
        using VfioDmaBuffer buffer = pair.Export();
        Iova iova = pair.Map(buffer, 0, Size);
        Iova second = pair.Map(buffer, 0x1000, 0x1000);
        pair.Reaches(iova).ShouldBeTrue();
        pair.Reaches(second).ShouldBeTrue();
        VfioRegion config = pair.Owner.GetRegion(VfioPciRegion.Config);
        switch (ending)
        {
            case "reset":
                pair.Owner.Reset();
                break;
            case "function-level reset":
                config.Write(config.Read<byte>(0x34) + 8ul, (ushort)0x8000);
                break;
            case "memory disabled":
                config.Write(4, (ushort)0);
                break;
            case "low power":
                Feature(pair, VfioFeature.LowPowerEntry).ShouldBe(Errno.Success);
                break;
            case "close":
                pair.Owner.Dispose();
                break;
            default:
                HotReset(pair);
                break;
        }

        pair.Reaches(iova).ShouldBeFalse();
        pair.Reaches(second).ShouldBeFalse();
        Iova? again = null;
        if (ending is "memory disabled" or "low power" or "close")
        {
            buffer.MapErrno(pair.Space, 0, 0x1000, Access.Read, ref again).ShouldBe(Errno.NoDevice);
        }

        switch (ending)
        {
            case "memory disabled":
                config.Write(4, (ushort)2);
                break;
            case "low power":
                Feature(pair, VfioFeature.LowPowerExit).ShouldBe(Errno.Success);
                break;
            case "close":
                pair.Space.Unmap(iova, Size).ShouldBe(Size);
                return;
        }

        // What was mapped stays dead, what is mapped anew is alive; its IOVAs are free when it is unmapped.
        pair.Reaches(iova).ShouldBeFalse();
        buffer.MapErrno(pair.Space, 0, 0x1000, Access.Read, ref again).ShouldBe(Errno.Success);
        pair.Reaches(again!.Value).ShouldBeTrue();
        pair.Space.Unmap(iova, Size).ShouldBe(Size);
        Iova? fixedAt = iova;
        buffer.MapErrno(pair.Space, 0, Size, Access.ReadWrite, ref fixedAt).ShouldBe(Errno.Success);
        pair.Reaches(iova).ShouldBeTrue();
    }

    [Fact]
    public void A_revoked_part_stays_dead_for_devices_that_come_later_and_for_copies()
    {
        using Pair pair = new(Slot);
        using VfioDmaBuffer buffer = pair.Export();
        Iova iova = pair.Map(buffer, 0, 0x2000);
        using IoAddressSpace other = pair.Iommu.AllocateAddressSpace();
        other.CopyErrno(pair.Space, iova, 0x2000, new(0x80_0000), Access.Read).ShouldBe(Errno.Success);
        pair.Peer.Attach(other);
        pair.Reaches(new(0x80_0000)).ShouldBeTrue();
        pair.Owner.Reset();
        pair.Reaches(new(0x80_0000)).ShouldBeFalse();
        pair.Peer.Attach(pair.Space);
        pair.Reaches(iova).ShouldBeFalse();
        other.CopyErrno(pair.Space, iova, 0x1000, new(0x90_0000), Access.Read).ShouldBe(Errno.Success);
        pair.Peer.Attach(other);
        pair.Reaches(new(0x90_0000)).ShouldBeFalse();
        pair.Peer.Attach(pair.Space);
    }

    [Fact]
    public void A_part_that_was_unmapped_lazily_is_out_of_reach_when_the_reset_runs()
    {
        using Pair pair = new(Slot);
        pair.Space.SetLazyInvalidation(true);
        using VfioDmaBuffer buffer = pair.Export();
        Iova iova = pair.Map(buffer, 0, 0x1000);
        pair.Reaches(iova).ShouldBeTrue();
        pair.Space.Unmap(iova, 0x1000).ShouldBe(0x1000ul);
        pair.Reaches(iova).ShouldBeTrue("the invalidation waits");
        pair.Owner.Reset();
        pair.Reaches(iova).ShouldBeFalse();
    }

    // struct vfio_device_feature_dma_buf, in the order of Linux's checks.
    [Theory]
    [InlineData(2u, 0u, 0ul, 0x1000ul, Errno.Success)]
    [InlineData(2u, 0u, 0xf000ul, 0x1000ul, Errno.Success)]
    [InlineData(2u, 1u, 0ul, 0x1000ul, Errno.InvalidArgument)]
    [InlineData(6u, 0u, 0ul, 0x1000ul, Errno.NoDevice)]
    [InlineData(7u, 0u, 0ul, 0x1000ul, Errno.NoDevice)]
    [InlineData(uint.MaxValue, 0u, 0ul, 0x1000ul, Errno.NoDevice)]
    [InlineData(0u, 0u, 0ul, 0x1000ul, Errno.InvalidArgument)]
    [InlineData(1u, 0u, 0ul, 0x1000ul, Errno.InvalidArgument)]
    [InlineData(4u, 0u, 0ul, 0x1000ul, Errno.InvalidArgument)]
    [InlineData(2u, 0u, 0ul, 0ul, Errno.InvalidArgument)]
    [InlineData(2u, 0u, 0x800ul, 0x1000ul, Errno.InvalidArgument)]
    [InlineData(2u, 0u, 0ul, 0x1001ul, Errno.InvalidArgument)]
    [InlineData(2u, 0u, 0xf000ul, 0x2000ul, Errno.InvalidArgument)]
    [InlineData(2u, 0u, 0x1_0000ul, 0x1000ul, Errno.InvalidArgument)]
    [InlineData(2u, 0u, ulong.MaxValue - 0xfff, 0x2000ul, Errno.InvalidArgument)]
    [InlineData(2u, 0u, 0ul, ulong.MaxValue - 0xfff, Errno.InvalidArgument)]
    public void What_cannot_be_made_available_is_refused(uint region, uint flags, ulong offset, ulong length, Errno expected)
    {
        using Pair pair = new(Slot);
        Get(pair, new() { RegionIndex = region, Flags = flags, RangeCount = 1 }, [new() { Offset = offset, Length = length }]).ShouldBe(expected);
    }

    [Fact]
    public void Its_structure_must_be_whole_and_several_ranges_cannot_be_mapped()
    {
        using Pair pair = new(Slot);
        VfioRegionDmaRange page = new() { Length = 0x1000 };
        Get(pair, new() { RegionIndex = 2 }, [page]).ShouldBe(Errno.InvalidArgument);
        Get(pair, new() { RegionIndex = 2, RangeCount = 2 }, [page]).ShouldBe(Errno.BadAddress);
        Get(pair, new() { RegionIndex = 2, RangeCount = uint.MaxValue }, [page]).ShouldBe(Errno.BadAddress);
        pair.Owner.ProbeFeatureErrno(VfioFeature.DmaBuf, VfioFeatureFlags.Get).ShouldBe(Errno.Success);
        pair.Owner.ProbeFeatureErrno(VfioFeature.DmaBuf, VfioFeatureFlags.Set).ShouldBe(Errno.InvalidArgument);
        pair.Owner.ProbeFeatureErrno(VfioFeature.DmaBuf, 0).ShouldBe(Errno.Success);
        byte[] head = new byte[8 + 15];
        MemoryMarshal.Write(head, new VfioDeviceFeature { Argsz = (uint)head.Length, Flags = VfioFeatureFlags.Get | (VfioFeatureFlags)VfioFeature.DmaBuf });
        pair.Platform.Kernel.Ioctl(pair.Owner.Descriptor.Number, VfioRequests.DeviceFeature, head).ShouldBe(-(int)Errno.InvalidArgument);

        Get(pair, new() { RegionIndex = 2, RangeCount = 2 }, [page, page], out int both).ShouldBe(Errno.Success);
        MapFile(pair, both, 0, 0x2000).ShouldBe(Errno.NotSupported);
        Get(pair, new() { RegionIndex = 2, RangeCount = 1 }, [page], out int one).ShouldBe(Errno.Success);
        MapFile(pair, one, 0, 0x2000).ShouldBe(Errno.InvalidArgument);
        MapFile(pair, one, 0x1000, 0x1000).ShouldBe(Errno.InvalidArgument);
        MapFile(pair, one, 0, 0).ShouldBe(Errno.InvalidArgument);
        MapFile(pair, one, ulong.MaxValue - 0xfff, 0x2000).ShouldBe(Errno.Overflow);
        MapFile(pair, one, 0, 0x1000).ShouldBe(Errno.Success);
        pair.Platform.Kernel.Map(one, 0, 4096, MemoryProtection.Read, out _).ShouldBeLessThan(0);
        pair.Platform.Kernel.Close(one).ShouldBe(0);
        pair.Platform.Kernel.Close(both).ShouldBe(0);
    }

    [Fact]
    public void Made_while_the_memory_is_disabled_it_comes_with_the_memory()
    {
        using Pair pair = new(Slot);
        VfioRegion config = pair.Owner.GetRegion(VfioPciRegion.Config);
        config.Write(4, (ushort)0);
        using VfioDmaBuffer buffer = pair.Export();
        Iova? iova = null;
        buffer.MapErrno(pair.Space, 0, 0x1000, Access.Read, ref iova).ShouldBe(Errno.NoDevice);
        config.Write(4, (ushort)2);
        pair.Reaches(pair.Map(buffer, 0, 0x1000)).ShouldBeTrue();
    }

    // On Linux, registers and memory of a device have no pages that iommufd could pin; type 1 takes them.
    [Fact]
    public unsafe void What_a_process_has_mapped_of_a_device_cannot_be_pinned_by_iommufd()
    {
        using Pair pair = new(Slot);
        using VfioMapping mapping = pair.Memory.Map(0x1000, 0x4000);
        ulong address = (ulong)(nint)Unsafe.AsPointer(ref MemoryMarshal.GetReference(mapping.Span));
        foreach ((ulong start, ulong length) in new[] { (address, 0x1000ul), (address + 0x3000, 0x1000ul), (address - 0x1000, 0x2000ul), (address + 0x1000, 0x8000ul) })
        {
            pair.Space.MapErrno(new(start, length), new(0x40_0000), Access.Read).ShouldBe(Errno.BadAddress);
        }

        pair.Platform.Audit.PinnedBytes.ShouldBe(0);

        // Without a device attached nothing is pinned: the attach is what fails.
        using IoAddressSpace other = pair.Iommu.AllocateAddressSpace();
        other.MapErrno(new(address, 0x1000), new(0x40_0000), Access.Read).ShouldBe(Errno.Success);
        pair.Peer.AttachErrno(other.Id, out _).ShouldBe(Errno.BadAddress);

        // Ordinary memory can still be mapped, and that of the mapping when it is one no more.
        byte* page = (byte*)NativeMemory.AlignedAlloc(4096, 4096);
        pair.Space.MapErrno(new((ulong)page, 4096), new(0x50_0000), Access.Read).ShouldBe(Errno.Success);
        pair.Space.Unmap(new(0x50_0000), 4096).ShouldBe(4096ul);
        NativeMemory.AlignedFree(page);
    }

    [Fact]
    public unsafe void Type_1_takes_what_a_process_has_mapped_of_a_device()
    {
        using PciRig rig = new(new TestPciDevice());
        using VfioMapping mapping = rig.Device.GetRegion(VfioPciRegion.Bar2).Map(0, 0x1000);
        ulong address = (ulong)(nint)Unsafe.AsPointer(ref MemoryMarshal.GetReference(mapping.Span));
        rig.Container.MapErrno(new(address, 0x1000), new(0x40_0000), Access.Read).ShouldBe(Errno.Success);
        rig.Container.Unmap(new(0x40_0000), 0x1000).ShouldBe(0x1000ul);
    }

    private static void HotReset(Pair pair)
    {
        VfioPciHotReset reset = new() { Argsz = VfioPciHotReset.MinimumSize };
        pair.Platform.Kernel.Ioctl(
            pair.Owner.Descriptor.Number, VfioRequests.DevicePciHotReset, MemoryMarshal.AsBytes(new Span<VfioPciHotReset>(ref reset))).ShouldBe(0);
    }

    private static Errno Feature(Pair pair, VfioFeature feature)
    {
        byte[] bytes = new byte[8];
        MemoryMarshal.Write(bytes, new VfioDeviceFeature { Argsz = 8, Flags = (VfioFeatureFlags)feature | VfioFeatureFlags.Set });
        return (Errno)(-pair.Platform.Kernel.Ioctl(pair.Owner.Descriptor.Number, VfioRequests.DeviceFeature, bytes));
    }

    private static Errno Get(Pair pair, VfioDeviceFeatureDmaBuf wanted, VfioRegionDmaRange[] ranges)
    {
        Errno error = Get(pair, wanted, ranges, out int descriptor);
        if (error == Errno.Success)
        {
            pair.Platform.Kernel.Close(descriptor).ShouldBe(0);
        }

        return error;
    }

    private static Errno Get(Pair pair, VfioDeviceFeatureDmaBuf wanted, VfioRegionDmaRange[] ranges, out int descriptor)
    {
        byte[] bytes = new byte[8 + 16 + (16 * ranges.Length)];
        MemoryMarshal.Write(bytes, new VfioDeviceFeature { Argsz = (uint)bytes.Length, Flags = VfioFeatureFlags.Get | (VfioFeatureFlags)VfioFeature.DmaBuf });
        MemoryMarshal.Write(bytes.AsSpan(8), wanted);
        MemoryMarshal.AsBytes<VfioRegionDmaRange>(ranges).CopyTo(bytes.AsSpan(24));
        descriptor = pair.Platform.Kernel.Ioctl(pair.Owner.Descriptor.Number, VfioRequests.DeviceFeature, bytes);
        return descriptor < 0 ? (Errno)(-descriptor) : Errno.Success;
    }

    private static Errno MapFile(Pair pair, int descriptor, ulong start, ulong length)
    {
        IommuIoasMapFile argument = new()
        {
            Size = (uint)Unsafe.SizeOf<IommuIoasMapFile>(),
            Flags = IoasMapFlags.Readable,
            IoasId = pair.Space.Id,
            Fd = descriptor,
            Start = start,
            Length = length,
        };
        int result = pair.Platform.Kernel.Ioctl(
            pair.Iommu.Descriptor.Number, IommuIoasMapFile.Request, MemoryMarshal.AsBytes(new Span<IommuIoasMapFile>(ref argument)));
        return result < 0 ? (Errno)(-result) : Errno.Success;
    }
}
