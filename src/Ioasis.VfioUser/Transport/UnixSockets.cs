using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace Ioasis.VfioUser;

/// <summary>Sockets in the file system.</summary>
internal static partial class UnixSockets
{
    /// <summary>Listens. What a server left there that has ended is taken away.</summary>
    /// <exception cref="IOException">Somebody listens there, or a socket cannot be made there.</exception>
    public static Socket Listen(string path)
    {
        UnixDomainSocketEndPoint place = PlaceOf(path);
        if (IsSocket(path) && IsAbandoned(path, place))
        {
            File.Delete(path);
        }

        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.Bind(place);
            socket.Listen(1);
            return socket;
        }
        catch (SocketException e)
        {
            socket.Dispose();
            throw new IOException($"{path}: no socket can be made there: {e.Message}", e);
        }
    }

    /// <summary>Connects.</summary>
    /// <exception cref="IOException">Nobody listens there.</exception>
    public static Socket Connect(string path)
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.Connect(PlaceOf(path));
            return socket;
        }
        catch (Exception e) when (e is SocketException or IOException)
        {
            socket.Dispose();
            throw new IOException($"{path}: nobody can be reached there: {e.Message}", e);
        }
    }

    private static UnixDomainSocketEndPoint PlaceOf(string path)
    {
        try
        {
            return new(path);
        }
        catch (ArgumentException e)
        {
            throw new IOException($"{path}: the path of a socket has 1 to 107 bytes", e);
        }
    }

    private static bool IsAbandoned(string path, UnixDomainSocketEndPoint place)
    {
        using Socket probe = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            probe.Connect(place);
            throw new IOException($"{path}: somebody listens there already");
        }
        catch (SocketException e)
        {
            return e.SocketErrorCode == SocketError.ConnectionRefused;
        }
    }

    // struct statx, the same on every architecture: stx_mode at 28.
    private static unsafe bool IsSocket(string path)
    {
        const int CurrentFolder = -100;
        const int NoFollow = 0x100;
        const uint TypeMask = 1;
        const int ModeOffset = 28;
        const int TypeBits = 0xf000;
        const int SocketType = 0xc000;
        byte* status = stackalloc byte[256];
        return GetStatus(CurrentFolder, path, NoFollow, TypeMask, status) == 0 && (*(ushort*)(status + ModeOffset) & TypeBits) == SocketType;
    }

    [LibraryImport("libc", EntryPoint = "statx", StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static unsafe partial int GetStatus(int folder, string path, int flags, uint mask, byte* status);
}
