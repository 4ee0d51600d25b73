using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>Something in a descriptor, by number, that keeps the descriptor open until it is released.</summary>
public abstract class DependentHandle : SafeHandle
{
    private readonly KernelDescriptor _descriptor;
    private readonly bool _held;

    private protected DependentHandle(KernelDescriptor descriptor, uint number)
        : base(0, ownsHandle: true)
    {
        _descriptor = descriptor;
        descriptor.DangerousAddRef(ref _held);
        SetHandle((nint)number);
    }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <summary>The descriptor that it is in.</summary>
    internal KernelDescriptor Owner => _descriptor;

    /// <summary>A call while the handle is released: the descriptor is held, though it may be disposed of.</summary>
    private protected static void CallAtEnd<T>(KernelDescriptor from, ref T argument)
        where T : unmanaged, ISizedArgument
    {
        Unsafe.As<T, uint>(ref argument) = (uint)Unsafe.SizeOf<T>();
        _ = from.Kernel.Ioctl(from.Number, T.Request, MemoryMarshal.AsBytes(new Span<T>(ref argument)));
    }

    /// <summary>Ends it in the kernel.</summary>
    private protected abstract void Release(KernelDescriptor from, uint number);

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        Release(_descriptor, (uint)handle);
        LetGo();
        return true;
    }

    /// <summary>It has ended in the kernel already.</summary>
    private protected void Forget()
    {
        SetHandleAsInvalid();
        LetGo();
    }

    private void LetGo()
    {
        if (_held)
        {
            _descriptor.DangerousRelease();
        }
    }
}

/// <summary>An object in a <c>/dev/iommu</c> descriptor. It keeps the descriptor open until it is destroyed.</summary>
public sealed class KernelObject : DependentHandle
{
    internal KernelObject(KernelDescriptor descriptor, uint id)
        : base(descriptor, id)
    {
    }

    /// <summary>The object's number in its descriptor.</summary>
    public uint Id => (uint)handle;

    /// <summary>Destroys the object now, and says whether the kernel did.</summary>
    /// <returns>Success, or <see cref="Errno.Busy"/> while something uses it: then nothing has happened.</returns>
    internal Errno TryDestroy()
    {
        IommuDestroy argument = new() { Id = Id };
        Errno error = Owner.Call(ref argument);
        if (error == Errno.Success)
        {
            Forget();
        }

        return error;
    }

    /// <inheritdoc/>
    private protected override void Release(KernelDescriptor from, uint number)
    {
        // An object that is still in use goes with its descriptor.
        IommuDestroy argument = new() { Id = number };
        CallAtEnd(from, ref argument);
    }
}
