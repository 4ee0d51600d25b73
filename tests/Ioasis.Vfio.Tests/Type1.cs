using System.Runtime.InteropServices;
using System.Text;
using Ioasis.Core;
using Ioasis.Kernel.Tests;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Vfio.Tests;

/// <summary>A container on a fake IOMMU, called as bytes.</summary>
internal sealed class Type1(Rig rig, VfioExtension kind = VfioExtension.Type1V2, string path = "/dev/vfio/vfio")
{
    public Rig Rig => rig;

    public int Container { get; } = rig.Kernel.Open(path, OpenFlags.ReadWrite);

    public static Type1 Prepare(Rig? rig = null, VfioExtension kind = VfioExtension.Type1V2, params ReservedRegion[] regions)
    {
        Type1 type1 = new(rig ?? new(), kind);
        int group = type1.OpenGroup(regions, out _);
        type1.Join(group).ShouldBe(Errno.Success);
        type1.SetIommu().ShouldBe(Errno.Success);
        return type1;
    }

    public int OpenGroup(ReservedRegion[] regions, out IommuDevice device)
    {
        (device, _) = rig.AddDevice(null, regions);
        return OpenGroup(device);
    }

    public int OpenGroup(IommuDevice device) => rig.Kernel.Open($"/dev/vfio/{device.Group.Id}", OpenFlags.ReadWrite);

    public Errno Join(int group)
    {
        int container = Container;
        return Call(group, VfioRequests.GroupSetContainer, MemoryMarshal.AsBytes(new Span<int>(ref container)));
    }

    public Errno Leave(int group) => (Errno)(-rig.Kernel.Ioctl(group, VfioRequests.GroupUnsetContainer, 0));

    public Errno SetIommu() => (Errno)(-rig.Kernel.Ioctl(Container, VfioRequests.SetIommu, (nint)kind));

    public int OpenDevice(int group, IommuDevice device) =>
        rig.Kernel.Ioctl(group, VfioRequests.GroupGetDeviceFd, Encoding.UTF8.GetBytes(device.Name + "\0"));

    public Errno Map(
        ulong vaddr, ulong iova, ulong size, VfioDmaMapFlags flags = VfioDmaMapFlags.Read | VfioDmaMapFlags.Write)
    {
        VfioIommuType1DmaMap map = new() { Argsz = 32, Flags = flags, Vaddr = vaddr, Iova = iova, Size = size };
        return Call(Container, VfioRequests.IommuMapDma, MemoryMarshal.AsBytes(new Span<VfioIommuType1DmaMap>(ref map)));
    }

    public Errno Unmap(ulong iova, ulong size, out ulong unmapped, VfioDmaUnmapFlags flags = 0)
    {
        VfioIommuType1DmaUnmap unmap = new() { Argsz = 24, Flags = flags, Iova = iova, Size = size };
        Errno error = Call(
            Container, VfioRequests.IommuUnmapDma, MemoryMarshal.AsBytes(new Span<VfioIommuType1DmaUnmap>(ref unmap)));
        unmapped = unmap.Size;
        return error;
    }

    public Errno UnmapWithBitmap(ulong iova, ulong size, ulong bytes, ulong address, uint argsz = 48, ulong pageSize = 4096)
    {
        byte[] argument = new byte[48];
        MemoryMarshal.Write(argument, new VfioIommuType1DmaUnmap
        {
            Argsz = argsz,
            Flags = VfioDmaUnmapFlags.GetDirtyBitmap,
            Iova = iova,
            Size = size,
        });
        MemoryMarshal.Write(argument.AsSpan(24), new VfioBitmap { PageSize = pageSize, Size = bytes, Data = address });
        return Call(Container, VfioRequests.IommuUnmapDma, argument);
    }

    public Errno Dirty(
        VfioDirtyPagesFlags flags, ulong iova = 0, ulong size = 0, ulong bytes = 8, ulong? address = null, ulong pageSize = 4096)
    {
        byte[] argument = new byte[48];
        MemoryMarshal.Write(argument, new VfioIommuType1DirtyBitmap { Argsz = 48, Flags = flags });
        MemoryMarshal.Write(argument.AsSpan(8), new VfioIommuType1DirtyBitmapGet
        {
            Iova = iova,
            Size = size,
            Bitmap = new() { PageSize = pageSize, Size = bytes, Data = address ?? FakeUserMemory.ArgumentStart },
        });
        return Call(Container, VfioRequests.IommuDirtyPages, argument);
    }

    /// <summary>The ranges that the information tells.</summary>
    public List<AddressRange> GetRanges(out uint available)
    {
        byte[] bytes = new byte[1 << 16];
        MemoryMarshal.Write(bytes, bytes.Length);
        Call(Container, VfioRequests.IommuGetInfo, bytes).ShouldBe(Errno.Success);
        Client.VfioContainerInfo info = Client.VfioContainerInfo.Parse(bytes);
        available = info.MappingsAvailable!.Value;
        return [.. info.Ranges];
    }

    public Errno Call(int descriptor, uint request, Span<byte> argument) =>
        (Errno)(-Math.Min(0, rig.Kernel.Ioctl(descriptor, request, argument)));
}
