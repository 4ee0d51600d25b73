using System.Globalization;
using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Embedded;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Input;
using Ioasis.Replay.Planning;
using Ioasis.Replay.Recording;
using Ioasis.Replay.Report;

namespace Ioasis.Replay.Engine;

/// <summary>
/// Carries out what a plan decides, while it is decided: every step through the client API and the ABI, every check and every logged
/// access as a DMA through the hardware model. It decides nothing about the recording; that is the plan's part.
/// </summary>
internal sealed partial class ReplayEngine
{
    /// <summary>The time limit of deferred invalidations, the kernel's own default.</summary>
    private const long LazyLimitNs = 10_000_000;

    private readonly ReplayCase _case;
    private readonly IEnumerator<ScheduledDma> _accesses;
    private readonly ReplayOptions _options;
    private readonly ReplayStack _stack;
    private readonly TraceClock _clock;
    private readonly SpilledList<DmaAccess>.Reader? _logged;
    private readonly CheckLog _checks;
    private readonly CounterSeries _series;
    private readonly List<DeviceState> _devices = [];
    private readonly Dictionary<ulong, int> _numbers = [];
    private readonly Dictionary<int, long> _expectedFaults = [];
    private readonly IDiscardableMemory? _discarding;
    private readonly EmbeddedIommu _iommu;
    private IDmaPort _port;
    private ulong _random;
    private bool _hasAccess;
    private long _nextDue = long.MaxValue;

    public ReplayEngine(ReplayCase replay, ReplayOptions options, ReplayStack stack, TraceClock clock, CheckLog checks, CounterSeries series)
    {
        _case = replay;
        _accesses = replay.Accesses.GetEnumerator();
        _hasAccess = _accesses.MoveNext();
        _logged = replay.Log?.Accesses.Read();
        _options = options;
        _stack = stack;
        _clock = clock;
        _checks = checks;
        _series = series;
        _port = stack.Port;
        _iommu = stack.Platform.Iommu;
        _discarding = stack.Platform.PhysicalMemory as IDiscardableMemory;
        _random = (ulong)options.Seed * 0x9e3779b97f4a7c15 | 1;
    }

    /// <summary>Translations asked for.</summary>
    public long Translations { get; private set; }

    /// <summary>Faults that a check or the log called for and got, by cause.</summary>
    public IReadOnlyDictionary<int, long> ExpectedFaults => _expectedFaults;

    /// <summary>Most bytes of page tables at one time, all devices together.</summary>
    public long PeakTotalTableBytes { get; private set; }

    /// <summary>Unmaps whose check fell away because their IOVAs were mapped again before the flush.</summary>
    public long ReusedBeforeFlush => _devices.Sum(static d => d.Pending.Reused);

    /// <summary>Whether there was anything to replay: a map, an unmap or a logged access.</summary>
    public bool DidAnything { get; private set; }

    /// <summary>What was counted for a device.</summary>
    public DeviceState Of(int device) => _devices[device];

    /// <summary>Carries out everything.</summary>
    /// <param name="feed">The plan.</param>
    /// <param name="block">Its first block.</param>
    /// <param name="progress">Told how far it is, or null.</param>
    /// <param name="cancellationToken">Stops it.</param>
    public void Run(PlanFeed feed, PlanBlock block, IProgress<ReplayProgress>? progress, CancellationToken cancellationToken)
    {
        DidAnything = _hasAccess;
        while (true)
        {
            Carry(block, cancellationToken);
            progress?.Report(new("replaying", block.Fraction));
            if (block.IsLast)
            {
                break;
            }

            block = feed.Next();
        }

        RunAccesses(long.MaxValue);
        if (_options.LazyInvalidation)
        {
            MoveClock(_clock.NowNs + (2 * LazyLimitNs));
        }

        DrainFaults();
        progress?.Report(new("replaying", 1));
    }

    private void Carry(PlanBlock block, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        foreach (PlannedDevice device in block.NewDevices)
        {
            AddDevice(device);
        }

        ReadOnlySpan<PlannedCall> calls = block.Calls;
        DidAnything |= calls.Length > 0;
        int nextSample = 0;
        for (int i = 0; i < calls.Length; i++)
        {
            ref readonly PlannedCall planned = ref calls[i];
            BeginCall(planned.Call);
            if (planned.IsMap)
            {
                Map(planned);
            }
            else
            {
                Unmap(planned);
            }

            if (nextSample < block.Samples.Count && block.Samples[nextSample].Call == i)
            {
                _series.Sample(block.Samples[nextSample++].Seconds);
            }

            if (!planned.IsMap && _options.Check != CheckLevel.None && planned.Call.CheckLength != 0)
            {
                CheckOrDefer(planned.Call, block.EndedBy(planned));
            }
        }
    }

    private void Map(in PlannedCall planned)
    {
        ref readonly PlanCall call = ref planned.Call;
        DeviceState device = _devices[call.Device];
        if (_options.LazyInvalidation)
        {
            device.Pending.Reuse(call.Start, call.Length);
        }

        Errno error = device.Space.MapErrno(new(planned.Value, call.Length), new(call.Start), Access.ReadWrite);
        _checks.Count(CheckKind.MapCall);
        if (error != Errno.Success)
        {
            Fail(CheckKind.MapCall, call, call.Start, "success", error.ToString());
        }
        else if (_options.Check != CheckLevel.None)
        {
            CheckMapped(call, device, planned.Value);
        }

        NoteTables(call.Device);
    }

