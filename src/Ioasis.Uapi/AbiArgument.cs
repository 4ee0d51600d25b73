using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;

namespace Ioasis.Uapi;

/// <summary>
/// An argument of an extensible ioctl: a structure whose first field, an unsigned 32-bit number, is its size as the caller
/// knows it.
/// </summary>
public interface ISizedArgument
{
    /// <summary>The request number that takes this structure.</summary>
    static abstract uint Request { get; }

    /// <summary>Bytes of the oldest version of the structure: what every caller must give.</summary>
    static abstract int MinimumSize { get; }
}

/// <summary>
/// The rule of extensible arguments, in one place: too small is EINVAL, an unknown tail that is not zero is E2BIG, a missing
/// tail counts as zero, and an answer is written as far as the caller's structure reaches.
/// </summary>
public static class SizedArgument
{
    /// <summary>Takes the caller's structure.</summary>
    /// <returns>Success, <see cref="Errno.InvalidArgument"/>, <see cref="Errno.ArgumentTooBig"/>, or
    /// <see cref="Errno.BadAddress"/> where the buffer is shorter than the size that stands in it.</returns>
    public static Errno Take<T>(ReadOnlySpan<byte> argument, out T value)
        where T : unmanaged, ISizedArgument
    {
        int known = Unsafe.SizeOf<T>();
        value = default;
        if (argument.Length < sizeof(uint))
        {
            return Errno.BadAddress;
        }

        uint size = MemoryMarshal.Read<uint>(argument);
        if (size == (uint)known && argument.Length >= known)
        {
            value = MemoryMarshal.Read<T>(argument);
            return Errno.Success;
        }

        if (size < (uint)T.MinimumSize)
        {
            return Errno.InvalidArgument;
        }

        if (size > (uint)argument.Length)
        {
            return Errno.BadAddress;
        }

        if (size > (uint)known && argument[known..(int)size].ContainsAnyExcept((byte)0))
        {
            return Errno.ArgumentTooBig;
        }

        argument[..(int)Math.Min(size, (uint)known)].CopyTo(MemoryMarshal.AsBytes(new Span<T>(ref value)));
        return Errno.Success;
    }

    /// <summary>Gives the structure back, as far as the caller's reaches. Only after <see cref="Take"/> succeeded.</summary>
    public static void Give<T>(Span<byte> argument, in T value)
        where T : unmanaged, ISizedArgument
    {
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value));
        uint size = MemoryMarshal.Read<uint>(bytes);
        bytes[..(int)Math.Min(size, (uint)Math.Min(bytes.Length, argument.Length))].CopyTo(argument);
    }
}
