using System.Globalization;

namespace Ioasis.Cli.Groups;

/// <summary>Words for PCI classes (PCI Code and ID Assignment Specification, section 1); the ones that one meets.</summary>
internal static class PciClass
{
    private static readonly Dictionary<uint, string> Subclasses = new()
    {
        [0x0100] = "SCSI controller", [0x0101] = "IDE controller", [0x0104] = "RAID controller", [0x0106] = "SATA controller",
        [0x0107] = "SAS controller", [0x0108] = "NVMe controller", [0x0200] = "Ethernet controller", [0x0207] = "InfiniBand controller",
        [0x0280] = "network controller", [0x0300] = "VGA controller", [0x0302] = "3D controller", [0x0401] = "audio device",
        [0x0403] = "audio device", [0x0600] = "host bridge", [0x0601] = "ISA bridge", [0x0604] = "PCI bridge", [0x0780] = "communication controller",
        [0x0806] = "IOMMU", [0x0880] = "system peripheral", [0x0c03] = "USB controller", [0x0c05] = "SMBus", [0x0d11] = "Bluetooth controller",
        [0x1080] = "encryption controller", [0x1200] = "processing accelerator",
    };

    private static readonly string[] BaseClasses =
    [
        "old device", "mass storage controller", "network controller", "display controller", "multimedia device", "memory controller",
        "bridge", "communication controller", "system peripheral", "input device", "docking station", "processor",
        "serial bus controller", "wireless controller", "intelligent controller", "satellite controller", "encryption controller",
        "signal processing controller", "processing accelerator", "instrumentation",
    ];

    /// <summary>A word or two for a class code of 24 bits.</summary>
    public static string NameOf(uint code) =>
        Subclasses.TryGetValue(code >> 8, out string? name) ? name
        : code >> 16 < (uint)BaseClasses.Length && code >> 8 != 0x00ff ? BaseClasses[code >> 16]
        : string.Create(CultureInfo.InvariantCulture, $"class {code >> 8:x4}");
}
