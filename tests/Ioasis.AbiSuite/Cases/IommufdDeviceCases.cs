using System.Globalization;
using Ioasis.Uapi;
using static Ioasis.AbiSuite.Cases.ContainerMapCases;
using static Ioasis.AbiSuite.Cases.IommufdSteps;

namespace Ioasis.AbiSuite.Cases;

/// <summary>Devices by their own nodes: bind, attach, page tables, and what a domain does to an address space.</summary>
internal static class IommufdDeviceCases
{
    private const CaseNeeds Needs = CaseNeeds.Iommufd | CaseNeeds.DeviceNode;

    public static IEnumerable<AbiCase> All { get; } =
    [
        new("cdev-bind", "S1.15", Needs, BindRules),
        new("cdev-before-bind", "S1.15", Needs, BeforeBind),
        new("cdev-attach", "S3.2", Needs, AttachRules),
        new("cdev-ranges", "S3.6", Needs, Ranges),
        new("cdev-map", "S3.5", Needs, Map),
        new("cdev-attach-conflict", "S3.3", Needs, Conflict),
        new("cdev-page-tables", "S1.15", Needs, PageTables),
        new("cdev-hardware-info", "S1.9", Needs, HardwareInfo),
        new("cdev-and-group", "S1.15", Needs | CaseNeeds.Container, CdevAndGroup),
        new("cdev-close-orders", "S1.15", Needs, CloseOrders),
    ];

    private static void BindRules(CaseContext c)
    {
        int iommu = c.Open(IommuPath);
        int device = c.Open(c.Target.DevicePath);
        foreach (uint argsz in (uint[])[0, 8, 15])
        {
            _ = c.Note(Label("argsz", argsz), Bind(c, device, iommu, out _, argsz));
        }

        _ = c.Note("flag-2", Bind(c, device, iommu, out _, 16, 2));
        _ = c.Note("flag-token", Bind(c, device, iommu, out _, 24, 1));
        _ = c.Note("fd-minus-1", Bind(c, device, -1, out _));
        _ = c.Note("fd-closed", Bind(c, device, 9999, out _));
        _ = c.Note("fd-of-device", Bind(c, device, device, out _));
        _ = c.Note("bind", Bind(c, device, iommu, out uint id));
        c.NoteText("id-given", (id != 0).ToString());
        _ = c.Note("bind-again", Bind(c, device, iommu, out _));
        int second = c.Open(c.Target.DevicePath);
        _ = c.Note("open-second", Math.Min(second, 0));
        _ = c.Note("bind-second", Bind(c, second, iommu, out _));
        _ = c.Note("destroy-bound", Destroy(c, iommu, id));
        _ = c.Note("close-bound", c.Close(device));
        _ = c.Note("bind-second-then", Bind(c, second, iommu, out _));
    }

    private static void BeforeBind(CaseContext c)
    {
        int device = c.Open(c.Target.DevicePath);
        foreach (uint request in (uint[])
            [VfioRequests.DeviceGetInfo, VfioRequests.DeviceGetRegionInfo, VfioRequests.DeviceReset,
             VfioRequests.DeviceAttachIommufdPt, VfioRequests.DeviceDetachIommufdPt, VfioRequests.IommuGetInfo, 0x5401])
        {
            byte[] argument = new byte[64];
            argument[0] = 64;
            _ = c.Note(string.Create(CultureInfo.InvariantCulture, $"0x{request:x}"), c.Kernel.Ioctl(device, request, argument));
        }

        int iommu = c.Open(IommuPath);
        _ = c.Note("bind", Bind(c, device, iommu, out _));
        foreach (uint request in (uint[])[VfioRequests.IommuGetInfo, VfioRequests.GroupGetStatus, 0x3b80, 0x5401])
        {
            byte[] argument = new byte[64];
            argument[0] = 64;
            _ = c.Note(string.Create(CultureInfo.InvariantCulture, $"bound-0x{request:x}"), c.Kernel.Ioctl(device, request, argument));
        }
    }

    private static (int Iommu, uint Space, int Device, uint Id) Bound(CaseContext c)
    {
        (int iommu, uint space) = Prepare(c);
        int device = c.Open(c.Target.DevicePath);
        _ = c.Note("bind", Bind(c, device, iommu, out uint id));
        return (iommu, space, device, id);
    }

