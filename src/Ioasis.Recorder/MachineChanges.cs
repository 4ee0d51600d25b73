using Ioasis.Primitives;

namespace Ioasis.Recorder;

/// <summary>
/// The changes that a recording has made to the machine so far, newest last. Its owner takes all of them back when one fails, as
/// at the end of the recording. Nothing else writes to the machine.
/// </summary>
internal sealed class MachineChanges(TracingFiles files)
{
    private const int Attempts = 20;

    private static readonly TimeSpan BetweenAttempts = TimeSpan.FromMilliseconds(25);

    private readonly Stack<RecordingStep> _made = [];
    private readonly List<(RecordingStep Step, Errno Error)> _skipped = [];

    /// <summary>Optional steps that this kernel refused, with its error.</summary>
    public IReadOnlyList<(RecordingStep Step, Errno Error)> Skipped => _skipped;

    /// <summary>Probes that stand at the entry of a function that is traced there, for they could not be set behind that.</summary>
    public IEnumerable<RecordingStep> AtTracedEntries =>
        _made.Where(static step => step.OtherPlace is not null && step.Alternatives.Contains(step.Text, StringComparer.Ordinal));

    /// <summary>Makes changes.</summary>
    /// <exception cref="RecorderException">One failed; those before it are still made.</exception>
    public void Apply(IEnumerable<RecordingStep> steps)
    {
        foreach (RecordingStep step in steps)
        {
            // A switch of a probe that could not be set.
            if (step.IsOptional && step.Kind == RecordingStepKind.Write && !files.Exists(step.Path))
            {
                continue;
            }

            Errno error = Do(step, out RecordingStep done);
            if (error == Errno.Success)
            {
                _made.Push(done);
            }
            else if (step.IsOptional && (IsRefusal(error) || step.Kind == RecordingStepKind.HoldSwitch))
            {
                _skipped.Add((step, error));
            }
            else
            {
                string why = TracingFolder.WhyRefused(files) is { } reason ? $"; {reason}" : "";
                throw new RecorderException($"`{step.ToShell()}` failed: {Describe(error)}{why}");
            }
        }
    }

    /// <summary>Takes back everything.</summary>
    /// <returns>What could not be taken back, in words.</returns>
    public IReadOnlyList<string> UndoAll()
    {
        List<string> problems = [];
        while (_made.TryPop(out RecordingStep? step))
        {
            if (step.UndoToShell() is not { } shell)
            {
                continue;
            }

            Errno error = Undo(step);

            // The kernel lets go of a probe or of an instance only when the last event has left it.
            for (int attempt = 1; error == Errno.Busy && attempt < Attempts; attempt++)
            {
                Thread.Sleep(BetweenAttempts);
                error = Undo(step);
            }

            if (error is not (Errno.Success or Errno.NoEntry))
            {
                problems.Add($"`{shell}` failed: {Describe(error)}");
            }
        }

        return problems;
    }

    /// <summary>An error in words.</summary>
    public static string Describe(Errno error) => error switch
    {
        Errno.NotPermitted => "not permitted (EPERM)",
        Errno.NoEntry => "no such file or function (ENOENT)",
        Errno.OutOfMemory => "out of memory (ENOMEM)",
        Errno.AccessDenied => "access denied (EACCES)",
        Errno.Busy => "in use (EBUSY)",
        Errno.Exists => "it is there already (EEXIST)",
        Errno.InvalidArgument => "the kernel does not take it (EINVAL)",
        Errno.NoSpace => "no space left (ENOSPC)",
        Errno.ReadOnly => "read-only (EROFS)",
        Errno.IllegalSequence => "no instruction begins there (EILSEQ)",
        Errno.IoError => "input/output error, or one that has no name here (EIO)",
        _ => error.ToString(),
    };

    // What a kernel says that does not know a function, an argument or a file; anything else is a failure.
    private static bool IsRefusal(Errno error) =>
        error is Errno.InvalidArgument or Errno.NoEntry or Errno.IoError or Errno.NoDevice or Errno.ArgumentTooBig or Errno.OutOfDomain or Errno.IllegalSequence;

    private Errno Do(RecordingStep step, out RecordingStep done)
    {
        done = step;
        Errno error = step.Kind switch
        {
            RecordingStepKind.MakeFolder => files.MakeFolder(step.Path),
            RecordingStepKind.HoldSwitch => Hold(step),
            _ => files.Write(step.Path, step.Text),
        };
        if (error == Errno.IllegalSequence && step.OtherPlace is { } other)
        {
            done = step with { Text = other };
            error = files.Write(step.Path, other);
        }

        foreach (string alternative in step.Alternatives)
        {
            if (error is not (Errno.InvalidArgument or Errno.OutOfMemory or Errno.IllegalSequence))
            {
                break;
            }

            done = step with { Text = alternative };
            error = files.Write(step.Path, alternative) is var second && second == Errno.Success ? second : error;
        }

        return error;
    }

    private Errno Undo(RecordingStep step) => step.Kind switch
    {
        RecordingStepKind.MakeFolder => files.RemoveFolder(step.Path),
        RecordingStepKind.HoldSwitch => Release(step),
        _ => files.Write(step.Path, step.Undo!),
    };

    // The probe that says so comes first and goes last: whenever the recorder dies, what is changed can be told.
    private Errno Hold(RecordingStep step)
    {
        (string list, string probe, string undo) = step.Holder!.Value;
        Errno error = files.Write(list, probe);
        if (error != Errno.Success)
        {
            return error;
        }

        error = files.Write(step.Path, step.Text);
        if (error != Errno.Success)
        {
            _ = files.Write(list, undo);
        }

        return error;
    }

    private Errno Release(RecordingStep step)
    {
        (string list, _, string undo) = step.Holder!.Value;
        Errno error = SwitchHolders.Groups(files, list).Any(group => !undo.StartsWith($"-:{group}/", StringComparison.Ordinal))
            ? Errno.Success
            : files.Write(step.Path, step.Undo!);
        return error == Errno.Success ? files.Write(list, undo) : error;
    }
}