    private void Unmap(in PlannedCall planned)
    {
        ref readonly PlanCall call = ref planned.Call;
        Errno error = _devices[call.Device].Space.UnmapErrno(new(call.Start), call.Length, out ulong unmapped);
        _checks.Count(CheckKind.UnmapCall);
        if (error != Errno.Success || unmapped != planned.Value)
        {
            Fail(
                CheckKind.UnmapCall,
                call,
                call.Start,
                string.Create(CultureInfo.InvariantCulture, $"{planned.Value} bytes"),
                error != Errno.Success ? error.ToString() : string.Create(CultureInfo.InvariantCulture, $"{unmapped} bytes"));
        }
    }

    private void CheckOrDefer(in PlanCall call, ReadOnlySpan<AddressRange> ended)
    {
        if (_options.LazyInvalidation)
        {
            // The clock's time, which may be a little later than the event's: the kernel's limit runs from there.
            long now = _clock.NowNs;
            _devices[call.Device].Pending.Add(new(call, now, _options.Check == CheckLevel.All ? ended.ToArray() : []));
            _nextDue = Math.Min(_nextDue, now + LazyLimitNs);
        }
        else
        {
            CheckUnmapped(call, ended);
        }
    }

    private void AddDevice(PlannedDevice device)
    {
        int number = _devices.Count;
        DeviceId requester = _stack.AddDevice(device.Id);
        _devices.Add(new(device.Name, requester, _stack.Space(number)));
        _numbers[device.Id.Value] = number;
        _port = _stack.Port;

        // As if it had been there from the beginning, wherever a recording names it first.
        long bytes = _stack.TableBytes(number);
        _devices[number].PeakTableBytes = bytes;
        PeakTotalTableBytes += bytes;
    }

    private void BeginCall(in PlanCall call)
    {
        if (_hasAccess)
        {
            RunAccesses(call.Number - 1);
        }

        if (_options.LazyInvalidation)
        {
            MoveClock(call.TimeNs);
        }
    }

    /// <summary>Makes the logged accesses whose place is after a call.</summary>
    private void RunAccesses(long afterCall)
    {
        for (; _hasAccess && _accesses.Current.AfterStep <= afterCall; _hasAccess = _accesses.MoveNext())
        {
            ScheduledDma scheduled = _accesses.Current;
            ref readonly DmaAccess access = ref _logged![scheduled.Access];
            DeviceState device = _devices[scheduled.Device];
            device.Classes[(int)scheduled.Class]++;
            bool write = access.Access == Access.Write;
            switch (scheduled.Class)
            {
                case DmaClass.OutsideRecording:
                    break;

                case DmaClass.RecordedFault:
                    if (!_options.LazyInvalidation || !device.Pending.Overlaps(access.Iova, 1))
                    {
                        CheckFaults(CheckKind.LoggedFault, scheduled.Device, access.Iova, write, access.Line);
                    }

                    break;

                default:
                    CheckLogged(scheduled, access, write);
                    break;
            }
        }
    }

    private void Translate(DeviceState device, ulong iova, bool write, out DmaTranslation translation)
    {
        Translations++;
        device.Translations++;
        DmaRequest request = new(device.Id, new(iova), write ? DmaFlags.Write : DmaFlags.None);
        _port.Translate(request, out translation);
    }

    /// <summary>Lets deferred invalidations become due, and checks what they cover.</summary>
    private void MoveClock(long timeNs)
    {
        _clock.MoveTo(timeNs);
        if (timeNs < _nextDue)
        {
            return;
        }

        long now = _clock.NowNs;
        _stack.Platform.Poll();
        _nextDue = long.MaxValue;
        foreach (DeviceState device in _devices)
        {
            while (device.Pending.TryTakeDue(now, out PendingCheck check))
            {
                CheckUnmapped(check.Call, check.Ended);
            }

            _nextDue = Math.Min(_nextDue, device.Pending.DueNs);
        }
    }

    private void NoteTables(int device)
    {
        long bytes = _stack.TableBytes(device);
        if (bytes > _devices[device].PeakTableBytes)
        {
            _devices[device].PeakTableBytes = bytes;
            PeakTotalTableBytes = Math.Max(PeakTotalTableBytes, _stack.TotalTableBytes());
        }
    }

    private bool TryTakeFault(out IommuFault fault)
    {
        if (!_stack.Platform.TryDequeueFault(out fault))
        {
            return false;
        }

        CountFault(fault);
        return true;
    }

    private void DrainFaults()
    {
        while (_stack.Platform.TryDequeueFault(out IommuFault fault))
        {
            CountFault(fault);
        }
    }

    private void CountFault(in IommuFault fault)
    {
        if (_numbers.TryGetValue(fault.DeviceId.Value, out int device))
        {
            _devices[device].Faults++;
        }
    }

    // xorshift64*: small, and the same everywhere.
    private ulong Next()
    {
        _random ^= _random >> 12;
        _random ^= _random << 25;
        _random ^= _random >> 27;
        return _random * 0x2545f4914f6cdd1d;
    }

    /// <summary>One device during a replay, and what was counted for it.</summary>
    internal sealed class DeviceState(string name, DeviceId id, IoAddressSpace space)
    {
        public string Name { get; } = name;

        public DeviceId Id { get; } = id;

        public IoAddressSpace Space { get; } = space;

        public PendingInvalidations Pending { get; } = new(LazyLimitNs);

        /// <summary>Translations asked for.</summary>
        public long Translations { get; set; }

        /// <summary>Faults.</summary>
        public long Faults { get; set; }

        /// <summary>Most bytes of page tables at one time.</summary>
        public long PeakTableBytes { get; set; }

        /// <summary>Logged accesses by class.</summary>
        public long[] Classes { get; } = new long[Enum.GetValues<DmaClass>().Length];
    }
}
