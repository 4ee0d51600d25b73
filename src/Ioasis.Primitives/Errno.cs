namespace Ioasis.Primitives;

/// <summary>
/// The result of an operation that can fail, with Linux's numbers (<c>errno-base.h</c>, <c>errno.h</c> of the generic
/// ABI). Positive; an ABI that returns <c>-errno</c> negates it. Below the client this is the one error type.
/// </summary>
public enum Errno
{
    /// <summary>No error.</summary>
    Success = 0,

    /// <summary>EPERM: operation not permitted.</summary>
    NotPermitted = 1,

    /// <summary>ENOENT: no such object.</summary>
    NoEntry = 2,

    /// <summary>EINTR: interrupted.</summary>
    Interrupted = 4,

    /// <summary>EIO: input/output error.</summary>
    IoError = 5,

    /// <summary>ENXIO: no such device or address.</summary>
    NoDeviceOrAddress = 6,

    /// <summary>E2BIG: argument too big (an unknown, non-zero tail of a structure).</summary>
    ArgumentTooBig = 7,

    /// <summary>EBADF: bad descriptor.</summary>
    BadDescriptor = 9,

    /// <summary>EAGAIN: try again.</summary>
    TryAgain = 11,

    /// <summary>ENOMEM: out of memory, or over the limit of pinned memory.</summary>
    OutOfMemory = 12,

    /// <summary>EACCES: permission denied.</summary>
    AccessDenied = 13,

    /// <summary>EFAULT: bad address.</summary>
    BadAddress = 14,

    /// <summary>EBUSY: in use.</summary>
    Busy = 16,

    /// <summary>EEXIST: exists already.</summary>
    Exists = 17,

    /// <summary>ENODEV: no such device.</summary>
    NoDevice = 19,

    /// <summary>EINVAL: invalid argument.</summary>
    InvalidArgument = 22,

    /// <summary>ENFILE: too many open files in the system.</summary>
    TooManyOpenFilesInSystem = 23,

    /// <summary>EMFILE: too many open files.</summary>
    TooManyOpenFiles = 24,

    /// <summary>ENOTTY: not an ioctl of this descriptor.</summary>
    NotTypewriter = 25,

    /// <summary>ENOSPC: no space left (IOVA space, quota, identifiers).</summary>
    NoSpace = 28,

    /// <summary>ESPIPE: the descriptor has no places to read from or write to.</summary>
    IllegalSeek = 29,

    /// <summary>EROFS: read-only.</summary>
    ReadOnly = 30,

    /// <summary>EPIPE: the other end is gone.</summary>
    BrokenPipe = 32,

    /// <summary>EDOM: outside the domain of the operation.</summary>
    OutOfDomain = 33,

    /// <summary>ERANGE: result out of range.</summary>
    OutOfRange = 34,

    /// <summary>EDEADLK: it would wait for itself.</summary>
    Deadlock = 35,

    /// <summary>ENAMETOOLONG: a name is too long.</summary>
    NameTooLong = 36,

    /// <summary>ENOSYS: not implemented.</summary>
    NotImplemented = 38,

    /// <summary>EOVERFLOW: value too large.</summary>
    Overflow = 75,

    /// <summary>EBADFD: the descriptor is of another kind.</summary>
    WrongDescriptor = 77,

    /// <summary>EILSEQ: not a sequence that can be; of a probe, not the first byte of an instruction.</summary>
    IllegalSequence = 84,

    /// <summary>EMSGSIZE: the buffer is too small; the needed size is stored.</summary>
    MessageTooLong = 90,

    /// <summary>EOPNOTSUPP: not supported.</summary>
    NotSupported = 95,

    /// <summary>EADDRINUSE: the address is in use.</summary>
    AddressInUse = 98,

    /// <summary>ETIMEDOUT: the hardware did not answer in time.</summary>
    TimedOut = 110,

    /// <summary>ECANCELED: cancelled.</summary>
    Canceled = 125,

    /// <summary>ENOTRECOVERABLE: state not recoverable.</summary>
    NotRecoverable = 131,
}
