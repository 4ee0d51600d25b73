using System.Globalization;
using Ioasis.Primitives;

namespace Ioasis.Linux.Discovery;

/// <summary>Why IOVAs are reserved (the words of <c>reserved_regions</c>).</summary>
public enum LinuxReservedRegionKind
{
    /// <summary><c>direct</c>: mapped one to one for the firmware's sake.</summary>
    Direct,

    /// <summary><c>direct-relaxable</c>: mapped one to one until a driver takes the device.</summary>
    DirectRelaxable,

    /// <summary><c>reserved</c>: not translated.</summary>
    Reserved,

    /// <summary><c>msi</c>: where interrupts are sent.</summary>
    Msi,

    /// <summary>A word that this version does not know.</summary>
    Other,
}

/// <summary>A reserved region of a group.</summary>
/// <param name="Range">IOVAs, both ends inclusive.</param>
/// <param name="Kind">Why.</param>
public readonly record struct LinuxReservedRegion(AddressRange Range, LinuxReservedRegionKind Kind);

/// <summary>A group: the devices that the IOMMU cannot keep apart.</summary>
/// <param name="Number">Its number in <c>/sys/kernel/iommu_groups</c>.</param>
public sealed record LinuxIommuGroup(int Number)
{
    /// <summary>What it is attached to by default: <c>DMA</c>, <c>DMA-FQ</c> (lazy), <c>identity</c>, <c>blocked</c>; null if unknown.</summary>
    public string? Type { get; init; }

    /// <summary>Its devices, by name.</summary>
    public IReadOnlyList<LinuxDevice> Devices { get; init; } = [];

    /// <summary>Its reserved regions, as the kernel lists them.</summary>
    public IReadOnlyList<LinuxReservedRegion> ReservedRegions { get; init; } = [];

    /// <summary>Bits of IOVA that every IOMMU of the group has, if they say so; otherwise 64, which no hardware has.</summary>
    public int AddressBits { get; init; } = 64;

    /// <summary>Whether <see cref="AddressBits"/> is what the hardware says.</summary>
    public bool KnowsAddressBits => AddressBits < 64;

    /// <summary>
    /// The IOVAs that a program can map: below the limit and not reserved. Regions that are direct only until a driver takes
    /// the device are free (VFIO and iommufd give them too). The kernel itself may know of tighter limits.
    /// </summary>
    public IReadOnlyList<AddressRange> UsableRanges()
    {
        List<AddressRange> usable = [];
        ulong next = 0;
        ulong last = AddressBits >= 64 ? ulong.MaxValue : (1ul << AddressBits) - 1;
        foreach (AddressRange taken in ReservedRegions
            .Where(static region => region.Kind != LinuxReservedRegionKind.DirectRelaxable)
            .Select(static region => region.Range)
            .Order())
        {
            if (taken.Start > last)
            {
                break;
            }

            if (taken.Start > next)
            {
                usable.Add(new(next, taken.Start - 1));
            }

            if (taken.Last >= last)
            {
                return usable;
            }

            next = Math.Max(next, taken.Last + 1);
        }

        usable.Add(new(next, last));
        return usable;
    }

    internal static LinuxIommuGroup Read(Sysfs sysfs, int number, IReadOnlyDictionary<string, LinuxIommu> iommus)
    {
        string folder = string.Create(CultureInfo.InvariantCulture, $"sys/kernel/iommu_groups/{number}");
        LinuxDevice[] devices =
        [
            .. sysfs.List($"{folder}/devices").Select(name => LinuxDevice.Read(sysfs, $"{folder}/devices/{name}", name)),
        ];
        return new(number)
        {
            Type = sysfs.TryRead($"{folder}/type"),
            Devices = devices,
            ReservedRegions = ParseRegions(sysfs.TryRead($"{folder}/reserved_regions") ?? ""),
            AddressBits = devices
                .Select(device => device.Iommu is { } name && iommus.TryGetValue(name, out LinuxIommu? iommu) ? iommu.AddressBits ?? 64 : 64)
                .DefaultIfEmpty(64)
                .Min(),
        };
    }

    // "0x00000000fee00000 0x00000000feefffff msi", a line each.
    private static List<LinuxReservedRegion> ParseRegions(string text)
    {
        List<LinuxReservedRegion> regions = [];
        foreach (string line in text.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (words.Length == 3 && TryHex(words[0], out ulong start) && TryHex(words[1], out ulong last) && start <= last)
            {
                regions.Add(new(
                    new(start, last),
                    words[2] switch
                    {
                        "direct" => LinuxReservedRegionKind.Direct,
                        "direct-relaxable" => LinuxReservedRegionKind.DirectRelaxable,
                        "reserved" => LinuxReservedRegionKind.Reserved,
                        "msi" => LinuxReservedRegionKind.Msi,
                        _ => LinuxReservedRegionKind.Other,
                    }));
            }
        }

        return regions;
    }

    private static bool TryHex(string text, out ulong value)
    {
        value = 0;
        return text.StartsWith("0x", StringComparison.Ordinal)
            && ulong.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
    }
}
