using Ioasis.Primitives;

namespace Ioasis.Platform;

/// <summary>
/// The seam to the memory of a client, by the client's own addresses: what <c>copy_from_user</c> and
/// <c>pin_user_pages</c> are to Linux. Bad addresses give <see cref="Errno.BadAddress"/>, never a crash.
/// </summary>
public interface IUserMemory
{
    /// <summary>Copies from the client.</summary>
    Errno Read(ulong userAddress, Span<byte> destination);

    /// <summary>Copies to the client.</summary>
    Errno Write(ulong userAddress, ReadOnlySpan<byte> source);

    /// <summary>
    /// Pins the pages from <paramref name="userAddress"/> on, as far as they are physically contiguous. A caller pins a
    /// long range by calling again for what is left.
    /// </summary>
    /// <param name="userAddress">Any alignment.</param>
    /// <param name="length">Bytes wanted, not 0.</param>
    /// <param name="writable">Whether the device will write.</param>
    /// <param name="address">The physical address of <paramref name="userAddress"/>.</param>
    /// <param name="runLength">Bytes pinned, 1 to <paramref name="length"/>.</param>
    /// <returns>Success, <see cref="Errno.BadAddress"/> or <see cref="Errno.OutOfMemory"/>; after a failure nothing is pinned.</returns>
    Errno Pin(ulong userAddress, ulong length, bool writable, out PhysicalAddress address, out ulong runLength);

    /// <summary>
    /// Bytes from an address on, up to a length, before the first that are a device's: a part of it that the client has mapped, which has no
    /// pages to pin.
    /// </summary>
    ulong CountBeforeDevice(ulong userAddress, ulong length) => length;

    /// <summary>Releases what <see cref="Pin"/> gave, whole or in parts.</summary>
    void Unpin(PhysicalAddress address, ulong length);
}
