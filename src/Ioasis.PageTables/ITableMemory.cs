using System.Runtime.CompilerServices;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.PageTables;

/// <summary>
/// How the algorithms reach table pages. A <c>location</c> is where an entry is: the location of a page plus an offset in
/// bytes. Reads acquire and writes release, because hardware and other threads walk at the same time.
/// </summary>
internal interface ITableMemory
{
    /// <summary>Whether a location is the address of host memory, so that runs of entries can be worked on in bulk.</summary>
    static abstract bool IsDirect { get; }

    /// <summary>Whether an access has failed. It stays so: what the tables then hold is unknown.</summary>
    bool HasFailed { get; }

    /// <summary>The location of a page, or 0 if it cannot be reached.</summary>
    /// <param name="address">The page, aligned to its size.</param>
    /// <param name="length">Its size: more than 4 KiB for some roots.</param>
    ulong Open(ulong address, ulong length = 4096);

    /// <summary>Reads an entry of 4 bytes; 0 after a failure.</summary>
    ulong Read32(ulong location);

    /// <summary>Reads an entry of 8 bytes; 0 after a failure.</summary>
    ulong Read64(ulong location);

    /// <summary>Writes an entry of 4 bytes.</summary>
    void Write32(ulong location, ulong entry);

    /// <summary>Writes an entry of 8 bytes.</summary>
    void Write64(ulong location, ulong entry);

    /// <summary>Replaces an entry of 4 bytes if it is <paramref name="expected"/>.</summary>
    /// <returns>What was there.</returns>
    ulong CompareExchange32(ulong location, ulong expected, ulong desired);

    /// <summary>Replaces an entry of 8 bytes if it is <paramref name="expected"/>.</summary>
    /// <returns>What was there.</returns>
    ulong CompareExchange64(ulong location, ulong expected, ulong desired);
}

/// <summary>Tables in this process's own sparse memory: three loads from an address to a page, no call.</summary>
/// <param name="memory">Where the tables are.</param>
internal readonly unsafe struct SparseTableMemory(SparsePhysicalMemory memory) : ITableMemory
{
    /// <inheritdoc/>
    public static bool IsDirect => true;

    /// <inheritdoc/>
    public bool HasFailed => false;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ulong Open(ulong address, ulong length = 4096) => (ulong)memory.TryGetHostPointer(new(address), length);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ulong Read32(ulong location) => Volatile.Read(ref *(uint*)location);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ulong Read64(ulong location) => Volatile.Read(ref *(ulong*)location);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Write32(ulong location, ulong entry) => Volatile.Write(ref *(uint*)location, (uint)entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Write64(ulong location, ulong entry) => Volatile.Write(ref *(ulong*)location, entry);

    /// <inheritdoc/>
    public ulong CompareExchange32(ulong location, ulong expected, ulong desired) =>
        Interlocked.CompareExchange(ref *(uint*)location, (uint)desired, (uint)expected);

    /// <inheritdoc/>
    public ulong CompareExchange64(ulong location, ulong expected, ulong desired) =>
        Interlocked.CompareExchange(ref *(ulong*)location, desired, expected);
}

/// <summary>Tables in any memory that hands out host pointers to every page.</summary>
/// <param name="memory">Where the tables are.</param>
internal readonly unsafe struct HostTableMemory(IPhysicalMemory memory) : ITableMemory
{
    /// <inheritdoc/>
    public static bool IsDirect => true;

    /// <inheritdoc/>
    public bool HasFailed => false;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ulong Open(ulong address, ulong length = 4096) => (ulong)memory.TryGetHostPointer(new(address), length);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ulong Read32(ulong location) => Volatile.Read(ref *(uint*)location);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ulong Read64(ulong location) => Volatile.Read(ref *(ulong*)location);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Write32(ulong location, ulong entry) => Volatile.Write(ref *(uint*)location, (uint)entry);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Write64(ulong location, ulong entry) => Volatile.Write(ref *(ulong*)location, entry);

    /// <inheritdoc/>
    public ulong CompareExchange32(ulong location, ulong expected, ulong desired) =>
        Interlocked.CompareExchange(ref *(uint*)location, (uint)desired, (uint)expected);

    /// <inheritdoc/>
    public ulong CompareExchange64(ulong location, ulong expected, ulong desired) =>
        Interlocked.CompareExchange(ref *(ulong*)location, desired, expected);
}

/// <summary>
/// Tables behind the memory seam, one call an entry: memory behind a socket, or memory whose accesses a test watches. A
/// location is the physical address with bit 63 set, so that page 0 has one as well.
/// </summary>
internal readonly struct IndirectTableMemory : ITableMemory
{
    private const ulong Reachable = 1ul << 63;

    private readonly IPhysicalMemory _memory;
    private readonly StrongBox<bool> _failed;

    /// <summary>Makes the view.</summary>
    public IndirectTableMemory(IPhysicalMemory memory)
    {
        _memory = memory;
        _failed = new();
    }

    /// <inheritdoc/>
    public static bool IsDirect => false;

    /// <inheritdoc/>
    public bool HasFailed => Volatile.Read(ref _failed.Value);

    /// <inheritdoc/>
    public ulong Open(ulong address, ulong length = 4096) => address | Reachable;

    /// <inheritdoc/>
    public ulong Read32(ulong location)
    {
        Check(_memory.Read32(At(location), out uint value));
        return value;
    }

    /// <inheritdoc/>
    public ulong Read64(ulong location)
    {
        Check(_memory.Read64(At(location), out ulong value));
        return value;
    }

    /// <inheritdoc/>
    public void Write32(ulong location, ulong entry) => Check(_memory.Write32(At(location), (uint)entry));

    /// <inheritdoc/>
    public void Write64(ulong location, ulong entry) => Check(_memory.Write64(At(location), entry));

    /// <inheritdoc/>
    public ulong CompareExchange32(ulong location, ulong expected, ulong desired)
    {
        // The seam exchanges 8 bytes: the other half must be kept, and may change meanwhile.
        PhysicalAddress pair = At(location & ~7ul);
        int shift = (int)(location & 4) * 8;
        ulong mask = 0xffff_fffful << shift;
        ulong before;
        Check(_memory.Read64(pair, out before));
        while ((before & mask) >> shift == expected && !HasFailed)
        {
            ulong desiredPair = (before & ~mask) | (desired << shift);
            Check(_memory.CompareExchange64(pair, before, desiredPair, out ulong observed));
            if (observed == before)
            {
                break;
            }

            before = observed;
        }

        return (before & mask) >> shift;
    }

    /// <inheritdoc/>
    public ulong CompareExchange64(ulong location, ulong expected, ulong desired)
    {
        Check(_memory.CompareExchange64(At(location), expected, desired, out ulong observed));
        return observed;
    }

    private static PhysicalAddress At(ulong location) => new(location & ~Reachable);

    private void Check(MemoryStatus status)
    {
        if (status != MemoryStatus.Success)
        {
            Volatile.Write(ref _failed.Value, true);
        }
    }
}
