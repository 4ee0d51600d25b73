using System.Globalization;
using Ioasis.Primitives;

namespace Ioasis.Lab.Qemu;

/// <summary>Where things are in a machine of QEMU's, and what it takes to reach them.</summary>
public sealed record QemuBoard
{
    /// <summary>RISC-V's <c>virt</c>: as the device tree says that it gives its guests (<c>-M virt,dumpdtb=FILE</c>).</summary>
    public static QemuBoard RiscVVirt { get; } = new()
    {
        RamStart = 0x8000_0000,
        RamSkipped = 0,
        EcamStart = 0x3000_0000,
        PciMemory = new(0x4000_0000, 0x7fff_ffff),
        Arguments = ["-bios", "none"],
        TracedEvents = "riscv_iommu_*",
    };

    /// <summary>
    /// The PC with Intel's Q35 chipset. RAM begins at 0; the first MiB has holes. Nothing is in the way of a window for configuration space
    /// at 0xb0000000, where firmware puts it too, and of BARs behind it.
    /// </summary>
    public static QemuBoard Q35 { get; } = new()
    {
        RamStart = 0,
        RamSkipped = 1 << 20,
        EcamStart = 0xb000_0000,
        PciMemory = new(0xc000_0000, 0xfdff_ffff),
        Arguments = [],
        TracedEvents = "vtd_*",
        HostBridgeWindow = 0x60,
    };

    /// <summary>Where RAM begins.</summary>
    public required ulong RamStart { get; init; }

    /// <summary>How much of its beginning is left alone, in bytes.</summary>
    public required ulong RamSkipped { get; init; }

    /// <summary>Where the window of PCI configuration space is: 1 MiB a bus.</summary>
    public required ulong EcamStart { get; init; }

    /// <summary>Where memory BARs go.</summary>
    public required AddressRange PciMemory { get; init; }

    /// <summary>Arguments that it needs.</summary>
    public required IReadOnlyList<string> Arguments { get; init; }

    /// <summary>Trace events of its IOMMU.</summary>
    public required string TracedEvents { get; init; }

    // PCIEXBAR of the host bridge (Q35 datasheet, 5.1.16), which is off after reset; 0 where the window is always there.
    private int HostBridgeWindow { get; init; }

    /// <summary>The RAM that tests may use, of so many MiB.</summary>
    internal AddressRange Ram(int memoryMiB) => new(RamStart + RamSkipped, RamStart + ((ulong)memoryMiB << 20) - 1);

    /// <summary>Makes the window of configuration space answer, by the ports of PCI 3.0, 3.2.2.3.2.</summary>
    internal void OpenConfiguration(QtestConnection qtest)
    {
        if (HostBridgeWindow == 0)
        {
            return;
        }

        const ulong enable = 1;
        ulong[] halves = [(uint)EcamStart | enable, EcamStart >> 32];
        for (int i = 0; i < halves.Length; i++)
        {
            qtest.Post(string.Create(CultureInfo.InvariantCulture, $"outl 0xcf8 0x{0x8000_0000u + (uint)HostBridgeWindow + (4 * i):x}"));
            qtest.Post(string.Create(CultureInfo.InvariantCulture, $"outl 0xcfc 0x{halves[i]:x}"));
        }
    }
}
