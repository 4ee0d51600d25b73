using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// The calls of an open device, whichever way it was opened: it checks the form of each and hands the meaning to the
/// device's backend. The order of the checks is Linux's.
/// </summary>
internal static class VfioDeviceCalls
{
    /// <summary>Where a region begins in a descriptor: its number shifted by this.</summary>
    public const int RegionShift = 40;

    private const ulong RegionMask = (1ul << RegionShift) - 1;

    /// <summary>An ioctl.</summary>
    public static Errno Ioctl(IVfioEventSource events, IVfioDeviceBackend device, uint request, Span<byte> argument) =>
        request switch
        {
            VfioRequests.DeviceGetInfo => GetInfo(device, argument),
            VfioRequests.DeviceGetRegionInfo => GetRegionInfo(device, argument),
            VfioRequests.DeviceGetIrqInfo => GetIrqInfo(device, argument),
            VfioRequests.DeviceSetIrqs => SetIrqs(events, device, argument),
            VfioRequests.DeviceReset => device.Reset(),
            VfioRequests.DeviceFeature => Feature(events, device, argument),
            VfioRequests.DeviceIoEventFd when (device.Flags & VfioDeviceFlags.Pci) != 0 => SetIoEvent(events, device, argument),
            _ => Errno.NotTypewriter,
        };

    /// <summary>A read at a place.</summary>
    public static Errno Read(IVfioDeviceBackend device, Span<byte> destination, ulong offset, out int count)
    {
        count = 0;
        ulong index = offset >> RegionShift;
        return index >= (ulong)device.RegionCount ? Errno.InvalidArgument
            : destination.IsEmpty ? Errno.Success
            : device.Read((int)index, offset & RegionMask, destination, out count);
    }

    /// <summary>A write at a place.</summary>
    public static Errno Write(IVfioDeviceBackend device, ReadOnlySpan<byte> source, ulong offset, out int count)
    {
        count = 0;
        ulong index = offset >> RegionShift;
        return index >= (ulong)device.RegionCount ? Errno.InvalidArgument
            : source.IsEmpty ? Errno.Success
            : device.Write((int)index, offset & RegionMask, source, out count);
    }

    /// <summary>A deferrable write at a place.</summary>
    public static Errno Submit(IVfioDeviceBackend device, ReadOnlySpan<byte> command, ulong offset)
    {
        ulong index = offset >> RegionShift;
        return index >= (ulong)device.RegionCount
            ? Errno.InvalidArgument
            : device.WriteDeferrable((int)index, offset & RegionMask, command);
    }

    /// <summary>A mapping.</summary>
    public static Errno Map(IVfioDeviceBackend device, ulong offset, ulong length, out nint address)
    {
        address = 0;
        ulong index = offset >> RegionShift;
        return index >= (ulong)device.RegionCount
            ? Errno.InvalidArgument
            : device.Map((int)index, offset & RegionMask, length, out address);
    }

    private static Errno GetInfo(IVfioDeviceBackend device, Span<byte> argument)
    {
        Errno error = ArgszArgument.Take(argument, VfioDeviceInfo.MinimumSize, out VfioDeviceInfo info);
        if (error != Errno.Success)
        {
            return error;
        }

        if (info.Argsz < VfioDeviceInfo.MinimumSize)
        {
            return Errno.InvalidArgument;
        }

        int size = (int)Math.Min(info.Argsz, (uint)Unsafe.SizeOf<VfioDeviceInfo>());
        info = new()
        {
            Argsz = info.Argsz,
            Flags = device.Flags,
            NumRegions = (uint)device.RegionCount,
            NumIrqs = (uint)device.InterruptCount,
        };
        return ArgszArgument.Give(argument, info, size);
    }

    private static Errno GetRegionInfo(IVfioDeviceBackend device, Span<byte> argument)
    {
        Errno error = ArgszArgument.Take(argument, VfioRegionInfo.MinimumSize, out VfioRegionInfo info);
        if (error != Errno.Success)
        {
            return error;
        }

        if (info.Argsz < VfioRegionInfo.MinimumSize || info.Index >= (uint)device.RegionCount)
        {
            return Errno.InvalidArgument;
        }

        error = device.GetRegion((int)info.Index, out DeviceRegion region);
        if (error != Errno.Success)
        {
            return error;
        }

        // A region that is not there has neither size nor flags.
        info.Offset = (ulong)info.Index << RegionShift;
        info.Size = region.Size;
        info.Flags = region.Size == 0 ? VfioRegionFlags.None : region.Flags;
        if (Describe(region) is { } chain)
        {
            // Without capabilities the offset stays the caller's.
            info.CapOffset = 0;
            info.Flags |= VfioRegionFlags.Caps;
            uint needed = VfioRegionInfo.MinimumSize + (uint)chain.Bytes.Length;
            if (info.Argsz < needed)
            {
                info.Argsz = needed;
            }
            else if (argument.Length < needed)
            {
                return Errno.BadAddress;
            }
            else
            {
                chain.Bytes.CopyTo(argument[VfioRegionInfo.MinimumSize..]);
                info.CapOffset = VfioRegionInfo.MinimumSize;
            }
        }

        return ArgszArgument.Give(argument, info, VfioRegionInfo.MinimumSize);
    }

