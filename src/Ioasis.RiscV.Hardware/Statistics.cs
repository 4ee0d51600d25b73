using Ioasis.Hardware;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <summary>Kinds of commands, as statistics count them.</summary>
internal enum CommandKind
{
    /// <summary>IOTINVAL.VMA of a whole address space or of all.</summary>
    InvalidateFirstStage,

    /// <summary>IOTINVAL.VMA with an address (AV).</summary>
    InvalidateFirstStageAddress,

    /// <summary>IOTINVAL.GVMA of a whole guest or of all.</summary>
    InvalidateSecondStage,

    /// <summary>IOTINVAL.GVMA with an address (AV).</summary>
    InvalidateSecondStageAddress,

    /// <summary>IODIR.INVAL_DDT.</summary>
    InvalidateDeviceDirectory,

    /// <summary>IODIR.INVAL_PDT.</summary>
    InvalidateProcessDirectory,

    /// <summary>IOFENCE.C.</summary>
    Fence,

    /// <summary>ATS.INVAL.</summary>
    AtsInvalidate,

    /// <summary>ATS.PRGR.</summary>
    AtsPageResponse,
}

/// <summary>Commands of one kind.</summary>
/// <param name="Kind">The kind.</param>
/// <param name="Executed">How many were executed.</param>
/// <param name="RemovedEntries">IOTLB entries that they removed.</param>
internal readonly record struct CommandStatistics(CommandKind Kind, long Executed, long RemovedEntries);

/// <summary>A snapshot of counts since the IOMMU was made. Totals are sums over <see cref="Devices"/>.</summary>
/// <param name="Devices">By device ID.</param>
/// <param name="Commands">One element for each kind.</param>
/// <param name="Faults">By cause; also those that were not recorded in the fault queue.</param>
internal sealed record IommuStatistics(
    IReadOnlyList<DeviceStatistics> Devices,
    IReadOnlyList<CommandStatistics> Commands,
    IReadOnlyDictionary<FaultCause, long> Faults)
{
    /// <summary>Requests that the IOTLB answered, and those that need no translation.</summary>
    public long Hits => Devices.Sum(d => d.Hits);

    /// <summary>Requests that walked page tables.</summary>
    public long Misses => Devices.Sum(d => d.Misses);

    /// <summary>Live entries that had to go for others.</summary>
    public long Evictions => Devices.Sum(d => d.Evictions);

    /// <summary>Memory reads of requests that missed.</summary>
    public long WalkReads => Devices.Sum(d => d.WalkReads);

    /// <summary>Memory reads of an average miss; 0 without any.</summary>
    public double ReadsPerWalk => Misses == 0 ? 0 : (double)WalkReads / Misses;
}

/// <summary>Sums of <see cref="IommuStatistics"/>, for who looks often.</summary>
/// <param name="Hits">Requests that the IOTLB answered, and those that need no translation.</param>
/// <param name="Misses">Requests that walked page tables.</param>
/// <param name="Invalidations">Commands that invalidate: all but fences and responses to page requests.</param>
/// <param name="RemovedEntries">IOTLB entries that they removed.</param>
internal readonly record struct IommuTotals(long Hits, long Misses, long Invalidations, long RemovedEntries);

/// <content>Statistics.</content>
public sealed partial class RiscVIommu
{
    private readonly long[] _commandCounts = new long[(int)CommandKind.AtsPageResponse + 1];
    private readonly long[] _commandRemovals = new long[(int)CommandKind.AtsPageResponse + 1];
    private readonly long[] _faultCounts = new long[(int)FaultCause.PageTableDataCorruption + 1];

    // Under the cache lock.
    private readonly Dictionary<uint, DeviceCounters> _deviceCounters = [];

    /// <summary>
    /// Takes a snapshot of the statistics. Commands and faults are always counted; hits, misses, evictions and walks if
    /// <see cref="RiscVIommuOptions.CollectStatistics"/> is on.
    /// </summary>
    internal IommuStatistics GetStatistics()
    {
        DeviceStatistics[] devices;
        using (_cacheLock.Acquire())
        {
            devices = [.. _deviceCounters.Values.Select(counters => counters.Snapshot()).OrderBy(d => d.Device.Value)];
        }

        using (_lock.Acquire())
        {
            CommandStatistics[] commands = new CommandStatistics[_commandCounts.Length];
            for (int i = 0; i < commands.Length; i++)
            {
                commands[i] = new((CommandKind)i, _commandCounts[i], _commandRemovals[i]);
            }

            Dictionary<FaultCause, long> faults = [];
            for (int cause = 0; cause < _faultCounts.Length; cause++)
            {
                if (_faultCounts[cause] != 0)
                {
                    faults[(FaultCause)cause] = _faultCounts[cause];
                }
            }

            return new(devices, commands, faults);
        }
    }

    /// <summary>Takes a snapshot of the sums alone, without an allocation.</summary>
    internal IommuTotals GetTotals()
    {
        IommuTotals totals = default;
        using (_cacheLock.Acquire())
        {
            foreach (DeviceCounters counters in _deviceCounters.Values)
            {
                DeviceStatistics device = counters.Snapshot();
                totals = totals with { Hits = totals.Hits + device.Hits, Misses = totals.Misses + device.Misses };
            }
        }

        using (_lock.Acquire())
        {
            for (int i = 0; i < _commandCounts.Length; i++)
            {
                bool invalidates = (CommandKind)i is not (CommandKind.Fence or CommandKind.AtsPageResponse);
                totals = totals with
                {
                    Invalidations = totals.Invalidations + (invalidates ? _commandCounts[i] : 0),
                    RemovedEntries = totals.RemovedEntries + _commandRemovals[i],
                };
            }
        }

        return totals;
    }

    // Register lock held.
    private void CountCommand(CommandKind kind, int removed = 0)
    {
        _commandCounts[(int)kind]++;
        _commandRemovals[(int)kind] += removed;
    }

    private void CountFault(FaultCause cause) => _faultCounts[(int)cause]++;

    // Cache lock held.
    private DeviceCounters? CountersOf(uint deviceId)
    {
        if (!Options.CollectStatistics)
        {
            return null;
        }

        if (!_deviceCounters.TryGetValue(deviceId, out DeviceCounters? counters))
        {
            counters = new(deviceId);
            _deviceCounters.Add(deviceId, counters);
        }

        return counters;
    }
}
