using Ioasis.Core;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.PageTables;
using Ioasis.PageTables.Formats;
using Ioasis.Primitives;

namespace Ioasis.AbiSuite.Tests;

/// <summary>
/// An embedded platform with the topology of the recorded machine: IOVAs below 2^39 but for x86's MSI window, leaves of 4 KiB,
/// 2 MiB and 1 GiB, two edu devices in groups of their own.
/// </summary>
internal sealed class EmbeddedMachine : IDisposable
{
    private const CaseNeeds Offers = CaseNeeds.Container | CaseNeeds.SecondGroup | CaseNeeds.Iommufd | CaseNeeds.DeviceNode
        | CaseNeeds.Edu | CaseNeeds.Compatibility;

    private readonly PciDevice _first;
    private readonly EduDevice _secondEdu = new();

    /// <summary>Makes it with an IOMMU of a kind.</summary>
    public EmbeddedMachine(string iommu = RiscVIommuSlot.KindName)
        : this(SlotOf(iommu), new(1ul << 39, (1ul << 47) - 1))
    {
    }

    /// <summary>Makes it with an IOMMU.</summary>
    /// <param name="slot">The IOMMU.</param>
    /// <param name="beyond">Addresses that the recorded machine's IOMMU does not reach, and this one does.</param>
    /// <param name="device">The device of the conversations; null for an edu device.</param>
    public EmbeddedMachine(IommuSlot slot, AddressRange? beyond = null, PciDevice? device = null)
    {
        _first = device ?? new EduDevice();
        Platform = new(new() { Iommus = [slot] });
        EmbeddedEndpoint first = Add(_first, 1, beyond);
        EmbeddedEndpoint second = Add(_secondEdu, 2, beyond);
        Target = new(Platform.Kernel)
        {
            DeviceName = first.Device.Name,
            DevicePath = first.DevicePath,
            GroupPath = $"/dev/vfio/{first.Device.Group.Id}",
            SecondDeviceName = second.Device.Name,
            SecondDevicePath = second.DevicePath,
            SecondGroupPath = $"/dev/vfio/{second.Device.Group.Id}",
            Offers = _first is EduDevice ? Offers : Offers & ~CaseNeeds.Edu,
        };
    }

    /// <summary>The cases whose needs the embedded kernel meets.</summary>
    public static IReadOnlyList<AbiCase> Cases { get; } = [.. SuiteRunner.Cases.Where(static @case => (@case.Needs & ~Offers) == 0)];

    public EmbeddedPlatform Platform { get; }

    public SuiteTarget Target { get; }

    public void Dispose()
    {
        Platform.Dispose();
        _first.Dispose();
        _secondEdu.Dispose();
    }

    // The recorded machine is one of VT-d, with second stages of 3 levels.
    private static IommuSlot SlotOf(string iommu) => iommu switch
    {
        VtdIommuSlot.KindName => new VtdIommuSlot { Format = PageTableFormat.Of<VtdStage2Level3>() },
        _ => new RiscVIommuSlot
        {
            MsiWindow = new AddressRange(0xfee0_0000, 0xfeef_ffff),
            Driver = new() { UseNapot = false, LeafSizes = (1ul << 12) | (1ul << 21) | (1ul << 30) },
        },
    };

    private EmbeddedEndpoint Add(PciDevice device, byte slot, AddressRange? beyond) => Platform.AddDevice(
        device,
        DeviceId.FromPci(0, 0, slot, 0),
        new() { ReservedRegions = beyond is { } range ? [new(range, ReservedRegionKind.Reserved)] : [] });
}
