using System.Globalization;
using Ioasis.Linux.Discovery;

namespace Ioasis.Recorder;

/// <summary>
/// All that a recording will change on a machine, in order, found out without changing anything. The steps before the groups'
/// state is read set the instance and the probes; those behind it switch on what comes in masses.
/// </summary>
internal sealed class RecordingPlan
{
    private const int LeastBufferKib = 256;

    // x86: the tracer's call at a function's begin, and the landing pad for indirect branches (endbr64) before it on kernels that have it.
    private const int X86CallBytes = 5;
    private const int X86BranchTargetBytes = 4;

    private readonly List<RecordingStep> _setup = [];
    private readonly List<RecordingStep> _start = [];
    private readonly List<string> _notes = [];
    private readonly List<string> _functions = [];

    private RecordingPlan(TracingSession session, LinuxPlatform platform)
    {
        Session = session;
        Platform = platform;
    }

    /// <summary>The names of the recording.</summary>
    public TracingSession Session { get; }

    /// <summary>The machine's IOMMUs and groups.</summary>
    public LinuxPlatform Platform { get; }

    /// <summary>Makes the instance and sets the probes, and switches on those that follow domains.</summary>
    public IReadOnlyList<RecordingStep> Setup => _setup;

    /// <summary>Switches on the rest.</summary>
    public IReadOnlyList<RecordingStep> Start => _start;

    /// <summary>Trace events, as <c>iommu:map</c>.</summary>
    public IReadOnlyList<string> Events { get; private init; } = [];

    /// <summary>Probes: event, <c>p</c>, function.</summary>
    public IReadOnlyList<string> Probes => _functions;

    /// <summary>What this kernel cannot give, in words.</summary>
    public IReadOnlyList<string> Notes => _notes;

    /// <summary>The clock of the events.</summary>
    public string Clock { get; private init; } = "mono";

    /// <summary>Whether each group's domain is asked for when the recording begins.</summary>
    public bool ReadsGroups { get; private set; }

    /// <summary>Makes the plan of a machine.</summary>
    /// <param name="files">Its files.</param>
    /// <param name="session">The names to use.</param>
    /// <param name="options">What the user asked for.</param>
    /// <exception cref="RecorderException">The machine cannot be recorded.</exception>
    public static RecordingPlan Create(TracingFiles files, TracingSession session, RecorderOptions options)
    {
        ArgumentNullException.ThrowIfNull(files);
        ArgumentNullException.ThrowIfNull(session);
        ArgumentNullException.ThrowIfNull(options);
        var platform = LinuxPlatform.Discover(files);
        IReadOnlyList<string> events = TraceEvents.Find(files, session.Tracing);
        if (!events.Contains("iommu:map", StringComparer.Ordinal) || !events.Contains("iommu:unmap", StringComparer.Ordinal))
        {
            throw new RecorderException(
                $"this kernel has no trace events of its IOMMUs (no map and unmap in /{session.Tracing}/events/iommu): it needs CONFIG_IOMMU_API");
        }

        // Some kernels put a device into a group only when its driver comes: an IOMMU is enough.
        if (platform.Groups.Count == 0 && platform.Iommus.Count == 0 && !options.Anyway)
        {
            throw new RecorderException(
                "no device of this machine is behind an IOMMU, so there is nothing to record"
                + string.Concat(platform.Hints.Select(static hint => $"; {hint}")) + " (--anyway records all the same)");
        }

        RecordingPlan plan = new(session, platform) { Events = events, Clock = ChooseClock(files, session.Tracing) };
        plan.AddInstance(files, options);
        plan.AddProbes(files, options);
        plan.AddEvents();
        if (!KernelRelease.IsAtLeast(files, 5, 5) && platform.Iommus.Any(static iommu => iommu.Name.StartsWith("ivhd", StringComparison.Ordinal)))
        {
            plan._notes.Add("to 5.4 the driver of AMD's IOMMU has no trace events for the maps of its DMA API: only those of VFIO are recorded");
        }

        return plan;
    }

    private static string ChooseClock(TracingFiles files, string tracing)
    {
        // local [global] counter uptime perf mono mono_raw boot x86-tsc
        string[] clocks = (files.TryRead($"{tracing}/trace_clock") ?? "").Split([' ', '[', ']'], StringSplitOptions.RemoveEmptyEntries);
        return Array.Find(["mono", "boot"], clock => clocks.Contains(clock, StringComparer.Ordinal)) ?? "global";
    }

