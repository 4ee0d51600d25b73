using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// A user process of a kernel: descriptors and memory of its own. Processes share open files only as far as one passes
/// descriptors to another. What is done through a descriptor is done with the memory, and on the account, of the process that
/// makes the call. Thread-safe.
/// </summary>
internal sealed class KernelProcess : IKernelAbi
{
    [ThreadStatic]
    private static KernelProcess? t_current;

    private readonly IoasisKernel _kernel;
    private readonly IoLock _mappingsLock = new();
    private readonly List<Mapping> _mappings = [];
    private int _deviceMappings;

    internal KernelProcess(IoasisKernel kernel, MemoryOwner owner, uint userId, int descriptorLimit)
    {
        _kernel = kernel;
        Owner = owner;
        PinningOwner = owner with { Memory = new PinnableMemory(owner.Memory, this) };
        UserId = userId;
        Descriptors = new(descriptorLimit);
    }

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

    /// <summary>Gives another process a descriptor of an open file of this one (Linux: <c>SCM_RIGHTS</c>).</summary>
    /// <returns>The descriptor there, or <c>-errno</c>.</returns>
    public int Pass(int fd, KernelProcess receiver)
    {
        ArgumentNullException.ThrowIfNull(receiver);
        if (receiver._kernel != _kernel)
        {
            return -(int)Errno.InvalidArgument;
        }

        if (!Descriptors.TryGet(fd, out OpenFile? file))
        {
            return -(int)Errno.BadDescriptor;
        }

        Errno error = receiver.Descriptors.Add(file!, out int descriptor);
        if (error != Errno.Success)
        {
            file!.Dereference();
        }

        return error == Errno.Success ? descriptor : -(int)error;
    }

    /// <summary>Makes another process with the same memory, which pays for itself.</summary>
    public KernelProcess CreateSibling() => _kernel.CreateProcess(new() { Memory = Owner.Memory, UserId = UserId });

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
        if (!Descriptors.TryGet(fd, out OpenFile? file))
        {
            return -(int)Errno.BadDescriptor;
        }

        Errno error = file!.Peek(destination, out int count);
        file.Dereference();
        return error == Errno.Success ? count : -(int)error;
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
        if (!Descriptors.TryGet(fd, out OpenFile? file))
        {
            return -(int)Errno.BadDescriptor;
        }

