using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// The part of an IOMMU that one guest has as its own: its name for each of its devices, its caches, and the faults that
/// are its own. What the guest asks for is in bytes whose layout is the driver's, as in <see cref="NestedDomain"/>.
/// </summary>
/// <remarks>Thread-safe. The parent outlives it, and it outlives the nested domains that are made of it.</remarks>
internal abstract class VirtualIommu : IDisposable
{
    private IVirtualEventSink? _events;

    /// <summary>The second stage of the guest.</summary>
    public abstract PagingDomain Parent { get; }

    /// <summary>Who gets the events of the guest; null if nobody wants them.</summary>
    public IVirtualEventSink? Events
    {
        get => Volatile.Read(ref _events);
        set => Volatile.Write(ref _events, value);
    }

    /// <summary>Gives a device the name by which the guest knows it.</summary>
    /// <param name="device">A device behind the same IOMMU; it has no other name.</param>
    /// <param name="virtualId">A name that no other device of the guest has.</param>
    /// <returns>Success; <see cref="Errno.InvalidArgument"/> for a name that no device can have; others.</returns>
    public abstract Errno AddDevice(IommuDevice device, ulong virtualId);

    /// <summary>Takes the name away. Afterwards no event of the device is reported, and nothing reaches it by that name.</summary>
    public abstract void RemoveDevice(IommuDevice device);

    /// <summary>As <see cref="IommuInstance.TryAllocateNestedDomain"/>, on <see cref="Parent"/>.</summary>
    public abstract Errno TryAllocateNestedDomain(
        IommuDevice device, uint dataType, ReadOnlySpan<byte> data, out NestedDomain? domain);

    /// <summary>As <see cref="NestedDomain.Invalidate"/>, for everything of the guest, with the guest's names of devices.</summary>
    public abstract Errno Invalidate(uint dataType, ReadOnlySpan<byte> entries, int entryLength, ref uint count);

    /// <summary>Whether there are events of a kind.</summary>
    public virtual bool SupportsEvents(uint type) => false;

    /// <summary>Whether the hardware has queues of a kind that work on the guest's memory.</summary>
    public virtual bool SupportsQueues(uint type) => false;

    /// <summary>Gives the guest one of the hardware's queues.</summary>
    /// <param name="type">A kind that there is (<see cref="SupportsQueues"/>).</param>
    /// <param name="index">Which one of the kind.</param>
    /// <param name="address">Where the guest has it.</param>
    /// <param name="length">Bytes, not 0.</param>
    /// <param name="memory">The same memory, contiguous, which stays until the queue is disposed.</param>
    /// <param name="queue">The queue.</param>
    /// <returns>
    /// Success; <see cref="Errno.InvalidArgument"/> for an index that there is not; <see cref="Errno.Exists"/> for one that is taken; others.
    /// </returns>
    public virtual Errno TryAllocateQueue(
        uint type, uint index, Iova address, ulong length, PhysicalAddress memory, out VirtualIommuQueue? queue)
    {
        queue = null;
        return Errno.NotSupported;
    }

    /// <summary>Gives the part back. No device has a name in it any more.</summary>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Gives the part back.</summary>
    protected virtual void Dispose(bool disposing)
    {
    }
}

/// <summary>A queue of the hardware that a guest has as its own. Disposed before the part of the IOMMU that it is of.</summary>
internal abstract class VirtualIommuQueue : IDisposable
{
    /// <summary>A queue of the same part that has to stay as long as this one; null for none.</summary>
    public virtual VirtualIommuQueue? Needs => null;

    /// <summary>Gives the queue back: the hardware does not touch its memory any more.</summary>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Gives the queue back.</summary>
    protected abstract void Dispose(bool disposing);
}

/// <summary>Who gets the events of a guest.</summary>
internal interface IVirtualEventSink
{
    /// <summary>An event. Called without a lock held, from any thread; must return in bounded time, without an exception.</summary>
    /// <param name="type">Which layout the data has.</param>
    /// <param name="data">The event, only during the call.</param>
    void OnEvent(uint type, ReadOnlySpan<byte> data);
}
