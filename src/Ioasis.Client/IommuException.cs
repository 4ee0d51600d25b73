using System.Globalization;
using Ioasis.Primitives;

namespace Ioasis.Client;

/// <summary>
/// A call that the kernel, or the platform that it is part of, refused: which call, with which values, and the error number.
/// </summary>
public sealed class IommuException : Exception
{
    /// <summary>Makes an exception without details.</summary>
    public IommuException()
        : this("An IOMMU call failed.")
    {
    }

    /// <summary>Makes an exception with a message of its own.</summary>
    public IommuException(string message)
        : base(message) => Call = string.Empty;

    /// <summary>Makes an exception with a message of its own and a cause.</summary>
    public IommuException(string message, Exception innerException)
        : base(message, innerException) => Call = string.Empty;

    /// <summary>Makes the exception of a call.</summary>
    /// <param name="error">What the kernel answered.</param>
    /// <param name="call">The call, as the ABI names it.</param>
    /// <param name="values">The values that the caller gave, for people.</param>
    /// <param name="reason">Why, in words, where more is known than the error number says; null otherwise.</param>
    public IommuException(Errno error, string call, string values, string? reason = null)
        : base(string.Create(
            CultureInfo.InvariantCulture, $"{call}({values}) failed: {error} (errno {(int)error}){(reason is null ? "" : ": ")}{reason}."))
    {
        Error = error;
        Call = call;
        Values = values;
    }

    /// <summary>What the kernel answered.</summary>
    public Errno Error { get; }

    /// <summary>The call, as the ABI names it; empty if the exception is of no call.</summary>
    public string Call { get; }

    /// <summary>The values that the caller gave, for people; empty if the exception is of no call.</summary>
    public string Values { get; } = string.Empty;

    internal static void ThrowIf(Errno error, string call, FormattableString values)
    {
        if (error != Errno.Success)
        {
            throw new IommuException(error, call, FormattableString.Invariant(values));
        }
    }
}
