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
        IommuException.ThrowIf(TryGetRegion(index, out VfioRegion? region), "VFIO_DEVICE_GET_REGION_INFO", $"{Path}, region {index}");
        return region!;
    }

    /// <summary>A region; of size 0 if the device has none of this number.</summary>
    /// <returns>Success, or <see cref="Errno.InvalidArgument"/> for a number beyond the device's.</returns>
    public Errno TryGetRegion(int index, out VfioRegion? region)
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
}
