using Ioasis.Embedded;
using Ioasis.Primitives;

namespace Ioasis.Replay.Engine;

/// <summary>What one device did in the hardware model.</summary>
/// <param name="Hits">Requests that the IOTLB answered.</param>
/// <param name="Misses">Requests that walked.</param>
/// <param name="Evictions">Live entries that gave way.</param>
/// <param name="WalkReads">Memory reads of the walks.</param>
internal readonly record struct DeviceCounts(long Hits, long Misses, long Evictions, long WalkReads);

/// <summary>A snapshot of what the hardware model counted: the one place that knows its statistics.</summary>
internal sealed class HardwareCounters
{
    private readonly Dictionary<ulong, DeviceCounts> _devices = [];

    private HardwareCounters(IommuActivity activity)
    {
        foreach (DeviceActivity d in activity.Devices)
        {
            DeviceCounts counts = new(d.Hits, d.Misses, d.Evictions, d.WalkReads);
            _devices[d.Device.Value] = counts;
            Total = new(
                Total.Hits + counts.Hits, Total.Misses + counts.Misses, Total.Evictions + counts.Evictions, Total.WalkReads + counts.WalkReads);
        }

        foreach (CommandActivity command in activity.Commands)
        {
            if (command.Executed == 0)
            {
                continue;
            }

            Commands.Add((command.Name, command.Executed, command.RemovedEntries));
        }

        foreach (FaultActivity fault in activity.Faults)
        {
            Faults[fault.Cause] = fault.Count;
        }
    }

    /// <summary>Sum over all devices.</summary>
    public DeviceCounts Total { get; }

    /// <summary>Commands executed, by the specification's names, with the entries that they removed.</summary>
    public List<(string Kind, long Executed, long Removed)> Commands { get; } = [];

    /// <summary>Faults by cause.</summary>
    public SortedDictionary<int, long> Faults { get; } = [];

    /// <summary>Takes a snapshot.</summary>
    public static HardwareCounters Of(ReplayStack stack) => new(stack.Platform.Iommu.GetActivity());

    /// <summary>Counts of one device.</summary>
    public DeviceCounts Device(DeviceId id) => _devices.GetValueOrDefault(id.Value);
}
