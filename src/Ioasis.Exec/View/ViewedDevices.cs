using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Machines;
using Ioasis.Primitives;

namespace Ioasis.Exec;

/// <summary>Puts the devices of a machine into it, and lists those that a program sees.</summary>
internal static class ViewedDevices
{
    /// <summary>Adds what the options say.</summary>
    /// <returns>Null, or a sentence that says what cannot be.</returns>
    public static string? TryAdd(ExecOptions options, EmbeddedPlatform platform, out List<ViewedDevice> viewed)
    {
        viewed = [];
        try
        {
            foreach ((DeviceId id, EmbeddedEndpoint endpoint) in options.File?.AddTo(platform, options.FileDevices) ?? new Dictionary<DeviceId, EmbeddedEndpoint>())
            {
                // A place without a model has no configuration space that a program could see.
                if (options.FileDevices.TryGetValue(id, out PciDevice? device))
                {
                    viewed.Add(Describe(device, id, endpoint));
                }
            }
        }
        catch (MachineFileException e)
        {
            return e.Message;
        }

        foreach (ExecDevice device in options.Devices)
        {
            Errno error = platform.AddDeviceErrno(device.Device, device.Id, device.Options, out EmbeddedEndpoint? endpoint);
            if (error != Errno.Success)
            {
                return $"the device at {device.Id} cannot be added: {error}.";
            }

            viewed.Add(Describe(device.Device, device.Id, endpoint!));
        }

        return null;
    }

    private static ViewedDevice Describe(PciDevice device, DeviceId id, EmbeddedEndpoint endpoint)
    {
        byte[] config = new byte[device.Description.IsExpress ? 4096 : 256];
        _ = device.Backend.Read((int)Uapi.VfioPciRegion.Config, 0, config, out _);
        return new(id, device.Description, config, endpoint.Device.Group.Id, endpoint.DevicePath, endpoint.Device.Iommu.Name);
    }
}
