using System.Diagnostics;
using Ioasis.Linux;

namespace Ioasis.Recorder;

/// <summary>What a recording waits for.</summary>
internal abstract class RecordedWork : IDisposable
{
    /// <summary>Why it is over, in the file's words: <c>command</c>, <c>duration</c>, <c>interrupt</c>; null while it is not.</summary>
    public abstract string? Ended { get; }

    /// <summary>The command's exit status, once it is over; null without a command.</summary>
    public virtual int? Status => null;

    /// <summary>Begins it; the recording runs.</summary>
    /// <param name="markerPath">The file of the recording's instance in which a program can leave notes.</param>
    /// <exception cref="RecorderException">It cannot be begun.</exception>
    public abstract void Begin(string markerPath);

    /// <summary>Asks for its end, and does not wait for it.</summary>
    public abstract void Stop();

    /// <summary>Whether a recording that cannot go on lets it come to its own end.</summary>
    public virtual bool OutlivesRecording => false;

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Lets go of what it holds.</summary>
    protected virtual void Dispose(bool disposing)
    {
    }
}

/// <summary>Waits for a time, or until it is stopped.</summary>
/// <param name="duration">How long; null for as long as nobody stops it.</param>
internal sealed class TimedWork(TimeSpan? duration) : RecordedWork
{
    private readonly Stopwatch _time = new();
    private volatile bool _isStopped;

    /// <inheritdoc/>
    public override string? Ended => _isStopped ? "interrupt" : duration is { } limit && _time.Elapsed >= limit ? "duration" : null;

    /// <inheritdoc/>
    public override void Begin(string markerPath) => _time.Start();

    /// <inheritdoc/>
    public override void Stop() => _isStopped = true;
}

/// <summary>Runs a command and waits for its end.</summary>
/// <param name="command">The program and its arguments.</param>
internal sealed class CommandWork(IReadOnlyList<string> command) : RecordedWork
{
    private const int Terminate = 15;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    private Process? _process;
    private Task? _stopping;

    /// <inheritdoc/>
    public override string? Ended => _process is { HasExited: true } ? "command" : null;

    /// <inheritdoc/>
    public override int? Status => _process is { HasExited: true } process ? process.ExitCode : null;

    /// <inheritdoc/>
    public override bool OutlivesRecording => true;

    /// <inheritdoc/>
    public override void Begin(string markerPath)
    {
        ProcessStartInfo start = new(command[0], command.Skip(1)) { UseShellExecute = false };
        start.Environment["IOASIS_TRACE_MARKER"] = markerPath;
        try
        {
            _process = Process.Start(start);
        }
        catch (Exception error) when (error is System.ComponentModel.Win32Exception or IOException or InvalidOperationException)
        {
            throw new RecorderException($"{command[0]}: cannot be started: {error.Message}", error);
        }
    }

    /// <inheritdoc/>
    public override void Stop() => _stopping ??= Task.Run(End);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _stopping?.Wait();
        _process?.Dispose();
        base.Dispose(disposing);
    }

    // From a terminal the command has had the signal too, and gets its time to obey.
    private void End()
    {
        if (_process is not { } process || process.WaitForExit(Patience))
        {
            return;
        }

        _ = LibC.Kill(process.Id, Terminate);
        if (!process.WaitForExit(Patience))
        {
            process.Kill();
        }
    }
}
