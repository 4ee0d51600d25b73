using Ioasis.Uapi;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser;

/// <summary>Waits for the counts of event counters.</summary>
internal interface IEventWatcher
{
    /// <summary>Calls back, again and again, while a counter has a count, until what is returned is disposed. A call that has begun may still run.</summary>
    IDisposable Watch(SafeFileHandle counter, Action ready);
}

/// <summary>
/// An event counter (eventfd) of another process that a device signals or listens to. Its descriptor is this object's: it stays when that
/// process closes its own, and is closed when no device refers to it any more. Thread-safe.
/// </summary>
/// <param name="counter">The descriptor, of an event counter.</param>
/// <param name="watcher">Who waits for it while a device listens.</param>
internal sealed class DescriptorEvent(SafeFileHandle counter, IEventWatcher watcher) : IVfioEvent
{
    private readonly Lock _lock = new();
    private readonly List<Action> _listeners = [];
    private IDisposable? _watch;

    /// <inheritdoc/>
    public void Signal()
    {
        // A full counter stays full, whether writes to it wait or not.
        if (SocketCalls.CanWrite(counter))
        {
            SocketCalls.Signal(counter);
        }
    }

    /// <inheritdoc/>
    public void Listen(Action listener)
    {
        lock (_lock)
        {
            _listeners.Add(listener);
            _watch ??= watcher.Watch(counter, Tell);
        }

        Tell();
    }

    /// <inheritdoc/>
    public void Unlisten(Action listener)
    {
        lock (_lock)
        {
            if (_listeners.Remove(listener) && _listeners.Count == 0)
            {
                _watch!.Dispose();
                _watch = null;
            }
        }
    }

    private void Tell()
    {
        Action[] listeners;
        lock (_lock)
        {
            listeners = [.. _listeners];
        }

        // Who owns the counter may take the count too, so that a plain read could wait.
        if (listeners.Length == 0 || SocketCalls.TakeCountNow(counter) == 0)
        {
            return;
        }

        foreach (Action listener in listeners)
        {
            listener();
        }
    }
}
