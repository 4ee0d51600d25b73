using System.Globalization;
using System.Runtime.InteropServices;
using Ioasis.Uapi;
using static Ioasis.AbiSuite.Cases.IommufdSteps;
using static Ioasis.AbiSuite.Cases.VtdSteps;

namespace Ioasis.AbiSuite.Cases;

/// <summary>
/// What a monitor asks of VT-d: the registers, tables of every kind, guests' tables on them, PASIDs. No device does DMA. Each
/// is recorded from four guests (Golden/), whose IOMMU is in legacy mode or in scalable mode with more and more capabilities.
/// </summary>
internal static class VtdCases
{
    private const CaseNeeds Needs = CaseNeeds.Iommufd | CaseNeeds.DeviceNode;

    public static IEnumerable<AbiCase> All { get; } =
    [
        new("vtd-hardware-info", "S4.17", Needs, HardwareInfo),
        new("vtd-tables", "S4.17", Needs, Tables),
        new("vtd-ranges", "S3.6", Needs, Ranges),
        new("vtd-nested-alloc", "S4.17", Needs, NestedAlloc),
        new("vtd-nested-data", "S4.17", Needs, NestedData),
        new("vtd-nested-attach", "S4.17", Needs, NestedAttach),
        new("vtd-nested-life", "S1.15", Needs, NestedLife),
        new("vtd-nested-invalidate", "S4.17", Needs, NestedInvalidate),
        new("vtd-dirty", "S4.17", Needs, Dirty),
        new("vtd-pasid", "S4.17", Needs, Pasids),
        new("vtd-virtual-iommu", "S4.17", Needs, VirtualIommus),
        new("vtd-faults", "S4.17", Needs, Faults),
        new("vtd-parent-maps", "S3.5", Needs, ParentMaps),
    ];

    private static void HardwareInfo(CaseContext c)
    {
        (int iommu, _, _, uint id) = Bound(c);
        ClientPages pages = c.Pages(1);
        foreach (uint length in (uint[])[0, 4, 8, 16, 23, 24, 25, 64])
        {
            Get(string.Create(CultureInfo.InvariantCulture, $"length-{length}"), length);
        }

        foreach (uint kind in (uint[])[0, 1, 2, 3, 0x7777])
        {
            Get(string.Create(CultureInfo.InvariantCulture, $"kind-{kind:x}"), 24, kind, flags: 1);
            Get(string.Create(CultureInfo.InvariantCulture, $"kind-{kind:x}-without-flag"), 24, kind);
        }

        Get("flag-2", 24, flags: 2);

        void Get(string label, uint length, uint kind = 0, uint flags = 0)
        {
            pages.Span.Fill(0xa5);
            IommuHwInfo info = new()
            {
                Flags = flags, DeviceId = id, DataLength = length, DataType = kind, DataAddress = length == 0 ? 0 : pages.Address,
            };
            int result = c.Call(iommu, ref info);
            c.NoteText(
                label,
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{ErrnoNames.Describe(result)} type {info.DataType} length {info.DataLength} pasid {info.OutMaxPasidLog2} can {(ulong)info.OutCapabilities:x} ")
                + Convert.ToHexStringLower(pages.Span[..(int)Math.Max(length, 4)]));
        }
    }

    // Every combination of the flags, made on an address space; what was made is attached.
    private static void Tables(CaseContext c)
    {
        (int iommu, uint space, int device, uint id) = Bound(c);
        for (uint flags = 0; flags < 32; flags++)
        {
            if ((flags & 4) != 0)
            {
                continue;
            }

            string label = string.Create(CultureInfo.InvariantCulture, $"flags-{flags:x}");
            int result = c.Note(label, AllocateTable(c, iommu, id, space, (HwptAllocFlags)flags, out uint table));
            if (result < 0)
            {
                continue;
            }

            uint target = table;
            _ = c.Note(label + "-attach", Attach(c, device, ref target));
            c.NoteText(label + "-attached", (target == table).ToString());
            _ = c.Note(label + "-destroy-attached", Destroy(c, iommu, table));
            _ = c.Note(label + "-detach", Detach(c, device));
            _ = c.Note(label + "-destroy", Destroy(c, iommu, table));
        }

        _ = c.Note("on-device", AllocateTable(c, iommu, id, id, HwptAllocFlags.NestParent, out _));
        _ = c.Note("automatic", AllocateTable(c, iommu, id, space, HwptAllocFlags.None, out uint plain));
        _ = c.Note("on-table", AllocateTable(c, iommu, id, plain, HwptAllocFlags.None, out _));
    }

