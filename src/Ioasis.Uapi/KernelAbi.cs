using System.Runtime.InteropServices;
using Ioasis.Primitives;

namespace Ioasis.Uapi;

/// <summary>Flags of <see cref="IKernelAbi.Open"/>, with the generic ABI's numbers.</summary>
[Flags]
public enum OpenFlags
{
    /// <summary>O_RDONLY.</summary>
    ReadOnly = 0,

    /// <summary>O_WRONLY.</summary>
    WriteOnly = 1,

    /// <summary>O_RDWR.</summary>
    ReadWrite = 2,

    /// <summary>O_NONBLOCK.</summary>
    NonBlocking = 0x800,

    /// <summary>O_CLOEXEC.</summary>
    CloseOnExec = 0x80000,
}

/// <summary>Events of <see cref="IKernelAbi.Poll(int, PollEvents, int, out PollEvents)"/>, with <c>poll(2)</c>'s numbers.</summary>
[Flags]
public enum PollEvents : short
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>POLLIN: there is something to read.</summary>
    In = 1,

    /// <summary>POLLOUT: a write would not block.</summary>
    Out = 4,

    /// <summary>POLLERR: an error; reported without being asked for.</summary>
    Error = 8,

    /// <summary>POLLHUP: the other side is gone; reported without being asked for.</summary>
    HangUp = 16,

    /// <summary>POLLNVAL: no such descriptor; reported without being asked for.</summary>
    Invalid = 32,
}

/// <summary>What a mapping of a descriptor allows, with <c>mmap(2)</c>'s numbers.</summary>
[Flags]
public enum MemoryProtection
{
    /// <summary>PROT_NONE.</summary>
    None = 0,

    /// <summary>PROT_READ.</summary>
    Read = 1,

    /// <summary>PROT_WRITE.</summary>
    Write = 2,
}

/// <summary>Flags of <see cref="IKernelAbi.CreateEvent"/>, with <c>eventfd(2)</c>'s numbers.</summary>
[Flags]
public enum EventFlags
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>EFD_SEMAPHORE: a read takes 1, not all.</summary>
    Semaphore = 1,

    /// <summary>EFD_NONBLOCK: a read of 0 is EAGAIN.</summary>
    NonBlocking = 0x800,

    /// <summary>EFD_CLOEXEC.</summary>
    CloseOnExec = 0x80000,
}

/// <summary><c>struct pollfd</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
public struct PollDescriptor
{
    /// <summary>The descriptor; a negative one is passed over.</summary>
    [FieldOffset(0)] public int Descriptor;

    /// <summary>What to wait for.</summary>
    [FieldOffset(4)] public PollEvents Events;

    /// <summary>Out: what there is.</summary>
    [FieldOffset(6)] public PollEvents Ready;
}

/// <summary>
/// The seam between a client and a kernel: descriptors and ioctls, nothing else. A kernel is the embedded one or Linux.
/// Calls return what a system call returns: 0 or more, or <c>-errno</c>; they do not throw. Thread-safe: any call may run
/// at the same time as any other, a close of its own descriptor included.
/// </summary>
public interface IKernelAbi
{
    /// <summary>Opens a device node by its absolute path.</summary>
    /// <returns>A descriptor, or <c>-ENOENT</c>, <c>-EMFILE</c>, …</returns>
    int Open(string path, OpenFlags flags);

    /// <summary>
    /// Finds a PCI device that programs can have, by its address. Linux tells it in files, so this is no system call of its own.
    /// </summary>
    /// <param name="address">The address as Linux writes it, such as <c>0000:00:03.0</c>.</param>
    /// <param name="path">Its character device, to be opened; null if there is none.</param>
    /// <returns>
    /// 0; <c>-ENOENT</c> for an address that no device has; <c>-ENODEV</c> if there is one, but a program cannot have it: no VFIO
    /// driver is bound to it; <c>-ENOSYS</c> from a kernel that does not tell.
    /// </returns>
    int FindDevice(string address, out string? path)
    {
        path = null;
        return -(int)Errno.NotImplemented;
    }

    /// <summary>An ioctl whose argument is a structure.</summary>
    /// <param name="fd">The descriptor.</param>
    /// <param name="request">The request number.</param>
    /// <param name="argument">The structure, read and written in place. A kernel touches no byte beyond it: where the
    /// structure's own size says more, the rest counts as memory that is not there (<c>-EFAULT</c>).</param>
    int Ioctl(int fd, uint request, Span<byte> argument);

