using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;

namespace Ioasis.Client;

/// <summary>
/// Memory of its own pages, mapped for devices while it lives: zero at first, outside the garbage collector's heap. Disposed, or
/// forgotten, it is unmapped and then freed; memory that cannot be unmapped is never freed.
/// </summary>
public sealed unsafe class DmaBuffer : SafeHandle
{
    private readonly KernelDescriptor _descriptor;
    private readonly uint _space;

    private DmaBuffer(KernelDescriptor descriptor, uint space, void* memory, nuint length, Iova iova)
        : base(0, ownsHandle: true)
    {
        _descriptor = descriptor;
        _space = space;
        Length = length;
        Iova = iova;
        bool held = false;
        descriptor.DangerousAddRef(ref held);
        SetHandle((nint)memory);
    }

    /// <summary>Where devices see it; a multiple of 4,096.</summary>
    public Iova Iova { get; }

    /// <summary>Bytes, a multiple of 4,096.</summary>
    public nuint Length { get; }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <summary>
    /// The first byte. Like <see cref="Span"/> it is for as long as the buffer is not disposed.
    /// </summary>
    /// <exception cref="ObjectDisposedException">The buffer is disposed.</exception>
    public void* Pointer
    {
        get
        {
            ObjectDisposedException.ThrowIf(IsClosed, this);
            return (void*)handle;
        }
    }

    /// <summary>The memory; of a buffer above 2 GiB the first 2 GiB.</summary>
    /// <exception cref="ObjectDisposedException">The buffer is disposed.</exception>
    public Span<byte> Span => new(Pointer, (int)Math.Min(Length, int.MaxValue));

    /// <summary>A part of the memory as elements of a type: what a device's descriptor rings are made of.</summary>
    /// <param name="offset">First byte; a multiple of what the type wants.</param>
    /// <param name="count">Elements.</param>
    /// <exception cref="ArgumentOutOfRangeException">The part is not within the buffer.</exception>
    public Span<T> As<T>(nuint offset, int count)
        where T : unmanaged
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, Length);
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        if ((nuint)count > (Length - offset) / (nuint)Unsafe.SizeOf<T>())
        {
            throw new ArgumentOutOfRangeException(nameof(count), count, "The part ends beyond the buffer.");
        }

        return new((byte*)Pointer + offset, count);
    }

    internal static Errno AllocateErrno(
        IoAddressSpace space, KernelDescriptor descriptor, nuint length, Access access, Iova? iova, out DmaBuffer? buffer)
    {
        buffer = null;
        const nuint Page = (nuint)IoAddressSpace.PageSize;
        if (length == 0 || length > nuint.MaxValue - Page)
        {
            return Errno.InvalidArgument;
        }

        length = (length + Page - 1) & ~(Page - 1);
        void* memory;
        try
        {
            memory = NativeMemory.AlignedAlloc(length, Page);
        }
        catch (OutOfMemoryException)
        {
            return Errno.OutOfMemory;
        }

        NativeMemory.Clear(memory, length);
        Errno error;
        if (iova is { } wanted)
        {
            error = space.MapErrno(new((ulong)memory, length), wanted, access);
        }
        else
        {
            error = space.MapErrno(new((ulong)memory, length), access, out Iova chosen);
            iova = chosen;
        }

        if (error != Errno.Success)
        {
            NativeMemory.AlignedFree(memory);
            return error;
        }

        buffer = new(descriptor, space.Id, memory, length, iova.Value);
        return Errno.Success;
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        bool released = IoAddressSpace.TryRelease(_descriptor, _space, Iova, Length);
        if (released)
        {
            NativeMemory.AlignedFree((void*)handle);
        }

        _descriptor.DangerousRelease();
        return released;
    }
}