    // How far addresses reach under a table of each kind.
    private static void Ranges(CaseContext c)
    {
        (int iommu, uint space, int device, uint id) = Bound(c);
        NoteRanges(c, "before", iommu, space, 8);
        foreach (HwptAllocFlags flags in (HwptAllocFlags[])[HwptAllocFlags.None, HwptAllocFlags.NestParent, HwptAllocFlags.DirtyTracking])
        {
            uint other = AllocateSpace(c, iommu);
            int result = c.Note($"{flags}", AllocateTable(c, iommu, id, other, flags, out uint table));
            if (result < 0)
            {
                continue;
            }

            NoteRanges(c, $"{flags}-made", iommu, other, 8);
            uint target = table;
            _ = c.Note($"{flags}-attach", Attach(c, device, ref target));
            NoteRanges(c, $"{flags}-attached", iommu, other, 8);
            _ = c.Note($"{flags}-detach", Detach(c, device));
            NoteRanges(c, $"{flags}-detached", iommu, other, 8);
            _ = c.Note($"{flags}-destroy", Destroy(c, iommu, table));
            NoteRanges(c, $"{flags}-destroyed", iommu, other, 8);
        }
    }

    // On what a guest's table can be made, with which flags, and how long the data is.
    private static void NestedAlloc(CaseContext c)
    {
        (int iommu, uint space, int device, uint id) = Bound(c);
        _ = c.Note("parent", AllocateTable(c, iommu, id, space, HwptAllocFlags.NestParent, out uint parent));
        _ = c.Note("plain", AllocateTable(c, iommu, id, space, HwptAllocFlags.None, out uint plain));
        uint automatic = space;
        _ = c.Note("automatic", Attach(c, device, ref automatic));
        _ = c.Note("on-plain", AllocateNested(c, iommu, id, plain, Plain, out _));
        _ = c.Note("on-automatic", AllocateNested(c, iommu, id, automatic, Plain, out _));
        _ = c.Note("on-space", AllocateNested(c, iommu, id, space, Plain, out _));
        _ = c.Note("on-device", AllocateNested(c, iommu, id, id, Plain, out _));
        _ = c.Note("on-nothing", AllocateNested(c, iommu, id, 9999, Plain, out _));
        _ = c.Note("for-no-device", AllocateNested(c, iommu, 9999, parent, Plain, out _));
        int made = c.Note("on-parent", AllocateNested(c, iommu, id, parent, Plain, out uint nested));
        _ = c.Note("on-nested", AllocateNested(c, iommu, id, made < 0 ? parent : nested, Plain, out _));
        for (uint flags = 0; flags < 32; flags++)
        {
            if ((flags & 4) == 0)
            {
                _ = c.Note(
                    string.Create(CultureInfo.InvariantCulture, $"flags-{flags:x}"),
                    AllocateNested(c, iommu, id, parent, Plain, out _, (HwptAllocFlags)flags));
            }
        }

        foreach (uint kind in (uint[])[0, 2, 3, 0x7777])
        {
            _ = c.Note(
                string.Create(CultureInfo.InvariantCulture, $"kind-{kind:x}"),
                AllocateNested(c, iommu, id, parent, Bytes(Plain), out _, kind: kind));
        }

        foreach (uint length in (uint[])[0, 1, 8, 16, 20, 21, 23, 24, 25, 32, 4096, 4097])
        {
            _ = c.Note(
                string.Create(CultureInfo.InvariantCulture, $"length-{length}"),
                AllocateNested(c, iommu, id, parent, Bytes(Plain), out _, length: length));
        }

        byte[] longer = new byte[32];
        Bytes(Plain).CopyTo(longer.AsSpan());
        longer[31] = 1;
        _ = c.Note("longer-with-a-bit", AllocateNested(c, iommu, id, parent, longer, out _));
        _ = c.Note("no-memory", AllocateNested(c, iommu, id, parent, Bytes(Plain), out _, address: 0x1000));
        _ = c.Note("address-0", AllocateNested(c, iommu, id, parent, Bytes(Plain), out _, address: 0));
        _ = c.Note("no-data-but-kind", AllocateNested(c, iommu, id, parent, Bytes(Plain), out _, length: 0, address: 0));
    }

