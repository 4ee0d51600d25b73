using System.Globalization;
using Ioasis.Embedded;
using Ioasis.Primitives;

namespace Ioasis.Native;

/// <summary>Where a device of a caller is to be, and how it is called.</summary>
internal readonly record struct DevicePlace(DeviceId? Id, string? Name, int? Group, int PasidBits)
{
    /// <summary>Reads it from the options of a device in C.</summary>
    public static Failure? Read(in DeviceOptions options, out DevicePlace place)
    {
        place = default;
        string? name = null;
        if (options.Name != 0 && CallerMemory.ReadText(options.Name, NameLimit, out name) is not Errno.Success and var error)
        {
            return error == Errno.BadAddress
                ? Failure.BadAddress("options.name", options.Name)
                : new(Errno.InvalidArgument, $"options.name is longer than {NameLimit - 1} bytes");
        }

        DeviceId? id = null;
        if (options.Address != 0)
        {
            if (CallerMemory.ReadText(options.Address, NameLimit, out string address) == Errno.BadAddress)
            {
                return Failure.BadAddress("options.address", options.Address);
            }

            if (!DeviceId.TryParse(address, out DeviceId parsed))
            {
                return new(Errno.InvalidArgument, $"options.address is \"{address}\": [DDDD:]BB:DD.F in hexadecimal digits is expected");
            }

            id = parsed;
        }

        place = new(id, string.IsNullOrEmpty(name) ? null : name, null, 0);
        return null;
    }

    private const int NameLimit = 64;
}

/// <summary>Adds devices to a platform: all or nothing, and one at a time, so that free addresses are given once.</summary>
internal static class DeviceAdding
{
    /// <summary>Adds a function, or a device without registers.</summary>
    public static Failure? Add(
        NativePlatform platform, in DevicePlace place, EmbeddedPciDevice? function, out NativeDevice? device, Action? end)
    {
        device = null;
        lock (platform.DeviceLock)
        {
            DeviceId id = place.Id ?? FindFree(platform);
            if (platform.Machine.Subsystem.Devices.Any(other => other.Id == id))
            {
                return new(Errno.Exists, $"address {id} is taken");
            }

            EmbeddedEndpointOptions options = new() { Name = place.Name, GroupId = place.Group, PasidBits = place.PasidBits };
            NativeDevice added = new(platform, function, end);
            added.Handle = HandleTable.Add(added);
            if (function is CallbackDevice callbacks)
            {
                // Before it is on the machine: from then on a driver may find it.
                callbacks.Handle = added.Handle;
            }

            Errno error = function is null
                ? platform.Machine.TryAddEndpoint(id, options, out EmbeddedEndpoint? endpoint)
                : platform.Machine.TryAddDevice(function, id, options, out endpoint);
            if (error != Errno.Success)
            {
                _ = HandleTable.Remove(added.Handle);
                return new(error, error switch
                {
                    Errno.Exists => $"the name \"{place.Name ?? id.ToString()}\" is taken",
                    Errno.NoSpace => "no addresses below 4 GiB are left for its registers",
                    _ => $"the IOMMU in front of {id} does not take it: no group {place.Group}, another segment, or no room",
                });
            }

            added.Endpoint = endpoint!;
            platform.Devices[endpoint!.Device.Name] = added;
            device = added;
            return null;
        }
    }

    /// <summary>Adds what a text describes.</summary>
    public static Failure? Add(NativePlatform platform, string text, out NativeDevice? device)
    {
        device = null;
        string[] parts = text.Split(',');
        if (parts[0] is not ("edu" or "dma"))
        {
            return new(Errno.InvalidArgument, $"there is no device \"{parts[0]}\": edu and dma are known");
        }

        bool isBare = string.Equals(parts[0], "dma", StringComparison.Ordinal);
        DevicePlace place = default;
        foreach (string part in parts.AsSpan(1))
        {
            int equals = part.IndexOf('=', StringComparison.Ordinal);
            string key = equals < 0 ? part : part[..equals];
            string value = equals < 0 ? "" : part[(equals + 1)..];
            switch (key)
            {
                case "addr" when DeviceId.TryParse(value, out DeviceId id):
                    place = place with { Id = id };
                    break;
                case "addr":
                    return new(Errno.InvalidArgument, $"addr is \"{value}\": [DDDD:]BB:DD.F in hexadecimal digits is expected");
                case "name" when value.Length is > 0 and < 64:
                    place = place with { Name = value };
                    break;
                case "name":
                    return new(Errno.InvalidArgument, $"name is \"{value}\": 1 to 63 bytes are expected");
                case "group" when TryNumber(value, int.MaxValue, out int group):
                    place = place with { Group = group };
                    break;
                case "group":
                    return new(Errno.InvalidArgument, $"group is \"{value}\": the number of a group that is there is expected");
                case "pasid-bits" when isBare && TryNumber(value, 20, out int bits):
                    place = place with { PasidBits = bits };
                    break;
                case "pasid-bits" when isBare:
                    return new(Errno.InvalidArgument, $"pasid-bits is \"{value}\": 0 to 20 is expected");
                default:
                    return new(Errno.InvalidArgument, $"\"{parts[0]}\" has no key \"{key}\": addr, name, group{(isBare ? " and pasid-bits" : "")} are known");
            }
        }

        EduDevice? edu = isBare ? null : new();
        Failure? failure = Add(platform, place, edu, out device, edu is null ? null : edu.Dispose);
        if (failure is not null)
        {
            edu?.Dispose();
        }

        return failure;
    }

    private static bool TryNumber(string text, int most, out int value) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value) && value <= most;

    private static DeviceId FindFree(NativePlatform platform)
    {
        HashSet<DeviceId> used = [.. platform.Machine.Subsystem.Devices.Select(static device => device.Id)];
        for (int bus = 0; bus < 256; bus++)
        {
            for (int slot = 1; slot < 32; slot++)
            {
                DeviceId id = DeviceId.FromPci(0, bus, slot, 0);
                if (!used.Contains(id))
                {
                    return id;
                }
            }
        }

        return DeviceId.FromPci(0, 0, 1, 0);
    }
}
