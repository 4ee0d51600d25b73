using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>A descriptor of a kernel. It is closed when it is disposed and no call uses it any more.</summary>
public sealed class KernelDescriptor : SafeHandle
{
    // Whoever forgets a kernel together with its descriptors has the garbage collector close them: until then the kernel, and
    // all that it needs for that, must not be finalized.
    private GCHandle _root;

    private KernelDescriptor(IKernelAbi kernel, int descriptor)
        : base(-1, ownsHandle: true)
    {
        Kernel = kernel;
        _root = GCHandle.Alloc(kernel);
        SetHandle(descriptor);
    }

    /// <summary>The kernel that the descriptor is of.</summary>
    public IKernelAbi Kernel { get; }

    /// <inheritdoc/>
    public override bool IsInvalid => handle < 0;

    /// <summary>The number. It means nothing once the handle is disposed.</summary>
    public int Number => (int)handle;

    /// <summary>Opens a device node.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public static Errno TryOpen(IKernelAbi kernel, string path, out KernelDescriptor? descriptor)
    {
        ArgumentNullException.ThrowIfNull(kernel);
        ArgumentNullException.ThrowIfNull(path);
        int result = kernel.Open(path, OpenFlags.ReadWrite | OpenFlags.CloseOnExec);
        descriptor = result < 0 ? null : new(kernel, result);
        return result < 0 ? (Errno)(-result) : Errno.Success;
    }

    /// <summary>Takes over a descriptor that a call of the kernel gave.</summary>
    internal static KernelDescriptor Own(IKernelAbi kernel, int descriptor) => new(kernel, descriptor);

    /// <summary>Makes another descriptor of the same open file, to be closed by itself.</summary>
    public Errno TryDuplicate(out KernelDescriptor? duplicate)
    {
        bool held = false;
        try
        {
            DangerousAddRef(ref held);
            int result = Kernel.Dup(Number);
            duplicate = result < 0 ? null : new(Kernel, result);
            return result < 0 ? (Errno)(-result) : Errno.Success;
        }
        finally
        {
            if (held)
            {
                DangerousRelease();
            }
        }
    }

    /// <summary>Takes over a descriptor that a call returned.</summary>
    internal static KernelDescriptor Adopt(IKernelAbi kernel, int descriptor) => new(kernel, descriptor);

    /// <summary>An ioctl whose argument is a number or absent.</summary>
    internal Errno Call(uint request, nint argument, out int result)
    {
        bool held = false;
        try
        {
            DangerousAddRef(ref held);
            result = Kernel.Ioctl(Number, request, argument);
            return result < 0 ? (Errno)(-result) : Errno.Success;
        }
        finally
        {
            if (held)
            {
                DangerousRelease();
            }
        }
    }

    /// <summary>An ioctl of <c>/dev/iommu</c>: sets the size and sends the structure.</summary>
    internal Errno Call<T>(ref T argument)
        where T : unmanaged, ISizedArgument
    {
        Unsafe.As<T, uint>(ref argument) = (uint)Unsafe.SizeOf<T>();
        return Call(T.Request, MemoryMarshal.AsBytes(new Span<T>(ref argument)));
    }

    /// <summary>An ioctl with a structure whose size the caller has set.</summary>
    internal Errno Call(uint request, Span<byte> argument) => Call(request, argument, out _);

    /// <summary>An ioctl with a structure whose size the caller has set, and that answers a number.</summary>
    internal Errno Call(uint request, Span<byte> argument, out int result)
    {
        bool held = false;
        try
        {
            DangerousAddRef(ref held);
            result = Kernel.Ioctl(Number, request, argument);
            return result < 0 ? (Errno)(-result) : Errno.Success;
        }
        finally
        {
            if (held)
            {
                DangerousRelease();
            }
        }
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        bool closed = Kernel.Close((int)handle) == 0;
        _root.Free();
        return closed;
    }
}

/// <summary>An object in a <c>/dev/iommu</c> descriptor. It keeps the descriptor open until it is destroyed.</summary>
public sealed class KernelObject : SafeHandle
{
    private readonly KernelDescriptor _descriptor;
    private readonly bool _held;

    internal KernelObject(KernelDescriptor descriptor, uint id)
        : base(0, ownsHandle: true)
    {
        _descriptor = descriptor;
        descriptor.DangerousAddRef(ref _held);
        SetHandle((nint)id);
    }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <summary>The object's number in its descriptor.</summary>
    public uint Id => (uint)handle;

    /// <summary>The descriptor that it is in.</summary>
    internal KernelDescriptor Owner => _descriptor;

    /// <summary>Destroys the object now, and says whether the kernel did.</summary>
    /// <returns>Success, or <see cref="Errno.Busy"/> while something uses it: then nothing has happened.</returns>
    internal Errno TryDestroy()
    {
        IommuDestroy argument = new() { Id = Id };
        Errno error = _descriptor.Call(ref argument);
        if (error == Errno.Success)
        {
            SetHandleAsInvalid();
            ReleaseDescriptor();
        }

        return error;
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        // An object that is still in use goes with its descriptor.
        IommuDestroy argument = new() { Size = 8, Id = Id };
        _ = _descriptor.Kernel.Ioctl(
            _descriptor.Number, IommuDestroy.Request, MemoryMarshal.AsBytes(new Span<IommuDestroy>(ref argument)));
        ReleaseDescriptor();
        return true;
    }

    private void ReleaseDescriptor()
    {
        if (_held)
        {
            _descriptor.DangerousRelease();
        }
    }
}
