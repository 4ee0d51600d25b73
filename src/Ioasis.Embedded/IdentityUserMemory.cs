using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Embedded;

/// <summary>
/// A client whose addresses are physical addresses: pinning gives the same number. For recordings, whose physical addresses
/// are known, and for machines whose programs run without paging. What calls point to (arrays of ranges) is still this
/// process's own memory.
/// </summary>
public sealed class IdentityUserMemory : IUserMemory
{
    private readonly ProcessMemory _arguments = new();
    private readonly ulong _limit;
    private long _pinned;

    /// <summary>Makes the memory.</summary>
    /// <param name="limit">The first address that cannot be pinned: below it must be memory.</param>
    public IdentityUserMemory(ulong limit = 1ul << 40) => _limit = limit;

    /// <summary>Bytes pinned, counted as often as they were: 0 when nothing leaks.</summary>
    public long PinnedBytes => Volatile.Read(ref _pinned);

    /// <inheritdoc/>
    public Errno Read(ulong userAddress, Span<byte> destination) => _arguments.Read(userAddress, destination);

    /// <inheritdoc/>
    public Errno Write(ulong userAddress, ReadOnlySpan<byte> source) => _arguments.Write(userAddress, source);

    /// <inheritdoc/>
    public Errno Pin(ulong userAddress, ulong length, bool writable, out PhysicalAddress address, out ulong runLength)
    {
        address = new(userAddress);
        runLength = length;
        if (userAddress >= _limit || length > _limit - userAddress)
        {
            return Errno.BadAddress;
        }

        _ = Interlocked.Add(ref _pinned, (long)length);
        return Errno.Success;
    }

    /// <inheritdoc/>
    public void Unpin(PhysicalAddress address, ulong length) => Interlocked.Add(ref _pinned, -(long)length);
}