    private static void AttachRules(CaseContext c)
    {
        (int iommu, uint space, int device, uint id) = Bound(c);
        uint target = space;
        foreach (uint argsz in (uint[])[0, 8, 11])
        {
            _ = c.Note(Label("argsz", argsz), Attach(c, device, ref target, argsz));
        }

        _ = c.Note("flag-2", Attach(c, device, ref target, 12, 2));
        _ = c.Note("pasid-without-argsz", Attach(c, device, ref target, 12, 1));
        target = 9999;
        _ = c.Note("no-such-object", Attach(c, device, ref target));
        target = id;
        _ = c.Note("a-device", Attach(c, device, ref target));
        target = 0;
        _ = c.Note("zero", Attach(c, device, ref target));
        _ = c.Note("detach-before-attach", Detach(c, device));
        target = space;
        _ = c.Note("attach", Attach(c, device, ref target));
        c.NoteText("a-table-was-made", (target != space && target != 0).ToString());
        _ = c.Note("destroy-space", Destroy(c, iommu, space));
        _ = c.Note("destroy-table", Destroy(c, iommu, target));
        uint again = space;
        _ = c.Note("attach-again", Attach(c, device, ref again));
        c.NoteText("the-same-table", (again == target).ToString());
        again = target;
        _ = c.Note("attach-to-table", Attach(c, device, ref again));
        uint other = AllocateSpace(c, iommu);
        again = other;
        _ = c.Note("replace", Attach(c, device, ref again));
        _ = c.Note("destroy-replaced-space", Destroy(c, iommu, space));
        _ = c.Note("old-table-is-gone", Destroy(c, iommu, target));
        foreach (uint argsz in (uint[])[0, 7])
        {
            _ = c.Note(Label("detach-argsz", argsz), Detach(c, device, argsz));
        }

        _ = c.Note("detach-flag-2", Detach(c, device, 8, 2));
        _ = c.Note("detach", Detach(c, device));
        _ = c.Note("detach-again", Detach(c, device));
        _ = c.Note("destroy-space-then", Destroy(c, iommu, other));
    }

    private static void Ranges(CaseContext c)
    {
        (int iommu, uint space, int device, _) = Bound(c);
        NoteRanges(c, "bound", iommu, space, 8);
        uint target = space;
        _ = c.Note("attach", Attach(c, device, ref target));
        foreach (uint room in (uint[])[0, 1, 2, 8])
        {
            NoteRanges(c, Label("attached-room", room), iommu, space, room);
        }

        _ = c.Note("detach", Detach(c, device));
        NoteRanges(c, "detached", iommu, space, 8);
    }

    private static void Map(CaseContext c)
    {
        (int iommu, uint space, int device, _) = Bound(c);
        uint target = space;
        _ = c.Note("attach", Attach(c, device, ref target));
        ClientPages memory = c.Pages(8);
        _ = c.Note("map", MapAt(c, iommu, space, memory.Address, 8192, Iova));
        _ = c.Note("odd-length", MapAt(c, iommu, space, memory.Address, 100, Iova + 0x10000));
        _ = c.Note("odd-iova", MapAt(c, iommu, space, memory.Address, 4096, Iova + 0x10001));
        _ = c.Note("odd-memory", MapAt(c, iommu, space, memory.Address + 1, 4096, Iova + 0x10000));
        _ = c.Note("msi", MapAt(c, iommu, space, memory.Address, 4096, 0xfee0_0000));
        _ = c.Note("into-msi", MapAt(c, iommu, space, memory.Address, 8192, 0xfedf_f000));
        _ = c.Note("beyond-aperture", MapAt(c, iommu, space, memory.Address, 4096, 1ul << 60));
        _ = c.Note("not-there", MapAt(c, iommu, space, 0x1000, 4096, Iova + 0x20000));
        ClientPages readOnly = c.Pages(1);
        readOnly.Protect();
        _ = c.Note("read-only-for-write", MapAt(c, iommu, space, readOnly.Address, 4096, Iova + 0x30000));
        _ = c.Note(
            "read-only-for-read",
            MapAt(c, iommu, space, readOnly.Address, 4096, Iova + 0x40000, IoasMapFlags.FixedIova | IoasMapFlags.Readable));
        ClientPages holed = c.Pages(4);
        holed.Remove(2, 1);
        _ = c.Note("hole", MapAt(c, iommu, space, holed.Address, 16384, Iova + 0x50000));
        _ = c.Note("write-only", MapAt(c, iommu, space, memory.Address, 4096, Iova + 0x60000, IoasMapFlags.FixedIova | IoasMapFlags.Writable));
        ulong chosen = 0;
        int choice = IommufdSteps.Map(
            c, iommu, space, memory.Address + 0x3000, 4096, ref chosen, IoasMapFlags.Readable | IoasMapFlags.Writable);
        c.NoteText("automatic", $"{ErrnoNames.Describe(choice)} aligned {(chosen & 0xfff) == 0}");
        NoteUnmap(c, "part", iommu, space, Iova, 4096);
        NoteUnmap(c, "whole", iommu, space, Iova, 8192);
        NoteUnmap(c, "everything", iommu, space, 0, ulong.MaxValue);
    }

