using Ioasis.Primitives;
using Ioasis.Uapi;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser;

/// <summary>The event counters beside a message: a descriptor's number is its place among them.</summary>
internal sealed class MessageEvents : IVfioEventSource
{
    // A process has a thousand descriptors or so, and the collector does not know it.
    private const int EventsBetweenCollections = 128;

    private static int s_created;

    private Message? _message;

    /// <summary>Looks at another message from now on; null for none.</summary>
    public void Use(Message? message) => _message = message;

    /// <inheritdoc/>
    public Errno GetEventErrno(int descriptor, out IVfioEvent? counter)
    {
        counter = null;
        return _message is { } message && descriptor >= 0 && descriptor < message.DescriptorCount && message.TakeDescriptor(descriptor) is { } handle
            ? TryCreate(handle, out counter)
            : Errno.BadDescriptor;
    }

    // Takes the descriptor over. What is no event counter is closed.
    private static Errno TryCreate(SafeFileHandle descriptor, out IVfioEvent? made)
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

        made = new DescriptorEvent(descriptor, EventThreads.Instance);
        return Errno.Success;
    }
}
