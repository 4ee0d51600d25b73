using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser;

/// <summary>Waits for each event counter in a thread of its own.</summary>
internal sealed class EventThreads : IEventWatcher
{
    /// <summary>The only one: it has no state.</summary>
    public static EventThreads Instance { get; } = new();

    /// <inheritdoc/>
    public IDisposable Watch(SafeFileHandle counter, Action ready)
    {
        SafeFileHandle stop = SocketCalls.CreateEvent();
        new Thread(() => Run(counter, ready, stop)) { IsBackground = true, Name = "ioasis eventfd" }.Start();
        return new Watched(stop);
    }

    private static void Run(SafeFileHandle counter, Action ready, SafeFileHandle stop)
    {
        using (stop)
        {
            while (SocketCalls.WaitForAny(counter, stop) is [0])
            {
                ready();
            }
        }
    }

    // The thread closes the counter that stops it.
    private sealed class Watched(SafeFileHandle stop) : IDisposable
    {
        public void Dispose() => SocketCalls.Signal(stop);
    }
}
