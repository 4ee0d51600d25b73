using System.Runtime.InteropServices;
using Ioasis.Primitives;

namespace Ioasis.VfioUser;

/// <summary>
/// One end of a connection on which both ends make requests. There is no thread of its own: whoever waits, for a request or for an answer, reads
/// the socket if nobody else does, and gives what is not his to whom it belongs. So an answer is found also while the thread that serves requests is
/// busy with one, and waits for the thread that wants the answer. Thread-safe.
/// </summary>
internal sealed class MessagePeer(MessageSocket socket) : IDisposable
{
    // Requests that may lie here while nobody serves them: far more than a client sends before it waits for one.
    private const int MostRequests = 4096;
    private const long MostRequestBytes = 64 << 20;

    private readonly object _gate = new();
    private readonly Lock _sendLock = new();
    private readonly Queue<Message> _requests = new();
    private readonly Dictionary<ushort, PendingCall> _calls = [];
    private long _requestBytes;
    private ushort _lastId;
    private bool _isReading;
    private bool _isClosed;

    /// <summary>Why the connection ended, if it was the other end's fault: a sentence.</summary>
    public string? Fault { get; private set; }

    /// <summary>Waits for a request.</summary>
    /// <returns>The request, which the caller disposes of; null at the end of the connection.</returns>
    public Message? TakeRequest()
    {
        lock (_gate)
        {
            while (true)
            {
                if (_requests.TryDequeue(out Message? request))
                {
                    _requestBytes -= request.Header.Size;
                    return request;
                }

                if (_isClosed)
                {
                    return null;
                }

                Advance(Timeout.Infinite);
            }
        }
    }

    /// <summary>Makes a request and waits for its answer.</summary>
    /// <param name="command">The request.</param>
    /// <param name="head">What follows the header, at most 256 bytes.</param>
    /// <param name="data">What follows that.</param>
    /// <param name="reply">The answer, which the caller disposes of; null after an error.</param>
    /// <param name="descriptors">What goes beside the request.</param>
    /// <returns>Success; what the answer says; <see cref="Errno.BrokenPipe"/> if the connection has ended.</returns>
    public Errno Call(
        VfioUserCommand command, ReadOnlySpan<byte> head, ReadOnlySpan<byte> data, out Message? reply, params ReadOnlySpan<SafeHandle> descriptors)
    {
        reply = null;
        PendingCall call = new();
        ushort id;
        lock (_gate)
        {
            if (_isClosed)
            {
                return Errno.BrokenPipe;
            }

            do
            {
                id = ++_lastId;
            }
            while (!_calls.TryAdd(id, call));
        }

        if (!Send(new(id, command, 0, MessageFlags.None, 0), head, data, descriptors))
        {
            Close("it takes no messages");
        }

        lock (_gate)
        {
            long end = Environment.TickCount64 + MessageSocket.PatienceMilliseconds;
            while (call.Reply is null && !_isClosed)
            {
                long left = end - Environment.TickCount64;
                if (left <= 0)
                {
                    CloseLocked($"it did not answer {command}");
                    break;
                }

                Advance((int)left);
            }

            _ = _calls.Remove(id);
            reply = call.Reply;
        }

        if (reply is null)
        {
            return Errno.BrokenPipe;
        }

        MessageHeader header = reply.Header;
        bool isError = (header.Flags & MessageFlags.Error) != 0;
        if (!isError && header.Command == command)
        {
            return Errno.Success;
        }

        reply.Dispose();
        reply = null;

        // The errno of an error may be missing.
        return isError && header.Error is > 0 and < 4096 ? (Errno)header.Error : Errno.IoError;
    }

    /// <summary>Sends a request of which no answer is wanted, or an answer.</summary>
    /// <returns>Whether it went.</returns>
    public bool Send(in MessageHeader header, ReadOnlySpan<byte> head, ReadOnlySpan<byte> data, params ReadOnlySpan<SafeHandle> descriptors)
    {
        lock (_sendLock)
        {
            return socket.Send(header, head, data, descriptors);
        }
    }

    /// <summary>Ends the connection. Whoever waits returns.</summary>
    /// <param name="fault">What the other end did wrong, as "it …"; null for nothing.</param>
    public void Close(string? fault = null)
    {
        lock (_gate)
        {
            CloseLocked(fault);
        }
    }

    /// <summary>Ends it, and closes the descriptors of requests that nobody served.</summary>
    public void Dispose()
    {
        Close();
        lock (_gate)
        {
            while (_requests.TryDequeue(out Message? request))
            {
                request.Dispose();
            }
        }

        socket.Dispose();
    }

    private void CloseLocked(string? fault)
    {
        if (!_isClosed)
        {
            _isClosed = true;
            Fault = fault;
            socket.Shutdown();
            Monitor.PulseAll(_gate);
        }
    }

    // Under the gate, which is left while it waits: something has come, or the time is over, or whoever reads has stopped.
    private void Advance(int milliseconds)
    {
        if (_isReading)
        {
            _ = Monitor.Wait(_gate, milliseconds);
            return;
        }

        _isReading = true;
        Monitor.Exit(_gate);
        ReceiveResult result = ReceiveResult.Ended;
        Message? message = null;
        MessageHeader header = default;
        try
        {
            result = socket.Receive(milliseconds, out message, out header);
        }
        finally
        {
            Monitor.Enter(_gate);
            _isReading = false;
        }

        switch (result)
        {
            case ReceiveResult.Message:
                Take(message!);
                break;
            case ReceiveResult.Ended:
                CloseLocked(null);
                break;
            case ReceiveResult.Malformed:
                Refuse(header);
                break;
        }

        Monitor.PulseAll(_gate);
    }

    private void Take(Message message)
    {
        if (_isClosed)
        {
            message.Dispose();
        }
        else if (message.Header.IsReply)
        {
            // One that nobody waits for answers nothing.
            if (_calls.TryGetValue(message.Header.Id, out PendingCall? call) && call.Reply is null)
            {
                call.Reply = message;
            }
            else
            {
                message.Dispose();
            }
        }
        else if (_requests.Count >= MostRequests || _requestBytes + message.Header.Size > MostRequestBytes)
        {
            message.Dispose();
            CloseLocked($"it sent more than {MostRequests} requests or {MostRequestBytes} bytes without waiting");
        }
        else
        {
            _requestBytes += message.Header.Size;
            _requests.Enqueue(message);
        }
    }

    // The last that it hears: where the next message begins is not known.
    private void Refuse(in MessageHeader header)
    {
        if (!header.IsReply && !header.WantsNoReply)
        {
            _ = Send(new(header.Id, header.Command, 0, MessageFlags.Reply | MessageFlags.Error, (uint)Errno.InvalidArgument), [], []);
        }

        CloseLocked($"it sent a message of {header.Size} bytes or with too many descriptors: {MessageHeader.Bytes} to {MessageSocket.MostBytes} bytes and {SocketCalls.MostDescriptors} descriptors are possible");
    }

    private sealed class PendingCall
    {
        public Message? Reply { get; set; }
    }
}
