namespace Ioasis.Cli.Commands;

/// <summary>Where <c>--json</c> and <c>--html</c> write.</summary>
internal static class OutputFile
{
    /// <summary>Why nothing can be written there, as far as one can tell before a long run, or null.</summary>
    public static string? Problem(string? path)
    {
        if (path is null or "-")
        {
            return null;
        }

        if (path.Length == 0)
        {
            return "the name of an output file is empty";
        }

        if (Directory.Exists(path))
        {
            return $"{path}: is a directory";
        }

        string? folder = Path.GetDirectoryName(Path.GetFullPath(path));
        return folder is null || Directory.Exists(folder) ? null : $"{path}: the directory {folder} does not exist";
    }

    /// <summary>Writes a document to the file, or to standard output for <c>-</c>, or nowhere for null.</summary>
    public static void Write(string? path, CliEnvironment environment, Action<Stream> write)
    {
        if (path is null)
        {
            return;
        }

        using Stream stream = path is "-" ? environment.OpenOut() : File.Create(path);
        write(stream);
    }
}
