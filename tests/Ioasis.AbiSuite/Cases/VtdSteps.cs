using System.Globalization;
using System.Runtime.InteropServices;
using Ioasis.Uapi;
using static Ioasis.AbiSuite.Cases.IommufdSteps;

namespace Ioasis.AbiSuite.Cases;

/// <summary>The calls of <c>/dev/iommu</c> for guests on VT-d, in one place.</summary>
internal static class VtdSteps
{
    /// <summary>A parent whose root is there, for a guest's table at a guest-physical address that nothing has to be mapped at.</summary>
    public static readonly IommuHwptVtdS1 Plain = new() { PageTableAddress = 0x10_0000, AddressWidth = 48 };

    public static (int Iommu, uint Space, int Device, uint Id) Bound(CaseContext c)
    {
        (int iommu, uint space) = Prepare(c);
        int device = c.Open(c.Target.DevicePath);
        int result = Bind(c, device, iommu, out uint id);
        if (result < 0)
        {
            _ = c.Note("bind", result);
        }

        return (iommu, space, device, id);
    }

    public static int AllocateTable(
        CaseContext c, int iommu, uint device, uint madeOn, HwptAllocFlags flags, out uint made, uint fault = 0)
    {
        IommuHwptAlloc argument = new() { Flags = flags, DeviceId = device, PageTableId = madeOn, FaultId = fault };
        int result = c.Call(iommu, ref argument);
        made = argument.OutHwptId;
        return result;
    }

    /// <summary>A table with data, in the first bytes of some memory of the client.</summary>
    public static int AllocateNested(
        CaseContext c, int iommu, uint device, uint madeOn, ReadOnlySpan<byte> data, out uint made,
        HwptAllocFlags flags = HwptAllocFlags.None, uint kind = VtdUapi.HwptDataType, uint? length = null, ulong? address = null, uint fault = 0)
    {
        ClientPages pages = c.Pages(2);
        data.CopyTo(pages.Span);
        IommuHwptAlloc argument = new()
        {
            Flags = flags,
            DeviceId = device,
            PageTableId = madeOn,
            DataType = (HwptDataType)kind,
            DataLength = length ?? (uint)data.Length,
            DataAddress = address ?? pages.Address,
            FaultId = fault,
        };
        int result = c.Call(iommu, ref argument);
        made = argument.OutHwptId;
        return result;
    }

    public static int AllocateNested(
        CaseContext c, int iommu, uint device, uint madeOn, in IommuHwptVtdS1 data, out uint made, HwptAllocFlags flags = HwptAllocFlags.None) =>
        AllocateNested(c, iommu, device, madeOn, Bytes(data), out made, flags);

    /// <summary>Notes what an invalidation answered, and the count of entries that it left.</summary>
    public static void NoteInvalidation(
        CaseContext c, string label, int iommu, uint table, ReadOnlySpan<byte> entries, uint length, uint count,
        uint kind = VtdUapi.InvalidateDataType, ulong? address = null, uint reserved = 0)
    {
        ClientPages pages = c.Pages(2);
        entries.CopyTo(pages.Span);
        IommuHwptInvalidate argument = new()
        {
            HwptId = table,
            DataAddress = address ?? pages.Address,
            DataType = kind,
            EntryLength = length,
            EntryCount = count,
            Reserved = reserved,
        };
        int result = c.Call(iommu, ref argument);
        c.NoteText(label, string.Create(CultureInfo.InvariantCulture, $"{ErrnoNames.Describe(result)} done {argument.EntryCount}"));
    }

    public static byte[] Bytes<T>(params ReadOnlySpan<T> values)
        where T : unmanaged => MemoryMarshal.AsBytes(values).ToArray();

    /// <summary>A queue of page requests.</summary>
    public static int AllocateFaults(CaseContext c, int iommu, out uint id, uint flags = 0)
    {
        IommuFaultAlloc argument = new() { Flags = flags };
        int result = c.Call(iommu, ref argument);
        id = argument.OutFaultId;
        if (result >= 0)
        {
            _ = c.Own((int)argument.OutFaultFd);
        }

        return result;
    }

    public static int AttachPasid(CaseContext c, int device, uint pasid, ref uint table)
    {
        VfioDeviceAttachIommufdPt attach = new() { Argsz = 16, Flags = VfioAttachFlags.Pasid, PageTableId = table, Pasid = pasid };
        int result = c.Call(device, VfioRequests.DeviceAttachIommufdPt, ref attach);
        table = attach.PageTableId;
        return result;
    }

    public static int DetachPasid(CaseContext c, int device, uint pasid)
    {
        VfioDeviceDetachIommufdPt detach = new() { Argsz = 12, Flags = VfioAttachFlags.Pasid, Pasid = pasid };
        return c.Call(device, VfioRequests.DeviceDetachIommufdPt, ref detach);
    }
}
