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

    internal VfioMapping(IKernelAbi kernel, nint address, int length)
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
    public int Length { get; }

    /// <summary>The bytes.</summary>
    /// <exception cref="ObjectDisposedException">It was disposed.</exception>
    public unsafe Span<byte> Span
    {
        get
        {
            ObjectDisposedException.ThrowIf(IsClosed, this);
            return new((void*)handle, Length);
        }
    }

    /// <summary>Reads a register: one access, which the compiler neither moves nor repeats.</summary>
    /// <param name="offset">Offset, a multiple of 4.</param>
    public uint Read32(int offset) => Volatile.Read(ref At<uint>(offset));

    /// <summary>Writes a register: one access, after everything that was written before.</summary>
    /// <param name="offset">Offset, a multiple of 4.</param>
    /// <param name="value">The value.</param>
    public void Write32(int offset, uint value) => Volatile.Write(ref At<uint>(offset), value);

    /// <summary>Reads a register of 64 bits.</summary>
    /// <param name="offset">Offset, a multiple of 8.</param>
    public ulong Read64(int offset) => Volatile.Read(ref At<ulong>(offset));

    /// <summary>Writes a register of 64 bits.</summary>
    /// <param name="offset">Offset, a multiple of 8.</param>
    /// <param name="value">The value.</param>
    public void Write64(int offset, ulong value) => Volatile.Write(ref At<ulong>(offset), value);

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        bool unmapped = _kernel.Unmap(handle, (nuint)Length) == 0;
        _root.Free();
        return unmapped;
    }

    private ref T At<T>(int offset)
        where T : unmanaged
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(offset % Unsafe.SizeOf<T>(), 0, nameof(offset));
        return ref MemoryMarshal.AsRef<T>(Span[offset..]);
    }
}
