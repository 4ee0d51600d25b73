using Ioasis.Devices;
using Ioasis.Exec;
using Ioasis.Primitives;

namespace Ioasis.Cli.Exec;

/// <summary>Devices as the command line names them: <c>KIND[,key=value]...</c>.</summary>
internal static class ExecDevices
{
    /// <summary>The kinds that there are.</summary>
    public static DeviceKinds Kinds { get; } = DeviceKinds.CreateDefault();

    /// <summary>Makes the devices, each at a place of its own.</summary>
    /// <returns>Null, or a sentence that names the word and the rule; then there are none.</returns>
    public static string? TryCreate(IReadOnlyList<string> texts, out List<ExecDevice> devices)
    {
        List<(PciDevice Device, DeviceLocation Location)> made = [];
        devices = [];
        foreach (string text in texts)
        {
            if (Kinds.TryCreate(text, out PciDevice? device, out DeviceLocation location) is { } error)
            {
                made.ForEach(static other => other.Device.Dispose());
                return $"--device {text}: {error}";
            }

            made.Add((device!, location));
        }

        // Those that have a place first: the others go where they leave room.
        HashSet<DeviceId> taken = [];
        foreach ((_, DeviceLocation location) in made)
        {
            if (location.Address is { } address && !taken.Add(address))
            {
                made.ForEach(static other => other.Device.Dispose());
                return $"two devices are at {address}.";
            }
        }

        foreach ((PciDevice device, DeviceLocation location) in made)
        {
            DeviceId id = location.Address ?? NextFree(taken);
            devices.Add(new(id, device, new() { GroupId = location.Group, Iommu = location.Iommu }));
        }

        return null;
    }

    private static DeviceId NextFree(HashSet<DeviceId> taken)
    {
        int slot = 1;
        while (!taken.Add(DeviceId.FromPci(0, slot / 32, slot % 32, 0)))
        {
            slot++;
        }

        return DeviceId.FromPci(0, slot / 32, slot % 32, 0);
    }
}