    private static void Conflict(CaseContext c)
    {
        (int iommu, uint space, int device, _) = Bound(c);
        ClientPages memory = c.Pages(2);
        uint target = space;
        _ = c.Note("map-on-msi", MapAt(c, iommu, space, memory.Address, 4096, 0xfee0_0000));
        _ = c.Note("attach-over-msi", Attach(c, device, ref target));
        NoteRanges(c, "unchanged", iommu, space, 8);
        NoteUnmap(c, "unmap-msi", iommu, space, 0, ulong.MaxValue);
        _ = c.Note("map-beyond", MapAt(c, iommu, space, memory.Address, 4096, 1ul << 60));
        target = space;
        _ = c.Note("attach-beyond", Attach(c, device, ref target));
        NoteUnmap(c, "unmap-beyond", iommu, space, 0, ulong.MaxValue);
        _ = c.Note("map-not-there", MapAt(c, iommu, space, 0x1000, 4096, Iova));
        target = space;
        _ = c.Note("attach-not-there", Attach(c, device, ref target));
        NoteUnmap(c, "unmap-not-there", iommu, space, 0, ulong.MaxValue);
        _ = c.Note("map-odd", MapAt(c, iommu, space, memory.Address, 100, Iova));
        target = space;
        _ = c.Note("attach-odd", Attach(c, device, ref target));
        NoteUnmap(c, "unmap-odd", iommu, space, 0, ulong.MaxValue);
        _ = c.Note("allow-msi", Allow(c, iommu, space, (0xfee0_0000, 0xfee0_ffff)));
        target = space;
        _ = c.Note("attach-allowed-msi", Attach(c, device, ref target));
        _ = c.Note("allow-nothing", Allow(c, iommu, space));
        target = space;
        _ = c.Note("attach", Attach(c, device, ref target));
        _ = c.Note("allow-msi-attached", Allow(c, iommu, space, (0xfee0_0000, 0xfee0_ffff)));
        _ = c.Note("allow-usable", Allow(c, iommu, space, (0x10000, 0x1ffff)));
    }

    private static void PageTables(CaseContext c)
    {
        (int iommu, uint space, int device, uint id) = Bound(c);
        _ = c.Note("unknown-flag", Alloc(0x100, id, space, out _));
        _ = c.Note("no-such-device", Alloc(0, 9999, space, out _));
        _ = c.Note("device-is-a-space", Alloc(0, space, space, out _));
        _ = c.Note("no-such-space", Alloc(0, id, 9999, out _));
        _ = c.Note("space-is-a-device", Alloc(0, id, id, out _));
        _ = c.Note("data-without-kind", Alloc(0, id, space, out _, 0, 8));
        _ = c.Note("kind-without-data", Alloc(0, id, space, out _, 1));
        _ = c.Note("unknown-kind", Alloc(0, id, space, out _, 0x7777, 8));
        _ = c.Note("fault-id-9999", Alloc(4, id, space, out _));
        _ = c.Note("alloc", Alloc(0, id, space, out uint table));
        _ = c.Note("alloc-second", Alloc(0, id, space, out uint second));
        _ = c.Note("destroy-space", Destroy(c, iommu, space));
        uint target = table;
        _ = c.Note("attach", Attach(c, device, ref target));
        c.NoteText("attached-to-it", (target == table).ToString());
        _ = c.Note("destroy-attached", Destroy(c, iommu, table));
        _ = c.Note("destroy-second", Destroy(c, iommu, second));
        ClientPages memory = c.Pages(1);
        _ = c.Note("map", MapAt(c, iommu, space, memory.Address, 4096, Iova));
        _ = c.Note("detach", Detach(c, device));
        _ = c.Note("destroy", Destroy(c, iommu, table));
        _ = c.Note("destroy-space-then", Destroy(c, iommu, space));

        unsafe int Alloc(uint flags, uint deviceId, uint pageTable, out uint made, uint kind = 0, uint length = 0)
        {
            ulong data = 0;
            IommuHwptAlloc argument = new()
            {
                Flags = (HwptAllocFlags)flags,
                DeviceId = deviceId,
                PageTableId = pageTable,
                DataType = (HwptDataType)kind,
                DataLength = length,
                DataAddress = length == 0 ? 0 : (ulong)&data,
                FaultId = (flags & 4) != 0 ? 9999u : 0,
            };
            int result = c.Call(iommu, ref argument);
            made = argument.OutHwptId;
            return result;
        }
    }

