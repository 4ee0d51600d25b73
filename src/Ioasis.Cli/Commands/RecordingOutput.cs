using System.Globalization;
using Ioasis.Recorder;

namespace Ioasis.Cli.Commands;

/// <summary>The file of a recording. One that was never begun is removed; one that was is the user's, whom sudo names.</summary>
internal sealed class RecordingOutput : IDisposable
{
    private readonly CliEnvironment _environment;
    private readonly bool _isStandardOutput;
    private bool _isMade;
    private bool _isKept;

    /// <summary>Makes it; nothing is opened yet.</summary>
    /// <param name="name">The user's name for it; null to choose one.</param>
    /// <param name="environment">The world around it.</param>
    public RecordingOutput(string? name, CliEnvironment environment)
    {
        _environment = environment;
        _isStandardOutput = name is "-";
        Name = _isStandardOutput
            ? "standard output"
            : name ?? string.Create(CultureInfo.InvariantCulture, $"recording-{DateTime.Now:yyyyMMdd-HHmmss}.ioasis");
        if (!_isStandardOutput && OutputFile.Problem(Name) is { } problem)
        {
            throw new RecorderException(problem);
        }
    }

    /// <summary>Its name for messages.</summary>
    public string Name { get; }

    /// <summary>Opens it.</summary>
    public Stream Open()
    {
        if (_isStandardOutput)
        {
            return _environment.OpenOut();
        }

        // A recording holds addresses of the kernel: others need not read it.
        _isMade = !File.Exists(Name);
        FileStreamOptions options = new() { Mode = FileMode.Create, Access = FileAccess.Write, Share = FileShare.Read, BufferSize = 0 };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        FileStream stream = new(Name, options);
        if (_isMade)
        {
            FileOwner.GiveToUserOfSudo(Name);
        }

        return stream;
    }

    /// <summary>The recording was made.</summary>
    public void Keep() => _isKept = true;

    /// <summary>Removes what was made for nothing.</summary>
    public void Dispose()
    {
        if (_isMade && !_isKept)
        {
            File.Delete(Name);
        }
    }
}
