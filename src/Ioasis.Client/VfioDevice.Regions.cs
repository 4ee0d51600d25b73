using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <content>Regions.</content>
public sealed partial class VfioDevice
{
    private const int RegionInfoBytes = 4096;

    /// <summary>A region of a PCI device.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public VfioRegion GetRegion(VfioPciRegion index) => GetRegion((int)index);

    /// <summary>A region; of size 0 if the device has none of this number.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public VfioRegion GetRegion(int index)
    {
        IommuException.ThrowIf(GetRegionErrno(index, out VfioRegion? region), "VFIO_DEVICE_GET_REGION_INFO", $"{Path}, region {index}");
        return region!;
    }

    /// <summary>A region; of size 0 if the device has none of this number.</summary>
    /// <returns>Success, or <see cref="Errno.InvalidArgument"/> for a number beyond the device's.</returns>
    public Errno GetRegionErrno(int index, out VfioRegion? region)
    {
        region = null;
        byte[] buffer = new byte[RegionInfoBytes];
        for (int attempt = 0; ; attempt++)
        {
            VfioRegionInfo info = new() { Argsz = (uint)buffer.Length, Index = (uint)index };
            MemoryMarshal.Write(buffer, info);
            Errno error = Descriptor.Call(VfioRequests.DeviceGetRegionInfo, buffer);
            if (error != Errno.Success)
            {
                return error;
            }

            info = MemoryMarshal.Read<VfioRegionInfo>(buffer);
            if (info.Argsz <= (uint)buffer.Length || attempt > 0)
            {
                region = new(this, info, buffer);
                return Errno.Success;
            }

            // More capabilities than fit: once more with as much as the kernel asks for.
            buffer = new byte[info.Argsz];
        }
    }

    /// <summary>Makes a part of a region available to other devices (<c>VFIO_DEVICE_FEATURE_DMA_BUF</c>).</summary>
    /// <param name="index">The region, of memory that can be mapped.</param>
    /// <param name="offset">First byte, a multiple of 4,096.</param>
    /// <param name="length">Bytes, a multiple of 4,096.</param>
    /// <param name="buffer">The part.</param>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> if there is no such part; <see cref="Errno.NoDevice"/> for a region that is none of the
    /// base address registers; <see cref="Errno.NotTypewriter"/> from a kernel without this; what else the kernel answered.
    /// </returns>
    public Errno ExportErrno(VfioPciRegion index, ulong offset, ulong length, out VfioDmaBuffer? buffer)
    {
        buffer = null;
        int size = Unsafe.SizeOf<VfioDeviceFeature>();
        int header = size + Unsafe.SizeOf<VfioDeviceFeatureDmaBuf>();
        byte[] argument = new byte[header + Unsafe.SizeOf<VfioRegionDmaRange>()];
        MemoryMarshal.Write(argument, new VfioDeviceFeature { Argsz = (uint)argument.Length, Flags = VfioFeatureFlags.Get | (VfioFeatureFlags)VfioFeature.DmaBuf });
        MemoryMarshal.Write(argument.AsSpan(size), new VfioDeviceFeatureDmaBuf { RegionIndex = (uint)index, OpenFlags = (uint)(OpenFlags.ReadWrite | OpenFlags.CloseOnExec), RangeCount = 1 });
        MemoryMarshal.Write(argument.AsSpan(header), new VfioRegionDmaRange { Offset = offset, Length = length });
        Errno error = Descriptor.Call(VfioRequests.DeviceFeature, argument, out int made);
        if (error == Errno.Success)
        {
            buffer = new(KernelDescriptor.Own(Descriptor.Kernel, made), length);
        }

        return error;
    }
}
