using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// A user process of a kernel, and the one way into the kernel side: descriptors and memory of its own. Processes share open files only as
/// far as one passes descriptors to another. What is done through a descriptor is done with the memory, and on the account, of the process
/// that makes the call. Thread-safe.
/// </summary>
internal sealed partial class KernelProcess : IKernelAbi, IVfioEventSource
{
    internal KernelProcess(IoasisKernel kernel, MemoryOwner owner, uint userId, int descriptorLimit)
    {
        Kernel = kernel;
        Owner = owner;
        PinningOwner = owner with { Memory = new PinnableMemory(owner.Memory, this) };
        UserId = userId;
        Descriptors = new(descriptorLimit);
    }

    /// <summary>The kernel that it is a process of.</summary>
    public IoasisKernel Kernel { get; }

    /// <summary>The user that runs it.</summary>
    public uint UserId { get; }

    /// <summary>Bytes that were pinned on the account of the process itself and still are (Linux: VmLck).</summary>
    public long PinnedBytes => Owner.Process.Pages * (long)AddressSpace.PageSize;

    /// <summary>Bytes that it has pinned, whoever pays for them (Linux: VmPin).</summary>
    public long AllPinnedBytes => Owner.Pinned.Pages * (long)AddressSpace.PageSize;

    /// <summary>Bytes that were pinned on the account of its user and still are.</summary>
    public long PinnedBytesOfUser => Owner.User.Pages * (long)AddressSpace.PageSize;

    internal MemoryOwner Owner { get; }

    /// <summary>As <see cref="Owner"/>, without what cannot be pinned: registers and memory of devices that it has mapped.</summary>
    internal MemoryOwner PinningOwner { get; }

    internal DescriptorTable Descriptors { get; }

    internal IUserMemory Memory => Owner.Memory;

    /// <summary>Gives another process a descriptor of an open file of this one (Linux: <c>SCM_RIGHTS</c>).</summary>
    /// <returns>The descriptor there, or <c>-errno</c>.</returns>
    public int Pass(int fd, KernelProcess receiver)
    {
        ArgumentNullException.ThrowIfNull(receiver);
        if (receiver.Kernel != Kernel)
        {
            return -(int)Errno.InvalidArgument;
        }

        if (!Descriptors.TryGet(fd, out OpenFile? file))
        {
            return -(int)Errno.BadDescriptor;
        }

        // The reference of the look-up becomes the new descriptor's.
        return receiver.Add(file!);
    }

    /// <summary>Makes another process with the same memory, which pays for itself.</summary>
    public KernelProcess CreateSibling() => Kernel.CreateProcess(new() { Memory = Owner.Memory, UserId = UserId });

    /// <summary>Gives the process a descriptor of a counter that is not this kernel's, which devices may signal and listen to.</summary>
    /// <param name="counter">The counter; null for a file of no use to any call.</param>
    /// <returns>The descriptor, or <c>-errno</c>.</returns>
    public int AddEvent(IVfioEvent? counter) => Add(new OutsideFile(counter));

    /// <summary>Gives the process a descriptor of memory that was allocated already, as <see cref="CreateMemory"/> does of new memory.</summary>
    /// <param name="source">Takes the memory back when nothing refers to it any more, also after a failure.</param>
    /// <param name="address">Where it is in the source's memory.</param>
    /// <param name="length">Bytes, not 0.</param>
    /// <returns>The descriptor, or <c>-errno</c>.</returns>
    public int AddMemory(IMemoryFileSource source, ulong address, ulong length)
    {
        ArgumentNullException.ThrowIfNull(source);
        return Add(new MemoryFile(source, address, length));
    }

    /// <summary>Reads the first event of a queue, which stays there.</summary>
    /// <param name="fd">The queue.</param>
    /// <param name="destination">Where it goes.</param>
    /// <returns>Bytes, 0 if there is none; -EOPNOTSUPP if a read of this queue changes it; -EINVAL if it does not fit; -EBADF.</returns>
    public nint PeekEvent(int fd, Span<byte> destination)
    {
        using FileUse file = Descriptors.Use(fd);
        int count = 0;
        Errno error = file.FileOrNull?.Peek(destination, out count) ?? Errno.BadDescriptor;
        return ToResult(error, count);
    }

