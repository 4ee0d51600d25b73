using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Processes;

/// <summary>
/// The physical pages of processes, counted by the mappings that use them, and their swap space. One for all processes that
/// fork from or share with one another. A page goes back to its allocator when the last user drops it.
/// </summary>
internal sealed class PageFrames
{
    /// <summary>Bytes of a page.</summary>
    public const int PageSize = 4096;

    private const int PageLog2 = 12;

    private readonly IPageAllocator _pages;
    private readonly IoLock _lock = new();
    private readonly Dictionary<ulong, int> _references = [];
    private readonly Dictionary<long, (byte[] Content, int References)> _swap = [];
    private long _nextSlot;

    /// <summary>Makes an empty set of pages.</summary>
    /// <param name="memory">Where they are.</param>
    /// <param name="pages">Where they come from.</param>
    public PageFrames(IPhysicalMemory memory, IPageAllocator pages)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(pages);
        Memory = memory;
        _pages = pages;
    }

    /// <summary>Where the pages are.</summary>
    public IPhysicalMemory Memory { get; }

    /// <summary>Where pages, and tables for them, come from.</summary>
    internal IPageAllocator Allocator => _pages;

    /// <summary>Pages in use.</summary>
    public int Count
    {
        get
        {
            using (_lock.Acquire())
            {
                return _references.Count;
            }
        }
    }

    /// <summary>Pages in swap space.</summary>
    public int SwappedCount
    {
        get
        {
            using (_lock.Acquire())
            {
                return _swap.Count;
            }
        }
    }

    /// <summary>Takes a page of zeros, with one user.</summary>
    internal Errno TryAllocate(out PhysicalAddress frame)
    {
        if (!_pages.TryAllocate(PageLog2, IPageAllocator.AnyNode, out frame))
        {
            return Errno.OutOfMemory;
        }

        using (_lock.Acquire())
        {
            _references.Add(frame.Value, 1);
        }

        return Errno.Success;
    }

    /// <summary>Takes a page with the content of another.</summary>
    internal Errno TryCopy(PhysicalAddress from, out PhysicalAddress frame)
    {
        Errno error = TryAllocate(out frame);
        if (error != Errno.Success)
        {
            return error;
        }

        Span<byte> content = stackalloc byte[PageSize];
        if (Memory.Read(from, content) == MemoryStatus.Success && Memory.Write(frame, content) == MemoryStatus.Success)
        {
            return Errno.Success;
        }

        Release(frame);
        return Errno.IoError;
    }

    /// <summary>Adds a user.</summary>
    internal void Share(PhysicalAddress frame)
    {
        using (_lock.Acquire())
        {
            _references[frame.Value]++;
        }
    }

    /// <summary>Users of a page.</summary>
    internal int ReferencesOf(PhysicalAddress frame)
    {
        using (_lock.Acquire())
        {
            return _references.GetValueOrDefault(frame.Value);
        }
    }

    /// <summary>Drops a user; the last one's page is free.</summary>
    internal void Release(PhysicalAddress frame)
    {
        using (_lock.Acquire())
        {
            if (--_references[frame.Value] > 0)
            {
                return;
            }

            _ = _references.Remove(frame.Value);
        }

        _pages.Free(frame, PageLog2);
    }

    /// <summary>Moves the content of a page to swap space and drops the user's page.</summary>
    internal Errno TrySwapOut(PhysicalAddress frame, out long slot)
    {
        slot = 0;
        Errno error = Injection.Hit(InjectionKind.Allocate);
        if (error != Errno.Success)
        {
            return error;
        }

        byte[] content = new byte[PageSize];
        if (Memory.Read(frame, content) != MemoryStatus.Success)
        {
            return Errno.IoError;
        }

        using (_lock.Acquire())
        {
            slot = ++_nextSlot;
            _swap.Add(slot, (content, 1));
        }

        Release(frame);
        return Errno.Success;
    }

    /// <summary>Brings the content of a slot back in a page of its own and drops the user's slot.</summary>
    internal Errno TrySwapIn(long slot, out PhysicalAddress frame)
    {
        Errno error = TryAllocate(out frame);
        if (error != Errno.Success)
        {
            return error;
        }

        byte[] content;
        using (_lock.Acquire())
        {
            content = _swap[slot].Content;
        }

        if (Memory.Write(frame, content) != MemoryStatus.Success)
        {
            Release(frame);
            return Errno.IoError;
        }

        ReleaseSlot(slot);
        return Errno.Success;
    }

    /// <summary>Adds a user of a slot.</summary>
    internal void ShareSlot(long slot)
    {
        using (_lock.Acquire())
        {
            (byte[] content, int references) = _swap[slot];
            _swap[slot] = (content, references + 1);
        }
    }

    /// <summary>Drops a user of a slot.</summary>
    internal void ReleaseSlot(long slot)
    {
        using (_lock.Acquire())
        {
            (byte[] content, int references) = _swap[slot];
            if (references > 1)
            {
                _swap[slot] = (content, references - 1);
            }
            else
            {
                _ = _swap.Remove(slot);
            }
        }
    }
}

/// <summary>Memory that several processes map: pages by their place in the object, made when first touched.</summary>
internal sealed class SharedMemory : IDisposable
{
    private readonly PageFrames _frames;
    private readonly IoLock _lock = new();
    private readonly Dictionary<ulong, PhysicalAddress> _pages = [];

    /// <summary>Makes an object without pages.</summary>
    public SharedMemory(PageFrames frames)
    {
        ArgumentNullException.ThrowIfNull(frames);
        _frames = frames;
    }

    /// <summary>Drops the object's pages; each remains as long as a process maps it.</summary>
    public void Dispose()
    {
        using (_lock.Acquire())
        {
            foreach (PhysicalAddress frame in _pages.Values)
            {
                _frames.Release(frame);
            }

            _pages.Clear();
        }
    }

    /// <summary>The page at an index, with a user more.</summary>
    internal Errno TryGet(ulong index, out PhysicalAddress frame)
    {
        using (_lock.Acquire())
        {
            if (!_pages.TryGetValue(index, out frame))
            {
                Errno error = _frames.TryAllocate(out frame);
                if (error != Errno.Success)
                {
                    return error;
                }

                _pages.Add(index, frame);
            }

            _frames.Share(frame);
            return Errno.Success;
        }
    }
}