    // What the data may say, when the table is made and when it is attached.
    private static void NestedData(CaseContext c)
    {
        (int iommu, uint space, int device, uint id) = Bound(c);
        _ = c.Note("parent", AllocateTable(c, iommu, id, space, HwptAllocFlags.NestParent, out uint parent));
        foreach (ulong flags in (ulong[])[0, 1, 2, 3, 4, 5, 6, 7, 8, 1ul << 32, 1ul << 63])
        {
            Try(string.Create(CultureInfo.InvariantCulture, $"flags-{flags:x}"), Plain with { Flags = (IommuHwptVtdS1Flags)flags });
        }

        foreach (ulong address in (ulong[])[0, 0x1000, 0x1001, 0x1800, 0xfee0_0000, 1ul << 38, 1ul << 39, 1ul << 47, 1ul << 48, 1ul << 52, 1ul << 63])
        {
            Try(string.Create(CultureInfo.InvariantCulture, $"address-{address:x}"), Plain with { PageTableAddress = address });
        }

        foreach (uint width in (uint[])[0, 1, 30, 39, 47, 48, 49, 57, 58, 64, uint.MaxValue])
        {
            Try(string.Create(CultureInfo.InvariantCulture, $"width-{width:x}"), Plain with { AddressWidth = width });
        }

        Try("reserved", Plain with { Reserved = 1 });

        void Try(string label, in IommuHwptVtdS1 data)
        {
            int result = c.Note(label, AllocateNested(c, iommu, id, parent, data, out uint nested));
            if (result < 0)
            {
                return;
            }

            uint target = nested;
            if (c.Note(label + "-attach", Attach(c, device, ref target)) >= 0)
            {
                _ = c.Note(label + "-detach", Detach(c, device));
            }

            _ = c.Note(label + "-destroy", Destroy(c, iommu, nested));
        }
    }

    // From one table to another, with and without a guest's in between.
    private static void NestedAttach(CaseContext c)
    {
        (int iommu, uint space, int device, uint id) = Bound(c);
        _ = c.Note("parent", AllocateTable(c, iommu, id, space, HwptAllocFlags.NestParent, out uint parent));
        _ = c.Note("plain", AllocateTable(c, iommu, id, space, HwptAllocFlags.None, out uint plain));
        _ = c.Note("first", AllocateNested(c, iommu, id, parent, Plain, out uint first));
        _ = c.Note("second", AllocateNested(c, iommu, id, parent, Plain with { PageTableAddress = 0x20_0000 }, out uint second));
        foreach ((string label, uint table) in ((string, uint)[])
            [("parent", parent), ("first", first), ("first-again", first), ("second", second), ("plain", plain), ("second", second), ("parent", parent)])
        {
            uint target = table;
            _ = c.Note($"attach-{label}", Attach(c, device, ref target));
            c.NoteText($"attach-{label}-is-it", (target == table).ToString());
        }

        _ = c.Note("detach", Detach(c, device));
        _ = c.Note("detach-again", Detach(c, device));
    }

    // What holds what.
    private static void NestedLife(CaseContext c)
    {
        (int iommu, uint space, int device, uint id) = Bound(c);
        _ = c.Note("parent", AllocateTable(c, iommu, id, space, HwptAllocFlags.NestParent, out uint parent));
        _ = c.Note("nested", AllocateNested(c, iommu, id, parent, Plain, out uint nested));
        _ = c.Note("destroy-space", Destroy(c, iommu, space));
        _ = c.Note("destroy-parent", Destroy(c, iommu, parent));
        uint target = nested;
        _ = c.Note("attach", Attach(c, device, ref target));
        _ = c.Note("destroy-nested-attached", Destroy(c, iommu, nested));
        ClientPages memory = c.Pages(1);
        _ = c.Note("map", MapAt(c, iommu, space, memory.Address, 4096, Iova));
        NoteUnmap(c, "unmap", iommu, space, Iova, 4096);
        _ = c.Note("detach", Detach(c, device));
        _ = c.Note("destroy-nested", Destroy(c, iommu, nested));
        _ = c.Note("destroy-nested-again", Destroy(c, iommu, nested));
        _ = c.Note("destroy-parent-then", Destroy(c, iommu, parent));
        _ = c.Note("destroy-space-then", Destroy(c, iommu, space));
        _ = c.Note("close-device", c.Close(device));
        _ = c.Note("close", c.Close(iommu));
    }

