using System.Buffers;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <content>What the hardware in front of a device can do.</content>
internal sealed partial class IommufdFile
{
    // More than any IOMMU says of itself.
    private const int MaxHardwareInfo = 1024;

    private static Errno HwInfoCall(IommufdFile file, KernelProcess caller, ref IommuHwInfo argument)
    {
        bool asksForType = (argument.Flags & 1) != 0;
        if ((argument.Flags & ~1u) != 0 || argument.Reserved[0] != 0 || argument.Reserved[1] != 0 || argument.Reserved[2] != 0)
        {
            return Errno.NotSupported;
        }

        using ObjectUse<DeviceObject> bound = file._objects.Use<DeviceObject>(argument.DeviceId, out Errno error);
        if (error != Errno.Success)
        {
            return error;
        }

        IommuDevice device = bound.Object.Device;
        Span<byte> data = stackalloc byte[MaxHardwareInfo];
        error = device.Iommu.GetHardwareInfo(out uint type, data, out int needed);
        if (error != Errno.Success)
        {
            return error;
        }

        // A kind that is asked for must be there; 0 asks for whatever there is.
        if (type != 0 && asksForType && argument.DataType != 0 && argument.DataType != type)
        {
            return Errno.NotSupported;
        }

        int copied = (int)Math.Min((uint)needed, argument.DataLength);
        error = copied == 0 ? Errno.Success : caller.Memory.Write(argument.DataAddress, data[..copied]);
        if (error == Errno.Success)
        {
            error = ClearUser(caller, argument.DataAddress + (uint)copied, argument.DataLength - (uint)copied);
        }

        if (error != Errno.Success)
        {
            return error;
        }

        IommuCapabilities capabilities = device.Iommu.Capabilities;
        argument.DataLength = (uint)needed;
        argument.DataType = type;
        argument.OutMaxPasidLog2 = (byte)Math.Min(device.PasidBits, capabilities.PasidBits);
        argument.OutCapabilities =
            (capabilities.DirtyTracking ? HwCapabilities.DirtyTracking : 0)
            | (device.Ats && capabilities.Ats ? 0 : HwCapabilities.PciAtsNotSupported);
        return Errno.Success;
    }

    private static Errno ClearUser(KernelProcess caller, ulong address, uint length)
    {
        if (length == 0)
        {
            return Errno.Success;
        }

        byte[] zeros = ArrayPool<byte>.Shared.Rent((int)Math.Min(length, 1 << 16));
        Array.Clear(zeros);
        Errno error = Errno.Success;
        while (length > 0 && error == Errno.Success)
        {
            int part = (int)Math.Min((uint)zeros.Length, length);
            error = caller.Memory.Write(address, zeros.AsSpan(0, part));
            address += (uint)part;
            length -= (uint)part;
        }

        ArrayPool<byte>.Shared.Return(zeros);
        return error;
    }
}
