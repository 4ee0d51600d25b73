using Ioasis.Hardware;
using Ioasis.Primitives;
using Ioasis.RiscV.Hardware;

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

    private HardwareCounters(IommuStatistics statistics)
    {
        foreach (DeviceStatistics d in statistics.Devices)
        {
            DeviceCounts counts = new(d.Hits, d.Misses, d.Evictions, d.WalkReads);
            _devices[d.Device.Value] = counts;
            Total = new(
                Total.Hits + counts.Hits, Total.Misses + counts.Misses, Total.Evictions + counts.Evictions, Total.WalkReads + counts.WalkReads);
        }

        foreach (CommandStatistics command in statistics.Commands)
        {
            if (command.Executed == 0)
            {
                continue;
            }

            Commands.Add((Name(command.Kind), command.Executed, command.RemovedEntries));
        }

        foreach ((Ioasis.RiscV.Architecture.FaultCause cause, long count) in statistics.Faults)
        {
            Faults[(int)cause] = count;
        }
    }

    /// <summary>Sum over all devices.</summary>
    public DeviceCounts Total { get; }

    /// <summary>Commands executed, by the specification's names, with the entries that they removed.</summary>
    public List<(string Kind, long Executed, long Removed)> Commands { get; } = [];

    /// <summary>Faults by cause.</summary>
    public SortedDictionary<int, long> Faults { get; } = [];

    /// <summary>Takes a snapshot.</summary>
    public static HardwareCounters Of(ReplayStack stack) => new(stack.Platform.Hardware.GetStatistics());

    /// <summary>Counts of one device.</summary>
    public DeviceCounts Device(DeviceId id) => _devices.GetValueOrDefault(id.Value);

    private static string Name(CommandKind kind) => kind switch
    {
        CommandKind.InvalidateFirstStage => "IOTINVAL.VMA",
        CommandKind.InvalidateFirstStageAddress => "IOTINVAL.VMA address",
        CommandKind.InvalidateSecondStage => "IOTINVAL.GVMA",
        CommandKind.InvalidateSecondStageAddress => "IOTINVAL.GVMA address",
        CommandKind.InvalidateDeviceDirectory => "IODIR.INVAL_DDT",
        CommandKind.InvalidateProcessDirectory => "IODIR.INVAL_PDT",
        CommandKind.Fence => "IOFENCE.C",
        CommandKind.AtsInvalidate => "ATS.INVAL",
        _ => "ATS.PRGR",
    };
}
