using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>A queue of which a descriptor gives the events.</summary>
internal interface IEventQueue
{
    /// <summary>Who waits for an event.</summary>
    WaitQueue Waiters { get; }

    /// <summary>Whether there is an event.</summary>
    bool CanRead { get; }

    /// <summary>Reads events. Never waits: 0 bytes if there is none.</summary>
    Errno Read(Span<byte> destination, out int count);

    /// <summary>Reads the first event, which stays. Never waits: 0 bytes if there is none.</summary>
    /// <returns>Success; <see cref="Errno.InvalidArgument"/> if it does not fit; <see cref="Errno.NotSupported"/> if reading changes what is read.</returns>
    Errno Peek(Span<byte> destination, out int count)
    {
        count = 0;
        return Errno.NotSupported;
    }

    /// <summary>Takes answers.</summary>
    Errno Write(ReadOnlySpan<byte> source, out int count);
}

/// <summary>
/// The descriptor of a queue of events. It keeps the queue's object and its <c>/dev/iommu</c>: as long as it is open the
/// object cannot be destroyed.
/// </summary>
internal sealed class EventQueueFile : OpenFile
{
    private readonly IommufdFile _owner;
    private readonly KernelObject _object;
    private readonly IEventQueue _queue;

    private EventQueueFile(IommufdFile owner, KernelObject @object, IEventQueue queue)
    {
        _owner = owner;
        _object = @object;
        _queue = queue;
    }

    /// <inheritdoc/>
    public override WaitQueue Waiters => _queue.Waiters;

    /// <summary>Makes a descriptor of an object, the caller's. The <c>/dev/iommu</c> is in a call.</summary>
    public static Errno TryOpen<T>(KernelProcess caller, IommufdFile owner, T queue, out int descriptor)
        where T : KernelObject, IEventQueue
    {
        _ = owner.TryReference();
        queue.Keep();
        return caller.AddFile(new EventQueueFile(owner, queue, queue), out descriptor);
    }

    /// <inheritdoc/>
    public override Errno Peek(Span<byte> destination, out int count) => _queue.Peek(destination, out count);

    /// <inheritdoc/>
    public override Errno Read(Span<byte> destination, out int count) => _queue.Read(destination, out count);

    /// <inheritdoc/>
    public override Errno Write(ReadOnlySpan<byte> source, out int count) => _queue.Write(source, out count);

    /// <inheritdoc/>
    public override PollEvents Poll() => PollEvents.Out | (_queue.CanRead ? PollEvents.In : 0);

    /// <inheritdoc/>
    protected override void Release()
    {
        _object.Release();
        _owner.Dereference();
    }
}
