using Ioasis.Primitives;
using Ioasis.Uapi;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser;

/// <summary>An event counter (eventfd) of the other end that a device signals or listens to. Its descriptor is closed when no device refers to it.</summary>
internal sealed class PeerEvent(SafeFileHandle counter) : IVfioEvent
{
    // A process has a thousand descriptors or so, and the collector does not know it.
    private const int EventsBetweenCollections = 128;

    private static int s_created;

    private readonly Lock _lock = new();
    private readonly List<Action> _listeners = [];
    private SafeFileHandle? _stop;

    /// <summary>Takes a descriptor over.</summary>
    /// <returns>Success; <see cref="Errno.InvalidArgument"/> if it is no event counter, and then it is closed.</returns>
    public static Errno TryCreate(SafeFileHandle descriptor, out IVfioEvent? made)
    {
        // Writing to anything else could wait for ever.
        FileInfo link = new($"/proc/self/fd/{descriptor.DangerousGetHandle()}");
        if (!string.Equals(link.LinkTarget, "anon_inode:[eventfd]", StringComparison.Ordinal))
        {
            descriptor.Dispose();
            made = null;
            return Errno.InvalidArgument;
        }

        // A device that is given other counters lets go of those that it had, and says so to nobody.
        if (Interlocked.Increment(ref s_created) % EventsBetweenCollections == 0)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }

        made = new PeerEvent(descriptor);
        return Errno.Success;
    }

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
            if (_stop is null)
            {
                SafeFileHandle stop = SocketCalls.CreateEvent();
                _stop = stop;
                new Thread(() => Hear(stop)) { IsBackground = true, Name = "ioasis eventfd" }.Start();
            }
        }
    }

    /// <inheritdoc/>
    public void Unlisten(Action listener)
    {
        lock (_lock)
        {
            if (_listeners.Remove(listener) && _listeners.Count == 0 && _stop is { } stop)
            {
                _stop = null;
                SocketCalls.Signal(stop);
            }
        }
    }

    private void Hear(SafeFileHandle stop)
    {
        using (stop)
        {
            while (SocketCalls.WaitForAny(counter, stop) is [0])
            {
                if (SocketCalls.TakeCount(counter) == 0)
                {
                    continue;
                }

                Action[] listeners;
                lock (_lock)
                {
                    listeners = [.. _listeners];
                }

                foreach (Action listener in listeners)
                {
                    listener();
                }
            }
        }
    }
}

/// <summary>The event counters beside a message: a descriptor's number is its place among them.</summary>
internal sealed class MessageEvents : IVfioEventSource
{
    private Message? _message;

    /// <summary>Looks at another message from now on; null for none.</summary>
    public void Use(Message? message) => _message = message;

    /// <inheritdoc/>
    public Errno TryGetEvent(int descriptor, out IVfioEvent? counter)
    {
        counter = null;
        return _message is { } message && descriptor >= 0 && descriptor < message.DescriptorCount && message.TakeDescriptor(descriptor) is { } handle
            ? PeerEvent.TryCreate(handle, out counter)
            : Errno.BadDescriptor;
    }
}
