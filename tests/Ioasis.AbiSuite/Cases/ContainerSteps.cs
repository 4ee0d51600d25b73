using System.Runtime.InteropServices;
using System.Text;
using Ioasis.Uapi;

namespace Ioasis.AbiSuite.Cases;

/// <summary>The calls of containers and groups, in one place.</summary>
internal static class ContainerSteps
{
    /// <summary>Somewhere in IOVA space that is usable on every target: above 4 GiB, below 2^38.</summary>
    public const ulong Iova = 0x1_0000_0000;

    public const VfioDmaMapFlags Both = VfioDmaMapFlags.Read | VfioDmaMapFlags.Write;

    public static int SetContainer(CaseContext c, int group, int container) =>
        c.Call(group, VfioRequests.GroupSetContainer, ref container);

    public static int SetIommu(CaseContext c, int container, VfioExtension kind) =>
        c.Kernel.Ioctl(container, VfioRequests.SetIommu, (nint)kind);

    /// <summary>A container with the first group in it, and its kind chosen.</summary>
    public static (int Container, int Group) Prepare(CaseContext c, VfioExtension kind = VfioExtension.Type1V2)
    {
        int container = c.Open(c.ContainerPath);
        int group = c.Open(c.Target.GroupPath);
        int set = SetContainer(c, group, container);
        int iommu = SetIommu(c, container, kind);
        if ((container | group | set | iommu) < 0)
        {
            c.NoteText("prepare", $"{container >= 0} {group >= 0} {ErrnoNames.Describe(set)} {ErrnoNames.Describe(iommu)}");
        }

        return (container, group);
    }

    public static int Map(
        CaseContext c, int container, ulong vaddr, ulong iova, ulong size, VfioDmaMapFlags flags = Both, uint argsz = 32)
    {
        VfioIommuType1DmaMap map = new() { Argsz = argsz, Flags = flags, Vaddr = vaddr, Iova = iova, Size = size };
        return c.Call(container, VfioRequests.IommuMapDma, ref map);
    }

    public static int Unmap(
        CaseContext c,
        int container,
        ulong iova,
        ulong size,
        out ulong unmapped,
        VfioDmaUnmapFlags flags = VfioDmaUnmapFlags.None,
        uint argsz = 24)
    {
        VfioIommuType1DmaUnmap unmap = new() { Argsz = argsz, Flags = flags, Iova = iova, Size = size };
        int result = c.Call(container, VfioRequests.IommuUnmapDma, ref unmap);
        unmapped = unmap.Size;
        return result;
    }

    /// <summary>Unmaps and notes the result with the size that the kernel left.</summary>
    public static void NoteUnmap(
        CaseContext c, string label, int container, ulong iova, ulong size, VfioDmaUnmapFlags flags = VfioDmaUnmapFlags.None)
    {
        int result = Unmap(c, container, iova, size, out ulong unmapped, flags);
        _ = c.Note(label, result, unmapped);
    }

    public static VfioGroupFlags Status(CaseContext c, int group, out int result)
    {
        VfioGroupStatus status = new() { Argsz = 8 };
        result = c.Call(group, VfioRequests.GroupGetStatus, ref status);
        return status.Flags;
    }

    public static void NoteStatus(CaseContext c, string label, int group)
    {
        VfioGroupFlags flags = Status(c, group, out int result);
        _ = c.Note(label, result, (ulong)flags);
    }

    public static int GetDevice(CaseContext c, int group, string name)
    {
        byte[] bytes = [.. Encoding.UTF8.GetBytes(name), 0];
        return c.Own(c.Kernel.Ioctl(group, VfioRequests.GroupGetDeviceFd, bytes));
    }

    /// <summary>GET_INFO into a buffer of a pattern; what comes back is the result and the bytes.</summary>
    public static int GetInfo(CaseContext c, int container, uint argsz, Span<byte> buffer)
    {
        buffer.Fill(0xa5);
        MemoryMarshal.Write(buffer, argsz);
        return c.Kernel.Ioctl(container, VfioRequests.IommuGetInfo, buffer);
    }

    /// <summary>Mappings that the container could still take, by the capability; null if it is not told.</summary>
    public static uint? Available(CaseContext c, int container)
    {
        Span<byte> buffer = stackalloc byte[1024];
        if (GetInfo(c, container, 1024, buffer) < 0)
        {
            return null;
        }

        for (uint at = MemoryMarshal.Read<uint>(buffer[16..]); at != 0 && at < 1000;)
        {
            VfioInfoCapHeader header = MemoryMarshal.Read<VfioInfoCapHeader>(buffer[(int)at..]);
            if (header.Id == VfioIommuType1Info.DmaAvailableCapability)
            {
                return MemoryMarshal.Read<uint>(buffer[((int)at + 8)..]);
            }

            at = header.Next;
        }

        return null;
    }

    public static void NoteAvailable(CaseContext c, string label, int container) =>
        c.NoteText(label, Available(c, container)?.ToString(System.Globalization.CultureInfo.InvariantCulture) ?? "none");
}
