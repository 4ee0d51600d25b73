using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.Devices.Network;

/// <summary>
/// A cable to this machine's network: the other end of a TAP interface, or a packet socket on an interface that there is. Linux only; the
/// kernel must allow it (CAP_NET_ADMIN, or a TAP interface of this user; CAP_NET_RAW).
/// </summary>
internal sealed unsafe partial class InterfaceLink : NetworkLink
{
    private const int NameLimit = 15;
    private const int RequestSize = 40;
    private const int PollMilliseconds = 200;
    private const short PollIn = 1;
    private const int OpenReadWriteNonBlocking = 2 | 0x800 | 0x8_0000;
    private const nuint TunSetInterface = 0x4004_54ca;
    private const ushort TapWithoutHeader = 2 | 0x1000;
    private const int PacketFamily = 17;
    private const int RawNonBlocking = 3 | 0x800 | 0x8_0000;
    private const int AllProtocols = 3;
    private const int PacketLevel = 263;
    private const int AddMembership = 1;
    private const int IgnoreOutgoing = 23;
    private const short Promiscuous = 1;

    private readonly SafeFileHandle _descriptor;
    private readonly ManualResetEventSlim _end = new();
    private Thread? _thread;

    private InterfaceLink(SafeFileHandle descriptor) => _descriptor = descriptor;

    /// <inheritdoc/>
    public override bool IsUp => !_end.IsSet;

    /// <summary>The other end of a TAP interface, which is made if there is none of that name, and goes with this then.</summary>
    /// <exception cref="IOException">It cannot be had; the message says why.</exception>
    public static InterfaceLink OpenTap(string name)
    {
        Check(name);
        SafeFileHandle descriptor = Open("/dev/net/tun", OpenReadWriteNonBlocking);
        Require(!descriptor.IsInvalid, descriptor, "/dev/net/tun cannot be opened");
        Span<byte> request = stackalloc byte[RequestSize];
        request.Clear();
        _ = System.Text.Encoding.ASCII.GetBytes(name, request);
        BinaryPrimitives.WriteUInt16LittleEndian(request[16..], TapWithoutHeader);
        fixed (byte* at = request)
        {
            Require(Control(descriptor, TunSetInterface, at) >= 0, descriptor, $"the TAP interface {name} cannot be had");
        }

        return new(descriptor);
    }

    /// <summary>A packet socket: all that comes in by an interface comes in here too, and what goes out goes out there.</summary>
    /// <exception cref="IOException">It cannot be had; the message says why.</exception>
    public static InterfaceLink OpenPacket(string name)
    {
        Check(name);
        int index = (int)IndexOf(name);
        SafeFileHandle descriptor = OpenSocket(PacketFamily, RawNonBlocking, 0);
        Require(!descriptor.IsInvalid, descriptor, "a packet socket cannot be had");
        Require(index > 0, descriptor, $"there is no interface {name}");

        // struct sockaddr_ll: family, protocol with the highest byte first, index.
        Span<byte> address = stackalloc byte[20];
        address.Clear();
        BinaryPrimitives.WriteUInt16LittleEndian(address, PacketFamily);
        BinaryPrimitives.WriteUInt16BigEndian(address[2..], AllProtocols);
        BinaryPrimitives.WriteInt32LittleEndian(address[4..], index);

        // struct packet_mreq: index, what, no address.
        Span<byte> membership = stackalloc byte[16];
        membership.Clear();
        BinaryPrimitives.WriteInt32LittleEndian(membership, index);
        BinaryPrimitives.WriteInt16LittleEndian(membership[4..], Promiscuous);
        int on = 1;
        fixed (byte* at = address, asked = membership)
        {
            // What this socket sends itself does not come back; kernels before 4.20 do not know the option.
            _ = SetOption(descriptor, PacketLevel, IgnoreOutgoing, (byte*)&on, sizeof(int));
            bool isBound = SetOption(descriptor, PacketLevel, AddMembership, asked, membership.Length) == 0 && Bind(descriptor, at, address.Length) == 0;
            Require(isBound, descriptor, $"a packet socket on {name} cannot be had");
        }

        return new(descriptor);
    }

    /// <inheritdoc/>
    public override bool Send(ReadOnlySpan<byte> frame, bool isVerified)
    {
        if (_end.IsSet)
        {
            return false;
        }

        fixed (byte* at = frame)
        {
            return Write(_descriptor, at, (nuint)frame.Length) == frame.Length;
        }
    }

    /// <inheritdoc/>
    protected override void OnPlugged()
    {
        _thread = new(ReceiveFrames) { IsBackground = true, Name = "network link" };
        _thread.Start();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        // The thread closes the descriptor when it has seen the end; who has not begun closes it here.
        bool isFirst = !_end.IsSet;
        _end.Set();
        if (isFirst && _thread is null)
        {
            _descriptor.Dispose();
        }
    }

    private void ReceiveFrames()
    {
        byte[] buffer = new byte[FrameLimit];
        using (_descriptor)
        {
            while (!_end.IsSet)
            {
                PollEntry entry = new() { Descriptor = (int)_descriptor.DangerousGetHandle(), Events = PollIn };
                if (Poll(&entry, 1, PollMilliseconds) <= 0)
                {
                    continue;
                }

                nint length;
                fixed (byte* at = buffer)
                {
                    length = Read(_descriptor, at, (nuint)buffer.Length);
                }

                if (length > 0)
                {
                    _ = Deliver(buffer.AsSpan(0, (int)length));
                }
                else if ((entry.Events & entry.Received) == 0)
                {
                    // An interface that is down reports an error for as long.
                    _ = _end.Wait(PollMilliseconds);
                }
            }
        }
    }

    private static void Check(string name)
    {
        if (!OperatingSystem.IsLinux())
        {
            throw new IOException("interfaces of this machine can be used on Linux only");
        }

        if (name.Length is 0 or > NameLimit || !System.Text.Ascii.IsValid(name))
        {
            throw new IOException($"\"{name}\" is no interface: 1 to {NameLimit} characters are possible");
        }
    }

    private static void Require(bool isSo, SafeFileHandle descriptor, string what)
    {
        if (!isSo)
        {
            int error = Marshal.GetLastPInvokeError();
            descriptor.Dispose();
            throw new IOException(error == 0 ? what : $"{what}: {Marshal.GetPInvokeErrorMessage(error)}");
        }
    }

    private struct PollEntry
    {
        public int Descriptor;
        public short Events;
        public short Received;
    }

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8, SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial SafeFileHandle Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "socket", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial SafeFileHandle OpenSocket(int family, int type, int protocol);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Control(SafeFileHandle descriptor, nuint request, byte* argument);

    [LibraryImport("libc", EntryPoint = "bind", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Bind(SafeFileHandle descriptor, byte* address, int length);

    [LibraryImport("libc", EntryPoint = "setsockopt", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SetOption(SafeFileHandle descriptor, int level, int name, byte* value, int length);

    [LibraryImport("libc", EntryPoint = "if_nametoindex", StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial uint IndexOf(string name);

    [LibraryImport("libc", EntryPoint = "poll")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Poll(PollEntry* entries, nuint count, int milliseconds);

    [LibraryImport("libc", EntryPoint = "read")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint Read(SafeFileHandle descriptor, byte* buffer, nuint count);

    [LibraryImport("libc", EntryPoint = "write")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint Write(SafeFileHandle descriptor, byte* buffer, nuint count);
}
