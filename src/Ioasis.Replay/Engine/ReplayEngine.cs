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
/// Carries a plan out: every step through the client API and the ABI, every check and every logged access as a DMA through
/// the hardware model. It decides nothing about the recording; that is the plan's part.
/// </summary>
internal sealed partial class ReplayEngine
{
    /// <summary>The time limit of deferred invalidations, the kernel's own default.</summary>
    private const long LazyLimitNs = 10_000_000;

    private const int ReadCause = 13;
    private const int WriteCause = 15;

    private readonly MappingPlan _plan;
    private readonly PlanStep[] _steps;
    private readonly Area[] _areas;
    private readonly MappingEvent[] _events;
    private readonly DmaLog? _log;
    private readonly ScheduledDma[] _accesses;
    private readonly ReplayOptions _options;
    private readonly ReplayStack _stack;
    private readonly TraceClock _clock;
    private readonly CheckLog _checks;
    private readonly SeriesFeeder? _series;
    private readonly IDmaPort _port;
    private readonly DeviceId[] _ids;
    private readonly PendingInvalidations[] _pending;
    private readonly long[] _peakTableBytes;
    private ulong _random;
    private int _nextAccess;
    private long _nextDue = long.MaxValue;

    public ReplayEngine(
        MappingPlan plan, DmaLog? log, ScheduledDma[] accesses, ReplayOptions options, ReplayStack stack, TraceClock clock,
        CheckLog checks, SeriesFeeder? series)
    {
        _plan = plan;
        _steps = plan.Steps;
        _areas = plan.Areas;
        _events = plan.Trace.Mappings;
        _log = log;
        _accesses = accesses;
        _options = options;
        _stack = stack;
        _clock = clock;
        _checks = checks;
        _series = series;
        int devices = plan.Trace.Devices.Count;
        _ids = new DeviceId[devices];
        _pending = new PendingInvalidations[devices];
        _peakTableBytes = new long[devices];
        for (int i = 0; i < devices; i++)
        {
            _ids[i] = plan.Trace.Devices.Id(i);
            _pending[i] = new(LazyLimitNs);
        }

        _port = devices > 0 ? stack.Endpoints[0]!.Port : stack.Platform.Hardware;
        _random = (ulong)options.Seed * 0x9e3779b97f4a7c15 | 1;
        ExpectedFaults = [];
        FaultsByDevice = new long[devices];
        TranslationsByDevice = new long[devices];
        ClassesByDevice = new long[devices][];
        for (int i = 0; i < devices; i++)
        {
            ClassesByDevice[i] = new long[Enum.GetValues<DmaClass>().Length];
        }
    }

    /// <summary>Translations asked for.</summary>
    public long Translations { get; private set; }

    /// <summary>Translations by device.</summary>
    public long[] TranslationsByDevice { get; }

    /// <summary>Faults by device.</summary>
    public long[] FaultsByDevice { get; }

    /// <summary>Faults that a check or the log called for, by cause.</summary>
    public Dictionary<int, long> ExpectedFaults { get; }

    /// <summary>Logged accesses by device and class.</summary>
    public long[][] ClassesByDevice { get; }

    /// <summary>Most bytes of page tables at one time, by device.</summary>
    public long[] PeakTableBytes => _peakTableBytes;

    /// <summary>Most bytes of page tables at one time, all devices together.</summary>
    public long PeakTotalTableBytes { get; private set; }

    /// <summary>Unmaps whose check fell away because their IOVAs were mapped again before the flush.</summary>
    public long ReusedBeforeFlush => _pending.Sum(p => p.Reused);

    /// <summary>Carries out everything.</summary>
    public void Run(IProgress<ReplayProgress>? progress, CancellationToken cancellationToken)
    {
        for (int device = 0; device < _ids.Length; device++)
        {
            NoteTables(device);
        }

        for (int i = 0; i < _steps.Length; i++)
        {
            RunAccesses(i - 1);
            long time = _events[_steps[i].Event].TimeNs;
            if (_options.LazyInvalidation)
            {
                MoveClock(time);
            }

            Step(i, time);
            if ((i & 0x3ff) == 0)
            {
                cancellationToken.ThrowIfCancellationRequested();
                progress?.Report(new("replaying", i / (double)_steps.Length));
            }
        }

        RunAccesses(int.MaxValue);
        if (_options.LazyInvalidation)
        {
            MoveClock(_clock.NowNs + (2 * LazyLimitNs));
        }

        DrainFaults();
        progress?.Report(new("replaying", 1));
    }

