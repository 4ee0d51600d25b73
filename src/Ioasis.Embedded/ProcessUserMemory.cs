using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Embedded;

/// <summary>
/// This process as a client: its pages are physical pages. The byte at address <c>a</c> has the physical address
/// 2^51 + <c>a</c>, so that whatever is contiguous here is contiguous there. A page that goes away while it is mapped gives
/// access faults to devices.
/// </summary>
internal sealed class ProcessUserMemory : IUserMemory
{
    /// <summary>Physical address of address 0 of the process.</summary>
    public const ulong WindowStart = 1ul << 51;

    private readonly ProcessMemory _memory = new();
    private long _pinned;

    /// <summary>Bytes pinned, counted as often as they were: 0 when nothing leaks.</summary>
    public long PinnedBytes => Volatile.Read(ref _pinned);

    /// <inheritdoc/>
    public Errno Read(ulong userAddress, Span<byte> destination) => _memory.Read(userAddress, destination);

    /// <inheritdoc/>
    public Errno Write(ulong userAddress, ReadOnlySpan<byte> source) => _memory.Write(userAddress, source);

    /// <inheritdoc/>
    public Errno Pin(ulong userAddress, ulong length, bool writable, out PhysicalAddress address, out ulong runLength)
    {
        address = new(WindowStart + userAddress);
        runLength = length;
        if (userAddress >= WindowStart || length > WindowStart - userAddress)
        {
            return Errno.BadAddress;
        }

        Errno error = _memory.Populate(userAddress, length, writable);
        if (error == Errno.Success)
        {
            _ = Interlocked.Add(ref _pinned, (long)length);
        }

        return error;
    }

    /// <inheritdoc/>
    public void Unpin(PhysicalAddress address, ulong length) => Interlocked.Add(ref _pinned, -(long)length);
}
