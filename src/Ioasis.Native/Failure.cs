using Ioasis.Primitives;

namespace Ioasis.Native;

/// <summary>Why a call does not do what was asked: the number for its return, and the sentence for <c>ioasis_errmsg</c>.</summary>
internal sealed record Failure(Errno Error, string Text)
{
    public static Failure BadAddress(string name, nint address) =>
        new(Errno.BadAddress, address == 0 ? $"{name} is null" : $"{name} is at 0x{address:x}, where there is no such memory");
}