    private static void NestedInvalidate(CaseContext c)
    {
        (int iommu, uint space, int device, uint id) = Bound(c);
        _ = c.Note("parent", AllocateTable(c, iommu, id, space, HwptAllocFlags.NestParent, out uint parent));
        _ = c.Note("plain", AllocateTable(c, iommu, id, space, HwptAllocFlags.None, out uint plain));
        int made = c.Note("nested", AllocateNested(c, iommu, id, parent, Plain, out uint nested));
        IommuHwptVtdS1Invalidate page = new() { Address = 0x5000, PageCount = 1 };
        NoteInvalidation(c, "of-plain", iommu, plain, Bytes(page), 24, 1);
        NoteInvalidation(c, "of-space", iommu, space, Bytes(page), 24, 1);
        NoteInvalidation(c, "of-device", iommu, id, Bytes(page), 24, 1);
        NoteInvalidation(c, "of-nothing", iommu, 9999, Bytes(page), 24, 1);
        NoteInvalidation(c, "of-parent", iommu, made < 0 ? plain : parent, Bytes(page), 24, 1);
        uint table = made < 0 ? plain : nested;
        Run("unattached");
        uint target = table;
        _ = c.Note("attach", Attach(c, device, ref target));
        Run("attached");
        _ = c.Note("detach", Detach(c, device));

        void Run(string when)
        {
            IommuHwptVtdS1Invalidate wrong = new() { Address = 0x5001, PageCount = 1 };
            NoteInvalidation(c, when + "-page", iommu, table, Bytes(page), 24, 1);
            NoteInvalidation(c, when + "-nothing", iommu, table, Bytes(page), 24, 0);
            NoteInvalidation(c, when + "-nothing-at-all", iommu, table, [], 0, 0, address: 0);
            NoteInvalidation(c, when + "-nothing-of-kind-1", iommu, table, Bytes(page), 24, 0, kind: 1);
            NoteInvalidation(c, when + "-kind-1", iommu, table, Bytes(page), 24, 1, kind: 1);
            NoteInvalidation(c, when + "-kind-7777", iommu, table, Bytes(page), 24, 1, kind: 0x7777);
            NoteInvalidation(c, when + "-reserved", iommu, table, Bytes(page), 24, 1, reserved: 1);
            NoteInvalidation(c, when + "-address-0", iommu, table, Bytes(page), 24, 1, address: 0);
            NoteInvalidation(c, when + "-no-memory", iommu, table, Bytes(page), 24, 1, address: 0x1000);
            foreach (uint length in (uint[])[0, 1, 8, 16, 20, 23, 24, 25, 32])
            {
                NoteInvalidation(
                    c, string.Create(CultureInfo.InvariantCulture, $"{when}-length-{length}"), iommu, table, Bytes(page, default), length, 1);
            }

            byte[] longer = new byte[64];
            Bytes(page).CopyTo(longer.AsSpan());
            longer[31] = 1;
            NoteInvalidation(c, when + "-longer-with-a-bit", iommu, table, longer, 32, 1);
            NoteInvalidation(c, when + "-longer-with-a-bit-in-the-second", iommu, table, [.. new byte[32], .. longer.AsSpan(0, 32)], 32, 2);
            NoteInvalidation(c, when + "-three", iommu, table, Bytes(page, page, page), 24, 3);
            NoteInvalidation(c, when + "-third-wrong", iommu, table, Bytes(page, page, wrong, page), 24, 4);
            NoteInvalidation(c, when + "-first-wrong", iommu, table, Bytes(wrong, page), 24, 2);
            foreach (uint flags in (uint[])[1, 2, 3, 1u << 31])
            {
                NoteInvalidation(
                    c, string.Create(CultureInfo.InvariantCulture, $"{when}-flags-{flags:x}"), iommu, table,
                    Bytes(page with { Flags = (IommuHwptVtdS1InvalidateFlags)flags }), 24, 1);
            }

            NoteInvalidation(c, when + "-entry-reserved", iommu, table, Bytes(page with { Reserved = 1 }), 24, 1);
            foreach ((ulong address, ulong pages) in ((ulong, ulong)[])
                [(0x5001, 1), (0x5fff, 1), (0, 0), (0x5000, 0), (0, ulong.MaxValue), (0x1000, ulong.MaxValue), (1, ulong.MaxValue),
                 (0, 512), (0x20_0000, 512), (0x5000, 1000), (0, 1ul << 36), (0, 1ul << 52), (~0xffful, 1), (~0xffful, 2)])
            {
                NoteInvalidation(
                    c, string.Create(CultureInfo.InvariantCulture, $"{when}-{address:x}-{pages:x}"), iommu, table,
                    Bytes(new IommuHwptVtdS1Invalidate { Address = address, PageCount = pages }), 24, 1);
            }
        }
    }

