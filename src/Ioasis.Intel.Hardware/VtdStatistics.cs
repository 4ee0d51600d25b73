using Ioasis.Hardware;
using Ioasis.Intel.Architecture;

namespace Ioasis.Intel.Hardware;

/// <summary>Descriptors of one type.</summary>
/// <param name="Type">The type.</param>
/// <param name="Executed">How many were executed.</param>
/// <param name="RemovedEntries">IOTLB entries that they removed.</param>
internal readonly record struct DescriptorStatistics(DescriptorType Type, long Executed, long RemovedEntries);

/// <summary>A snapshot of counts since the unit was made. Totals are sums over <see cref="Devices"/>.</summary>
/// <param name="Devices">By device ID.</param>
/// <param name="Descriptors">One element for each type.</param>
/// <param name="Faults">By reason; also those that found no recording register.</param>
internal sealed record VtdStatistics(
    IReadOnlyList<DeviceStatistics> Devices,
    IReadOnlyList<DescriptorStatistics> Descriptors,
    IReadOnlyDictionary<FaultReason, long> Faults)
{
    /// <summary>Requests that the IOTLB answered, and those that need no translation.</summary>
    public long Hits => Devices.Sum(d => d.Hits);

    /// <summary>Requests that walked page tables.</summary>
    public long Misses => Devices.Sum(d => d.Misses);

    /// <summary>Live entries that had to go for others.</summary>
    public long Evictions => Devices.Sum(d => d.Evictions);

    /// <summary>Memory reads of requests that missed.</summary>
    public long WalkReads => Devices.Sum(d => d.WalkReads);
}
