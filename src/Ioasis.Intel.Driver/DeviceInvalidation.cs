using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Intel.Driver;

/// <summary>Has devices that cache translations forget some of them (section 6.5.2.5).</summary>
internal static class DeviceInvalidation
{
    /// <summary>
    /// Asks all devices before any is waited for. The IOMMUs have forgotten it before. A device that does not answer is cut off: then it
    /// reaches nothing, stale or not.
    /// </summary>
    /// <param name="devices">The devices, and the PASID that each has the address space under.</param>
    /// <param name="payload">The range; devices of guests forget everything.</param>
    public static Errno Invalidate(ReadOnlySpan<AtsBond> devices, ulong payload)
    {
        ulong[] tickets = new ulong[devices.Length];
        Errno result = Errno.Success;
        for (int i = 0; i < devices.Length; i++)
        {
            AtsBond bond = devices[i];
            Errno error = bond.Device.IsCutOff ? Errno.Success
                : bond.Iommu.Queue.Submit(
                    [For(bond.Iommu, bond.Device, bond.Pasid, bond.IsGuest ? PcieInvalidation.Everything : payload)],
                    BatchKind.None, out tickets[i]);
            result = error is Errno.Success or Errno.NoDevice ? result : error;
        }

        for (int i = 0; i < devices.Length; i++)
        {
            Errno error = tickets[i] == 0 ? Errno.Success : WaitFor(devices[i].Iommu, devices[i].Device, tickets[i]);
            result = error == Errno.Success ? result : error;
        }

        return result;
    }

    /// <summary>Asks one device and waits for it.</summary>
    public static Errno Invalidate(VtdIommuInstance iommu, DeviceState device, Pasid pasid, ulong payload)
    {
        if (device.IsCutOff)
        {
            return Errno.Success;
        }

        Errno error = iommu.Queue.Submit([For(iommu, device, pasid, payload)], BatchKind.None, out ulong ticket);
        return error == Errno.Success ? WaitFor(iommu, device, ticket) : error == Errno.NoDevice ? Errno.Success : error;
    }

    private static Errno WaitFor(VtdIommuInstance iommu, DeviceState device, ulong ticket)
    {
        Errno error = iommu.Queue.Wait(ticket);
        error = error == Errno.TimedOut ? iommu.Isolate(device) : error;
        return error == Errno.NoDevice ? Errno.Success : error;
    }

    private static QueueDescriptor For(VtdIommuInstance iommu, DeviceState device, Pasid pasid, ulong payload) => pasid.IsPresent
        ? QueueDescriptor.DeviceTlb(device.SourceId, pasid.Value, payload, iommu.ThrottlesDeviceTlbs)
        : QueueDescriptor.DeviceTlb(device.SourceId, payload, iommu.ThrottlesDeviceTlbs);
}
