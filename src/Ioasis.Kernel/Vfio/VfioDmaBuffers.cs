using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// <c>VFIO_DEVICE_FEATURE_DMA_BUF</c>: a part of a PCI device's memory as a descriptor that other devices' address spaces can map. The
/// order of the checks is Linux's (6.19).
/// </summary>
internal static class VfioDmaBuffers
{
    private const ulong PageMask = AddressSpace.PageSize - 1;

    /// <summary>Whether a call is about this feature of a PCI device.</summary>
    public static bool Handles(VfioDeviceNode node, uint request, ReadOnlySpan<byte> argument) =>
        request == VfioRequests.DeviceFeature && (node.Backend.Flags & VfioDeviceFlags.Pci) != 0
        && argument.Length >= Unsafe.SizeOf<VfioDeviceFeature>()
        && ((VfioFeatureFlags)MemoryMarshal.Read<uint>(argument[sizeof(uint)..]) & VfioFeatureFlags.NumberMask) == (VfioFeatureFlags)VfioFeature.DmaBuf;

    /// <summary>The call.</summary>
    public static Errno Call(KernelProcess caller, VfioDeviceNode node, Span<byte> argument, out int descriptor)
    {
        descriptor = 0;
        Errno error = VfioDeviceCalls.TakeFeature(argument, out VfioFeatureFlags operation, out Span<byte> data);
        if (error != Errno.Success)
        {
            return error;
        }

        // It can only be got.
        if ((operation & VfioFeatureFlags.Set) != 0)
        {
            return Errno.InvalidArgument;
        }

        if ((operation & VfioFeatureFlags.Probe) != 0)
        {
            return Errno.Success;
        }

        if ((operation & VfioFeatureFlags.Get) == 0 || data.Length < Unsafe.SizeOf<VfioDeviceFeatureDmaBuf>())
        {
            return Errno.InvalidArgument;
        }

        VfioDeviceFeatureDmaBuf wanted = MemoryMarshal.Read<VfioDeviceFeatureDmaBuf>(data);
        if (wanted.RangeCount == 0 || wanted.Flags != 0)
        {
            return Errno.InvalidArgument;
        }

        if (wanted.RegionIndex >= (uint)VfioPciRegion.Rom)
        {
            return Errno.NoDevice;
        }

        data = data[Unsafe.SizeOf<VfioDeviceFeatureDmaBuf>()..];
        if ((ulong)data.Length < wanted.RangeCount * (ulong)Unsafe.SizeOf<VfioRegionDmaRange>())
        {
            return Errno.BadAddress;
        }

        ReadOnlySpan<VfioRegionDmaRange> ranges = MemoryMarshal.Cast<byte, VfioRegionDmaRange>(data)[..(int)wanted.RangeCount];
        error = Find(node.Backend, (int)wanted.RegionIndex, ranges, out List<(PhysicalAddress Address, ulong Length)> found);
        return error == Errno.Success ? Export(caller, node, found, out descriptor) : error;
    }

    private static Errno Find(
        IVfioDeviceBackend device, int region, ReadOnlySpan<VfioRegionDmaRange> ranges, out List<(PhysicalAddress Address, ulong Length)> found)
    {
        found = new(ranges.Length);
        ulong total = 0;
        foreach (VfioRegionDmaRange range in ranges)
        {
            if (range.Length == 0 || ((range.Offset | range.Length) & PageMask) != 0 || range.Length > long.MaxValue - total)
            {
                return Errno.InvalidArgument;
            }

            total += range.Length;
        }

        foreach (VfioRegionDmaRange range in ranges)
        {
            Errno error = device.GetDmaMemory(region, range.Offset, range.Length, out PhysicalAddress address);
            if (error != Errno.Success)
            {
                return error;
            }

            found.Add((address, range.Length));
        }

        return Errno.Success;
    }

    private static Errno Export(
        KernelProcess caller, VfioDeviceNode node, List<(PhysicalAddress Address, ulong Length)> ranges, out int descriptor)
    {
        DmaBufferFile file = new(node, ranges);

        // Known to the device before anybody can map it.
        node.Remember(file);
        return caller.AddFile(file, out descriptor);
    }
}
