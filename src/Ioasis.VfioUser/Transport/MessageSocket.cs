using System.Buffers;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser;

/// <summary>How waiting for a message ended.</summary>
internal enum ReceiveResult
{
    /// <summary>There is one.</summary>
    Message,

    /// <summary>None came in time.</summary>
    TimedOut,

    /// <summary>The other end is gone, or stopped in the middle of a message.</summary>
    Ended,

    /// <summary>What came is no message: nothing behind it can be read.</summary>
    Malformed,
}

/// <summary>Whole messages over a UNIX stream socket. One thread may receive and one may send at a time.</summary>
internal sealed class MessageSocket : IDisposable
{
    /// <summary>
    /// A message that has begun must come, and one of ours must be taken, within this time: the other end has stopped otherwise. Far more than a
    /// loaded machine needs.
    /// </summary>
    public const int PatienceMilliseconds = 60_000;

    /// <summary>Bytes of a message beside its data: header, structure, and as much again for what may come.</summary>
    private const int Overhead = 4096;

    private readonly Socket _socket;
    private readonly List<SafeFileHandle> _descriptors = [];

    /// <summary>Takes a connected socket over.</summary>
    public MessageSocket(Socket socket)
    {
        _socket = socket;
        _socket.SendTimeout = PatienceMilliseconds;
        _socket.ReceiveTimeout = PatienceMilliseconds;
    }

    /// <summary>The longest message.</summary>
    public static int MostBytes => Agreement.Ours.MaxTransfer + Overhead;

    /// <summary>Waits for a message.</summary>
    /// <param name="milliseconds">For its beginning, at most; -1 for as long as it takes.</param>
    /// <param name="message">The message; with <see cref="ReceiveResult.Malformed"/> none.</param>
    /// <param name="header">Its header, as far as there was one.</param>
    public ReceiveResult Receive(int milliseconds, out Message? message, out MessageHeader header)
    {
        message = null;
        header = default;
        if (!SocketCalls.WaitToRead(_socket.SafeHandle, milliseconds))
        {
            return ReceiveResult.TimedOut;
        }

        byte[]? buffer = null;
        try
        {
            Span<byte> bytes = stackalloc byte[MessageHeader.Bytes];
            if (!TryFill(bytes, out bool isCut))
            {
                return ReceiveResult.Ended;
            }

            header = MessageHeader.From(bytes);
            if (isCut || header.Size < MessageHeader.Bytes || header.Size > MostBytes)
            {
                return ReceiveResult.Malformed;
            }

            int length = (int)header.Size - MessageHeader.Bytes;
            buffer = ArrayPool<byte>.Shared.Rent(length);
            if (!TryFill(buffer.AsSpan(0, length), out isCut))
            {
                return ReceiveResult.Ended;
            }

            if (isCut)
            {
                return ReceiveResult.Malformed;
            }

            message = new(header, buffer, _descriptors);
            buffer = null;
            _descriptors.Clear();
            return ReceiveResult.Message;
        }
        catch (ObjectDisposedException)
        {
            return ReceiveResult.Ended;
        }
        finally
        {
            _descriptors.ForEach(static descriptor => descriptor.Dispose());
            _descriptors.Clear();
            if (buffer is not null)
            {
                ArrayPool<byte>.Shared.Return(buffer);
            }
        }
    }

    /// <summary>Sends a message.</summary>
    /// <param name="header">Its header; the size is filled in.</param>
    /// <param name="head">What follows the header, at most 256 bytes.</param>
    /// <param name="data">What follows that.</param>
    /// <param name="descriptors">What goes beside it.</param>
    /// <returns>Whether it went; if not, nothing more can be sent.</returns>
    public bool Send(MessageHeader header, ReadOnlySpan<byte> head, ReadOnlySpan<byte> data, params ReadOnlySpan<SafeHandle> descriptors)
    {
        Span<byte> first = stackalloc byte[MessageHeader.Bytes + head.Length];
        (header with { Size = (uint)(first.Length + data.Length) }).CopyTo(first);
        head.CopyTo(first[MessageHeader.Bytes..]);
        Span<int> numbers = stackalloc int[descriptors.Length];
        int held = 0;
        try
        {
            for (; held < descriptors.Length; held++)
            {
                bool added = false;
                descriptors[held].DangerousAddRef(ref added);
                numbers[held] = (int)descriptors[held].DangerousGetHandle();
            }

            ReadOnlySpan<byte> rest = first;
            ReadOnlySpan<int> beside = numbers;
            while (rest.Length + data.Length > 0)
            {
                int sent = SocketCalls.Send(_socket.SafeHandle, rest, data, beside);
                if (sent <= 0)
                {
                    return false;
                }

                int fromFirst = Math.Min(sent, rest.Length);
                rest = rest[fromFirst..];
                data = data[(sent - fromFirst)..];
                beside = [];
            }

            return true;
        }
        catch (ObjectDisposedException)
        {
            return false;
        }
        finally
        {
            while (held-- > 0)
            {
                descriptors[held].DangerousRelease();
            }
        }
    }

    /// <summary>Ends the connection: whoever waits for a message learns it.</summary>
    public void Shutdown()
    {
        try
        {
            _socket.Shutdown(SocketShutdown.Both);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // It is ended already.
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _socket.Dispose();

    private bool TryFill(Span<byte> destination, out bool isCut)
    {
        isCut = false;
        while (!destination.IsEmpty)
        {
            int count = SocketCalls.Receive(_socket.SafeHandle, destination, _descriptors, out bool cut);
            isCut |= cut;
            if (count <= 0)
            {
                return false;
            }

            destination = destination[count..];
        }

        return true;
    }
}