    /// <summary>The capabilities that say which parts of a region can be mapped; null if there are none.</summary>
    public static CapabilityChain? Describe(in DeviceRegion region)
    {
        // A region that can be mapped whole needs no list of parts.
        List<VfioSparseArea>? parts = region.Areas is { } areas ? Join(areas) : null;
        bool isWhole = parts is null || (parts.Count == 1 && parts[0].Offset == 0 && parts[0].Size >= region.Size);
        if (region.Size == 0 || (isWhole && !region.MsiXMappable))
        {
            return null;
        }

        CapabilityChain chain = new(VfioRegionInfo.MinimumSize);
        if (!isWhole)
        {
            byte[] body = new byte[8 + (parts!.Count * Unsafe.SizeOf<VfioSparseArea>())];
            MemoryMarshal.Write(body, (uint)parts.Count);
            for (int i = 0; i < parts.Count; i++)
            {
                MemoryMarshal.Write(body.AsSpan(8 + (i * Unsafe.SizeOf<VfioSparseArea>())), parts[i]);
            }

            chain.Add(VfioRegionInfo.SparseMmapCapability, 1, body);
        }

        if (region.MsiXMappable)
        {
            chain.Add(VfioRegionInfo.MsiXMappableCapability, 1, []);
        }

        return chain;
    }

    // Neighbours are one part to whoever maps them.
    private static List<VfioSparseArea> Join(IReadOnlyList<DeviceArea> areas)
    {
        List<VfioSparseArea> parts = [];
        foreach (DeviceArea area in areas)
        {
            if (parts.Count > 0 && parts[^1].Offset + parts[^1].Size == area.Offset)
            {
                parts[^1] = parts[^1] with { Size = parts[^1].Size + area.Size };
            }
            else
            {
                parts.Add(new() { Offset = area.Offset, Size = area.Size });
            }
        }

        return parts;
    }

    private static Errno GetIrqInfo(IVfioDeviceBackend device, Span<byte> argument)
    {
        int size = Unsafe.SizeOf<VfioIrqInfo>();
        Errno error = ArgszArgument.Take(argument, size, out VfioIrqInfo info);
        if (error != Errno.Success)
        {
            return error;
        }

        if (info.Argsz < (uint)size || info.Index >= (uint)device.InterruptCount)
        {
            return Errno.InvalidArgument;
        }

        error = device.GetInterrupt((int)info.Index, out DeviceInterrupt interrupt);
        if (error != Errno.Success)
        {
            return error;
        }

        info.Flags = interrupt.Flags;
        info.Count = interrupt.Count;
        return ArgszArgument.Give(argument, info, size);
    }

    private static Errno SetIrqs(IVfioEventSource events, IVfioDeviceBackend device, Span<byte> argument)
    {
        Errno error = ArgszArgument.Take(argument, VfioIrqSet.MinimumSize, out VfioIrqSet set);
        if (error != Errno.Success)
        {
            return error;
        }

        // An interrupt that is not there has no vectors, so nothing of it can be meant.
        uint vectors = set.Index < (uint)device.InterruptCount
            && device.GetInterrupt((int)set.Index, out DeviceInterrupt interrupt) == Errno.Success
            ? interrupt.Count
            : 0;
        if (set.Argsz < VfioIrqSet.MinimumSize
            || set.Index >= (uint)device.InterruptCount
            || set.Count >= uint.MaxValue - set.Start
            || (set.Flags & ~(VfioIrqSetFlags.DataTypeMask | VfioIrqSetFlags.ActionTypeMask)) != 0
            || set.Start >= vectors
            || set.Start + set.Count > vectors)
        {
            return Errno.InvalidArgument;
        }

        uint each;
        switch (set.Flags & VfioIrqSetFlags.DataTypeMask)
        {
            case VfioIrqSetFlags.DataNone:
                each = 0;
                break;
            case VfioIrqSetFlags.DataBool:
                each = 1;
                break;
            case VfioIrqSetFlags.DataEventFd:
                each = sizeof(int);
                break;
            default:
                return Errno.InvalidArgument;
        }

        ulong size = (ulong)each * set.Count;
        if (size > set.Argsz - VfioIrqSet.MinimumSize)
        {
            return Errno.InvalidArgument;
        }

        if (size > (ulong)(argument.Length - VfioIrqSet.MinimumSize))
        {
            return Errno.BadAddress;
        }

        return device.SetInterrupts(set, argument.Slice(VfioIrqSet.MinimumSize, (int)size), events);
    }

