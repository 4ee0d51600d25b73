using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Embedded;

/// <summary>
/// What the tables in memory say at this moment: a second model of an IOMMU, with the registers of the first, that caches nothing and changes nothing. A translation of the first
/// model that differs from it is one that a cache kept. Thread-safe; slow.
/// </summary>
/// <param name="model">The second model, on memory that it cannot change (<see cref="UnchangedMemory"/>).</param>
/// <param name="adopt">Gives it the registers of the first model, where they changed.</param>
internal sealed class UncachedModel(IDmaPort model, Action adopt)
{
    private readonly Lock _lock = new();

    /// <summary>Translates by the tables alone.</summary>
    public void Translate(in DmaRequest request, out DmaTranslation translation)
    {
        lock (_lock)
        {
            adopt();
            model.Translate(request, out translation);
        }
    }
}

/// <summary>Memory that is read, and keeps what it has: whoever writes is told that it was done.</summary>
/// <param name="memory">The memory.</param>
internal sealed class UnchangedMemory(IPhysicalMemory memory) : IPhysicalMemory
{
    /// <inheritdoc/>
    public MemoryStatus Read(PhysicalAddress address, Span<byte> destination) => memory.Read(address, destination);

    /// <inheritdoc/>
    public MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source) => MemoryStatus.Success;

    /// <inheritdoc/>
    public MemoryStatus Read64(PhysicalAddress address, out ulong value) => memory.Read64(address, out value);

    /// <inheritdoc/>
    public MemoryStatus Write64(PhysicalAddress address, ulong value) => MemoryStatus.Success;

    /// <inheritdoc/>
    public MemoryStatus Read32(PhysicalAddress address, out uint value) => memory.Read32(address, out value);

    /// <inheritdoc/>
    public MemoryStatus Write32(PhysicalAddress address, uint value) => MemoryStatus.Success;

    /// <inheritdoc/>
    public MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed) => memory.Read64(address, out observed);

    /// <inheritdoc/>
    public MemoryStatus CompareExchange32(PhysicalAddress address, uint expected, uint desired, out uint observed) => memory.Read32(address, out observed);

    /// <inheritdoc/>
    public nint TryGetHostPointer(PhysicalAddress address, ulong length) => 0;
}
