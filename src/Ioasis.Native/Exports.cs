using Ioasis.Primitives;

namespace Ioasis.Native;

/// <summary>
/// The functions behind those of ioasis.h (native/ioasis.c): each finds what its handle stands for, does one thing with it, and
/// gives back what a system call would. Nothing that goes wrong inside leaves them as an exception.
/// </summary>
internal static partial class Exports
{
    /// <summary><c>IOASIS_NO_PASID</c>.</summary>
    public const uint NoPasid = uint.MaxValue;

    private static int NoPlatform(string call, nint handle) => LastError.Set(
        call,
        Errno.InvalidArgument,
        handle == 0 ? "platform is null" : $"0x{handle:x} is no platform: it was destroyed, or never made");

    private static int NoDevice(string call, nint handle) => LastError.Set(
        call,
        Errno.InvalidArgument,
        handle == 0 ? "device is null" : $"0x{handle:x} is no device: it was removed, its platform destroyed, or it was never made");

    // What no call should let happen, and what a machine without memory does.
    private static int Broken(string call, Exception exception)
    {
        try
        {
            return exception is OutOfMemoryException
                ? LastError.Set(call, Errno.OutOfMemory, "no memory is left")
                : LastError.Set(call, Errno.IoError, $"failed inside the library: {exception.GetType().Name}: {exception.Message}");
        }
        catch (OutOfMemoryException)
        {
            return -(int)Errno.OutOfMemory;
        }
    }
}
