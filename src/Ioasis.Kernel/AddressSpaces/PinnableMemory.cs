using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// A process's memory as iommufd pins it: what the process has mapped of a device has no pages behind it (EFAULT, as on Linux). The way
/// to a device's memory is <c>VFIO_DEVICE_FEATURE_DMA_BUF</c>.
/// </summary>
internal sealed class PinnableMemory(IUserMemory memory, KernelProcess process) : IUserMemory
{
    /// <inheritdoc/>
    public Errno Read(ulong userAddress, Span<byte> destination) => memory.Read(userAddress, destination);

    /// <inheritdoc/>
    public Errno Write(ulong userAddress, ReadOnlySpan<byte> source) => memory.Write(userAddress, source);

    /// <inheritdoc/>
    public Errno Pin(ulong userAddress, ulong length, bool writable, out PhysicalAddress address, out ulong runLength)
    {
        address = default;
        runLength = 0;
        length = memory.CountBeforeDevice(userAddress, process.CountPinnable(userAddress, length));
        return length == 0 ? Errno.BadAddress : memory.Pin(userAddress, length, writable, out address, out runLength);
    }

    /// <inheritdoc/>
    public void Unpin(PhysicalAddress address, ulong length) => memory.Unpin(address, length);
}
