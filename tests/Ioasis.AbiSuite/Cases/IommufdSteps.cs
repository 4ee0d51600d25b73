using Ioasis.Uapi;

namespace Ioasis.AbiSuite.Cases;

/// <summary>The calls of <c>/dev/iommu</c> and of devices by their own nodes, in one place.</summary>
internal static class IommufdSteps
{
    public const string IommuPath = "/dev/iommu";

    public const IoasMapFlags Fixed = IoasMapFlags.FixedIova | IoasMapFlags.Readable | IoasMapFlags.Writable;

    /// <summary>Somewhere that is usable on every target.</summary>
    public const ulong Iova = 0x1_0000_0000;

    public static (int Iommu, uint Space) Prepare(CaseContext c)
    {
        int iommu = c.Open(IommuPath);
        return (iommu, AllocateSpace(c, iommu));
    }

    public static uint AllocateSpace(CaseContext c, int iommu)
    {
        IommuIoasAlloc alloc = default;
        int result = c.Call(iommu, ref alloc);
        if (result < 0)
        {
            _ = c.Note("prepare", result);
        }

        return alloc.OutIoasId;
    }

    public static int Map(
        CaseContext c, int iommu, uint space, ulong vaddr, ulong length, ref ulong iova, IoasMapFlags flags = Fixed)
    {
        IommuIoasMap map = new() { Flags = flags, IoasId = space, UserVa = vaddr, Length = length, Iova = iova };
        int result = c.Call(iommu, ref map);
        iova = map.Iova;
        return result;
    }

    public static int MapAt(
        CaseContext c, int iommu, uint space, ulong vaddr, ulong length, ulong iova, IoasMapFlags flags = Fixed) =>
        Map(c, iommu, space, vaddr, length, ref iova, flags);

    public static void NoteUnmap(CaseContext c, string label, int iommu, uint space, ulong iova, ulong length)
    {
        IommuIoasUnmap unmap = new() { IoasId = space, Iova = iova, Length = length };
        int result = c.Call(iommu, ref unmap);
        _ = c.Note(label, result, unmap.Length);
    }

    public static int Destroy(CaseContext c, int iommu, uint id)
    {
        IommuDestroy destroy = new() { Id = id };
        return c.Call(iommu, ref destroy);
    }

    public static int Bind(CaseContext c, int device, int iommu, out uint id, uint argsz = 16, uint flags = 0)
    {
        VfioDeviceBindIommufd bind = new() { Argsz = argsz, Flags = flags, Iommufd = iommu };
        int result = c.Call(device, VfioRequests.DeviceBindIommufd, ref bind);
        id = bind.OutDeviceId;
        return result;
    }

    public static int Attach(CaseContext c, int device, ref uint id, uint argsz = 12, uint flags = 0)
    {
        VfioDeviceAttachIommufdPt attach = new() { Argsz = argsz, Flags = (VfioAttachFlags)flags, PageTableId = id };
        int result = c.Call(device, VfioRequests.DeviceAttachIommufdPt, ref attach);
        id = attach.PageTableId;
        return result;
    }

    public static int Detach(CaseContext c, int device, uint argsz = 8, uint flags = 0)
    {
        VfioDeviceDetachIommufdPt detach = new() { Argsz = argsz, Flags = (VfioAttachFlags)flags };
        return c.Call(device, VfioRequests.DeviceDetachIommufdPt, ref detach);
    }

    /// <summary>The usable ranges into an array of a given size; notes count, alignment and the ranges.</summary>
    public static unsafe void NoteRanges(CaseContext c, string label, int iommu, uint space, uint room)
    {
        IommuIovaRange[] ranges = new IommuIovaRange[Math.Max(room, 1)];
        fixed (IommuIovaRange* pointer = ranges)
        {
            IommuIoasIovaRanges argument = new() { IoasId = space, NumIovas = room, AllowedIovas = (ulong)pointer };
            int result = c.Call(iommu, ref argument);
            string listed = string.Join(
                ' ',
                ranges.Take((int)Math.Min(room, argument.NumIovas)).Select(static range => $"{range.Start:x}-{range.Last:x}"));
            c.NoteText(
                label,
                $"{ErrnoNames.Describe(result)} count {argument.NumIovas} alignment {argument.OutIovaAlignment} {listed}".TrimEnd());
        }
    }

    public static unsafe int Allow(CaseContext c, int iommu, uint space, params (ulong Start, ulong Last)[] ranges)
    {
        IommuIovaRange[] buffer = [.. ranges.Select(static range => new IommuIovaRange { Start = range.Start, Last = range.Last })];
        fixed (IommuIovaRange* pointer = buffer)
        {
            IommuIoasAllowIovas argument = new() { IoasId = space, NumIovas = (uint)buffer.Length, AllowedIovas = (ulong)pointer };
            return c.Call(iommu, ref argument);
        }
    }
}
