using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Vfio.Tests;

/// <summary>Regions of more than 2 GiB, which the client maps and reaches to their last byte.</summary>
public sealed class LargeRegionTests
{
    private const ulong Gib = 1ul << 30;

    [Fact]
    public unsafe void A_mapping_of_3_GiB_is_reached_beyond_2_GiB()
    {
        using PciRig rig = new(new TestPciDevice());
        using LargeKernel kernel = new(rig.Kernel);
        using VfioGroup group = OpenSecond(rig, kernel);
        using VfioDevice device = group.OpenDevice(rig.Endpoint.Device.Name);
        VfioRegion region = device.GetRegion(VfioPciRegion.Bar2);
        region.Size.ShouldBe(8 * Gib);
        using VfioMapping mapping = region.Map(4 * Gib, 3 * Gib);
        kernel.Mapped.ShouldBe((4 * Gib, (nuint)(3 * Gib)));
        mapping.Length.ShouldBe(3 * Gib);
        mapping.Span.Length.ShouldBe(int.MaxValue);

        foreach (ulong offset in new[] { 0ul, (2 * Gib) - 4, 2 * Gib, (3 * Gib) - 8 })
        {
            mapping.Write32(offset, 0x1234_5678);
            mapping.Read32(offset).ShouldBe(0x1234_5678u);
            (*(uint*)(kernel.Address + (nint)offset)).ShouldBe(0x1234_5678u);
            mapping.Slice(offset, 4).ToArray().ShouldBe([0x78, 0x56, 0x34, 0x12]);
        }

        mapping.Write64((3 * Gib) - 8, 7);
        mapping.Read64((3 * Gib) - 8).ShouldBe(7ul);
        Should.Throw<ArgumentOutOfRangeException>(() => mapping.Read64((3 * Gib) - 4));
        Should.Throw<ArgumentOutOfRangeException>(() => mapping.Read32(3 * Gib));
        Should.Throw<ArgumentOutOfRangeException>(() => mapping.Write32(ulong.MaxValue - 3, 1));
        Should.Throw<ArgumentOutOfRangeException>(() => mapping.Slice((3 * Gib) - 1, 2).Length);
        mapping.Slice(3 * Gib, 0).Length.ShouldBe(0);
    }

    [Fact]
    public void What_ends_beyond_a_large_region_is_refused_by_the_client()
    {
        using PciRig rig = new(new TestPciDevice());
        using LargeKernel kernel = new(rig.Kernel);
        using VfioGroup group = OpenSecond(rig, kernel);
        using VfioDevice device = group.OpenDevice(rig.Endpoint.Device.Name);
        VfioRegion region = device.GetRegion(VfioPciRegion.Bar2);
        const MemoryProtection Read = MemoryProtection.Read;
        region.MapErrno(4 * Gib, (4 * Gib) + 1, Read, out _).ShouldBe(Errno.InvalidArgument);
        region.MapErrno((8 * Gib) + 1, 1, Read, out _).ShouldBe(Errno.InvalidArgument);
        region.MapErrno(4096, ulong.MaxValue, Read, out _).ShouldBe(Errno.InvalidArgument);
        region.MapErrno(0, 0, Read, out _).ShouldBe(Errno.InvalidArgument);
        kernel.Mapped.ShouldBe(default);
    }

    // The group's file can be open once: the second kernel, which is the same, opens it again.
    private static VfioGroup OpenSecond(PciRig rig, IKernelAbi kernel)
    {
        rig.Device.Dispose();
        rig.Group.Dispose();
        VfioContainer container = VfioContainer.Open(kernel);
        VfioGroup group = VfioGroup.Open(kernel, rig.Endpoint.Device.Group.Id);
        group.Join(container);
        container.SetIommu();
        return group;
    }

    /// <summary>The kernel of a machine whose device has a region of 8 GiB.</summary>
    private sealed unsafe class LargeKernel(IKernelAbi inner) : IKernelAbi, IDisposable
    {
        public nint Address { get; private set; }

        public (ulong Offset, nuint Length) Mapped { get; private set; }

        public int Open(string path, OpenFlags flags) => inner.Open(path, flags);

        public int Ioctl(int fd, uint request, Span<byte> argument)
        {
            int result = inner.Ioctl(fd, request, argument);
            if (request == VfioRequests.DeviceGetRegionInfo && result == 0)
            {
                ref VfioRegionInfo info = ref MemoryMarshal.AsRef<VfioRegionInfo>(argument[..VfioRegionInfo.MinimumSize]);
                info.Size = 8 * Gib;
            }

            return result;
        }

        public int Ioctl(int fd, uint request, nint argument) => inner.Ioctl(fd, request, argument);

        public nint Read(int fd, Span<byte> destination) => inner.Read(fd, destination);

        public nint Write(int fd, ReadOnlySpan<byte> source) => inner.Write(fd, source);

        public nint Read(int fd, Span<byte> destination, ulong offset) => inner.Read(fd, destination, offset);

        public nint Write(int fd, ReadOnlySpan<byte> source, ulong offset) => inner.Write(fd, source, offset);

        public int Map(int fd, ulong offset, nuint length, MemoryProtection protection, out nint address)
        {
            // The system gives pages when they are touched.
            Mapped = (offset & ((1ul << 40) - 1), length);
            address = Address = (nint)NativeMemory.AlignedAlloc(length, 4096);
            return 0;
        }

        public int Unmap(nint address, nuint length)
        {
            NativeMemory.AlignedFree((void*)address);
            return 0;
        }

        public int CreateEvent(uint initialValue, EventFlags flags) => inner.CreateEvent(initialValue, flags);

        public int CreateMemory(string name, ulong length) => inner.CreateMemory(name, length);

        public int Poll(Span<PollDescriptor> descriptors, int timeoutMilliseconds) => inner.Poll(descriptors, timeoutMilliseconds);

        public int Dup(int fd) => inner.Dup(fd);

        public int Close(int fd) => inner.Close(fd);

        public void Dispose()
        {
        }
    }
}