    private void AddInstance(TracingFiles files, RecorderOptions options)
    {
        string instance = Session.Instance;
        _setup.Add(new(RecordingStepKind.MakeFolder, instance, "", "a tracing instance of the recording's own"));
        _setup.Add(Set("trace_clock", Clock, "a clock that all CPUs share"));

        // The machine's own choices for how events print do not reach into the recording.
        foreach ((string option, string value) in new[]
        {
            ("context-info", "1"), ("irq-info", "1"), ("overwrite", "1"), ("record-cmd", "1"), ("record-tgid", "0"), ("latency-format", "0"),
            ("raw", "0"), ("hex", "0"), ("bin", "0"), ("verbose", "0"), ("fields", "0"),
        })
        {
            if (files.TryRead($"{Session.Tracing}/options/{option}") is { } now && !string.Equals(now, value, StringComparison.Ordinal))
            {
                _setup.Add(Set($"options/{option}", value, "the form in which events print") with { IsOptional = true });
            }
        }

        // "7 (expanded: 1408)": the main buffer of tracing grows when tracing is first used. Before 6.6 the size of any instance's
        // buffer ends that, and the main one would stay at 7 KiB; an event that is switched on before lets it grow.
        if (files.TryRead($"{Session.Tracing}/buffer_size_kb") is { } size && size.Contains("expanded", StringComparison.Ordinal)
            && Events.FirstOrDefault(IsRare) is { } rare)
        {
            _setup.Add(Enable(rare));
        }

        int kib = options.BufferKib ?? DefaultBufferKib(files);
        _setup.Add(Set("buffer_size_kb", Text(kib), "room for events that were not read yet, of each CPU") with
        {
            Alternatives = [.. Halves(kib).Select(Text)],
        });
    }

    // A sixteenth of memory for all CPUs together, and 16 MiB for one at most.
    private static int DefaultBufferKib(TracingFiles files)
    {
        int cpus = Math.Max(1, files.List("sys/devices/system/cpu")
            .Count(static name => name.StartsWith("cpu", StringComparison.Ordinal) && name.Length > 3 && char.IsAsciiDigit(name[3])));
        string? available = (files.TryRead("proc/meminfo") ?? "").Split('\n')
            .FirstOrDefault(static line => line.StartsWith("MemAvailable:", StringComparison.Ordinal));
        string[] words = (available ?? "").Split(' ', StringSplitOptions.RemoveEmptyEntries);
        long kib = words.Length > 1 && long.TryParse(words[1], NumberStyles.None, CultureInfo.InvariantCulture, out long value) ? value : 1 << 20;
        return (int)Math.Clamp(kib / 16 / cpus, 1024, 16 << 10);
    }

    private static IEnumerable<int> Halves(int kib)
    {
        for (int half = kib / 2; half >= LeastBufferKib; half /= 2)
        {
            yield return half;
        }
    }

    private void AddProbes(TracingFiles files, RecorderOptions options)
    {
        bool hasDmaEvents = Events.Any(static name => name.StartsWith("dma:", StringComparison.Ordinal));
        if (!files.Exists(Session.ProbeList))
        {
            if (!hasDmaEvents && !options.Anyway)
            {
                throw new RecorderException(
                    "this kernel can set no probes (it was built without CONFIG_KPROBE_EVENTS) and its trace events do not say which device a map is for"
                    + " (kernels from 6.12 do): use one that can, or --anyway to record maps without devices");
            }

            _notes.Add("this kernel can set no probes: maps have their device only where its DMA events tell it");
            return;
        }

        var symbols = KernelSymbols.Find(files, Session.Tracing, ProbeCatalogue.Functions());
        string architecture = files.Architecture;
        AddSwitch(files, symbols, architecture);
        List<Probe> early = [.. ProbeCatalogue.Domains.Where(probe => symbols.Has(probe.Function))];
        Probe[] attach = symbols.Has(ProbeCatalogue.Attach.Function)
            ? [ProbeCatalogue.Attach]
            : [.. ProbeCatalogue.DriverAttach.Where(probe => symbols.Has(probe.Function))];
        early.AddRange(attach);
        ReadsGroups = Platform.Groups.Count > 0 && symbols.Has(ProbeCatalogue.Group.Function);
        if (ReadsGroups)
        {
            early.Add(ProbeCatalogue.Group);
        }

        // With dma:* events a map's device is known in a group of several too.
        bool needsDma = !hasDmaEvents || !ReadsGroups || Platform.Groups.Any(static group => group.Devices.Count > 1);
        IEnumerable<Probe> late = ProbeCatalogue.Maps.Concat(ProbeCatalogue.Unmaps).Concat(ProbeCatalogue.DmaLink).Concat(ProbeCatalogue.Other)
            .Concat(needsDma ? ProbeCatalogue.Dma : [])
            .Where(probe => symbols.Has(probe.Function));
        foreach (Probe probe in early)
        {
            _setup.Add(Define(probe, symbols, architecture));
            _setup.Add(Enable(probe));
        }

        foreach (Probe probe in late)
        {
            _setup.Add(Define(probe, symbols, architecture));
            _start.Add(Enable(probe));
        }

        if (attach.Length == 0)
        {
            _notes.Add("no function of this kernel that attaches a device to a domain can be probed: devices that are attached during the recording may not be told");
        }

        if (!ReadsGroups && Platform.Groups.Count > 0)
        {
            _notes.Add("the domains that groups had when the recording began could not be asked for");
        }
    }

