using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>
/// A VFIO container: groups that share one I/O address space, by VFIO's older rules (type 1). Programs that need no group
/// semantics use <see cref="IommuFd"/>. Thread-safe.
/// </summary>
public sealed partial class VfioContainer : IDisposable
{
    /// <summary>The container's node.</summary>
    public const string DefaultPath = "/dev/vfio/vfio";

    private VfioContainer(KernelDescriptor descriptor) => Descriptor = descriptor;

    /// <summary>The descriptor.</summary>
    public KernelDescriptor Descriptor { get; }

    /// <summary>Opens a new container.</summary>
    /// <param name="kernel">The kernel.</param>
    /// <param name="path">The node: a container's, or that of <c>/dev/iommu</c>, which can stand for one.</param>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public static VfioContainer Open(IKernelAbi kernel, string path = DefaultPath)
    {
        IommuException.ThrowIf(OpenErrno(kernel, out VfioContainer? container, path), "open", $"{path}");
        return container!;
    }

    /// <summary>Opens a new container.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public static Errno OpenErrno(IKernelAbi kernel, out VfioContainer? container, string path = DefaultPath)
    {
        Errno error = KernelDescriptor.OpenErrno(kernel, path, out KernelDescriptor? descriptor);
        container = descriptor is null ? null : new(descriptor);
        return error;
    }

    /// <summary>Whether the kernel has an extension, or a kind of IOMMU.</summary>
    public bool Has(VfioExtension extension) =>
        Descriptor.Call(VfioRequests.CheckExtension, (nint)extension, out int result) == Errno.Success && result > 0;

    /// <summary>Chooses the kind of IOMMU. A group must have joined.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public void SetIommu(VfioExtension kind = VfioExtension.Type1V2) =>
        IommuException.ThrowIf(SetIommuErrno(kind), "VFIO_SET_IOMMU", $"{kind}");

    /// <summary>Chooses the kind of IOMMU.</summary>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> without a group or when it is chosen; <see cref="Errno.NoDevice"/> for an
    /// unknown kind; what attaching the groups gave.
    /// </returns>
    public Errno SetIommuErrno(VfioExtension kind) => Descriptor.Call(VfioRequests.SetIommu, (nint)kind, out _);

    /// <summary>Maps memory of the process for the devices.</summary>
    /// <param name="memory">The memory, valid until it is unmapped; address and length are multiples of the smallest page.</param>
    /// <param name="iova">Where devices see it.</param>
    /// <param name="access">What they may do.</param>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public void Map(UserMemory memory, Iova iova, Access access) =>
        IommuException.ThrowIf(
            MapErrno(memory, iova, access),
            "VFIO_IOMMU_MAP_DMA",
            $"memory {memory}, IOVA 0x{iova.Value:x}, {access}");

    /// <summary>Maps memory of the process for the devices.</summary>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> for alignment, no access, or IOVAs that are not usable;
    /// <see cref="Errno.Exists"/> if a part is mapped; <see cref="Errno.NoSpace"/> for too many mappings;
    /// <see cref="Errno.OutOfMemory"/> over the limit of pinned memory; <see cref="Errno.BadAddress"/>.
    /// </returns>
    public Errno MapErrno(UserMemory memory, Iova iova, Access access)
    {
        VfioIommuType1DmaMap map = new()
        {
            Argsz = (uint)Unsafe.SizeOf<VfioIommuType1DmaMap>(),
            Flags = ((access & Access.Read) != 0 ? VfioDmaMapFlags.Read : 0)
                | ((access & Access.Write) != 0 ? VfioDmaMapFlags.Write : 0),
            Vaddr = memory.Address,
            Iova = iova.Value,
            Size = memory.Length,
        };
        return Call(VfioRequests.IommuMapDma, ref map);
    }

    /// <summary>Unmaps a range. No device reaches the memory when this returns.</summary>
    /// <returns>Bytes that were mapped.</returns>
    /// <exception cref="IommuException">The kernel refused: for example, the range cuts a mapping.</exception>
    public ulong Unmap(Iova iova, ulong length)
    {
        IommuException.ThrowIf(
            UnmapErrno(iova, length, out ulong unmapped), "VFIO_IOMMU_UNMAP_DMA", $"IOVA 0x{iova.Value:x}, {length} bytes");
        return unmapped;
    }

    /// <summary>Unmaps a range. No device reaches the memory when this returns.</summary>
    /// <returns>Success, also if nothing was mapped; <see cref="Errno.InvalidArgument"/> if the range cuts a mapping.</returns>
    public Errno UnmapErrno(Iova iova, ulong length, out ulong unmapped)
    {
        VfioIommuType1DmaUnmap unmap = new()
        {
            Argsz = (uint)Unsafe.SizeOf<VfioIommuType1DmaUnmap>(),
            Iova = iova.Value,
            Size = length,
        };
        Errno error = Call(VfioRequests.IommuUnmapDma, ref unmap);
        unmapped = error == Errno.Success ? unmap.Size : 0;
        return error;
    }

    /// <summary>Unmaps everything.</summary>
    /// <returns>Success; what the kernel answered. See <see cref="VfioExtension.UnmapAll"/>.</returns>
    public Errno UnmapAllErrno(out ulong unmapped)
    {
        VfioIommuType1DmaUnmap unmap = new()
        {
            Argsz = (uint)Unsafe.SizeOf<VfioIommuType1DmaUnmap>(),
            Flags = VfioDmaUnmapFlags.All,
        };
        Errno error = Call(VfioRequests.IommuUnmapDma, ref unmap);
        unmapped = error == Errno.Success ? unmap.Size : 0;
        return error;
    }

    /// <summary>Page sizes, usable IOVAs and limits.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public VfioContainerInfo GetInfo()
    {
        IommuException.ThrowIf(GetInfoErrno(out VfioContainerInfo? info), "VFIO_IOMMU_GET_INFO", $"{DefaultPath}");
        return info!;
    }

    /// <summary>Page sizes, usable IOVAs and limits.</summary>
    /// <returns>Success, or <see cref="Errno.InvalidArgument"/> before the kind of IOMMU is chosen.</returns>
    public Errno GetInfoErrno(out VfioContainerInfo? info)
    {
        info = null;
        byte[] buffer = new byte[1024];
        for (int attempt = 0; attempt < 8; attempt++)
        {
            MemoryMarshal.Write(buffer, new VfioIommuType1Info { Argsz = (uint)buffer.Length });
            Errno error = Descriptor.Call(VfioRequests.IommuGetInfo, buffer);
            if (error != Errno.Success)
            {
                return error;
            }

            VfioIommuType1Info header = MemoryMarshal.Read<VfioIommuType1Info>(buffer);
            if (header.Argsz <= (uint)buffer.Length)
            {
                info = VfioContainerInfo.Parse(buffer);
                return Errno.Success;
            }

            // The ranges have become more: once more with as much as the kernel asks for.
            buffer = new byte[header.Argsz];
        }

        return Errno.TryAgain;
    }

    /// <summary>Closes the descriptor. The address space goes with the last group.</summary>
    public void Dispose() => Descriptor.Dispose();

    private Errno Call<T>(uint request, ref T argument)
        where T : unmanaged =>
        Descriptor.Call(request, MemoryMarshal.AsBytes(new Span<T>(ref argument)));
}
