namespace Ioasis.Devices.Nvme;

/// <summary>
/// What a namespace keeps its bytes in. Ranges are checked by the caller. Not thread-safe: the controller has one lock for all.
/// </summary>
internal abstract class NvmeStore : IDisposable
{
    /// <summary>Bytes.</summary>
    public abstract long Size { get; }

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
