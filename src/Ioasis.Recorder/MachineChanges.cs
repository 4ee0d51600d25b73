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
            else if (step.IsOptional && IsRefusal(error))
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
        Errno.IoError => "input/output error, or one that has no name here (EIO)",
        _ => error.ToString(),
    };

    // What a kernel says that does not know a function, an argument or a file; anything else is a failure.
    private static bool IsRefusal(Errno error) =>
        error is Errno.InvalidArgument or Errno.NoEntry or Errno.IoError or Errno.NoDevice or Errno.ArgumentTooBig or Errno.OutOfDomain;

    private Errno Do(RecordingStep step, out RecordingStep done)
    {
        done = step;
        Errno error = step.Kind == RecordingStepKind.MakeFolder ? files.MakeFolder(step.Path) : files.Write(step.Path, step.Text);
        foreach (string alternative in step.Alternatives)
        {
            if (error is not (Errno.InvalidArgument or Errno.OutOfMemory))
            {
                break;
            }

            done = step with { Text = alternative };
            error = files.Write(step.Path, alternative) is var second && second == Errno.Success ? second : error;
        }

        return error;
    }

    private Errno Undo(RecordingStep step) => step.Kind == RecordingStepKind.MakeFolder
        ? files.RemoveFolder(step.Path)
        : files.Write(step.Path, step.Undo!);
}