        Errno error = file is VfioOpenDevice device ? device.Submit(command, offset) : Errno.InvalidArgument;
        file!.Dereference();
        return -(int)error;
    }

    private int Add(OpenFile file)
    {
        Errno error = Descriptors.Add(file, out int descriptor);
        if (error != Errno.Success)
        {
            file.Dereference();
        }

        return error == Errno.Success ? descriptor : -(int)error;
    }

    /// <summary>
    /// The process dies: its calls that wait are interrupted, and all its descriptors and mappings are closed (S1.15). What
    /// others hold stays. The process gets no descriptor any more.
    /// </summary>
    public void Exit()
    {
        CloseAll(forGood: true);
        _kernel.Forget(this);
    }

    internal void CloseAll(bool forGood)
    {
        foreach (OpenFile file in Descriptors.RemoveAll(forGood))
        {
            file.InterruptWaiters();
            file.Dereference();
        }

        List<Mapping> mappings;
        using (_mappingsLock.Acquire())
        {
            mappings = [.. _mappings];
            _mappings.Clear();
            _deviceMappings = 0;
        }

        foreach (Mapping mapping in mappings)
        {
            mapping.File.Dereference();
        }
    }

    /// <inheritdoc/>
    public int Open(string path, OpenFlags flags)
    {
        using Scope scope = Enter();
        return _kernel.Open(path, flags);
    }

    /// <inheritdoc/>
    public int Ioctl(int fd, uint request, Span<byte> argument)
    {
        using Scope scope = Enter();
        return _kernel.Ioctl(fd, request, argument);
    }

    /// <inheritdoc/>
    public int Ioctl(int fd, uint request, nint argument)
    {
        using Scope scope = Enter();
        return _kernel.Ioctl(fd, request, argument);
    }

    /// <inheritdoc/>
    public nint Read(int fd, Span<byte> destination)
    {
        using Scope scope = Enter();
        return _kernel.Read(fd, destination);
    }

    /// <inheritdoc/>
    public nint Write(int fd, ReadOnlySpan<byte> source)
    {
        using Scope scope = Enter();
        return _kernel.Write(fd, source);
    }

    /// <inheritdoc/>
    public nint Read(int fd, Span<byte> destination, ulong offset)
    {
        using Scope scope = Enter();
        return _kernel.Read(fd, destination, offset);
    }

    /// <inheritdoc/>
    public nint Write(int fd, ReadOnlySpan<byte> source, ulong offset)
    {
        using Scope scope = Enter();
        return _kernel.Write(fd, source, offset);
    }

    /// <inheritdoc/>
    public int Map(int fd, ulong offset, nuint length, MemoryProtection protection, out nint address)
    {
        using Scope scope = Enter();
        return _kernel.Map(fd, offset, length, protection, out address);
    }

    /// <inheritdoc/>
    public int Unmap(nint address, nuint length)
    {
        using Scope scope = Enter();
        return _kernel.Unmap(address, length);
    }

    /// <inheritdoc/>
    public int CreateEvent(uint initialValue, EventFlags flags)
    {
        using Scope scope = Enter();
        return _kernel.CreateEvent(initialValue, flags);
    }

    /// <inheritdoc/>
    public int CreateMemory(string name, ulong length)
    {
        using Scope scope = Enter();
        return _kernel.CreateMemory(name, length);
    }

    /// <inheritdoc/>
    public int FindDevice(string address, out string? path) => _kernel.FindDevice(address, out path);

    /// <inheritdoc/>
    public int Poll(Span<PollDescriptor> descriptors, int timeoutMilliseconds)
    {
        using Scope scope = Enter();
        return _kernel.Poll(descriptors, timeoutMilliseconds);
    }

    /// <inheritdoc/>
    public int Dup(int fd)
    {
        using Scope scope = Enter();
        return _kernel.Dup(fd);
    }

    /// <inheritdoc/>
    public int Close(int fd)
    {
        using Scope scope = Enter();
        return _kernel.Close(fd);
    }

    /// <summary>The process on whose behalf this thread is in the kernel.</summary>
    internal static KernelProcess? CurrentOf(IoasisKernel kernel) =>
        t_current is { } current && current._kernel == kernel ? current : null;

    internal void AddMapping(nint address, ulong length, OpenFile file)
    {
        using (_mappingsLock.Acquire())
        {
            _mappings.Add(new(address, length, file));
            _deviceMappings += file is VfioOpenDevice ? 1 : 0;
        }
    }

    /// <summary>Bytes from an address on, up to a length, before the first that is a device's.</summary>
    internal ulong CountPinnable(ulong address, ulong length)
    {
        if (Volatile.Read(ref _deviceMappings) == 0)
        {
            return length;
        }

        using (_mappingsLock.Acquire())
        {
            foreach (Mapping mapping in _mappings)
            {
                ulong start = (ulong)mapping.Address;
                if (mapping.File is VfioOpenDevice && start < address + length && address < start + mapping.Length)
                {
                    length = start > address ? start - address : 0;
                }
            }

            return length;
        }
    }

    internal OpenFile? RemoveMapping(nint address, ulong length)
    {
        using (_mappingsLock.Acquire())
        {
            int index = _mappings.FindIndex(entry => entry.Address == address && entry.Length == length);
            if (index < 0)
            {
                return null;
            }

            OpenFile file = _mappings[index].File;
            _deviceMappings -= file is VfioOpenDevice ? 1 : 0;
            _mappings.RemoveAt(index);
            return file;
        }
    }

    private Scope Enter()
    {
        Scope scope = new(t_current);
        t_current = this;
        return scope;
    }

    private readonly ref struct Scope(KernelProcess? before)
    {
        public void Dispose() => t_current = before;
    }

    private readonly record struct Mapping(nint Address, ulong Length, OpenFile File);
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
