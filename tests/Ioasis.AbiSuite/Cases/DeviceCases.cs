using System.Globalization;
using System.Runtime.InteropServices;
using Ioasis.Uapi;
using static Ioasis.AbiSuite.Cases.ContainerMapCases;
using static Ioasis.AbiSuite.Cases.DeviceSteps;

namespace Ioasis.AbiSuite.Cases;

/// <summary>Regions, interrupts and reset of a PCI device, as vfio-pci shows them.</summary>
internal static class DeviceCases
{
    private const CaseNeeds Needs = CaseNeeds.Container | CaseNeeds.Edu;

    public static IEnumerable<AbiCase> All { get; } =
    [
        new("device-regions", "S1.11", Needs, Regions),
        new("device-region-argsz", "S1.11", Needs, RegionArgsz),
        new("device-every-argsz", "S3.9", Needs, EveryArgsz),
        new("device-irqs", "S1.11", Needs, Irqs),
        new("device-config-space", "S1.11", Needs, ConfigSpace),
        new("device-region-access", "S1.11", Needs, RegionAccess),
        new("device-set-irqs-arguments", "S1.11", Needs, SetIrqsArguments),
        new("device-set-irqs-lifecycle", "S1.11", Needs, SetIrqsLifecycle),
        new("device-reset", "S1.11", Needs, Reset),
        new("device-mmap", "S1.11", Needs, Mmap),
        new("device-feature", "S1.11", Needs, Feature),
    ];

    private static void Regions(CaseContext c)
    {
        (_, int device) = Prepare(c);
        foreach (uint index in (uint[])[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, uint.MaxValue])
        {
            byte[] buffer = new byte[128];
            buffer.AsSpan().Fill(0xa5);
            MemoryMarshal.Write(buffer, 64u);
            MemoryMarshal.Write(buffer.AsSpan(4), 0u);
            MemoryMarshal.Write(buffer.AsSpan(8), index);
            int result = c.Kernel.Ioctl(device, VfioRequests.DeviceGetRegionInfo, buffer);
            _ = c.Note(Label("region", index), result, buffer, 0xa5);
        }
    }

    private static void RegionArgsz(CaseContext c)
    {
        (_, int device) = Prepare(c);
        foreach (uint argsz in (uint[])[0, 16, 24, 31, 32, 33, 40, 64, 96, 128])
        {
            byte[] buffer = new byte[128];
            buffer.AsSpan().Fill(0xa5);
            MemoryMarshal.Write(buffer, argsz);
            MemoryMarshal.Write(buffer.AsSpan(4), 0u);
            MemoryMarshal.Write(buffer.AsSpan(8), 0u);
            int result = c.Kernel.Ioctl(device, VfioRequests.DeviceGetRegionInfo, buffer);
            _ = c.Note(Label("argsz", argsz), result, buffer, 0xa5);
        }
    }

    // What every size of the structure brings back, byte for byte: the device, regions that differ in what is there (none, the
    // configuration space), interrupts that differ likewise.
    private static void EveryArgsz(CaseContext c)
    {
        (_, int device) = Prepare(c);
        Ask("info", VfioRequests.DeviceGetInfo, 0);
        Ask("region-1", VfioRequests.DeviceGetRegionInfo, 1);
        Ask("region-7", VfioRequests.DeviceGetRegionInfo, 7);
        Ask("irq-0", VfioRequests.DeviceGetIrqInfo, 0);
        Ask("irq-1", VfioRequests.DeviceGetIrqInfo, 1);
        Ask("irq-2", VfioRequests.DeviceGetIrqInfo, 2);

        void Ask(string what, uint request, uint index)
        {
            byte[] buffer = new byte[512];
            for (uint argsz = 0; argsz <= 256; argsz++)
            {
                buffer.AsSpan().Fill(0xa5);
                MemoryMarshal.Write(buffer, argsz);
                MemoryMarshal.Write(buffer.AsSpan(4), 0u);
                if (request != VfioRequests.DeviceGetInfo)
                {
                    MemoryMarshal.Write(buffer.AsSpan(8), index);
                }

                int result = c.Kernel.Ioctl(device, request, buffer);
                _ = c.Note(string.Create(CultureInfo.InvariantCulture, $"{what}-argsz-{argsz}"), result, buffer, 0xa5);
            }
        }
    }

