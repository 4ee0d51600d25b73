using System.Globalization;
using Ioasis.Devices;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Hardware;

namespace Ioasis.VfioUser;

/// <summary>
/// Sits at the queues of an IOMMU: counts commands and faults since the reset, lets those fail that it was told to, and hands what passes to a log. The model
/// calls it under its register lock.
/// </summary>
internal sealed class IommuFailures(IReadOnlyList<IommuFailure> failures) : IRiscVIommuTap
{
    private const int MisdeedLimit = 4096;

    private readonly Lock _lock = new();
    private readonly List<DeviceMisdeed> _misdeeds = [];
    private readonly long[] _failed = new long[failures.Count];
    private long _commands;
    private long _faults;
    private long _sentMeanwhile;
    private bool _isStopped;

    /// <summary>Whether anything can fail.</summary>
    public bool Any => failures.Count > 0;

    /// <summary>Who is told of commands that are executed, by their two doublewords.</summary>
    public Action<ulong, ulong>? CommandSink { get; set; }

    /// <summary>Who is told of faults that are recorded.</summary>
    public Action<FaultRecord>? FaultSink { get; set; }

    /// <summary>What failed so far.</summary>
    public IReadOnlyList<DeviceMisdeed> Misdeeds
    {
        get
        {
            lock (_lock)
            {
                return [.. _misdeeds];
            }
        }
    }

    /// <summary>Counts anew.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            (_commands, _faults, _sentMeanwhile, _isStopped) = (0, 0, 0, false);
            Array.Clear(_failed);
        }
    }

    /// <summary>Software is about to move the tail of the command queue.</summary>
    public void OnTail()
    {
        lock (_lock)
        {
            _sentMeanwhile += _isStopped ? 1 : 0;
        }
    }

    /// <inheritdoc/>
    public uint OnCommand(ulong low, ulong high)
    {
        lock (_lock)
        {
            uint bit = Next(true, _commands + 1, $"command 0x{low:x} 0x{high:x}");
            if (bit == 0)
            {
                _commands++;
                if (_isStopped)
                {
                    Note(_commands, string.Create(CultureInfo.InvariantCulture, $"command 0x{low:x} 0x{high:x} passed; {_sentMeanwhile} were sent behind it before"));
                    (_isStopped, _sentMeanwhile) = (false, 0);
                }

                CommandSink?.Invoke(low, high);
            }

            _isStopped = bit != 0;
            return bit;
        }
    }

    /// <inheritdoc/>
    public uint OnFaultRecord(in FaultRecord record)
    {
        lock (_lock)
        {
            uint bit = Next(false, ++_faults, $"record of cause {(int)record.Cause} at 0x{record.Iotval:x}");
            if (bit == 0)
            {
                FaultSink?.Invoke(record);
            }

            return bit;
        }
    }

    private uint Next(bool isCommand, long number, string what)
    {
        for (int i = 0; i < failures.Count; i++)
        {
            IommuFailure failure = failures[i];
            long after = number - failure.At;
            if (failure.IsCommand == isCommand && _failed[i] < failure.Times && (isCommand ? after == 0 : after >= 0))
            {
                _failed[i]++;
                Note(number, $"{failure.Word}: {what}");
                return failure.Bit;
            }
        }

        return 0;
    }

    private void Note(long number, string what)
    {
        if (_misdeeds.Count < MisdeedLimit)
        {
            _misdeeds.Add(new(number, what));
        }
    }
}
