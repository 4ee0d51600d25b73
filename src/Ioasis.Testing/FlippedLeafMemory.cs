using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Testing;

/// <summary>
/// Memory as a driver sees it that gets one bit of one leaf of a page table wrong: whoever checks translations must find it. The
/// hardware sees the memory below.
/// </summary>
/// <param name="inner">The memory.</param>
/// <param name="tables">Where page tables are.</param>
/// <param name="leafWrite">Which write of a leaf entry, from 1.</param>
/// <param name="bit">Which bit, 0 to 63.</param>
internal sealed class FlippedLeafMemory(IPhysicalMemory inner, AddressRange tables, long leafWrite, int bit) : MemoryDecorator(inner)
{
    // Privileged specification, 12.3: V, one of R W X, and A, which the driver always sets in leaves.
    private const ulong Valid = 1;
    private const ulong Permissions = 0xe;
    private const ulong Accessed = 0x40;

    private long _leaves;

    /// <summary>Whether the bit was flipped yet.</summary>
    public bool HasFlipped => Volatile.Read(ref _leaves) >= leafWrite;

    /// <inheritdoc/>
    public override MemoryStatus Write64(PhysicalAddress address, ulong value) => base.Write64(address, Spoil(address, value));

    /// <inheritdoc/>
    public override MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed) =>
        base.CompareExchange64(address, expected, Spoil(address, desired), out observed);

    private ulong Spoil(PhysicalAddress address, ulong value) =>
        (value & (Valid | Accessed)) == (Valid | Accessed)
        && (value & Permissions) != 0
        && tables.Contains(address.Value)
        && Interlocked.Increment(ref _leaves) == leafWrite
            ? value ^ (1ul << bit)
            : value;
}