    private static void Irqs(CaseContext c)
    {
        (_, int device) = Prepare(c);
        foreach (uint index in (uint[])[0, 1, 2, 3, 4, 5, 6, uint.MaxValue])
        {
            byte[] buffer = new byte[64];
            buffer.AsSpan().Fill(0xa5);
            MemoryMarshal.Write(buffer, 16u);
            MemoryMarshal.Write(buffer.AsSpan(4), 0u);
            MemoryMarshal.Write(buffer.AsSpan(8), index);
            int result = c.Kernel.Ioctl(device, VfioRequests.DeviceGetIrqInfo, buffer);
            _ = c.Note(Label("irq", index), result, buffer, 0xa5);
        }

        foreach (uint argsz in (uint[])[0, 12, 15, 16, 20])
        {
            byte[] buffer = new byte[64];
            MemoryMarshal.Write(buffer, argsz);
            _ = c.Note(Label("argsz", argsz), c.Kernel.Ioctl(device, VfioRequests.DeviceGetIrqInfo, buffer));
        }
    }

    private static void ConfigSpace(CaseContext c)
    {
        (_, int device) = Prepare(c);
        c.NoteText("ids", $"{Read32(c, device, ConfigRegion, 0):x8}");
        c.NoteText("class", $"{Read32(c, device, ConfigRegion, 8):x8}");
        c.NoteText("header", $"{Read32(c, device, ConfigRegion, 12) & 0xff0000:x8}");
        c.NoteText("subsystem", $"{Read32(c, device, ConfigRegion, 0x2c):x8}");
        c.NoteText("capabilities", $"{Read32(c, device, ConfigRegion, 0x34):x8}");
        c.NoteText("pin", $"{Read32(c, device, ConfigRegion, 0x3c) & 0xff00:x8}");
        for (int bar = 0; bar < 6; bar++)
        {
            ulong at = 0x10 + ((ulong)bar * 4);
            uint before = Read32(c, device, ConfigRegion, at);
            Write32(c, device, ConfigRegion, at, uint.MaxValue);
            c.NoteText(Label("bar-size", (ulong)bar), $"{Read32(c, device, ConfigRegion, at):x8}");
            Write32(c, device, ConfigRegion, at, before);
            c.NoteText(Label("bar-restored", (ulong)bar), (Read32(c, device, ConfigRegion, at) == before).ToString());
        }

        // Read-only fields stay what they are.
        Write32(c, device, ConfigRegion, 0, 0);
        c.NoteText("ids-after-write", $"{Read32(c, device, ConfigRegion, 0):x8}");
        foreach (uint command in (uint[])[0, 2, 6, 0x406, 0xffff, 0])
        {
            byte[] bytes = [(byte)command, (byte)(command >> 8)];
            _ = c.Kernel.Write(device, bytes, OffsetOf(ConfigRegion) + 4);
            c.NoteText(Label("command", command), $"{Read32(c, device, ConfigRegion, 4) & 0xffff:x4}");
        }

        uint next = Read32(c, device, ConfigRegion, 0x34) & 0xff;
        for (int hops = 0; next >= 0x40 && hops < 8; hops++)
        {
            uint header = Read32(c, device, ConfigRegion, next);
            c.NoteText(string.Create(CultureInfo.InvariantCulture, $"capability-at-{next:x}"), $"{header:x8}");
            next = (header >> 8) & 0xff;
        }
    }

    private static void RegionAccess(CaseContext c)
    {
        (_, int device) = Prepare(c);
        EnableDma(c, device);
        foreach ((int region, ulong at, int count) in ((int, ulong, int)[])
            [(0, 0, 4), (0, 0, 1), (0, 0, 2), (0, 0, 8), (0, 2, 4), (0, 0xffffc, 4), (0, 0xffffc, 8), (0, 0x100000, 4),
             (1, 0, 4), (6, 0, 4), (7, 0, 4), (7, 0, 8), (7, 1, 3), (7, 254, 4), (7, 256, 4), (7, 4096, 4), (8, 0, 4), (9, 0, 4), (100, 0, 4)])
        {
            int read = (int)c.Kernel.Read(device, new byte[count], OffsetOf(region) + at);
            _ = c.Note(string.Create(CultureInfo.InvariantCulture, $"read-{region}-{at:x}-{count}"), read);
        }

        foreach ((int region, ulong at, int count) in ((int, ulong, int)[])
            [(0, 8, 4), (0, 0x100000, 4), (1, 0, 4), (6, 0, 4), (7, 0, 4), (7, 256, 4), (8, 0, 4), (9, 0, 4), (100, 0, 4)])
        {
            int written = (int)c.Kernel.Write(device, new byte[count], OffsetOf(region) + at);
            _ = c.Note(string.Create(CultureInfo.InvariantCulture, $"write-{region}-{at:x}-{count}"), written);
        }

        _ = c.Note("read-nothing", (int)c.Kernel.Read(device, [], OffsetOf(7)));
    }

