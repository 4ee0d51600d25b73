using System.Globalization;

namespace Ioasis.Explain.Walks;

/// <summary>Memory and registers of a machine at one time: enough to follow an address through the tables of its IOMMU.</summary>
/// <param name="memory">Physical memory; it stays the caller's.</param>
/// <param name="registers">Registers of one IOMMU.</param>
internal sealed class MachineSnapshot(MemoryImage memory, RegisterSnapshot registers)
{
    /// <summary>Follows the address of a fault.</summary>
    /// <returns>Its way; null for a fault of another kind of IOMMU, or without device or address.</returns>
    public WalkStory? Walk(Fault fault)
    {
        ArgumentNullException.ThrowIfNull(fault);
        FaultSource source = registers.Kind == SnapshotKind.RiscV ? FaultSource.RiscV : FaultSource.Intel;
        return fault.Source == source && fault.Address is { } address && (fault.Requester ?? RequesterOf(fault.Device)) is { } requester
            ? Walk(new WalkRequest(requester, fault.Pasid, address, fault.Access))
            : null;
    }

    /// <summary>Follows an address.</summary>
    public WalkStory Walk(WalkRequest request) => Walker.Walk(memory, registers, request);

    // DDDD:BB:DD.F as kernels write it.
    private static uint? RequesterOf(string? device)
    {
        string[] parts = device?.Split(':', '.') ?? [];
        uint[] numbers = [.. parts.Select(static part => uint.TryParse(part, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out uint number) ? number : uint.MaxValue)];
        return numbers is [<= 0xffff, <= 0xff, <= 0x1f, <= 7] ? (numbers[0] << 16) | (numbers[1] << 8) | (numbers[2] << 3) | numbers[3] : null;
    }
}
