using System.Globalization;
using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Replay.DmaLogs;
using Ioasis.Replay.Planning;
using Ioasis.Replay.Recording;
using Ioasis.Replay.Report;

namespace Ioasis.Replay.Engine;

/// <summary>
/// Carries out what a plan decides, while it is decided: every step through the client API and the ABI, every check and every logged
/// access as a DMA through the hardware model. It decides nothing about the recording; that is the plan's part.
/// </summary>
internal sealed partial class ReplayEngine : IPlanSink
{
    /// <summary>The time limit of deferred invalidations, the kernel's own default.</summary>
    private const long LazyLimitNs = 10_000_000;

    private const int ReadCause = 13;
    private const int WriteCause = 15;

    private readonly ReplayCase _case;
    private readonly DeviceTable _table;
    private readonly StreamOwners _owners;
    private readonly ScheduledDma[] _accesses;
    private readonly ReplayOptions _options;
    private readonly ReplayStack _stack;
    private readonly TraceClock _clock;
    private readonly CheckLog _checks;
    private readonly SeriesFeeder? _series;
    private readonly MappingPlanner _planner;
    private readonly List<DeviceState> _devices = [];
    private readonly IDiscardableMemory? _discarding;
    private IDmaPort _port;
    private ulong _random;
    private int _nextAccess;
    private long _nextDue = long.MaxValue;
    private bool _hasInvalidations;

    public ReplayEngine(ReplayCase replay, ReplayOptions options, ReplayStack stack, TraceClock clock, CheckLog checks, SeriesFeeder? series)
    {
        _case = replay;
        _table = replay.Feed.Devices;
        _owners = new(_table);
        _accesses = replay.Accesses;
        _options = options;
        _stack = stack;
        _clock = clock;
        _checks = checks;
        _series = series;
        _planner = new(Summary, this, replay.Planning.LastIova);
        _port = stack.Port;
        _discarding = stack.Platform.PhysicalMemory as IDiscardableMemory;
        _random = (ulong)options.Seed * 0x9e3779b97f4a7c15 | 1;
    }

    /// <summary>What the plan sums up; complete after <see cref="Run"/>.</summary>
    public PlanSummary Summary { get; } = new();

    /// <summary>Sums over maps and unmaps.</summary>
    public MappingStatistics Statistics { get; } = new();

    /// <summary>The areas that live after <see cref="Run"/>, in the order of their maps.</summary>
    public LiveArea[] Live { get; private set; } = [];

    /// <summary>Translations asked for.</summary>
    public long Translations { get; private set; }

    /// <summary>Faults that a check or the log called for, by cause.</summary>
    public Dictionary<int, long> ExpectedFaults { get; } = [];

    /// <summary>Most bytes of page tables at one time, all devices together.</summary>
    public long PeakTotalTableBytes { get; private set; }

    /// <summary>Unmaps whose check fell away because their IOVAs were mapped again before the flush.</summary>
    public long ReusedBeforeFlush => _devices.Sum(static d => d.Pending.Reused);

    /// <summary>Whether there was anything to replay: a map, an unmap or a logged access.</summary>
    public bool DidAnything { get; private set; }

    /// <summary>What was counted for a device.</summary>
    public DeviceState Of(int device) => _devices[device];

    /// <summary>Carries out everything.</summary>
    /// <param name="block">The first block of the feed.</param>
    /// <param name="progress">Told how far it is, or null.</param>
    /// <param name="cancellationToken">Stops it.</param>
    public void Run(EventBlock block, IProgress<ReplayProgress>? progress, CancellationToken cancellationToken)
    {
        Summary.RestDevice = _case.Placed?.RestDevice ?? -1;
        Summary.RestChoice = _case.Placed?.RestChoice ?? RestChoice.NotNeeded;
        int[]? overrides = _case.Planning.Overrides;
        DidAnything = _accesses.Length > 0;
        int mappedBefore = _case.Feed.Trace.MappedBefore;
        long index = 0;
        double before = 0;
        while (true)
        {
            Begin(block);
            Span<MappingEvent> events = block.Span;
            for (int i = 0; i < events.Length; i++, index++)
            {
                ref readonly MappingEvent e = ref events[i];
                Statistics.Event(e, e.Device >= 0, index >= mappedBefore);
                _planner.Take(e, e.Device, overrides is null ? -1 : overrides[index]);
                if ((i & 0x3ff) == 0)
                {
                    cancellationToken.ThrowIfCancellationRequested();
                    progress?.Report(new("replaying", before + ((block.Fraction - before) * i / events.Length)));
                }
            }

            before = block.Fraction;
            if (block.IsLast)
            {
                break;
            }

            block = _case.Feed.Next();
        }

        RunAccesses(long.MaxValue);
        if (_options.LazyInvalidation)
        {
            MoveClock(_clock.NowNs + (2 * LazyLimitNs));
        }

        DrainFaults();
        _planner.Finish();
        Live = _planner.Live();
        progress?.Report(new("replaying", 1));
    }