    private static void SetIrqsArguments(CaseContext c)
    {
        (_, int device) = Prepare(c);
        int counter = c.Own(c.Kernel.CreateEvent(0, EventFlags.NonBlocking | EventFlags.CloseOnExec));
        byte[] fd = BitConverter.GetBytes(counter);
        byte[] none = BitConverter.GetBytes(-1);
        foreach (uint argsz in (uint[])[0, 16, 19])
        {
            _ = c.Note(Label("argsz", argsz), SetIrqs(c, device, 0x24, 1, 0, 1, fd, argsz));
        }

        foreach (uint flags in (uint[])[0, 1, 2, 4, 8, 0x20, 0x21, 0x23, 0x25, 0x28, 0x38, 0x39, 0x44, 0x64, 0x80000024])
        {
            _ = c.Note(Label("flags", flags), SetIrqs(c, device, flags, 1, 0, 1, fd));
        }

        foreach (uint index in (uint[])[2, 3, 4, 5, 6, uint.MaxValue])
        {
            _ = c.Note(Label("index", index), SetIrqs(c, device, 0x24, index, 0, 1, fd));
        }

        _ = c.Note("start-1", SetIrqs(c, device, 0x24, 1, 1, 1, fd));
        _ = c.Note("count-2", SetIrqs(c, device, 0x24, 1, 0, 2, [.. fd, .. fd]));
        _ = c.Note("count-0-with-data", SetIrqs(c, device, 0x24, 1, 0, 0, fd));
        _ = c.Note("wrap", SetIrqs(c, device, 0x24, 1, uint.MaxValue, 2, [.. fd, .. fd]));
        _ = c.Note("data-too-short", SetIrqs(c, device, 0x24, 1, 0, 1));
        _ = c.Note("not-an-event", SetIrqs(c, device, 0x24, 1, 0, 1, BitConverter.GetBytes(device)));
        _ = c.Note("closed-event", SetIrqs(c, device, 0x24, 1, 0, 1, BitConverter.GetBytes(9999)));
        _ = c.Note("none", SetIrqs(c, device, 0x24, 1, 0, 1, none));
        _ = c.Note("disable-before-enable", SetIrqs(c, device, 0x21, 1, 0, 0));
        _ = c.Note("mask-msi", SetIrqs(c, device, 0x09, 1, 0, 1));
        _ = c.Note("unmask-msi", SetIrqs(c, device, 0x11, 1, 0, 1));
        _ = c.Note("truncated", c.Kernel.Ioctl(device, VfioRequests.DeviceSetIrqs, new byte[12]));
    }

    private static void SetIrqsLifecycle(CaseContext c)
    {
        (_, int device) = Prepare(c);
        int msi = c.Own(c.Kernel.CreateEvent(0, EventFlags.NonBlocking | EventFlags.CloseOnExec));
        int intx = c.Own(c.Kernel.CreateEvent(0, EventFlags.NonBlocking | EventFlags.CloseOnExec));
        _ = c.Note("msi", SetEvents(c, device, 0x24, 1, 0, msi));
        _ = c.Note("msi-again", SetEvents(c, device, 0x24, 1, 0, msi));
        _ = c.Note("intx-while-msi", SetEvents(c, device, 0x24, 0, 0, intx));
        _ = c.Note("trigger-none", SetIrqs(c, device, 0x21, 1, 0, 1));
        c.NoteText("counted", WaitFor(c, msi).ToString(CultureInfo.InvariantCulture));
        _ = c.Note("trigger-bool-1", SetIrqs(c, device, 0x22, 1, 0, 1, [1]));
        c.NoteText("counted-bool-1", WaitFor(c, msi).ToString(CultureInfo.InvariantCulture));
        _ = c.Note("trigger-bool-0", SetIrqs(c, device, 0x22, 1, 0, 1, [0]));
        _ = c.Note("nothing-counted", c.Kernel.Poll(msi, PollEvents.In, 0, out _));
        _ = c.Note("msi-minus-1", SetEvents(c, device, 0x24, 1, 0, -1));
        _ = c.Note("msi-off", SetIrqs(c, device, 0x21, 1, 0, 0));
        _ = c.Note("trigger-when-off", SetIrqs(c, device, 0x21, 1, 0, 1));
        _ = c.Note("intx", SetEvents(c, device, 0x24, 0, 0, intx));
        _ = c.Note("msi-while-intx", SetEvents(c, device, 0x24, 1, 0, msi));
        _ = c.Note("intx-mask", SetIrqs(c, device, 0x09, 0, 0, 1));
        _ = c.Note("intx-unmask", SetIrqs(c, device, 0x11, 0, 0, 1));
        _ = c.Note("intx-mask-by-event", SetEvents(c, device, 0x0c, 0, 0, msi));
        _ = c.Note("intx-trigger", SetIrqs(c, device, 0x21, 0, 0, 1));
        c.NoteText("intx-counted", WaitFor(c, intx).ToString(CultureInfo.InvariantCulture));
        _ = c.Note("intx-off", SetIrqs(c, device, 0x21, 0, 0, 0));
        _ = c.Note("request", SetEvents(c, device, 0x24, 4, 0, msi));
        _ = c.Note("request-trigger", SetIrqs(c, device, 0x21, 4, 0, 1));
        c.NoteText("request-counted", WaitFor(c, msi).ToString(CultureInfo.InvariantCulture));
        _ = c.Note("request-off", SetIrqs(c, device, 0x21, 4, 0, 0));
    }

