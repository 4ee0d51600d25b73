using System.Buffers;
using System.Buffers.Binary;
using System.Net.Sockets;

namespace Ioasis.Devices.Network;

/// <summary>
/// A cable over a UNIX socket, with the framing of QEMU's <c>-netdev dgram</c> and <c>-netdev stream</c>: each frame a datagram, or each
/// frame behind its length in four bytes, the highest first. What comes in faster than the driver takes it waits in the socket.
/// </summary>
internal sealed class SocketLink : NetworkLink
{
    private const int LengthSize = 4;
    private const int RetryMilliseconds = 100;
    private const int PathLimit = 107;
    private const int OutgoingLimit = 256;

    private readonly Kind _kind;
    private readonly string _local;
    private readonly string _remote;
    private readonly Socket? _listener;
    private readonly ManualResetEventSlim _end = new();
    private readonly Queue<(byte[] Buffer, int Length)> _outgoing = new();
    private readonly UnixDomainSocketEndPoint? _remoteEnd;
    private readonly Socket? _sender;
    private Socket? _socket;
    private bool _isUp;

    private enum Kind
    {
        Datagram,
        Client,
        Server,
    }

    private SocketLink(Kind kind, string local, string remote)
    {
        (_kind, _local, _remote) = (kind, local, remote);
        if (kind == Kind.Client)
        {
            return;
        }

        Socket bound = new(AddressFamily.Unix, kind == Kind.Datagram ? SocketType.Dgram : SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            bound.Bind(new UnixDomainSocketEndPoint(local));
            if (kind == Kind.Server)
            {
                bound.Listen(1);
                _listener = bound;
            }
            else
            {
                // One to receive, which waits, and one to send, which does not.
                _remoteEnd = new(remote);
                _sender = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified) { Blocking = false };
                (_socket, _isUp) = (bound, true);
            }
        }
        catch (SocketException e)
        {
            bound.Dispose();
            throw new IOException($"the socket {local} cannot be made: {e.Message}", e);
        }
    }

    /// <inheritdoc/>
    public override bool IsUp => Volatile.Read(ref _isUp);

    /// <summary>Frames as datagrams.</summary>
    /// <param name="local">Where its own socket will be; taken away in the end.</param>
    /// <param name="remote">Where the other's is. Frames are lost while it is not there.</param>
    /// <exception cref="IOException">The socket cannot be made.</exception>
    public static SocketLink OpenDatagram(string local, string remote) => new(Kind.Datagram, Check(local), Check(remote));

    /// <summary>Frames over a connection that the other takes; tried again and again until it does, and when it ends.</summary>
    /// <exception cref="IOException">The path cannot be a socket's.</exception>
    public static SocketLink Connect(string path) => new(Kind.Client, string.Empty, Check(path));

    /// <summary>Frames over a connection that the other makes; one at a time.</summary>
    /// <exception cref="IOException">The socket cannot be made.</exception>
    public static SocketLink Listen(string path) => new(Kind.Server, Check(path), string.Empty);

    /// <inheritdoc/>
    public override bool Send(ReadOnlySpan<byte> frame, bool isVerified)
    {
        if (_sender is not null)
        {
            return SendDatagram(frame);
        }

        // A connection may wait for its other end: a thread does it.
        lock (_outgoing)
        {
            if (!IsUp || _outgoing.Count == OutgoingLimit)
            {
                return false;
            }

            byte[] buffer = ArrayPool<byte>.Shared.Rent(LengthSize + frame.Length);
            BinaryPrimitives.WriteInt32BigEndian(buffer, frame.Length);
            frame.CopyTo(buffer.AsSpan(LengthSize));
            _outgoing.Enqueue((buffer, LengthSize + frame.Length));
            Monitor.Pulse(_outgoing);
            return true;
        }
    }

    /// <inheritdoc/>
    protected override void OnPlugged()
    {
        if (_kind == Kind.Datagram)
        {
            StartThread(ReceiveDatagrams);
        }
        else
        {
            StartThread(Serve);
            StartThread(SendFrames);
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (_end.IsSet)
        {
            return;
        }

        _end.Set();
        _listener?.Dispose();
        _sender?.Dispose();
        Volatile.Read(ref _socket)?.Dispose();
        lock (_outgoing)
        {
            Monitor.PulseAll(_outgoing);
        }

        if (_kind != Kind.Client)
        {
            File.Delete(_local);
        }
    }

    private static string Check(string path) => System.Text.Encoding.UTF8.GetByteCount(path) is > 0 and <= PathLimit
        ? path
        : throw new IOException($"\"{path}\" is no path for a socket: 1 to {PathLimit} bytes are possible");

    private static void StartThread(ThreadStart run) => new Thread(run) { IsBackground = true, Name = "network link" }.Start();

    private bool SendDatagram(ReadOnlySpan<byte> frame)
    {
        try
        {
            return _sender!.SendTo(frame, SocketFlags.None, _remoteEnd!) == frame.Length;
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            return false;
        }
    }

    private void SendFrames()
    {
        while (!_end.IsSet)
        {
            (byte[] Buffer, int Length) frame;
            lock (_outgoing)
            {
                while (!_outgoing.TryDequeue(out frame))
                {
                    if (_end.IsSet)
                    {
                        return;
                    }

                    _ = Monitor.Wait(_outgoing);
                }
            }

            TrySend(frame.Buffer.AsSpan(0, frame.Length));
            ArrayPool<byte>.Shared.Return(frame.Buffer);
        }
    }

    private void TrySend(ReadOnlySpan<byte> bytes)
    {
        Socket? socket = Volatile.Read(ref _socket);
        try
        {
            while (!bytes.IsEmpty && socket is not null)
            {
                bytes = bytes[socket.Send(bytes)..];
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The connection ends, and its receiver sees that too.
        }
    }

    private void ReceiveDatagrams()
    {
        byte[] buffer = new byte[FrameLimit + 1];
        while (!_end.IsSet)
        {
            try
            {
                GiveOrWait(buffer.AsSpan(0, _socket!.Receive(buffer)));
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                _ = _end.Wait(RetryMilliseconds);
            }
        }
    }

    private void Serve()
    {
        while (!_end.IsSet)
        {
            if (TryGetConnection() is not { } socket)
            {
                _ = _end.Wait(RetryMilliseconds);
                continue;
            }

            SetUp(socket);
            ReceiveFrames(socket);
            SetUp(null);
            socket.Dispose();
        }
    }

    private Socket? TryGetConnection()
    {
        Socket? made = null;
        try
        {
            if (_listener is { } listener)
            {
                return listener.Accept();
            }

            made = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            made.Connect(new UnixDomainSocketEndPoint(_remote));
            return made;
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            made?.Dispose();
            return null;
        }
    }

    private void ReceiveFrames(Socket socket)
    {
        byte[] buffer = new byte[FrameLimit];
        try
        {
            // A length that cannot be is the end of what can be understood.
            while (TryReceive(socket, buffer.AsSpan(0, LengthSize))
                && BinaryPrimitives.ReadUInt32BigEndian(buffer) is var length and <= FrameLimit
                && TryReceive(socket, buffer.AsSpan(0, (int)length)))
            {
                GiveOrWait(buffer.AsSpan(0, (int)length));
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The other end is gone, or this one ends.
        }
    }

    private static bool TryReceive(Socket socket, Span<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            int count = socket.Receive(bytes);
            if (count == 0)
            {
                return false;
            }

            bytes = bytes[count..];
        }

        return true;
    }

    private void GiveOrWait(ReadOnlySpan<byte> frame)
    {
        while (!Deliver(frame) && !_end.Wait(1))
        {
        }
    }

    private void SetUp(Socket? socket)
    {
        lock (_outgoing)
        {
            // What was for one connection is nothing for the next.
            _outgoing.Clear();
            Volatile.Write(ref _socket, socket);
            Volatile.Write(ref _isUp, socket is not null);
        }

        if (_end.IsSet)
        {
            socket?.Dispose();
            return;
        }

        TellOfChange();
    }
}
