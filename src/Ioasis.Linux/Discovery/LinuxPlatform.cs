using System.Globalization;
using Ioasis.Primitives;

namespace Ioasis.Linux.Discovery;

/// <summary>
/// What a Linux machine has of IOMMUs: its IOMMUs, its groups with their devices, and why it has none. A picture of one moment.
/// </summary>
public sealed record LinuxPlatform
{
    /// <summary>IOMMUs, by name.</summary>
    internal IReadOnlyList<LinuxIommu> Iommus { get; init; } = [];

    /// <summary>Groups, by number.</summary>
    public IReadOnlyList<LinuxIommuGroup> Groups { get; init; } = [];

    /// <summary>What stands in the way of using groups, the most likely first; empty if nothing is known to.</summary>
    public IReadOnlyList<string> Hints { get; init; } = [];

    /// <summary>Looks at a machine.</summary>
    public static LinuxPlatform Discover(Sysfs sysfs)
    {
        ArgumentNullException.ThrowIfNull(sysfs);
        LinuxIommu[] iommus = [.. sysfs.List("sys/class/iommu").Select(name => LinuxIommu.Read(sysfs, name))];
        Dictionary<string, LinuxIommu> byName = iommus.ToDictionary(static iommu => iommu.Name, StringComparer.Ordinal);
        LinuxIommuGroup[] groups =
        [
            .. sysfs.List("sys/kernel/iommu_groups")
                .Select(static name => int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : -1)
                .Where(static number => number >= 0)
                .Order()
                .Select(number => LinuxIommuGroup.Read(sysfs, number, byName)),
        ];
        return new() { Iommus = iommus, Groups = groups, Hints = Diagnosis.Hints(sysfs, iommus, groups) };
    }

    /// <summary>Finds a device in its group.</summary>
    /// <param name="name">As sysfs names it; a PCI address may leave out the domain 0000, or write it with other zeros in front.</param>
    /// <param name="device">The device.</param>
    /// <param name="group">Its group.</param>
    public bool TryFind(string name, out LinuxDevice? device, out LinuxIommuGroup? group)
    {
        ArgumentNullException.ThrowIfNull(name);
        DeviceId? address = DeviceId.TryParse(name, out DeviceId id) ? id : null;
        foreach (LinuxIommuGroup candidate in Groups)
        {
            foreach (LinuxDevice member in candidate.Devices)
            {
                if (string.Equals(member.Name, name, StringComparison.OrdinalIgnoreCase)
                    || (address is not null && member.Id == address))
                {
                    (device, group) = (member, candidate);
                    return true;
                }
            }
        }

        (device, group) = (null, null);
        return false;
    }
}