    private static void Reset(CaseContext c)
    {
        (_, int device) = Prepare(c);
        VfioDeviceInfo info = new() { Argsz = 24 };
        _ = c.Note("info", c.Call(device, VfioRequests.DeviceGetInfo, ref info), (ulong)info.Flags);
        _ = c.Note("reset", c.Kernel.Ioctl(device, VfioRequests.DeviceReset, 0));

        // VFIO_DEVICE_GET_PCI_HOT_RESET_INFO and _PCI_HOT_RESET.
        byte[] hot = new byte[64];
        MemoryMarshal.Write(hot, 12u);
        _ = c.Note("hot-reset-info", c.Kernel.Ioctl(device, 0x3b70, hot));
        MemoryMarshal.Write(hot, 8u);
        _ = c.Note("hot-reset-info-argsz-8", c.Kernel.Ioctl(device, 0x3b70, hot));
        MemoryMarshal.Write(hot, 12u);
        _ = c.Note("hot-reset-argsz-12", c.Kernel.Ioctl(device, 0x3b71, hot));
    }

    private static unsafe void Mmap(CaseContext c)
    {
        (_, int device) = Prepare(c);
        EnableDma(c, device);
        Try("bar-0", 0, 0, 4096);
        Try("bar-0-whole", 0, 0, 1 << 20);
        Try("bar-0-end", 0, 0xff000, 4096);
        Try("bar-0-beyond", 0, 0x100000, 4096);
        Try("bar-0-too-long", 0, 0xff000, 8192);
        Try("bar-1", 1, 0, 4096);
        Try("rom", 6, 0, 4096);
        Try("config", 7, 0, 4096);
        Try("region-9", 9, 0, 4096);

        void Try(string label, int region, ulong at, nuint length)
        {
            int result = c.Kernel.Map(device, OffsetOf(region) + at, length, MemoryProtection.Read | MemoryProtection.Write, out nint address);
            _ = c.Note(label, result);
            if (result == 0)
            {
                if (region == 0 && at == 0)
                {
                    c.NoteText($"{label}-identification", $"{*(uint*)address:x8}");
                    ((uint*)address)[1] = 0x1234_5678;
                    c.NoteText($"{label}-liveness", $"{((uint*)address)[1]:x8}");
                }

                _ = c.Kernel.Unmap(address, length);
            }
        }
    }

    // struct vfio_device_feature: argsz, flags (feature number, GET, SET, PROBE).
    private static void Feature(CaseContext c)
    {
        (_, int device) = Prepare(c);
        foreach (uint argsz in (uint[])[0, 4, 8])
        {
            byte[] buffer = new byte[64];
            MemoryMarshal.Write(buffer, argsz);
            _ = c.Note(Label("argsz", argsz), c.Kernel.Ioctl(device, 0x3b75, buffer));
        }

        foreach (uint feature in (uint[])[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0xffff])
        {
            byte[] buffer = new byte[64];
            MemoryMarshal.Write(buffer, 64u);
            MemoryMarshal.Write(buffer.AsSpan(4), feature | (1u << 18));
            _ = c.Note(Label("probe", feature), c.Kernel.Ioctl(device, 0x3b75, buffer));
            MemoryMarshal.Write(buffer.AsSpan(4), feature | (1u << 16) | (1u << 18));
            _ = c.Note(Label("probe-get", feature), c.Kernel.Ioctl(device, 0x3b75, buffer));
            MemoryMarshal.Write(buffer.AsSpan(4), feature | (1u << 17) | (1u << 18));
            _ = c.Note(Label("probe-set", feature), c.Kernel.Ioctl(device, 0x3b75, buffer));
        }

        byte[] both = new byte[64];
        MemoryMarshal.Write(both, 64u);
        MemoryMarshal.Write(both.AsSpan(4), (3u << 16) | 1);
        _ = c.Note("get-and-set", c.Kernel.Ioctl(device, 0x3b75, both));
        MemoryMarshal.Write(both.AsSpan(4), 1u << 30);
        _ = c.Note("unknown-flag", c.Kernel.Ioctl(device, 0x3b75, both));
    }
}
