using System.Globalization;
using Ioasis.Primitives;

namespace Ioasis.Native;

/// <summary>Linux's names of errors.</summary>
internal static class ErrnoText
{
    /// <summary>The name, as EINVAL; the number where it has none here.</summary>
    public static string NameOf(int error) => (Errno)error switch
    {
        Errno.NotPermitted => "EPERM",
        Errno.NoEntry => "ENOENT",
        Errno.Interrupted => "EINTR",
        Errno.IoError => "EIO",
        Errno.NoDeviceOrAddress => "ENXIO",
        Errno.ArgumentTooBig => "E2BIG",
        Errno.BadDescriptor => "EBADF",
        Errno.TryAgain => "EAGAIN",
        Errno.OutOfMemory => "ENOMEM",
        Errno.AccessDenied => "EACCES",
        Errno.BadAddress => "EFAULT",
        Errno.Busy => "EBUSY",
        Errno.Exists => "EEXIST",
        Errno.NoDevice => "ENODEV",
        Errno.InvalidArgument => "EINVAL",
        Errno.TooManyOpenFilesInSystem => "ENFILE",
        Errno.TooManyOpenFiles => "EMFILE",
        Errno.NotTypewriter => "ENOTTY",
        Errno.NoSpace => "ENOSPC",
        Errno.IllegalSeek => "ESPIPE",
        Errno.ReadOnly => "EROFS",
        Errno.BrokenPipe => "EPIPE",
        Errno.OutOfDomain => "EDOM",
        Errno.OutOfRange => "ERANGE",
        Errno.Deadlock => "EDEADLK",
        Errno.NameTooLong => "ENAMETOOLONG",
        Errno.NotImplemented => "ENOSYS",
        Errno.Overflow => "EOVERFLOW",
        Errno.WrongDescriptor => "EBADFD",
        Errno.MessageTooLong => "EMSGSIZE",
        Errno.NotSupported => "EOPNOTSUPP",
        Errno.AddressInUse => "EADDRINUSE",
        Errno.TimedOut => "ETIMEDOUT",
        Errno.Canceled => "ECANCELED",
        Errno.NotRecoverable => "ENOTRECOVERABLE",
        _ => error.ToString(CultureInfo.InvariantCulture),
    };
}
