using System.Globalization;
using System.Text;
using Ioasis.Primitives;

namespace Ioasis.Recorder;

/// <summary>One recording, from the first change of the machine to the last one taken back.</summary>
internal sealed class RecordingRun
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(50);

    private readonly TracingFiles _files;
    private readonly RecordingPlan _plan;
    private readonly RecorderOptions _options;
    private readonly MachineChanges _changes;
    private readonly List<string> _notes;
    private readonly List<string> _problems = [];

    private RecordingRun(TracingFiles files, RecordingPlan plan, RecorderOptions options)
    {
        _files = files;
        _plan = plan;
        _options = options;
        _changes = new(files);
        _notes = [.. plan.Notes];
    }

    private TracingSession Session => _plan.Session;

    /// <summary>Records. The machine is as before when it returns or throws.</summary>
    /// <param name="files">The machine's files.</param>
    /// <param name="plan">What to change.</param>
    /// <param name="options">What the user asked for.</param>
    /// <param name="openOutput">Opens the file to write; called when the machine is ready.</param>
    /// <param name="work">What the recording waits for.</param>
    /// <param name="stop">Ends it early, as a user's interrupt does.</param>
    /// <exception cref="RecorderException">It could not be begun.</exception>
    public static RecordingResult Record(
        TracingFiles files, RecordingPlan plan, RecorderOptions options, Func<Stream> openOutput, RecordedWork work, CancellationToken stop)
    {
        ArgumentNullException.ThrowIfNull(files);
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(openOutput);
        ArgumentNullException.ThrowIfNull(work);
        RecordingRun run = new(files, plan, options);
        RecordingResult result = run.Run(openOutput, work, stop);

        // A command is not ended because the recording was: it may be the machine's own work.
        for (bool asked = false; work.OutlivesRecording && work.Ended is null; Thread.Sleep(Pause))
        {
            if (stop.IsCancellationRequested && !asked)
            {
                work.Stop();
                asked = true;
            }
        }

        return result with { Status = work.Status };
    }

    private RecordingResult Run(Func<Stream> openOutput, RecordedWork work, CancellationToken stop)
    {
        EventStream? events = null;
        RecordingResult? result = null;
        try
        {
            _changes.Apply(_plan.Setup);
            RequireTies();
            events = new(OpenPipe());
            IReadOnlyList<GroupDomain> domains = ReadGroups(events);
            using RecordingFile file = OpenFile(openOutput);
            WriteMachine(file, domains);
            _changes.Apply(_plan.Start);
            work.Begin($"/{Session.Instance}/trace_marker");
            result = Follow(events, file, work, stop);
        }
        catch (RecorderException error)
        {
            string left = string.Concat(Undo(events).Select(static problem => $"; {problem}"));
            throw new RecorderException(error.Message + left, error);
        }
        finally
        {
            _problems.AddRange(Undo(events));
        }

        return result with { Problems = [.. _problems], Notes = [.. _notes] };
    }

    private IReadOnlyList<string> Undo(EventStream? events)
    {
        // An instance that somebody reads cannot be removed.
        events?.Dispose();
        return _changes.UndoAll();
    }

    // A map's domain must be told by a probe where no dma:* event tells its device.
    private void RequireTies()
    {
        foreach ((RecordingStep step, Errno error) in _changes.Skipped.Where(static skipped => skipped.Step.Kind == RecordingStepKind.AddProbe))
        {
            _notes.Add($"a probe could not be set ({MachineChanges.Describe(error)}): {step.Text}");
        }

        if (_changes.Skipped.FirstOrDefault(static skipped => skipped.Step.Kind == RecordingStepKind.HoldSwitch) is { Step: { } hold } held)
        {
            _notes.Add($"/{hold.Path} could not be set to 0 ({MachineChanges.Describe(held.Error)}): a probe may be passed by in an interrupt");
        }

        string[] atEntries = [.. _changes.AtTracedEntries.Select(static step => step.Undo![(step.Undo!.IndexOf('/', StringComparison.Ordinal) + 1)..])];
        if (atEntries.Length > 0)
        {
            _notes.Add($"the kernel takes these probes only where an interrupt may come into them, which then passes the others by: {string.Join(", ", atEntries)}");
        }

        HashSet<string> set = [.. ProbeEvents()];
        bool hasProbes = ProbeCatalogue.Maps.Any(probe => set.Contains(probe.Event)) && ProbeCatalogue.Unmaps.Any(probe => set.Contains(probe.Event));
        if (!hasProbes && !_options.Anyway && !_plan.Events.Any(static name => name.StartsWith("dma:", StringComparison.Ordinal)))
        {
            throw new RecorderException(
                "this kernel does not take the probes that tell which device a map is for, and has no DMA events that do: "
                + (TracingFolder.WhyRefused(_files) ?? string.Join("; ", _notes))
                + " (--anyway records maps without devices)");
        }
    }

    private string[] Probes()
    {
        HashSet<string> refused = [.. _changes.Skipped.Select(static skipped => skipped.Step.Undo ?? "")];
        return [.. _plan.Probes.Where(probe => !refused.Contains($"-:{Session.ProbeGroup}/{EventOf(probe)}"))];
    }

    private IEnumerable<string> ProbeEvents() => Probes().Select(EventOf);

    private static string EventOf(string probe) => probe[..probe.IndexOf(' ', StringComparison.Ordinal)];

    private ITracePipe OpenPipe()
    {
        string path = $"{Session.Instance}/trace_pipe";
        Errno error = _files.OpenPipe(path, out ITracePipe? pipe);
        return error == Errno.Success && pipe is not null
            ? pipe
            : throw new RecorderException($"/{path} cannot be read: {MachineChanges.Describe(error)}");
    }

    private IReadOnlyList<GroupDomain> ReadGroups(EventStream events)
    {
        if (!_plan.ReadsGroups)
        {
            return [];
        }

        if (!ProbeEvents().Contains(ProbeCatalogue.GroupEvent, StringComparer.Ordinal)
            || _changes.Skipped.Any(static skipped => skipped.Step.Path.EndsWith($"/{ProbeCatalogue.GroupEvent}/enable", StringComparison.Ordinal)))
        {
            _notes.Add("the domains that groups had when the recording began could not be asked for");
            return [];
        }

        GroupReader reader = new(_files, _plan);
        IReadOnlyList<GroupDomain> domains = reader.Read(events.Take);
        events.Add(Encoding.UTF8.GetBytes(reader.OtherLines));
        if (domains.Count == 0)
        {
            _notes.Add("the domains that groups had when the recording began could not be told from what the kernel holds of a group");
        }

        return domains;
    }

    private static RecordingFile OpenFile(Func<Stream> openOutput)
    {
        try
        {
            return new(openOutput());
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new RecorderException($"the recording cannot be written: {error.Message}", error);
        }
    }

    private void WriteMachine(RecordingFile file, IReadOnlyList<GroupDomain> domains)
    {
        foreach (string line in Machine.Describe(_files, _plan, domains, Probes(), _notes, _options.Version, DateTimeOffset.UtcNow))
        {
            file.Add(line);
        }

        try
        {
            file.Write();
        }
        catch (IOException error)
        {
            throw new RecorderException($"the recording cannot be written: {error.Message}", error);
        }
    }

    private RecordingResult Follow(EventStream events, RecordingFile file, RecordedWork work, CancellationToken stop)
    {
        string reason;
        try
        {
            reason = events.CopyTo(file, () => EndReason(work, stop));
        }
        catch (IOException error)
        {
            reason = "disk-full";
            _problems.Add($"the recording ended early: {error.Message}; what was written until then can be read");
        }

        _ = _files.Write($"{Session.Instance}/tracing_on", "0");
        if (events.ReadProblem is { } problem)
        {
            _problems.Add(problem);
        }

        RecordingResult result = new(reason)
        {
            Events = events.Events,
            Lost = LossCounters.ByCpu(_files, Session.Instance),
            Missed = LossCounters.Missed(_files, Session.Tracing, ProbeEvents().ToHashSet(StringComparer.Ordinal)),
            Status = work.Status,
        };
        try
        {
            WriteEnd(file, result);
        }
        catch (IOException error)
        {
            if (reason is not "disk-full")
            {
                _problems.Add($"the recording's end was not written: {error.Message}");
            }

            result = result with { Reason = "disk-full" };
        }

        return result with { Bytes = file.Length };
    }

    // Asked by the thread that reads: it goes on reading until the work is over.
    private string? EndReason(RecordedWork work, CancellationToken stop)
    {
        if (stop.IsCancellationRequested)
        {
            work.Stop();
        }

        string? reason = work.Ended;
        if (reason is not null)
        {
            _ = _files.Write($"{Session.Instance}/tracing_on", "0");
        }

        return reason is not null && stop.IsCancellationRequested ? "interrupt" : reason;
    }

    private static void WriteEnd(RecordingFile file, RecordingResult result)
    {
        foreach ((int cpu, long lost) in result.Lost)
        {
            file.Add(Machine.Line(string.Create(CultureInfo.InvariantCulture, $"lost cpu={cpu} events={lost}")));
        }

        foreach (ProbeMiss miss in result.Missed)
        {
            file.Add(Machine.Line(string.Create(
                CultureInfo.InvariantCulture, $"missed probe={miss.Event} hits={miss.Hits} misses={miss.Misses}")));
        }

        // How many events the last member of a full disk held is not known.
        string events = result.Reason is "disk-full" ? "" : string.Create(CultureInfo.InvariantCulture, $" events={result.Events}");
        string status = result.Status is { } code ? string.Create(CultureInfo.InvariantCulture, $" status={code}") : "";
        file.Add(Machine.Line($"end reason={result.Reason}{events}{status}"));
        file.Write();
    }
}