    private static void Dirty(CaseContext c)
    {
        (int iommu, uint space, int device, uint id) = Bound(c);
        int made = c.Note("dirty", AllocateTable(c, iommu, id, space, HwptAllocFlags.DirtyTracking, out uint table));
        _ = c.Note("plain", AllocateTable(c, iommu, id, space, HwptAllocFlags.None, out uint plain));
        _ = c.Note("plain-on", SetTracking(plain, 1));
        _ = c.Note("plain-off", SetTracking(plain, 0));
        NoteBitmap("plain-read", plain);
        _ = c.Note("nothing-on", SetTracking(9999, 1));
        _ = c.Note("space-on", SetTracking(space, 1));
        uint with = made < 0 ? plain : table;
        _ = c.Note("on", SetTracking(with, 1));
        _ = c.Note("flag-2", SetTracking(with, 2));
        NoteBitmap("read-unattached", with);
        uint target = with;
        _ = c.Note("attach", Attach(c, device, ref target));
        ClientPages memory = c.Pages(4);
        _ = c.Note("map", MapAt(c, iommu, space, memory.Address, 4 * 4096, Iova));
        _ = c.Note("on-attached", SetTracking(with, 1));
        _ = c.Note("on-again", SetTracking(with, 1));
        NoteBitmap("read", with);
        NoteBitmap("read-without-clearing", with, flags: 1);
        NoteBitmap("read-flag-2", with, flags: 2);
        NoteBitmap("read-length-0", with, length: 0);
        NoteBitmap("read-page-size-2048", with, pageSize: 2048);
        NoteBitmap("read-page-size-8192", with, pageSize: 8192);
        NoteBitmap("read-odd", with, iova: Iova + 1);
        NoteBitmap("read-beyond", with, iova: ulong.MaxValue - 4095, length: 8192);
        _ = c.Note("off", SetTracking(with, 0));
        _ = c.Note("detach", Detach(c, device));

        int SetTracking(uint to, uint flags)
        {
            IommuHwptSetDirtyTracking argument = new() { HwptId = to, Flags = (HwptDirtyTrackingFlags)flags };
            return c.Call(iommu, ref argument);
        }

        void NoteBitmap(string label, uint of, uint flags = 0, ulong iova = Iova, ulong length = 4 * 4096, ulong pageSize = 4096)
        {
            ClientPages bitmap = c.Pages(1);
            IommuHwptGetDirtyBitmap argument = new()
            {
                HwptId = of, Flags = (HwptDirtyBitmapFlags)flags, Iova = iova, Length = length, PageSize = pageSize, Data = bitmap.Address,
            };
            _ = c.Note(label, c.Call(iommu, ref argument), MemoryMarshal.Read<ulong>(bitmap.Span));
        }
    }

    // The device has no PASID capability: what is refused first.
    private static void Pasids(CaseContext c)
    {
        (int iommu, uint space, int device, uint id) = Bound(c);
        _ = c.Note("table", AllocateTable(c, iommu, id, space, HwptAllocFlags.Pasid, out uint table));
        _ = c.Note("plain", AllocateTable(c, iommu, id, space, HwptAllocFlags.None, out uint plain));
        foreach (uint pasid in (uint[])[0, 1, 100, (1 << 20) - 1, 1 << 20, uint.MaxValue])
        {
            string label = string.Create(CultureInfo.InvariantCulture, $"{pasid:x}");
            uint target = table;
            _ = c.Note("attach-" + label, AttachPasid(c, device, pasid, ref target));
            target = plain;
            _ = c.Note("attach-plain-" + label, AttachPasid(c, device, pasid, ref target));
            target = space;
            _ = c.Note("attach-space-" + label, AttachPasid(c, device, pasid, ref target));
            _ = c.Note("detach-" + label, DetachPasid(c, device, pasid));
        }

        uint none = 9999;
        _ = c.Note("attach-nothing", AttachPasid(c, device, 1, ref none));
        none = id;
        _ = c.Note("attach-device", AttachPasid(c, device, 1, ref none));
    }

