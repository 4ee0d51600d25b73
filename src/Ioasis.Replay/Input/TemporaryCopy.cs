namespace Ioasis.Replay.Input;

/// <summary>
/// A file for what must be read here and there and need not be in memory: what a pipe or a compressed file gave, or the accesses of a long log. It has
/// no name: it is gone with the process, however that ends.
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
        FileStream? file = null;
        try
        {
            file = Create();
            lines.CopyTo(file, cancellationToken);
            file.Position = 0;
            return file;
        }
        catch (Exception e)
        {
            file?.Dispose();
            if (e is IOException or UnauthorizedAccessException)
            {
                throw NoRoom(path, "is a trace.dat that is compressed or comes from a pipe, which", e);
            }

            throw;
        }
    }

    /// <summary>An error in words: the file cannot be made or written.</summary>
    /// <param name="path">The input.</param>
    /// <param name="what">What of it goes to the file.</param>
    /// <param name="inner">Why it does not.</param>
    public static TraceInputException NoRoom(string path, string what, Exception inner) => new(
        TraceInputError.CannotOpen, path, null,
        $"{what} must go to a temporary file, for which {Folder()} is no place: {inner.Message} (the environment's TMPDIR names another folder)", inner);

    /// <summary>Makes an empty file without a name.</summary>
    /// <exception cref="IOException">It cannot be made.</exception>
    public static FileStream Create()
    {
        string name = Path.Combine(Folder(), $"ioasis-{Guid.NewGuid():N}");
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
