using System.Runtime.InteropServices;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// VFIO's rule of arguments: the oldest version of the structure is read whatever its <c>argsz</c> says; a later field counts
/// if a flag says so; what is written never reaches beyond <c>argsz</c>.
/// </summary>
internal static class ArgszArgument
{
    /// <summary>Reads the first bytes of a structure; the rest of it is zero.</summary>
    public static Errno Take<T>(ReadOnlySpan<byte> argument, int bytes, out T value)
        where T : unmanaged
    {
        value = default;
        if (argument.Length < bytes)
        {
            return Errno.BadAddress;
        }

        argument[..bytes].CopyTo(MemoryMarshal.AsBytes(new Span<T>(ref value)));
        return Errno.Success;
    }

    /// <summary>Writes the first bytes of a structure.</summary>
    public static Errno Give<T>(Span<byte> argument, in T value, int bytes)
        where T : unmanaged
    {
        if (argument.Length < bytes)
        {
            return Errno.BadAddress;
        }

        MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value))[..bytes].CopyTo(argument);
        return Errno.Success;
    }
}
