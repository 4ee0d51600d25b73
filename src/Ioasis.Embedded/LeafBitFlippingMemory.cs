using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Embedded;

/// <summary>
/// Memory as a driver sees it that gets one leaf entry wrong: shows that whoever checks translations would find it. The
/// hardware sees the memory below.
/// </summary>
internal sealed class LeafBitFlippingMemory(IPhysicalMemory memory, AddressRange tables, LeafBitFlip flip) : IPhysicalMemory
{
    // Privileged specification, 12.3: V, one of R W X, and A, which the driver always sets in leaves.
    private const ulong Valid = 1;
    private const ulong Permissions = 0xe;
    private const ulong Accessed = 0x40;

    private long _leaves;

    /// <summary>Whether the bit was flipped yet.</summary>
    public bool HasFlipped => Volatile.Read(ref _leaves) >= flip.LeafWrite;

    /// <inheritdoc/>
    public MemoryStatus Read(PhysicalAddress address, Span<byte> destination) => memory.Read(address, destination);

    /// <inheritdoc/>
    public MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source) => memory.Write(address, source);

    /// <inheritdoc/>
    public MemoryStatus Read64(PhysicalAddress address, out ulong value) => memory.Read64(address, out value);

    /// <inheritdoc/>
    public MemoryStatus Write64(PhysicalAddress address, ulong value) => memory.Write64(address, Mutate(address, value));

    /// <inheritdoc/>
    public MemoryStatus Read32(PhysicalAddress address, out uint value) => memory.Read32(address, out value);

    /// <inheritdoc/>
    public MemoryStatus Write32(PhysicalAddress address, uint value) => memory.Write32(address, value);

    /// <inheritdoc/>
    public MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed) =>
        memory.CompareExchange64(address, expected, Mutate(address, desired), out observed);

    /// <inheritdoc/>
    public nint TryGetHostPointer(PhysicalAddress address, ulong length) => 0;

    private ulong Mutate(PhysicalAddress address, ulong value) =>
        (value & (Valid | Accessed)) == (Valid | Accessed)
        && (value & Permissions) != 0
        && tables.Contains(address.Value)
        && Interlocked.Increment(ref _leaves) == flip.LeafWrite
            ? value ^ (1ul << flip.Bit)
            : value;
}
