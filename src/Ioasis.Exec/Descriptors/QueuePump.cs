using Ioasis.Kernel;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Exec;

/// <summary>
/// Shows the events of a queue to the program by a socket whose other end it has: there it polls and waits as on Linux, without a call to us. One
/// event at a time lies in the socket, and counts as the queue's until it is taken. Reads come as calls and are answered by the queue's own rules;
/// only one with more room than calls to us have takes the event from the socket by itself. What the program writes comes as a call too.
/// </summary>
internal sealed class QueuePump : IDisposable
{
    private const short In = 1;
    private const short HangUp = 0x10;
    private const int LeastEvent = 8;
    private const int Step = 4;
    private const int LargestEvent = 16384;

    private readonly Lock _sync = new();
    private readonly ManualResetEventSlim _over = new();
    private readonly KernelProcess _process;
    private readonly int _socket;
    private readonly int _changes;
    private readonly int _descriptor;
    private readonly int _record;
    private readonly Thread _thread;
    private int _pending;
    private bool _isKept;
    private int _closed;

    /// <summary>Begins.</summary>
    /// <param name="holder">Who has the queue's descriptor.</param>
    /// <param name="descriptor">The descriptor.</param>
    /// <param name="socket">Our end.</param>
    /// <param name="record">What the room of a read must be a multiple of; 1 for anything.</param>
    public QueuePump(KernelProcess holder, int descriptor, int socket, int record)
    {
        _socket = socket;
        _record = record;
        _process = holder.CreateSibling();
        _descriptor = holder.Pass(descriptor, _process);
        _changes = (int)SystemCalls.EpollCreate();
        _ = SystemCalls.EpollAdd(_changes, socket, SystemCalls.EpollOut | SystemCalls.EpollEdge);
        _thread = new(Run, 256 * 1024) { IsBackground = true, Name = "ioasis queue" };
        _thread.Start();
    }

    /// <summary>Whether the program has closed its end.</summary>
    public bool IsClosed => (SystemCalls.Poll(_socket, In, 0) & HangUp) != 0;

    /// <summary>Notices that the program has taken what lay in the socket.</summary>
    /// <returns>Whether nothing lies there.</returns>
    public bool Settle()
    {
        lock (_sync)
        {
            return SettleLocked();
        }
    }

    /// <summary>Answers a read.</summary>
    /// <param name="process">Who reads.</param>
    /// <param name="descriptor">The program's end, as that process knows it.</param>
    /// <param name="room">Where the events go.</param>
    /// <returns>Bytes, or <c>-errno</c>.</returns>
    public nint Take(ProgramProcess process, int descriptor, Span<byte> room)
    {
        lock (_sync)
        {
            int taken = 0;
            if (!SettleLocked())
            {
                if (room.Length % _record != 0 || room.Length < _pending)
                {
                    return -(int)(room.Length % _record != 0 ? Errno.IllegalSeek : Errno.InvalidArgument);
                }

                nint end = Caller.TakeDescriptor(process, descriptor);
                if (end < 0)
                {
                    return end;
                }

                // Another thread of the program may have taken it at the same moment.
                taken = (int)Math.Max(0, SystemCalls.Receive((int)end, room[.._pending]));
                _ = SystemCalls.Close((int)end);
                _ = SettleLocked();
            }

            nint count = taken == room.Length && taken > 0 ? 0 : _process.Read(_descriptor, room[taken..]);
            return count > 0 || taken == 0 ? taken + count : taken;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _closed, 1) == 0)
        {
            // The thread looks up, wherever it waits, and lets the queue and our end go.
            _process.Exit();
            _over.Set();
            _ = SystemCalls.Shutdown(_socket);
            _thread.Join();
            _over.Dispose();
        }
    }

    private bool SettleLocked()
    {
        if (_pending > 0 && SystemCalls.CountUnread(_socket) == 0)
        {
            if (_isKept)
            {
                Span<byte> gone = stackalloc byte[_pending];
                _ = _process.Read(_descriptor, gone);
            }

            _pending = 0;
        }

        return _pending == 0;
    }

    private void Run()
    {
        Move();
        _over.Wait();
        _ = SystemCalls.Close(_changes);
        _ = SystemCalls.Close(_socket);
    }

    private void Move()
    {
        byte[] room = new byte[LargestEvent];
        while (Volatile.Read(ref _closed) == 0
            && ((IKernelAbi)_process).Poll(_descriptor, PollEvents.In, -1, out PollEvents ready) >= 0
            && (ready & PollEvents.In) != 0)
        {
            if (!TryShow(room))
            {
                return;
            }

            while (!Settle())
            {
                if (Volatile.Read(ref _closed) != 0 || (SystemCalls.EpollWait(_changes) & HangUp) != 0)
                {
                    return;
                }
            }
        }
    }

    // The next event, if it was not taken meanwhile.
    private bool TryShow(Span<byte> room)
    {
        lock (_sync)
        {
            nint count = _process.PeekEvent(_descriptor, room);
            bool isKept = count > 0;
            if (count == -(int)Errno.NotSupported)
            {
                count = ReadOne(room);
            }

            if (count <= 0)
            {
                return count != -(int)Errno.BadDescriptor;
            }

            if (SystemCalls.Send(_socket, room[..(int)count]) != count)
            {
                return false;
            }

            _pending = (int)count;
            _isKept = isKept;
            return true;
        }
    }

    // The least room that takes something takes one event; of faults, one group.
    private nint ReadOne(Span<byte> room)
    {
        nint count = -(int)Errno.InvalidArgument;
        for (int size = LeastEvent; size <= room.Length && count is -(int)Errno.InvalidArgument or -(int)Errno.IllegalSeek; size += Step)
        {
            count = _process.Read(_descriptor, room[..size]);
        }

        return count;
    }
}