    /// <summary>An ioctl whose argument is a number or absent.</summary>
    int Ioctl(int fd, uint request, nint argument);

    /// <summary>Reads from a descriptor that can be read.</summary>
    nint Read(int fd, Span<byte> destination);

    /// <summary>Writes to a descriptor that can be written.</summary>
    nint Write(int fd, ReadOnlySpan<byte> source);

    /// <summary>Reads from a place (<c>pread(2)</c>): the registers of a device, whose regions lie at offsets of its descriptor.</summary>
    /// <returns>Bytes read, or <c>-errno</c>; <c>-ESPIPE</c> for a descriptor without places.</returns>
    nint Read(int fd, Span<byte> destination, ulong offset);

    /// <summary>Writes to a place (<c>pwrite(2)</c>).</summary>
    /// <returns>Bytes written, or <c>-errno</c>; <c>-ESPIPE</c> for a descriptor without places.</returns>
    nint Write(int fd, ReadOnlySpan<byte> source, ulong offset);

    /// <summary>
    /// Maps a part of a descriptor, shared, into the process (<c>mmap(2)</c>). The mapping holds the open file until
    /// <see cref="Unmap"/>.
    /// </summary>
    /// <param name="fd">The descriptor.</param>
    /// <param name="offset">Where it begins; a multiple of the page size.</param>
    /// <param name="length">Bytes, not 0; rounded up to whole pages.</param>
    /// <param name="protection">What the mapping allows.</param>
    /// <param name="address">Where it is mapped.</param>
    /// <returns>0, or <c>-errno</c>; <c>-ENODEV</c> for a descriptor that cannot be mapped.</returns>
    int Map(int fd, ulong offset, nuint length, MemoryProtection protection, out nint address);

    /// <summary>Takes back a whole mapping that <see cref="Map"/> made (<c>munmap(2)</c>).</summary>
    /// <returns>0, or <c>-EINVAL</c>.</returns>
    int Unmap(nint address, nuint length);

    /// <summary>Makes an event counter (<c>eventfd(2)</c>), which is read and written as 8 bytes.</summary>
    /// <returns>A descriptor, or <c>-errno</c>.</returns>
    int CreateEvent(uint initialValue, EventFlags flags);

    /// <summary>
    /// Makes memory that belongs to a descriptor (<c>memfd_create(2)</c> and <c>ftruncate(2)</c>): it can be mapped into the
    /// process, and for devices by <c>IOMMU_IOAS_MAP_FILE</c>.
    /// </summary>
    /// <param name="name">For people.</param>
    /// <param name="length">Bytes, not 0; zeros.</param>
    /// <returns>A descriptor, or <c>-errno</c>; <c>-ENOSYS</c> if the kernel has none.</returns>
    int CreateMemory(string name, ulong length) => -(int)Errno.NotImplemented;

    /// <summary>Waits until an event of <paramref name="events"/> is there.</summary>
    /// <param name="fd">The descriptor.</param>
    /// <param name="events">What to wait for.</param>
    /// <param name="timeoutMilliseconds">How long; 0 does not wait, negative waits for ever.</param>
    /// <param name="ready">What there is.</param>
    /// <returns>1 if an event is there, 0 after the time-out, or <c>-errno</c>.</returns>
    int Poll(int fd, PollEvents events, int timeoutMilliseconds, out PollEvents ready)
    {
        PollDescriptor descriptor = new() { Descriptor = fd, Events = events };
        int result = Poll(new Span<PollDescriptor>(ref descriptor), timeoutMilliseconds);
        ready = descriptor.Ready;
        return (ready & PollEvents.Invalid) != 0 ? -(int)Errno.BadDescriptor : result;
    }

    /// <summary>Waits until an event is there on any of several descriptors (<c>poll(2)</c>).</summary>
    /// <param name="descriptors">The descriptors, what to wait for, and what there is.</param>
    /// <param name="timeoutMilliseconds">How long; 0 does not wait, negative waits for ever.</param>
    /// <returns>How many have something, 0 after the time-out, or <c>-errno</c>.</returns>
    int Poll(Span<PollDescriptor> descriptors, int timeoutMilliseconds);

    /// <summary>Makes another descriptor of the same open file.</summary>
    /// <returns>The new descriptor, or <c>-errno</c>.</returns>
    int Dup(int fd);

    /// <summary>
    /// Closes a descriptor. The open file goes with its last descriptor and the last call in progress, and undoes
    /// everything that was done through it (S1.15).
    /// </summary>
    int Close(int fd);
}