    /// <inheritdoc/>
    public void Map(in PlanCall call, in LiveArea area)
    {
        BeginCall(call);
        DeviceState device = _devices[call.Device];
        if (_options.LazyInvalidation)
        {
            device.Pending.Reuse(call.Start, call.Length);
        }

        Errno error = device.Space.TryMap(area.Physical, area.Length, new(area.Start), Access.ReadWrite);
        _checks.Count(CheckKind.MapCall);
        if (error != Errno.Success)
        {
            Fail(CheckKind.MapCall, call, area.Start, "success", error.ToString());
        }
        else if (_options.Check != CheckLevel.None)
        {
            CheckMapped(call, area);
        }

        NoteTables(call.Device);
        Statistics.Mapped(area);
        _series?.Mapped(area, call.TimeNs);
    }

    /// <inheritdoc/>
    public void Unmap(in PlanCall call, ReadOnlySpan<LiveArea> ended)
    {
        BeginCall(call);
        ulong expected = 0;
        foreach (ref readonly LiveArea area in ended)
        {
            expected += area.Length;
        }

        DeviceState device = _devices[call.Device];
        Errno error = device.Space.TryUnmap(new(call.Start), call.Length, out ulong unmapped);
        _checks.Count(CheckKind.UnmapCall);
        if (error != Errno.Success || unmapped != expected)
        {
            Fail(
                CheckKind.UnmapCall,
                call,
                call.Start,
                string.Create(CultureInfo.InvariantCulture, $"{expected} bytes"),
                error != Errno.Success ? error.ToString() : string.Create(CultureInfo.InvariantCulture, $"{unmapped} bytes"));
        }

        Statistics.Unmapped(call, ended);
        _series?.Unmapped(call, ended);
        if (_options.Check == CheckLevel.None || call.CheckLength == 0)
        {
            return;
        }

        if (_options.LazyInvalidation)
        {
            // The clock's time, which may be a little later than the event's: the kernel's limit runs from there.
            long now = _clock.NowNs;
            device.Pending.Add(new(call, now, _options.Check == CheckLevel.All ? ended.ToArray() : []));
            _nextDue = Math.Min(_nextDue, now + LazyLimitNs);
        }
        else
        {
            CheckUnmapped(call, ended);
        }
    }

    /// <summary>Takes what came beside a block's events: devices, notes, invalidations; chooses who takes what nothing names.</summary>
    private void Begin(EventBlock block)
    {
        if (!_case.Learned && _case.Placed is null)
        {
            if (_case.Planning.Rest is null)
            {
                KernelTrace trace = _case.Feed.Trace;
                int only = block.IsLast && OwnerAssignment.OnlyDevice(trace) is { } device ? _table.Intern(trace.Devices.Name(device)) : -1;
                _owners.Assign(block.Span, _case.Feed.Candidates, only);
            }

            RestRule.Choose(Summary, _case.Planning, _table, block.Span, _case.Feed.Candidates);
        }

        while (_devices.Count < _table.Count)
        {
            AddDevice(_devices.Count);
        }

        _hasInvalidations |= block.Invalidations.Count > 0;
        IEnumerable<long> invalidations = block.IsLast && !_hasInvalidations ? _case.LoggedInvalidationTimes() : block.Invalidations;
        if (_series is not null)
        {
            _series.AddDevices(_table);
            _series.Expect(block.Marks, invalidations);
        }

        foreach (long time in invalidations)
        {
            Statistics.FlushDelays.Invalidation(time);
        }
    }

    private void AddDevice(int number)
    {
        _stack.AddDevice(_table.Id(number));
        _devices.Add(new(_table.Id(number), _stack.Space(number)));
        _planner.GrowTo(_devices.Count);
        _port = _stack.Port;

        // As if it had been there from the beginning, wherever a recording names it first.
        long bytes = _stack.TableBytes(number);
        _devices[number].PeakTableBytes = bytes;
        PeakTotalTableBytes += bytes;
    }

    private void BeginCall(in PlanCall call)
    {
        DidAnything = true;
        if (_accesses.Length > 0)
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
        for (; _nextAccess < _accesses.Length && _accesses[_nextAccess].AfterStep <= afterCall; _nextAccess++)
        {
            ref readonly ScheduledDma scheduled = ref _accesses[_nextAccess];
            ref readonly DmaAccess access = ref _case.Log!.Accesses[scheduled.Access];
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

    private void Translate(int device, ulong iova, bool write, out DmaTranslation translation)
    {
        Translations++;
        DeviceState state = _devices[device];
        state.Translations++;
        DmaRequest request = new(state.Id, new(iova), write ? DmaFlags.Write : DmaFlags.None);
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
        int device = _table.FindRequester(fault.DeviceId);
        if (device >= 0 && device < _devices.Count)
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
    internal sealed class DeviceState(DeviceId id, IoAddressSpace space)
    {
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
