using System.Globalization;

namespace Ioasis.Linux.Discovery;

/// <summary>An IOMMU, as <c>/sys/class/iommu</c> shows it.</summary>
/// <param name="Name">Its name there: <c>dmar0</c>, <c>ivhd0</c>, <c>riscv-iommu@0000:00:01.0</c>.</param>
internal sealed record LinuxIommu(string Name)
{
    /// <summary>Its vendor's registers and numbers, as text: <c>intel-iommu/cap</c> and so on.</summary>
    public IReadOnlyDictionary<string, string> Attributes { get; init; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>The devices behind it, by name.</summary>
    public IReadOnlyList<string> Devices { get; init; } = [];

    /// <summary>Bits of IOVA that it translates, where a register says so.</summary>
    public int? AddressBits { get; init; }

    internal static LinuxIommu Read(Sysfs sysfs, string name)
    {
        string folder = $"sys/class/iommu/{name}";
        Dictionary<string, string> attributes = new(StringComparer.Ordinal);
        foreach (string vendor in sysfs.List(folder).Where(static entry => entry.EndsWith("-iommu", StringComparison.Ordinal)))
        {
            foreach (string attribute in sysfs.List($"{folder}/{vendor}"))
            {
                if (sysfs.TryRead($"{folder}/{vendor}/{attribute}") is { } value)
                {
                    attributes[$"{vendor}/{attribute}"] = value;
                }
            }
        }

        return new(name)
        {
            Attributes = attributes,
            Devices = sysfs.List($"{folder}/devices"),
            AddressBits = IntelAddressBits(attributes),
        };
    }

    // VT-d specification, 11.4.2: bits 21:16 of the capability register, "maximum guest address width", less 1.
    private static int? IntelAddressBits(Dictionary<string, string> attributes) =>
        attributes.TryGetValue("intel-iommu/cap", out string? text)
        && ulong.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong cap)
            ? (int)((cap >> 16) & 0x3f) + 1
            : null;
}