    private void Step(int index, long timeNs)
    {
        ref readonly PlanStep step = ref _steps[index];
        IoAddressSpace space = _stack.Spaces[step.Device]!;
        if (step.Kind == StepKind.Map)
        {
            ref readonly Area area = ref _areas[step.Area];
            if (_options.LazyInvalidation)
            {
                _pending[step.Device].Reuse(_steps, step.Start, step.Length);
            }

            Errno error = space.TryMap(area.Physical, area.Length, new(area.Start), Access.ReadWrite);
            _checks.Count(CheckKind.MapCall);
            if (error != Errno.Success)
            {
                Fail(CheckKind.MapCall, step, area.Start, "success", error.ToString());
            }
            else if (_options.Check != CheckLevel.None)
            {
                CheckMapped(step, area);
            }

            NoteTables(step.Device);
            _series?.Mapped(step.Device, area, timeNs);
            return;
        }

        Unmap(index, step, space, timeNs);
    }

    private void Unmap(int index, in PlanStep step, IoAddressSpace space, long timeNs)
    {
        ulong expected = 0;
        for (int i = 0; i < step.AreaCount; i++)
        {
            expected += _areas[_plan.Ended[step.Area + i]].Length;
        }

        Errno error = space.TryUnmap(new(step.Start), step.Length, out ulong unmapped);
        _checks.Count(CheckKind.UnmapCall);
        if (error != Errno.Success || unmapped != expected)
        {
            Fail(
                CheckKind.UnmapCall,
                step,
                step.Start,
                string.Create(CultureInfo.InvariantCulture, $"{expected} bytes"),
                error != Errno.Success ? error.ToString() : string.Create(CultureInfo.InvariantCulture, $"{unmapped} bytes"));
        }

        _series?.Unmapped(step, _plan, timeNs);
        if (_options.Check == CheckLevel.None || step.CheckLength == 0)
        {
            return;
        }

        if (_options.LazyInvalidation)
        {
            // The clock's time, which may be a little later than the event's: the kernel's limit runs from there.
            long now = _clock.NowNs;
            _pending[step.Device].Add(index, now);
            _nextDue = Math.Min(_nextDue, now + LazyLimitNs);
        }
        else
        {
            CheckUnmapped(step);
        }
    }

    /// <summary>Makes the logged accesses whose place is after a step.</summary>
    private void RunAccesses(int afterStep)
    {
        for (; _nextAccess < _accesses.Length && _accesses[_nextAccess].AfterStep <= afterStep; _nextAccess++)
        {
            ref readonly ScheduledDma scheduled = ref _accesses[_nextAccess];
            ref readonly DmaAccess access = ref _log!.Accesses[scheduled.Access];
            ClassesByDevice[scheduled.Device][(int)scheduled.Class]++;
            bool write = access.Access == Access.Write;
            switch (scheduled.Class)
            {
                case DmaClass.OutsideRecording:
                    break;

                case DmaClass.RecordedFault:
                    if (!_options.LazyInvalidation || !_pending[scheduled.Device].Overlaps(_steps, access.Iova, 1))
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
        TranslationsByDevice[device]++;
        DmaRequest request = new(_ids[device], new(iova), write ? DmaFlags.Write : DmaFlags.None);
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
        foreach (PendingInvalidations pending in _pending)
        {
            while (pending.TryTakeDue(now, out int step))
            {
                CheckUnmapped(_steps[step]);
            }

            _nextDue = Math.Min(_nextDue, pending.DueNs);
        }
    }

    private void NoteTables(int device)
    {
        long bytes = _stack.TableBytes(device);
        if (bytes > _peakTableBytes[device])
        {
            _peakTableBytes[device] = bytes;
            long total = 0;
            for (int i = 0; i < _ids.Length; i++)
            {
                total += _stack.TableBytes(i);
            }

            PeakTotalTableBytes = Math.Max(PeakTotalTableBytes, total);
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
        int device = _plan.Trace.Devices.FindRequester(fault.DeviceId);
        if (device >= 0 && device < FaultsByDevice.Length)
        {
            FaultsByDevice[device]++;
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
}
