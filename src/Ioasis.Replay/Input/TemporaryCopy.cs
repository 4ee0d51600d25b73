namespace Ioasis.Replay.Input;

/// <summary>
/// A file that holds what a pipe or a compressed file gave, for formats that must be read here and there. It has no name: it is gone with
/// the process, however that ends.
/// </summary>
internal static class TemporaryCopy
{
    private const string LargeFiles = "/var/tmp";
    private const int BufferSize = 1 << 20;

    /// <summary>The folder that it lies in: <c>TMPDIR</c>, else the one for large files, for <c>/tmp</c> may be memory.</summary>
    public static string Folder() => Environment.GetEnvironmentVariable("TMPDIR") is { Length: > 0 } chosen ? chosen
        : Directory.Exists(LargeFiles) ? LargeFiles : Path.GetTempPath();

    /// <summary>Copies all that is left.</summary>
    /// <param name="lines">Where it comes from.</param>
    /// <param name="path">Its name, for messages.</param>
    /// <param name="cancellationToken">Stops it.</param>
    /// <exception cref="TraceInputException">The file cannot be made, or has no room.</exception>
    public static FileStream Of(LineReader lines, string path, CancellationToken cancellationToken)
    {
        string folder = Folder();
        FileStream? file = null;
        try
        {
            file = Create(folder);
            lines.CopyTo(file, cancellationToken);
            file.Position = 0;
            return file;
        }
        catch (Exception e)
        {
            file?.Dispose();
            if (e is IOException or UnauthorizedAccessException)
            {
                throw new TraceInputException(
                    TraceInputError.CannotOpen,
                    path,
                    null,
                    $"is a trace.dat that is compressed or comes from a pipe, and must be copied to a temporary file, for which {folder} is no place: {e.Message}"
                    + " (the environment's TMPDIR names another folder; a trace.dat of its own, not compressed, is read where it lies)",
                    e);
            }

            throw;
        }
    }

    private static FileStream Create(string folder)
    {
        string name = Path.Combine(folder, $"ioasis-{Guid.NewGuid():N}");
        FileStreamOptions options = new()
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.ReadWrite,
            Share = FileShare.Delete,
            BufferSize = BufferSize,
        };
        if (OperatingSystem.IsWindows())
        {
            options.Options = FileOptions.DeleteOnClose;
            return new(name, options);
        }

        // A trace tells of a machine: it is the owner's to read.
        options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        FileStream file = new(name, options);
        File.Delete(name);
        return file;
    }
}
