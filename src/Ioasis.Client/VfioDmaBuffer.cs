using Ioasis.Primitives;

namespace Ioasis.Client;

/// <summary>
/// A part of a device's memory that other devices may reach (Linux 6.19: a <c>dma-buf</c>). The device takes it back when it is reset, when
/// its memory is disabled and when it is closed: what was mapped of it then leads nowhere.
/// </summary>
public sealed class VfioDmaBuffer : IDisposable
{
    internal VfioDmaBuffer(KernelDescriptor descriptor, ulong length)
    {
        Descriptor = descriptor;
        Length = length;
    }

    /// <summary>The descriptor.</summary>
    public KernelDescriptor Descriptor { get; }

    /// <summary>Bytes.</summary>
    public ulong Length { get; }

    /// <summary>Maps it for the devices of an address space (<c>IOMMU_IOAS_MAP_FILE</c>).</summary>
    /// <param name="space">The address space.</param>
    /// <param name="offset">First byte, a multiple of 4,096.</param>
    /// <param name="length">Bytes, a multiple of 4,096.</param>
    /// <param name="access">What devices may do.</param>
    /// <param name="iova">In: where to map it, or null for the kernel's choice. Out: where it is.</param>
    /// <returns>
    /// As <see cref="IoAddressSpace.MapErrno(UserMemory, Iova, Access)"/>; <see cref="Errno.NoDevice"/> while the device has taken it back;
    /// <see cref="Errno.BadDescriptor"/> if it is disposed.
    /// </returns>
    public Errno MapErrno(IoAddressSpace space, ulong offset, ulong length, Access access, ref Iova? iova)
    {
        ArgumentNullException.ThrowIfNull(space);
        try
        {
            return space.MapDescriptor(Descriptor, offset, length, access, ref iova);
        }
        catch (ObjectDisposedException)
        {
            return Errno.BadDescriptor;
        }
    }

    /// <summary>Closes the descriptor; what is mapped stays until it is unmapped, or taken back.</summary>
    public void Dispose() => Descriptor.Dispose();
}
