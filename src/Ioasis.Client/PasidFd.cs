using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>
/// An open <c>/dev/ioasid</c>: sets of PASIDs of one user. One descriptor carries as many PASIDs as one likes (S1.1). Everything
/// that was made with it ends when it is closed and nothing made with it is left open (S1.15). Thread-safe.
/// </summary>
public sealed class PasidFd : IDisposable
{
    /// <summary>The device node.</summary>
    public const string Path = "/dev/ioasid";

    private PasidFd(KernelDescriptor descriptor) => Descriptor = descriptor;

    /// <summary>The descriptor.</summary>
    public KernelDescriptor Descriptor { get; }

    /// <summary>Opens <c>/dev/ioasid</c>.</summary>
    /// <exception cref="IommuException">The kernel refused; Linux has no such device.</exception>
    public static PasidFd Open(IKernelAbi kernel)
    {
        IommuException.ThrowIf(OpenErrno(kernel, out PasidFd? opened), "open", $"{Path}");
        return opened!;
    }

    /// <summary>Opens <c>/dev/ioasid</c>.</summary>
    /// <returns>Success, or what the kernel answered.</returns>
    public static Errno OpenErrno(IKernelAbi kernel, out PasidFd? opened)
    {
        Errno error = KernelDescriptor.OpenErrno(kernel, Path, out KernelDescriptor? descriptor);
        opened = descriptor is null ? null : new(descriptor);
        return error;
    }

    /// <summary>Makes a set with PASIDs reserved for it.</summary>
    /// <param name="quota">How many.</param>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public PasidSet CreateSet(uint quota)
    {
        IommuException.ThrowIf(CreateSetErrno(quota, out PasidSet? set), "IOASID_SET_CREATE", $"quota {quota}");
        return set!;
    }

    /// <summary>Makes a set with PASIDs reserved for it.</summary>
    /// <returns>Success; <see cref="Errno.NoSpace"/> if there are not so many left (S0.2).</returns>
    public Errno CreateSetErrno(uint quota, out PasidSet? set)
    {
        IoasidSetCreate argument = new() { Quota = quota };
        Errno error = Descriptor.Call(ref argument);
        set = error == Errno.Success ? new(Descriptor, argument.OutSetId, quota) : null;
        return error;
    }

    /// <summary>Makes the descriptor of a virtual machine, whose ENQCMD use PASIDs by a table (S1.13).</summary>
    /// <exception cref="IommuException">The kernel refused.</exception>
    public VirtualMachinePasids CreateVirtualMachine()
    {
        IommuException.ThrowIf(CreateVirtualMachineErrno(out VirtualMachinePasids? machine), "IOASID_VM_CREATE", $"");
        return machine!;
    }

    /// <summary>Makes the descriptor of a virtual machine.</summary>
    /// <returns>Success; <see cref="Errno.TooManyOpenFiles"/>.</returns>
    public Errno CreateVirtualMachineErrno(out VirtualMachinePasids? machine)
    {
        Errno error = Descriptor.MakeErrno(new IoasidVmCreate(), out KernelDescriptor? made);
        machine = made is null ? null : new(made);
        return error;
    }

    /// <summary>Closes the descriptor once the sets and PASIDs made with it are disposed.</summary>
    public void Dispose() => Descriptor.Dispose();
}
