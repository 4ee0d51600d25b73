using Ioasis.Core;

namespace Ioasis.Machines;

/// <summary>One function of a machine file.</summary>
/// <param name="Function">What it is on the bus.</param>
/// <param name="Line">Where the file says so, from 1.</param>
public sealed record MachineFunction(PcieFunction Function, long Line)
{
    /// <summary>Its name; null if it has none.</summary>
    public string? Name { get; init; }

    /// <summary>Bits of PASID that it can send, 0 to 20.</summary>
    public int PasidBits { get; init; }

    /// <summary>IOVAs of it that are not free to map.</summary>
    public IReadOnlyList<ReservedRegion> ReservedRegions { get; init; } = [];

    /// <summary>Which of the machine's IOMMUs is before it, from 0.</summary>
    public int Iommu { get; init; }

    /// <summary>The model in its place, as <see cref="Devices.DeviceKinds"/> takes it (<c>nvme,file=disk.img</c>); null for none.</summary>
    public string? Device { get; init; }
}
