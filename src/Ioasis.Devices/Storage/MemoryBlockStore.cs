namespace Ioasis.Devices;

/// <summary>Bytes in memory; what was never written costs none.</summary>
internal sealed class MemoryBlockStore(long size) : BlockStore
{
    private readonly SharedPages _pages = SharedPages.Create((ulong)Math.Max(size, 1));

    /// <inheritdoc/>
    public override long Size => size;

    /// <inheritdoc/>
    public override Span<byte> TryGetSpan(long offset, int length) => _pages.Slice((ulong)offset, length);

    /// <inheritdoc/>
    public override bool Read(long offset, Span<byte> destination)
    {
        _pages.Slice((ulong)offset, destination.Length).CopyTo(destination);
        return true;
    }

    /// <inheritdoc/>
    public override bool Write(long offset, ReadOnlySpan<byte> source)
    {
        source.CopyTo(_pages.Slice((ulong)offset, source.Length));
        return true;
    }

    /// <inheritdoc/>
    public override bool Zero(long offset, long length)
    {
        _pages.Clear((ulong)offset, (ulong)length);
        return true;
    }
}
