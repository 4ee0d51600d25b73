using System.Globalization;

namespace Ioasis.AbiSuite;

/// <summary>The names of error numbers as every Linux header has them (asm-generic/errno.h), for people who read recordings.</summary>
public static class ErrnoNames
{
    private static readonly Dictionary<int, string> Names = new()
    {
        [1] = "EPERM", [2] = "ENOENT", [4] = "EINTR", [5] = "EIO", [6] = "ENXIO", [7] = "E2BIG", [9] = "EBADF",
        [11] = "EAGAIN", [12] = "ENOMEM", [13] = "EACCES", [14] = "EFAULT", [16] = "EBUSY", [17] = "EEXIST",
        [19] = "ENODEV", [20] = "ENOTDIR", [21] = "EISDIR", [22] = "EINVAL", [23] = "ENFILE", [24] = "EMFILE",
        [25] = "ENOTTY", [27] = "EFBIG", [28] = "ENOSPC", [29] = "ESPIPE", [30] = "EROFS", [32] = "EPIPE", [33] = "EDOM",
        [34] = "ERANGE", [38] = "ENOSYS", [61] = "ENODATA", [75] = "EOVERFLOW", [77] = "EBADFD", [90] = "EMSGSIZE",
        [95] = "EOPNOTSUPP", [98] = "EADDRINUSE", [99] = "EADDRNOTAVAIL", [110] = "ETIMEDOUT", [125] = "ECANCELED",
        [131] = "ENOTRECOVERABLE", [524] = "ENOTSUPP",
    };

    /// <summary>A result as text.</summary>
    public static string Describe(int result) =>
        result >= 0 ? result.ToString(CultureInfo.InvariantCulture)
        : Names.TryGetValue(-result, out string? name) ? name
        : string.Create(CultureInfo.InvariantCulture, $"errno {-result}");
}
