namespace Ioasis.Recorder;

/// <summary>How a step changes the machine.</summary>
internal enum RecordingStepKind
{
    /// <summary>Make a folder; undone by removing it.</summary>
    MakeFolder,

    /// <summary>Write a text to a file of the recording's own instance; undone by another text, or by the instance's end.</summary>
    Write,

    /// <summary>Add a line to the machine's list of probes; undone by a line that takes it back.</summary>
    AddProbe,

    /// <summary>
    /// Change a switch of the whole machine that several recorders may need so at a time; undone by the last of them. While it is
    /// changed a probe that is never switched on stands in the machine's list and says so, for whoever cleans up after a crash.
    /// </summary>
    HoldSwitch,
}

/// <summary>One change that a recording makes to the machine.</summary>
/// <param name="Kind">How.</param>
/// <param name="Path">The folder or file.</param>
/// <param name="Text">What is written; empty for a folder.</param>
/// <param name="Why">What it is for.</param>
internal sealed record RecordingStep(RecordingStepKind Kind, string Path, string Text, string Why)
{
    /// <summary>What takes it back; null where the end of the instance does.</summary>
    public string? Undo { get; init; }

    /// <summary>Other texts that do nearly the same, for kernels that refuse the first.</summary>
    public IReadOnlyList<string> Alternatives { get; init; } = [];

    /// <summary>The text for a kernel that says of the first that no instruction begins there; null if there is none.</summary>
    public string? OtherPlace { get; init; }

    /// <summary>For a switch of the whole machine: the list of probes, the probe that says that it is changed, and the line that takes that back.</summary>
    public (string List, string Probe, string Undo)? Holder { get; init; }

    /// <summary>Whether a kernel that cannot do it is recorded without.</summary>
    public bool IsOptional { get; init; }

    /// <summary>The step as a line of shell.</summary>
    public string ToShell() => Kind switch
    {
        RecordingStepKind.MakeFolder => $"mkdir /{Path}",
        RecordingStepKind.AddProbe => $"echo '{Text}' >> /{Path}",
        RecordingStepKind.HoldSwitch => $"echo '{Holder!.Value.Probe}' >> /{Holder.Value.List}; echo {Text} > /{Path}",
        _ => $"echo {Text} > /{Path}",
    };

    /// <summary>What undoes the step, as a line of shell; null where the end of the instance does.</summary>
    public string? UndoToShell() => Kind switch
    {
        RecordingStepKind.MakeFolder => $"rmdir /{Path}",
        RecordingStepKind.AddProbe => $"echo '{Undo}' >> /{Path}",
        RecordingStepKind.HoldSwitch => $"echo {Undo} > /{Path}; echo '{Holder!.Value.Undo}' >> /{Holder.Value.List}",
        _ => Undo is null ? null : $"echo {Undo} > /{Path}",
    };
}
