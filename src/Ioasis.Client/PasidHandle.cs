using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>
/// A PASID that was allocated. Disposing it stops its DMA wherever it is allowed; its number is used again only when every
/// device and table has let go of it (S1.7). Thread-safe.
/// </summary>
public sealed class PasidHandle : DependentHandle
{
    internal PasidHandle(KernelDescriptor descriptor, uint number)
        : base(descriptor, number)
    {
        Pasid = new(number);
        DescriptorNumber = descriptor.Number;
    }

    /// <summary>The number that devices send.</summary>
    public Pasid Pasid { get; }

    /// <summary>The <c>/dev/ioasid</c> that it is in, for calls on other descriptors.</summary>
    internal int DescriptorNumber { get; }

    /// <summary>Has its DMA reach an address space. Devices may be allowed before or after.</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public void Bind(IoAddressSpace space)
    {
        ArgumentNullException.ThrowIfNull(space);
        IommuException.ThrowIf(BindErrno(space), "IOASID_BIND", $"PASID {Pasid}, address space {space.Id}");
    }

    /// <summary>Has its DMA reach an address space.</summary>
    /// <returns>Success; <see cref="Errno.Busy"/> if something is bound; why a device cannot follow.</returns>
    public Errno BindErrno(IoAddressSpace space)
    {
        ArgumentNullException.ThrowIfNull(space);
        return Bind(IoasidBindKind.Ioas, space.Owner.Number, space.Id);
    }

    /// <summary>Has its DMA go through a page table, such as a guest's.</summary>
    /// <returns>Success; <see cref="Errno.InvalidArgument"/> if the table was not made for PASIDs; others.</returns>
    public Errno BindErrno(IommuFd iommu, HardwarePageTable table)
    {
        ArgumentNullException.ThrowIfNull(iommu);
        ArgumentNullException.ThrowIfNull(table);
        return Bind(IoasidBindKind.Hwpt, iommu.Descriptor.Number, table.Id);
    }

    /// <summary>Has its DMA use this process's own addresses.</summary>
    /// <returns>Success; <see cref="Errno.NotSupported"/> where the kernel does not know the process.</returns>
    public Errno BindProcessErrno() => Bind(IoasidBindKind.Process, -1, 0);

    /// <summary>Has its DMA fault.</summary>
    /// <returns>Success, or <see cref="Errno.NoEntry"/> if nothing is bound.</returns>
    public Errno UnbindErrno()
    {
        IoasidUnbind argument = new() { Ioasid = Pasid.Value };
        return Owner.Call(ref argument);
    }

    /// <summary>Gives it a private number in its set (S0.9).</summary>
    /// <returns>Success; <see cref="Errno.Exists"/> if the number is taken or it has one.</returns>
    public Errno MapGuestErrno(GuestPasid guest)
    {
        IoasidMapGuest argument = new() { Ioasid = Pasid.Value, Guest = guest.Value };
        return Owner.Call(ref argument);
    }

    /// <summary>Takes the private number away.</summary>
    /// <returns>Success, or <see cref="Errno.NoEntry"/> if it has none.</returns>
    public Errno UnmapGuestErrno()
    {
        IoasidMapGuest argument = new() { Flags = IoasidMapGuestFlags.Unmap, Ioasid = Pasid.Value };
        return Owner.Call(ref argument);
    }

    /// <summary>What the kernel knows of it.</summary>
    public Errno GetInfoErrno(out PasidInfo info)
    {
        IoasidFind argument = new() { Id = Pasid.Value };
        Errno error = Owner.Call(ref argument);
        info = InfoOf(argument);
        return error;
    }

    /// <summary>Ends it now: stops its DMA, and parks the number until its users are gone (S1.7).</summary>
    /// <returns>Success; <see cref="Errno.TimedOut"/> if a device does not let go in time: the number stays taken.</returns>
    public Errno FreeErrno() => Free(IoasidFreeFlags.None);

    /// <summary>Ends it if nothing uses it: the way of Linux.</summary>
    /// <returns>Success; <see cref="Errno.Busy"/> while it is used: then nothing has happened.</returns>
    public Errno FreeIfUnusedErrno() => Free(IoasidFreeFlags.IfUnused);

    internal static PasidInfo InfoOf(in IoasidFind found) => new(
        new(found.OutIoasid),
        new(found.SetId),
        found.OutGuest == uint.MaxValue ? null : new(found.OutGuest),
        found.OutState == 2,
        found.OutUsers);

    /// <inheritdoc/>
    private protected override void Release(KernelDescriptor from, uint number)
    {
        IoasidFree argument = new() { Ioasid = number };
        _ = from.CallHeld(ref argument);
    }

    private Errno Free(IoasidFreeFlags flags)
    {
        IoasidFree argument = new() { Flags = flags, Ioasid = Pasid.Value };
        Errno error = Owner.Call(ref argument);
        if (error is Errno.Success or Errno.TimedOut)
        {
            Forget();
        }

        return error;
    }

    private Errno Bind(IoasidBindKind kind, int iommu, uint id)
    {
        IoasidBind argument = new() { Ioasid = Pasid.Value, Kind = kind, Iommufd = iommu, ObjectId = id };
        return Owner.Call(ref argument);
    }
}
