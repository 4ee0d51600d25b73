using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>
/// Memory that belongs to a descriptor: accessible here, and mapped for devices by offset. It lives while anything holds it.
/// </summary>
public sealed class SharedMemory : IDisposable
{
    private readonly nint _address;
    private int _isDisposed;

    private SharedMemory(KernelDescriptor descriptor, nint address, ulong length)
    {
        Descriptor = descriptor;
        _address = address;
        Length = length;
    }

    /// <summary>The descriptor.</summary>
    public KernelDescriptor Descriptor { get; }

    /// <summary>Bytes.</summary>
    public ulong Length { get; }

    /// <summary>Where it is in this process, until it is disposed.</summary>
    public nint Address => _address;

    /// <summary>Makes zeroed memory.</summary>
    /// <param name="kernel">The kernel.</param>
    /// <param name="name">For people.</param>
    /// <param name="length">Bytes, not 0.</param>
    /// <exception cref="IommuException">The kernel refused, or has no such memory.</exception>
    public static SharedMemory Create(IKernelAbi kernel, string name, ulong length)
    {
        ArgumentNullException.ThrowIfNull(kernel);
        int fd = kernel.CreateMemory(name, length);
        IommuException.ThrowIf(fd < 0 ? (Errno)(-fd) : Errno.Success, "memfd_create", $"{name}, length 0x{length:x}");
        KernelDescriptor descriptor = KernelDescriptor.Own(kernel, fd);
        int result = kernel.Map(fd, 0, (nuint)length, MemoryProtection.Read | MemoryProtection.Write, out nint address);
        if (result < 0)
        {
            descriptor.Dispose();
            throw new IommuException((Errno)(-result), "mmap", name);
        }

        return new(descriptor, address, length);
    }

    /// <summary>A part of the memory.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <exception cref="ArgumentOutOfRangeException">It is not within the memory.</exception>
    public unsafe Span<byte> Slice(ulong offset, int length)
    {
        ObjectDisposedException.ThrowIf(_isDisposed != 0, this);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, Length);
        if ((ulong)length > Length - offset)
        {
            throw new ArgumentOutOfRangeException(nameof(length), length, "The part reaches beyond the memory.");
        }

        return new((byte*)_address + offset, length);
    }

    /// <summary>Maps a part for the devices of an address space, at an IOVA of the caller's choice.</summary>
    /// <returns>As <see cref="IoAddressSpace.MapErrno(UserMemory, Iova, Access)"/>.</returns>
    public Errno MapErrno(IoAddressSpace space, ulong offset, ulong length, Iova iova, Access access) =>
        MapErrno(space, offset, length, access, IoasMapFlags.FixedIova, ref iova);

    /// <summary>Maps a part for the devices of an address space, at an IOVA that the kernel chooses.</summary>
    /// <returns>As <see cref="IoAddressSpace.MapErrno(UserMemory, Access, out Iova)"/>.</returns>
    public Errno MapErrno(IoAddressSpace space, ulong offset, ulong length, Access access, out Iova iova)
    {
        iova = default;
        return MapErrno(space, offset, length, access, IoasMapFlags.None, ref iova);
    }

    /// <summary>Takes the memory out of this process and closes the descriptor; devices keep what is mapped for them.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _isDisposed, 1) == 0)
        {
            _ = Descriptor.Kernel.Unmap(_address, (nuint)Length);
            Descriptor.Dispose();
        }
    }

    private Errno MapErrno(IoAddressSpace space, ulong offset, ulong length, Access access, IoasMapFlags flags, ref Iova iova)
    {
        ArgumentNullException.ThrowIfNull(space);
        IommuIoasMapFile argument = new()
        {
            Flags = flags | IoAddressSpace.ToFlags(access),
            IoasId = space.Id,
            Fd = Descriptor.Number,
            Start = offset,
            Length = length,
            Iova = iova.Value,
        };
        Errno error = space.Owner.Call(ref argument);
        iova = new(argument.Iova);
        return error;
    }
}
