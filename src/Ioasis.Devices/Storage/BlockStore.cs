namespace Ioasis.Devices;

/// <summary>
/// What a medium keeps its bytes in. Ranges are checked by the caller. Not thread-safe: its device has one lock for all.
/// </summary>
internal abstract class BlockStore : IDisposable
{
    private const long MemorySize = 64 << 20;

    /// <summary>Bytes.</summary>
    public abstract long Size { get; }

    /// <summary>Opens a raw file, or takes memory.</summary>
    /// <param name="file">The file; null for memory.</param>
    /// <param name="size">Bytes; 0 for what the file has, or 64 MiB of memory. A shorter file grows.</param>
    /// <param name="isReadOnly">Whether a file is only read.</param>
    /// <exception cref="IOException">The file cannot be opened, is empty, or cannot grow.</exception>
    public static BlockStore Open(string? file, long size, bool isReadOnly) =>
        file is not null ? new FileBlockStore(file, size, isReadOnly) : new MemoryBlockStore(size > 0 ? size : MemorySize);

    /// <summary>The bytes themselves where they are memory of this process, so that a transfer needs no copy; else empty.</summary>
    /// <param name="offset">The first byte.</param>
    /// <param name="length">Bytes.</param>
    public virtual Span<byte> TryGetSpan(long offset, int length) => default;

    /// <summary>Reads.</summary>
    /// <returns>Whether it was possible.</returns>
    public abstract bool Read(long offset, Span<byte> destination);

    /// <summary>Writes.</summary>
    /// <returns>Whether it was possible.</returns>
    public abstract bool Write(long offset, ReadOnlySpan<byte> source);

    /// <summary>Makes a range read as zeroes, and gives its memory or blocks back where that can be.</summary>
    /// <returns>Whether it was possible.</returns>
    public abstract bool Zero(long offset, long length);

    /// <summary>Everything that was written is on the medium when the call returns.</summary>
    /// <returns>Whether it was possible.</returns>
    public virtual bool Flush() => true;

    /// <inheritdoc/>
    public virtual void Dispose()
    {
    }
}
