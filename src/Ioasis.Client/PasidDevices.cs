using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>Which PASIDs a device may use: calls on the device's descriptor, which alone knows what it is (S1.11, S1.12).</summary>
public static class PasidDevices
{
    /// <summary>Lets a device use a PASID: from now on the IOMMU knows it (S1.5).</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public static void Allow(this VfioDevice device, PasidHandle pasid)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(pasid);
        IommuException.ThrowIf(device.AllowErrno(pasid), "IOASID_DEVICE_ALLOW", $"device {device.Path}, PASID {pasid.Pasid}");
    }

    /// <summary>Lets a device use a PASID.</summary>
    /// <returns>
    /// Success; <see cref="Errno.Exists"/> if it may already; <see cref="Errno.NotSupported"/> if it has no PASIDs;
    /// <see cref="Errno.Overflow"/> if it cannot send so large a one; <see cref="Errno.InvalidArgument"/> if it is not bound; what
    /// the IOMMU answers.
    /// </returns>
    public static Errno AllowErrno(this VfioDevice device, PasidHandle pasid)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(pasid);
        IoasidDeviceAllow argument = new() { IoasidFd = pasid.DescriptorNumber, Ioasid = pasid.Pasid.Value };
        return device.Descriptor.Call(ref argument);
    }

    /// <summary>Takes a PASID away from a device; when it returns, no DMA of the device uses it (S1.8).</summary>
    /// <returns>Success; <see cref="Errno.NoEntry"/> if it may not use it; <see cref="Errno.TimedOut"/>.</returns>
    public static Errno DisallowErrno(this VfioDevice device, Pasid pasid)
    {
        ArgumentNullException.ThrowIfNull(device);
        IoasidDeviceDisallow argument = new() { Ioasid = pasid.Value };
        return device.Descriptor.Call(ref argument);
    }

    /// <summary>Lists the PASIDs that a device may use, in ascending order.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public static unsafe Errno GetPasidsErrno(this VfioDevice device, out Pasid[] pasids)
    {
        ArgumentNullException.ThrowIfNull(device);
        IoasidDeviceListArgument argument = default;
        Errno error = device.Descriptor.Call(ref argument);
        while (error == Errno.MessageTooLong)
        {
            uint* array = (uint*)NativeMemory.Alloc(argument.Count, sizeof(uint));
            try
            {
                uint room = argument.Count;
                argument.Ioasids = (ulong)array;
                error = device.Descriptor.Call(ref argument);
                if (error == Errno.Success)
                {
                    ReadOnlySpan<uint> numbers = new(array, (int)Math.Min(room, argument.Count));
                    pasids = new Pasid[numbers.Length];
                    for (int i = 0; i < pasids.Length; i++)
                    {
                        pasids[i] = new(numbers[i]);
                    }

                    return error;
                }
            }
            finally
            {
                NativeMemory.Free(array);
            }
        }

        pasids = [];
        return error;
    }
}
