using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>Something in a descriptor, by number, that keeps the descriptor open until it is released.</summary>
public abstract class DependentHandle : SafeHandle
{
    private readonly KernelDescriptor _descriptor;

    private protected DependentHandle(KernelDescriptor descriptor, uint number)
        : base(0, ownsHandle: true)
    {
        bool held = false;
        descriptor.DangerousAddRef(ref held);
        _descriptor = descriptor;
        SetHandle((nint)number);
    }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <summary>The descriptor that it is in.</summary>
    internal KernelDescriptor Owner => _descriptor;

    /// <summary>Ends it in the kernel. The descriptor is held, though it may be disposed of.</summary>
    private protected abstract void Release(KernelDescriptor from, uint number);

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        Release(_descriptor, (uint)handle);
        _descriptor.DangerousRelease();
        return true;
    }

    /// <summary>It has ended in the kernel already.</summary>
    private protected void Forget()
    {
        SetHandleAsInvalid();
        _descriptor.DangerousRelease();
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
    internal Errno DestroyErrno()
    {
        IommuDestroy argument = new() { Id = Id };
        Errno error = Owner.Call(ref argument);
        if (error == Errno.Success)
        {
            Forget();
        }

        return error;
    }

    /// <summary><c>IOMMU_HWPT_INVALIDATE</c> of this object, a guest's page table or a virtual IOMMU.</summary>
    /// <param name="dataType">Kind of the entries, as Ioasis.Uapi has them by architecture.</param>
    /// <param name="entries">What is invalid.</param>
    /// <param name="done">Entries that were carried out.</param>
    internal unsafe Errno InvalidateErrno<T>(uint dataType, ReadOnlySpan<T> entries, out int done)
        where T : unmanaged
    {
        fixed (T* start = entries)
        {
            IommuHwptInvalidate argument = new()
            {
                HwptId = Id, DataAddress = (ulong)start, DataType = dataType, EntryLength = (uint)sizeof(T),
                EntryCount = (uint)entries.Length,
            };
            Errno error = Owner.Call(ref argument);
            done = (int)argument.EntryCount;
            return error;
        }
    }

    /// <inheritdoc/>
    private protected override void Release(KernelDescriptor from, uint number)
    {
        // An object that is still in use goes with its descriptor.
        IommuDestroy argument = new() { Id = number };
        _ = from.CallHeld(ref argument);
    }
}
