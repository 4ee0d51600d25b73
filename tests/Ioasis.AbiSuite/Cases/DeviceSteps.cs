using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Ioasis.Uapi;

namespace Ioasis.AbiSuite.Cases;

/// <summary>The calls of a PCI device, and the registers of <c>edu</c> (QEMU's documentation, "EDU device").</summary>
internal static class DeviceSteps
{
    /// <summary>Region 7 of a PCI device is its configuration space; a region begins at its number times 2^40.</summary>
    public const int ConfigRegion = 7;

    public static ulong OffsetOf(int region) => (ulong)region << 40;

    /// <summary>Container, group and the first device, ready.</summary>
    public static (int Container, int Device) Prepare(CaseContext c)
    {
        (int container, int group) = ContainerSteps.Prepare(c);
        int device = ContainerSteps.GetDevice(c, group, c.Target.DeviceName!);
        if (device < 0)
        {
            _ = c.Note("device", device);
        }

        return (container, device);
    }

    public static int SetIrqs(
        CaseContext c, int device, uint flags, uint index, uint start, uint count, ReadOnlySpan<byte> data = default, uint? argsz = null)
    {
        byte[] argument = new byte[20 + data.Length];
        MemoryMarshal.Write(argument, argsz ?? (uint)argument.Length);
        MemoryMarshal.Write(argument.AsSpan(4), flags);
        MemoryMarshal.Write(argument.AsSpan(8), index);
        MemoryMarshal.Write(argument.AsSpan(12), start);
        MemoryMarshal.Write(argument.AsSpan(16), count);
        data.CopyTo(argument.AsSpan(20));
        return c.Kernel.Ioctl(device, VfioRequests.DeviceSetIrqs, argument);
    }

    public static int SetEvents(CaseContext c, int device, uint flags, uint index, uint start, params int[] events) =>
        SetIrqs(c, device, flags, index, start, (uint)events.Length, MemoryMarshal.AsBytes(events.AsSpan()));

    public static uint Read32(CaseContext c, int device, int region, ulong at)
    {
        byte[] value = new byte[4];
        nint result = c.Kernel.Read(device, value, OffsetOf(region) + at);
        if (result != 4)
        {
            _ = c.Note($"read of region {region} at 0x{at:x}", (int)result);
        }

        return BinaryPrimitives.ReadUInt32LittleEndian(value);
    }

    public static void Write32(CaseContext c, int device, int region, ulong at, uint value)
    {
        byte[] bytes = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        nint result = c.Kernel.Write(device, bytes, OffsetOf(region) + at);
        if (result != 4)
        {
            _ = c.Note($"write of region {region} at 0x{at:x}", (int)result);
        }
    }

    public static void Write64(CaseContext c, int device, int region, ulong at, ulong value)
    {
        byte[] bytes = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        nint result = c.Kernel.Write(device, bytes, OffsetOf(region) + at);
        if (result != 8)
        {
            _ = c.Note($"write of region {region} at 0x{at:x}", (int)result);
        }
    }

    /// <summary>Lets the device be bus master (command register, bit 2), with memory space on.</summary>
    public static void EnableDma(CaseContext c, int device)
    {
        byte[] command = [6, 0];
        _ = c.Kernel.Write(device, command, OffsetOf(ConfigRegion) + 4);
    }

    /// <summary>Waits for an event counter; what it counted, or 0 after 10 s.</summary>
    public static ulong WaitFor(CaseContext c, int counter)
    {
        if (c.Kernel.Poll(counter, PollEvents.In, 10_000, out _) != 1)
        {
            return 0;
        }

        byte[] value = new byte[8];
        _ = c.Kernel.Read(counter, value);
        return BinaryPrimitives.ReadUInt64LittleEndian(value);
    }
}
