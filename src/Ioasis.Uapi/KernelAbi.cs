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

/// <summary>Events of <see cref="IKernelAbi.Poll"/>, with <c>poll(2)</c>'s numbers.</summary>
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

    /// <summary>Waits until an event of <paramref name="events"/> is there.</summary>
    /// <param name="fd">The descriptor.</param>
    /// <param name="events">What to wait for.</param>
    /// <param name="timeoutMilliseconds">How long; 0 does not wait, negative waits for ever.</param>
    /// <param name="ready">What there is.</param>
    /// <returns>1 if an event is there, 0 after the time-out, or <c>-errno</c>.</returns>
    int Poll(int fd, PollEvents events, int timeoutMilliseconds, out PollEvents ready);

    /// <summary>Makes another descriptor of the same open file.</summary>
    /// <returns>The new descriptor, or <c>-errno</c>.</returns>
    int Dup(int fd);

    /// <summary>
    /// Closes a descriptor. The open file goes with its last descriptor and the last call in progress, and undoes
    /// everything that was done through it (S1.15).
    /// </summary>
    int Close(int fd);
}
