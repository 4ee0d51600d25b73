namespace Ioasis.Kernel;

/// <summary>The use of an open file in one scope: the file stays until the scope ends, whatever happens to its descriptor meanwhile.</summary>
/// <param name="file">The file, whose reference the use takes over; null if there is none.</param>
internal readonly ref struct FileUse(OpenFile? file) : IDisposable
{
    /// <summary>The file, or null if the descriptor has none.</summary>
    public OpenFile? FileOrNull => file;

    /// <summary>Ends the use.</summary>
    public void Dispose() => file?.Dereference();
}
