using Ioasis.Primitives;

namespace Ioasis.Devices.Network;

/// <summary>A device that can be joined to another one of its machine by the other's name.</summary>
internal interface IPeeredDevice
{
    /// <summary>The name or the address of the other device; null if none is wanted.</summary>
    string? PeerName { get; }

    /// <summary>Joins the two.</summary>
    /// <returns>Null, or a sentence that says why not. Joining the same two again is no mistake.</returns>
    string? Join(PciDevice other);
}

/// <summary>A device of a machine, by what others call it.</summary>
/// <param name="Id">Its address.</param>
/// <param name="Name">Its name; null if it has none but the address.</param>
/// <param name="Device">The device.</param>
internal readonly record struct NamedDevice(DeviceId Id, string? Name, PciDevice Device);

/// <summary>Joins the devices of a machine that name each other (<c>peer=NAME</c>).</summary>
internal static class DevicePeers
{
    /// <summary>Joins every device that wants it and is not joined yet.</summary>
    /// <returns>Null, or a sentence that says which peer cannot be had.</returns>
    public static string? Join(IReadOnlyList<NamedDevice> devices)
    {
        ArgumentNullException.ThrowIfNull(devices);
        return devices.Select(device => JoinOne(device, devices)).FirstOrDefault(static wrong => wrong is not null);
    }

    /// <summary>Joins a device that wants it to one of others.</summary>
    /// <returns>Null, or a sentence that says why its peer cannot be had.</returns>
    public static string? JoinOne(in NamedDevice device, IEnumerable<NamedDevice> others)
    {
        ArgumentNullException.ThrowIfNull(others);
        if (device.Device is not IPeeredDevice { PeerName: { } wanted } peered)
        {
            return null;
        }

        bool isAddress = DeviceId.TryParse(wanted, out DeviceId id);
        PciDevice? other = others.FirstOrDefault(
            one => string.Equals(one.Name, wanted, StringComparison.Ordinal) || (isAddress && one.Id == id)).Device;
        string? wrong = other is null ? "the machine has no device of that name or address" : peered.Join(other);
        return wrong is null ? null : $"peer={wanted}: {wrong}.";
    }
}