    // What the hardware is differs; what the call refuses does not.
    private static void HardwareInfo(CaseContext c)
    {
        (int iommu, uint space, _, uint id) = Bound(c);
        byte[] buffer = new byte[256];
        buffer.AsSpan().Fill(0xa5);
        _ = c.Note("no-buffer", Get(id, 0, 0));
        _ = c.Note("small-buffer", Get(id, 0, 4));
        _ = c.Note("large-buffer", Get(id, 0, 256));
        c.NoteText("large-buffer-is-cleared", (buffer[255] == 0).ToString());
        _ = c.Note("flag-2", Get(id, 2, 0));
        _ = c.Note("no-such-device", Get(9999, 0, 0));
        _ = c.Note("a-space", Get(space, 0, 0));
        _ = c.Note("unknown-kind", Get(id, 1, 256, 0x7777));
        IommuHwInfo argument = new() { DeviceId = id, DataLength = 8, DataAddress = 0x1000 };
        _ = c.Note("no-memory", c.Call(iommu, ref argument));
        argument = new() { DeviceId = id, DataLength = 8, DataAddress = 0 };
        _ = c.Note("length-without-address", c.Call(iommu, ref argument));

        unsafe int Get(uint deviceId, uint flags, uint length, uint kind = 0)
        {
            fixed (byte* pointer = buffer)
            {
                IommuHwInfo info = new()
                {
                    Flags = flags,
                    DeviceId = deviceId,
                    DataLength = length,
                    DataType = kind,
                    DataAddress = length == 0 ? 0 : (ulong)pointer,
                };
                return c.Call(iommu, ref info);
            }
        }
    }

    // The two ways to a device exclude each other.
    private static void CdevAndGroup(CaseContext c)
    {
        int iommu = c.Open(IommuPath);
        int device = c.Open(c.Target.DevicePath);
        int group = c.Open(c.Target.GroupPath);
        _ = c.Note("open-both", Math.Min(device, 0) + Math.Min(group, 0));
        _ = c.Note("bind-while-group-is-open", Bind(c, device, iommu, out _));
        _ = c.Note("close-group", c.Close(group));
        _ = c.Note("bind", Bind(c, device, iommu, out _));
        _ = c.Note("open-group-while-bound", c.Open(c.Target.GroupPath));
        _ = c.Note("close-device", c.Close(device));
        group = c.Open(c.Target.GroupPath);
        _ = c.Note("open-group-then", Math.Min(group, 0));
    }

    private static void CloseOrders(CaseContext c)
    {
        (int iommu, uint space, int device, _) = Bound(c);
        uint target = space;
        _ = c.Note("attach", Attach(c, device, ref target));
        ClientPages memory = c.Pages(1);
        _ = c.Note("map", MapAt(c, iommu, space, memory.Address, 4096, Iova));
        _ = c.Note("close-iommu-first", c.Close(iommu));
        _ = c.Note("detach", Detach(c, device));
        target = space;
        _ = c.Note("attach-again", Attach(c, device, ref target));
        VfioDeviceInfo info = new() { Argsz = 24 };
        _ = c.Note("device-lives", c.Call(device, VfioRequests.DeviceGetInfo, ref info));
        _ = c.Note("close-device", c.Close(device));
        device = c.Open(c.Target.DevicePath);
        iommu = c.Open(IommuPath);
        _ = c.Note("bind-anew", Bind(c, device, iommu, out _));
    }
}