    /// <summary>
    /// Gives a device a command of 64 bytes by a deferrable write, as a processor's ENQCMD does: with the PASID that the device is attached
    /// with (<c>VFIO_DEVICE_ATTACH_IOMMUFD_PT</c>, <c>IOASID_DEVICE_ALLOW</c>), the lowest if there are several, whatever the command says.
    /// </summary>
    /// <param name="fd">The device.</param>
    /// <param name="command">The command.</param>
    /// <param name="offset">Where, as for a write; a multiple of 64.</param>
    /// <returns>
    /// 0; -EAGAIN if the device does not take it now; -EPERM if it is attached with no PASID; -EINVAL; -EBADF.
    /// </returns>
    public int Submit(int fd, ReadOnlySpan<byte> command, ulong offset)
    {
        using FileUse file = Descriptors.Use(fd);
        return -(int)(file.FileOrNull switch
        {
            null => Errno.BadDescriptor,
            VfioOpenDevice device => device.Submit(command, offset),
            _ => Errno.InvalidArgument,
        });
    }

    /// <inheritdoc/>
    public Errno GetEventErrno(int descriptor, out IVfioEvent? counter)
    {
        using FileUse file = Descriptors.Use(descriptor);
        counter = (file.FileOrNull as EventFile)?.Counter ?? (file.FileOrNull as OutsideFile)?.Counter;
        return counter is not null ? Errno.Success : file.FileOrNull is null ? Errno.BadDescriptor : Errno.InvalidArgument;
    }

    /// <summary>
    /// Finds the table of a virtual machine by its descriptor: for whoever runs the guest's ENQCMD (S1.13). It stays usable
    /// when the descriptor is closed, and is empty then.
    /// </summary>
    public bool TryGetVmPasidTable(int descriptor, out VmPasidTable? table)
    {
        using FileUse file = Descriptors.Use(descriptor);
        table = (file.FileOrNull as IoasidVmFile)?.Table;
        return table is not null;
    }

    /// <summary>Gives the process a descriptor of a file. It takes over the caller's reference, which is dropped if that fails.</summary>
    internal Errno AddFile(OpenFile file, out int descriptor)
    {
        Errno error = Descriptors.Add(file, out descriptor);
        if (error != Errno.Success)
        {
            file.Dereference();
        }

        return error;
    }

    private int Add(OpenFile file)
    {
        Errno error = AddFile(file, out int descriptor);
        return ToResult(error, descriptor);
    }

    private static int ToResult(Errno error, int value) => error == Errno.Success ? value : -(int)error;

    /// <summary>
    /// The process dies: its calls that wait are interrupted, and all its descriptors and mappings are closed (S1.15). What
    /// others hold stays. The process gets no descriptor any more.
    /// </summary>
    public void Exit()
    {
        CloseAll(forGood: true);
        Kernel.Forget(this);
    }

    /// <summary>All its descriptors are closed, as when it dies (S1.15); another program may then take its place.</summary>
    public void CloseAll() => CloseAll(forGood: false);

    private void CloseAll(bool forGood)
    {
        foreach (OpenFile file in Descriptors.RemoveAll(forGood))
        {
            file.InterruptWaiters();
            file.Dereference();
        }

        UnmapAll();
    }
}

/// <summary>How a process is made.</summary>
internal sealed record KernelProcessOptions
{
    /// <summary>Its memory; null for that of the first process.</summary>
    public IUserMemory? Memory { get; init; }

    /// <summary>The user that runs it; the first process is user 0's.</summary>
    public uint UserId { get; init; }

    /// <summary>Bytes that may be pinned when it pins more (Linux: RLIMIT_MEMLOCK), or null for no limit.</summary>
    public long? PinnedMemoryLimit { get; init; }

    /// <summary>Descriptors that it may have open (Linux: RLIMIT_NOFILE).</summary>
    public int DescriptorLimit { get; init; } = 1 << 20;
}