    private static void VirtualIommus(CaseContext c)
    {
        (int iommu, uint space, _, uint id) = Bound(c);
        _ = c.Note("parent", AllocateTable(c, iommu, id, space, HwptAllocFlags.NestParent, out uint parent));
        _ = c.Note("plain", AllocateTable(c, iommu, id, space, HwptAllocFlags.None, out uint plain));
        foreach (uint kind in (uint[])[0, 1, 2, 3, 0x7777])
        {
            string label = string.Create(CultureInfo.InvariantCulture, $"{kind:x}");
            _ = c.Note("kind-" + label, Allocate(kind, parent));
            _ = c.Note("on-plain-" + label, Allocate(kind, plain));
        }

        _ = c.Note("flag-1", Allocate(1, parent, 1));
        _ = c.Note("no-device", Allocate(1, parent, device: 9999));
        IommuVdeviceAlloc device = new() { ViommuId = parent, DeviceId = id, VirtualId = 1 };
        _ = c.Note("device", c.Call(iommu, ref device));
        IommuVeventqAlloc events = new() { ViommuId = parent, Type = 1, Depth = 8 };
        _ = c.Note("events", c.Call(iommu, ref events));
        IommuHwQueueAlloc queue = new() { ViommuId = parent, Type = 1, Length = 4096 };
        _ = c.Note("queue", c.Call(iommu, ref queue));

        int Allocate(uint kind, uint on, uint flags = 0, uint? device = null)
        {
            IommuViommuAlloc argument = new() { Type = kind, DeviceId = device ?? id, HwptId = on, Flags = flags };
            return c.Call(iommu, ref argument);
        }
    }

    // Page requests: the device makes none.
    private static void Faults(CaseContext c)
    {
        (int iommu, uint space, int device, uint id) = Bound(c);
        _ = c.Note("flag-1", AllocateFaults(c, iommu, out _, 1));
        _ = c.Note("queue", AllocateFaults(c, iommu, out uint queue));
        _ = c.Note("parent", AllocateTable(c, iommu, id, space, HwptAllocFlags.NestParent, out uint parent));
        foreach (HwptAllocFlags flags in (HwptAllocFlags[])[HwptAllocFlags.FaultIdValid, HwptAllocFlags.FaultIdValid | HwptAllocFlags.NestParent])
        {
            if (c.Note($"{flags}", AllocateTable(c, iommu, id, space, flags, out uint table, queue)) >= 0)
            {
                uint target = table;
                _ = c.Note($"{flags}-attach", Attach(c, device, ref target));
                _ = c.Note($"{flags}-destroy", Destroy(c, iommu, table));
            }
        }

        int made = c.Note(
            "nested", AllocateNested(c, iommu, id, parent, Bytes(Plain), out uint nested, HwptAllocFlags.FaultIdValid, fault: queue));
        if (made >= 0)
        {
            uint target = nested;
            _ = c.Note("nested-attach", Attach(c, device, ref target));
            _ = c.Note("nested-destroy", Destroy(c, iommu, nested));
        }

        _ = c.Note("nested-no-queue", AllocateNested(c, iommu, id, parent, Bytes(Plain), out _, HwptAllocFlags.FaultIdValid, fault: 9999));
        _ = c.Note("nested-queue-without-flag", AllocateNested(c, iommu, id, parent, Bytes(Plain), out _, fault: queue));
        _ = c.Note("destroy-queue", Destroy(c, iommu, queue));
    }

    // What may be mapped under a parent.
    private static void ParentMaps(CaseContext c)
    {
        (int iommu, uint space, int device, uint id) = Bound(c);
        int made = c.Note("parent", AllocateTable(c, iommu, id, space, HwptAllocFlags.NestParent, out uint parent));
        ClientPages memory = c.Pages(4);
        _ = c.Note("read-write", MapAt(c, iommu, space, memory.Address, 4096, Iova));
        _ = c.Note("read-only", MapAt(c, iommu, space, memory.Address, 4096, Iova + 0x1000, IoasMapFlags.FixedIova | IoasMapFlags.Readable));
        _ = c.Note("write-only", MapAt(c, iommu, space, memory.Address, 4096, Iova + 0x2000, IoasMapFlags.FixedIova | IoasMapFlags.Writable));
        uint target = made < 0 ? space : parent;
        _ = c.Note("attach", Attach(c, device, ref target));
        _ = c.Note("read-only-attached", MapAt(c, iommu, space, memory.Address, 4096, Iova + 0x3000, IoasMapFlags.FixedIova | IoasMapFlags.Readable));
        NoteUnmap(c, "unmap", iommu, space, 0, ulong.MaxValue);
        _ = c.Note("detach", Detach(c, device));
    }
}
