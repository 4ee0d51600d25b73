using System.Runtime.CompilerServices;
using Ioasis.Kernel;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Exec;

/// <summary>
/// Moves the events of a queue into a socket whose other end the program has: there it reads, polls and waits as on Linux, without a call to
/// us. What the program writes comes as a call, so that errors are told.
/// </summary>
internal sealed class QueuePump : IDisposable
{
    private const short In = 1;
    private const short HangUp = 0x10;

    private readonly KernelProcess _process;
    private readonly int _socket;
    private readonly int _descriptor;
    private readonly Thread _thread;
    private int _closed;

    /// <summary>Begins.</summary>
    /// <param name="holder">Who has the queue's descriptor.</param>
    /// <param name="descriptor">The descriptor.</param>
    /// <param name="socket">Our end.</param>
    public QueuePump(KernelProcess holder, int descriptor, int socket)
    {
        _socket = socket;
        _process = holder.CreateSibling();
        _descriptor = holder.Pass(descriptor, _process);
        _thread = new(Run, 256 * 1024) { IsBackground = true, Name = "ioasis queue" };
        _thread.Start();
    }

    /// <summary>Whether the program has closed its end.</summary>
    public bool IsClosed => (SystemCalls.Poll(_socket, In, 0) & HangUp) != 0;

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _closed, 1) == 0)
        {
            // The thread looks up, lets the queue go, and closes our end.
            _process.Exit();
            _thread.Join();
        }
    }

    private void Run()
    {
        Move();
        _ = SystemCalls.Close(_socket);
    }

    private void Move()
    {
        // A queue of faults takes whole records only: room that is no multiple of theirs is an error, not a shorter answer.
        Span<byte> events = stackalloc byte[4096 - (4096 % Unsafe.SizeOf<IommuHwptPgfault>())];
        while (Volatile.Read(ref _closed) == 0
            && ((IKernelAbi)_process).Poll(_descriptor, PollEvents.In, -1, out PollEvents ready) >= 0
            && (ready & PollEvents.In) != 0)
        {
            nint count = _process.Read(_descriptor, events);
            if (count <= 0)
            {
                if (count == -(int)Errno.BadDescriptor)
                {
                    return;
                }

                continue;
            }

            if (SystemCalls.Send(_socket, events[..(int)count]) < 0)
            {
                return;
            }
        }
    }
}
