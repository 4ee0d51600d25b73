using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

// This folder holds processes as an IOMMU sees them: address spaces whose tables devices walk, their PASIDs, and the binding
// of the two. It knows no driver, no device model and no descriptor.

/// <summary>
/// Who keeps a view of a process's memory: a domain that devices are attached to. What Linux calls an MMU notifier (S2.11).
/// </summary>
internal interface IAddressSpaceNotifier
{
    /// <summary>
    /// Entries were taken out of the table. When it returns success, nobody reaches what they led to any more, and the memory
    /// may be reused. Called with the address space locked: it must not call back.
    /// </summary>
    /// <param name="gather">What was taken out. It stays the caller's.</param>
    /// <returns>Success, or why it could not be done: then neither memory nor table pages are ever reused.</returns>
    Errno Invalidate(in InvalidationGather gather) => Errno.Success;

    /// <summary>
    /// The process ends. Called without a lock, before anything is freed; faults are refused from now on.
    /// </summary>
    /// <returns>
    /// Success: nobody walks the table on this one's behalf any more. <see cref="Errno.Busy"/>: somebody does until this one is
    /// unregistered; the table is emptied, and its root stays until then. Others: the end has failed for now.
    /// </returns>
    Errno OnExit(ProcessAddressSpace addressSpace) => Errno.Success;
}

/// <summary>
/// The address space of a process (the "mm"), with a first-stage table that devices can walk. All threads of the process share
/// it, and so does every device that is bound to it.
/// </summary>
public abstract class ProcessAddressSpace
{
    private readonly IoLock _lock = new();
    private IAddressSpaceNotifier[] _notifiers = [];
    private object? _binder;
    private bool _isExiting;
    private bool _isReleased;
    private Errno _lost;

    // Who may still have the empty root table walked when the process has ended.
    private List<IAddressSpaceNotifier> _holders = [];

    /// <summary>Takes over a table.</summary>
    /// <param name="table">Of a first-stage format, with user pages.</param>
    /// <param name="memory">The memory that it lies in and leads to.</param>
    private protected ProcessAddressSpace(IoPageTable table, IPhysicalMemory memory)
    {
        ArgumentNullException.ThrowIfNull(table);
        ArgumentNullException.ThrowIfNull(memory);
        Table = table;
        Memory = memory;
    }

    /// <summary>The process's table. Only the address space changes it.</summary>
    internal IoPageTable Table { get; }

    /// <summary>The memory that the table lies in and leads to.</summary>
    public IPhysicalMemory Memory { get; }

    /// <summary>Whether the process ends or has ended: no fault is served any more.</summary>
    public bool IsExiting => Volatile.Read(ref _isExiting);

    /// <summary>What the IOASIDs part keeps for this address space: set by the one manager that binds it.</summary>
    internal ref object? Binder => ref _binder;

    /// <summary>Orders every change of areas, pages and table.</summary>
    private protected IoLock Lock => _lock;

    /// <summary>Makes an address accessible, as the processor's page fault would.</summary>
    /// <param name="address">Any alignment.</param>
    /// <param name="access">What is about to be done.</param>
    /// <returns>
    /// Success: the table permits the access now. <see cref="Errno.BadAddress"/> if nothing is there or the process ends,
    /// <see cref="Errno.AccessDenied"/> if it is there and may not be accessed so, <see cref="Errno.OutOfMemory"/>,
    /// <see cref="Errno.IoError"/> if a device could not be made to forget an old page.
    /// </returns>
    public abstract Errno HandleFault(ulong address, Access access);

    /// <summary>Reads as a thread of the process does, faulting pages in. Nothing is known of what was read before an error.</summary>
    public abstract Errno Read(ulong address, Span<byte> destination);

    /// <summary>Writes as a thread of the process does, faulting pages in.</summary>
    public abstract Errno Write(ulong address, ReadOnlySpan<byte> source);

    /// <summary>Adds who must be told of what is taken out.</summary>
    /// <returns>Success, or <see cref="Errno.NoEntry"/> if the process ends.</returns>
    internal Errno Register(IAddressSpaceNotifier notifier)
    {
        ArgumentNullException.ThrowIfNull(notifier);
        using (_lock.Acquire())
        {
            if (_isExiting)
            {
                return Errno.NoEntry;
            }

            Volatile.Write(ref _notifiers, [.. _notifiers, notifier]);
            return Errno.Success;
        }
    }

    /// <summary>Removes who need not be told any more. Harmless if it was not registered.</summary>
    internal void Unregister(IAddressSpaceNotifier notifier)
    {
        using (_lock.Acquire())
        {
            Volatile.Write(ref _notifiers, Array.FindAll(_notifiers, n => !ReferenceEquals(n, notifier)));
            if (_holders.Remove(notifier) && _holders.Count == 0)
            {
                Table.Dispose();
            }
        }
    }

    /// <summary>
    /// Ends the address space: devices are stopped and drained, then its memory is freed. Ending twice is harmless.
    /// </summary>
    /// <returns>
    /// Success; or the error of a device or IOMMU that could not be stopped or drained: then the memory is not reused, and the
    /// call may be made again.
    /// </returns>
    public Errno Exit()
    {
        IAddressSpaceNotifier[] notifiers;
        using (_lock.Acquire())
        {
            if (_isReleased)
            {
                return Errno.Success;
            }

            Volatile.Write(ref _isExiting, true);
            notifiers = _notifiers;
        }

        Interlocked.MemoryBarrier();
        Errno result = Errno.Success;
        List<IAddressSpaceNotifier> holders = [];
        foreach (IAddressSpaceNotifier notifier in notifiers)
        {
            Errno error = notifier.OnExit(this);
            if (error == Errno.Busy)
            {
                holders.Add(notifier);
            }
            else if (result == Errno.Success)
            {
                result = error;
            }
        }

        using (_lock.Acquire())
        {
            if (result != Errno.Success || _isReleased)
            {
                return result;
            }

            result = holders.Count > 0 ? EmptyTable() : Errno.Success;
            if (result != Errno.Success)
            {
                return result;
            }

            _isReleased = true;
            ReleasePages();
            _holders = holders.FindAll(holder => _notifiers.Contains(holder));
            if (_holders.Count == 0)
            {
                Table.Dispose();
            }

            return Errno.Success;
        }
    }

    /// <summary>
    /// Frees the pages; called once, with the lock held, when nobody reaches them any more. The table is not this call's.
    /// </summary>
    protected abstract void ReleasePages();

    // Whoever is still attached finds nothing any more. If that is not confirmed, nothing is ever reused.
    private Errno EmptyTable()
    {
        if (_lost != Errno.Success)
        {
            return _lost;
        }

        InvalidationGather gather = default;
        Errno error = Table.Unmap(new(Table.Aperture.Start), Table.Aperture.Length, ref gather, out _);
        error = error == Errno.Success ? Notify(gather) : error;
        if (error == Errno.Success)
        {
            Table.Release(ref gather);
        }
        else
        {
            gather.Clear();
            _lost = error;
        }

        return error;
    }

    /// <summary>
    /// Has every notifier forget what was taken out of the table. With the lock held; before memory or table pages are reused.
    /// </summary>
    /// <returns>Success, or the first error: then nothing of it may be reused.</returns>
    private protected Errno Notify(in InvalidationGather gather)
    {
        Errno result = Errno.Success;
        if (gather.IsEmpty)
        {
            return result;
        }

        foreach (IAddressSpaceNotifier notifier in _notifiers)
        {
            Errno error = notifier.Invalidate(gather);
            result = result == Errno.Success ? error : result;
        }

        return result;
    }
}
