using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>
/// A part of a device's region in the process. It stays usable when the device's descriptor is closed, and ends with its own
/// disposal; a span of it must not be used after that.
/// </summary>
public sealed class VfioMapping : SafeHandle
{
    private readonly IKernelAbi _kernel;

    // As a descriptor does: the kernel lives while it may have to be asked.
    private GCHandle _root;

    internal VfioMapping(IKernelAbi kernel, nint address, ulong length)
        : base(0, ownsHandle: true)
    {
        _kernel = kernel;
        _root = GCHandle.Alloc(kernel);
        Length = length;
        SetHandle(address);
    }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <summary>Bytes.</summary>
    public ulong Length { get; }

    /// <summary>The bytes; of a mapping above 2 GiB the first 2 GiB. See <see cref="Slice"/>.</summary>
    /// <exception cref="ObjectDisposedException">It was disposed.</exception>
    public Span<byte> Span => Slice(0, (int)Math.Min(Length, int.MaxValue));

    /// <summary>A part of the bytes.</summary>
    /// <param name="offset">The first.</param>
    /// <param name="length">How many.</param>
    /// <exception cref="ArgumentOutOfRangeException">The part is not within the mapping.</exception>
    /// <exception cref="ObjectDisposedException">It was disposed.</exception>
    public unsafe Span<byte> Slice(ulong offset, int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, Length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((ulong)length, Length - offset, nameof(length));
        ObjectDisposedException.ThrowIf(IsClosed, this);
        return new((byte*)handle + offset, length);
    }

    /// <summary>Reads a register: one access, which the compiler neither moves nor repeats.</summary>
    /// <param name="offset">Offset, a multiple of 4.</param>
    public uint Read32(ulong offset) => Volatile.Read(ref At<uint>(offset));

    /// <summary>Writes a register: one access, after everything that was written before.</summary>
    /// <param name="offset">Offset, a multiple of 4.</param>
    /// <param name="value">The value.</param>
    public void Write32(ulong offset, uint value) => Volatile.Write(ref At<uint>(offset), value);

    /// <summary>Reads a register of 64 bits.</summary>
    /// <param name="offset">Offset, a multiple of 8.</param>
    public ulong Read64(ulong offset) => Volatile.Read(ref At<ulong>(offset));

    /// <summary>Writes a register of 64 bits.</summary>
    /// <param name="offset">Offset, a multiple of 8.</param>
    /// <param name="value">The value.</param>
    public void Write64(ulong offset, ulong value) => Volatile.Write(ref At<ulong>(offset), value);

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        bool unmapped = _kernel.Unmap(handle, (nuint)Length) == 0;
        _root.Free();
        return unmapped;
    }

    private ref T At<T>(ulong offset)
        where T : unmanaged
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(offset % (ulong)Unsafe.SizeOf<T>(), 0ul, nameof(offset));
        return ref MemoryMarshal.AsRef<T>(Slice(offset, Unsafe.SizeOf<T>()));
    }
}
