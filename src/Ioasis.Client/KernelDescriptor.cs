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
    private InputWatch? _watch;

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

    /// <summary>Whether its owner let go of it, though a call may still hold it open.</summary>
    internal bool IsDisposed { get; private set; }

    /// <summary>The number. It means nothing once the handle is disposed.</summary>
    public int Number => (int)handle;

    /// <summary>Opens a device node.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public static Errno OpenErrno(IKernelAbi kernel, string path, out KernelDescriptor? descriptor)
    {
        ArgumentNullException.ThrowIfNull(kernel);
        ArgumentNullException.ThrowIfNull(path);
        int result = kernel.Open(path, OpenFlags.ReadWrite | OpenFlags.CloseOnExec);
        descriptor = result < 0 ? null : new(kernel, result);
        return result < 0 ? (Errno)(-result) : Errno.Success;
    }

    /// <summary>Takes over a descriptor that a call of the kernel gave.</summary>
    internal static KernelDescriptor Own(IKernelAbi kernel, int descriptor) => new(kernel, descriptor);

    /// <summary>Makes an event counter that does not block.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    internal static Errno MakeEventErrno(IKernelAbi kernel, out KernelDescriptor? made)
    {
        int descriptor = kernel.CreateEvent(0, EventFlags.NonBlocking | EventFlags.CloseOnExec);
        made = descriptor < 0 ? null : new(kernel, descriptor);
        return descriptor < 0 ? (Errno)(-descriptor) : Errno.Success;
    }

    /// <summary>Makes another descriptor of the same open file, to be closed by itself.</summary>
    public Errno DuplicateErrno(out KernelDescriptor? duplicate)
    {
        using HandleHold held = new(this);
        int result = Kernel.Dup(Number);
        duplicate = result < 0 ? null : new(Kernel, result);
        return result < 0 ? (Errno)(-result) : Errno.Success;
    }

    /// <summary>An ioctl whose argument is a number or absent.</summary>
    internal Errno Call(uint request, nint argument, out int result)
    {
        using HandleHold held = new(this);
        result = Kernel.Ioctl(Number, request, argument);
        return result < 0 ? (Errno)(-result) : Errno.Success;
    }

    /// <summary>An ioctl of <c>/dev/iommu</c>: sets the size and sends the structure.</summary>
    internal Errno Call<T>(ref T argument)
        where T : unmanaged, ISizedArgument => Call(ref argument, out _);

    /// <summary>An ioctl of <c>/dev/iommu</c> or <c>/dev/ioasid</c> that answers a number.</summary>
    internal Errno Call<T>(ref T argument, out int result)
        where T : unmanaged, ISizedArgument
    {
        using HandleHold held = new(this);
        return CallHeld(ref argument, out result);
    }

    /// <summary>
    /// As <see cref="Call{T}(ref T)"/> for a caller that holds the descriptor already: it may have been disposed of, as when a finalizer
    /// gives back what was made in it.
    /// </summary>
    internal Errno CallHeld<T>(ref T argument)
        where T : unmanaged, ISizedArgument => CallHeld(ref argument, out _);

    /// <summary>An ioctl with a structure whose size the caller has set.</summary>
    internal Errno Call(uint request, Span<byte> argument) => Call(request, argument, out _);

    /// <summary>An ioctl with a structure whose size the caller has set, and that answers a number.</summary>
    internal Errno Call(uint request, Span<byte> argument, out int result)
    {
        using HandleHold held = new(this);
        result = Kernel.Ioctl(Number, request, argument);
        return result < 0 ? (Errno)(-result) : Errno.Success;
    }

    /// <summary>Waits until there is something to read, without a thread of the caller's.</summary>
    /// <exception cref="OperationCanceledException">The caller cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The descriptor is, or becomes, closed.</exception>
    /// <exception cref="IommuException">The kernel refused.</exception>
    internal Task WaitForInputAsync(CancellationToken cancellationToken)
    {
        var watch = InputWatch.Of(Kernel);
        Volatile.Write(ref _watch, watch);
        return watch.WaitAsync(this, cancellationToken);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        if (disposing)
        {
            // The number stays open until the last call is back; who awaits input is told now.
            IsDisposed = true;
            Volatile.Read(ref _watch)?.Wake();
        }
    }

    private Errno CallHeld<T>(ref T argument, out int result)
        where T : unmanaged, ISizedArgument
    {
        Unsafe.As<T, uint>(ref argument) = (uint)Unsafe.SizeOf<T>();
        result = Kernel.Ioctl(Number, T.Request, MemoryMarshal.AsBytes(new Span<T>(ref argument)));
        return result < 0 ? (Errno)(-result) : Errno.Success;
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        bool closed = Kernel.Close((int)handle) == 0;
        _root.Free();
        return closed;
    }
}