    private void AddEvents()
    {
        HashSet<string> on = [.. _setup.Select(static step => step.Path)];
        _start.AddRange(Events.Select(Enable).Where(step => !on.Contains(step.Path)));
    }

    private static bool IsRare(string name) =>
        name.StartsWith("iommu:", StringComparison.Ordinal) && name is not ("iommu:map" or "iommu:unmap");

    private RecordingStep Enable(string name) =>
        new(RecordingStepKind.Write, TraceEvents.Switch(Session.Instance, name), "1", $"the kernel's event {name}")
        {
            Undo = "0",
            IsOptional = name is not ("iommu:map" or "iommu:unmap"),
        };

    private RecordingStep Define(Probe probe, KernelSymbols symbols, string architecture)
    {
        string place = symbols.ProbeName(probe.Function)!;
        _functions.Add($"{probe.Event} p {probe.Function}");
        Probe atEntry = probe.WithStack(architecture);
        Probe? registers = atEntry.WithRegisters(architecture);
        string entry = atEntry.Definition(Session.ProbeGroup, place);
        string[] others = registers is null ? [] : [registers.Definition(Session.ProbeGroup, place)];
        RecordingStep step = new(RecordingStepKind.AddProbe, Session.ProbeList, entry, probe.Why)
        {
            Undo = $"-:{Session.ProbeGroup}/{probe.Event}",
            Alternatives = others,
            IsOptional = true,
        };
        return registers is null || !StandsBehindCall(symbols, architecture, probe.Function) ? step : step with
        {
            Text = registers.Definition(Session.ProbeGroup, $"{place}+{X86CallBytes}"),
            OtherPlace = registers.Definition(Session.ProbeGroup, $"{place}+{X86BranchTargetBytes + X86CallBytes}"),
            Alternatives = [entry, .. others],
        };
    }

    // At the tracer's call the kernel serves a probe with interrupts on, and what an interrupt does meanwhile passes every probe by.
    // Behind it there is a breakpoint, served with interrupts off, and the registers are still the caller's. arm64 has
    // a breakpoint at the entry itself; on the others that have such calls the probe stands on it, and what is missed is counted.
    private static bool StandsBehindCall(KernelSymbols symbols, string architecture, string function) =>
        architecture is "x86_64" && symbols.IsTraced(function);

    private void AddSwitch(TracingFiles files, KernelSymbols symbols, string architecture)
    {
        string? standIn = ProbeCatalogue.Functions().FirstOrDefault(function => symbols.Has(function) && StandsBehindCall(symbols, architecture, function));
        if (standIn is null || files.TryRead(SwitchHolders.Path) is not { } now
            || !(now.Trim() is "1" || SwitchHolders.Groups(files, Session.ProbeList).Count > 0))
        {
            return;
        }

        string name = $"{Session.ProbeGroup}/{SwitchHolders.Event}";
        _setup.Add(new(RecordingStepKind.HoldSwitch, SwitchHolders.Path, "0", "probes stay breakpoints, which no interrupt comes into")
        {
            Undo = "1",
            Holder = (Session.ProbeList, $"p:{name} {symbols.ProbeName(standIn)}", $"-:{name}"),
            IsOptional = true,
        });
    }

    private RecordingStep Enable(Probe probe) =>
        new(RecordingStepKind.Write, $"{Session.Instance}/events/{Session.ProbeGroup}/{probe.Event}/enable", "1", probe.Why)
        {
            Undo = "0",
            IsOptional = true,
        };

    private RecordingStep Set(string file, string value, string why) =>
        new(RecordingStepKind.Write, $"{Session.Instance}/{file}", value, why);

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