    private static Errno SetIoEvent(IVfioEventSource events, IVfioDeviceBackend device, Span<byte> argument)
    {
        Errno error = ArgszArgument.Take(argument, VfioDeviceIoEventFd.MinimumSize, out VfioDeviceIoEventFd call);
        if (error != Errno.Success)
        {
            return error;
        }

        if (call.Argsz < VfioDeviceIoEventFd.MinimumSize
            || (call.Flags & ~VfioIoEventFlags.WidthMask) != 0
            || BitOperations.PopCount((uint)call.Flags) != 1
            || call.Descriptor < -1
            || call.Offset >> RegionShift >= (ulong)device.RegionCount)
        {
            return Errno.InvalidArgument;
        }

        VfioIoEvent write = new((int)(call.Offset >> RegionShift), call.Offset & RegionMask, (int)call.Flags, call.Data);
        return device.SetIoEvent(write, call.Descriptor, events);
    }

    private static Errno Feature(IVfioEventSource events, IVfioDeviceBackend device, Span<byte> argument)
    {
        Errno error = TakeFeature(argument, out VfioFeatureFlags operation, out Span<byte> data);
        if (error != Errno.Success)
        {
            return error;
        }

        VfioFeature feature = (VfioFeature)(MemoryMarshal.Read<uint>(argument[sizeof(uint)..]) & (uint)VfioFeatureFlags.NumberMask);
        return device.Feature(feature, operation, data, events);
    }

    /// <summary>Checks the form of a call about a feature.</summary>
    /// <param name="argument">The structure.</param>
    /// <param name="operation">Get or set, and probe.</param>
    /// <param name="data">What follows the structure.</param>
    public static Errno TakeFeature(Span<byte> argument, out VfioFeatureFlags operation, out Span<byte> data)
    {
        operation = VfioFeatureFlags.None;
        data = [];
        int size = Unsafe.SizeOf<VfioDeviceFeature>();
        Errno error = ArgszArgument.Take(argument, size, out VfioDeviceFeature feature);
        if (error != Errno.Success)
        {
            return error;
        }

        const VfioFeatureFlags Both = VfioFeatureFlags.Get | VfioFeatureFlags.Set;
        operation = feature.Flags & (Both | VfioFeatureFlags.Probe);
        if (feature.Argsz < (uint)size
            || (feature.Flags & ~(VfioFeatureFlags.NumberMask | Both | VfioFeatureFlags.Probe)) != 0
            || (operation & VfioFeatureFlags.Probe) == 0 && BitOperations.PopCount((uint)operation) > 1)
        {
            return Errno.InvalidArgument;
        }

        // A part that the structure claims and that is not there counts only for a feature that reads it: none reads more
        // than it needs, so what is there decides.
        uint claimed = feature.Argsz - (uint)size;
        data = argument.Slice(size, (int)Math.Min(claimed, (uint)(argument.Length - size)));
        return Errno.Success;
    }
}

/// <summary>What a device is that only does DMA: no registers, no interrupts, no reset.</summary>
internal sealed class BareDeviceBackend : IVfioDeviceBackend
{
    /// <summary>The one for all: it has no state.</summary>
    public static BareDeviceBackend Instance { get; } = new();

    /// <inheritdoc/>
    public VfioDeviceFlags Flags => VfioDeviceFlags.Platform;

    /// <inheritdoc/>
    public int RegionCount => 0;

    /// <inheritdoc/>
    public int InterruptCount => 0;

    /// <inheritdoc/>
    public IReadOnlyList<VfioResetMember>? ResetMembers => null;

    /// <inheritdoc/>
    public Errno Open() => Errno.Success;

    /// <inheritdoc/>
    public void Close()
    {
    }

    /// <inheritdoc/>
    public Errno GetRegion(int index, out DeviceRegion region)
    {
        region = default;
        return Errno.InvalidArgument;
    }

    /// <inheritdoc/>
    public Errno GetInterrupt(int index, out DeviceInterrupt interrupt)
    {
        interrupt = default;
        return Errno.InvalidArgument;
    }

    /// <inheritdoc/>
    public Errno Read(int index, ulong offset, Span<byte> destination, out int count)
    {
        count = 0;
        return Errno.InvalidArgument;
    }

    /// <inheritdoc/>
    public Errno Write(int index, ulong offset, ReadOnlySpan<byte> source, out int count)
    {
        count = 0;
        return Errno.InvalidArgument;
    }

    /// <inheritdoc/>
    public Errno Map(int index, ulong offset, ulong length, out nint address)
    {
        address = 0;
        return Errno.InvalidArgument;
    }

    /// <inheritdoc/>
    public Errno SetInterrupts(in VfioIrqSet set, ReadOnlySpan<byte> data, IVfioEventSource events) => Errno.InvalidArgument;

    /// <inheritdoc/>
    public Errno Reset() => Errno.InvalidArgument;

    /// <inheritdoc/>
    public void ResetWithBus()
    {
    }

    /// <inheritdoc/>
    public Errno Feature(VfioFeature feature, VfioFeatureFlags flags, Span<byte> data, IVfioEventSource events) =>
        Errno.NotTypewriter;

    /// <inheritdoc/>
    public Errno SetIoEvent(in VfioIoEvent write, int descriptor, IVfioEventSource events) => Errno.NotTypewriter;

    /// <inheritdoc/>
    public void RequestRelease()
    {
    }
}
