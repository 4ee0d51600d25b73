using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Driver;

/// <summary>
/// The root table of one IOMMU and the context tables that it leads to (sections 9.1 to 9.4). A table comes into being with the first
/// device below it, and all go together. A root entry goes from absent to present once and never changes again.
/// </summary>
internal sealed class ContextTables
{
    private const int PageLog2 = 12;

    private readonly IPhysicalMemory _memory;
    private readonly IPageAllocator _pages;
    private readonly bool _isScalable;
    private readonly IoLock _lock = new();
    private readonly List<PhysicalAddress> _tables = [];

    private ContextTables(IPhysicalMemory memory, IPageAllocator pages, bool isScalable, PhysicalAddress root)
    {
        _memory = memory;
        _pages = pages;
        _isScalable = isScalable;
        Root = root;
        _tables.Add(root);
    }

    /// <summary>The root table.</summary>
    public PhysicalAddress Root { get; }

    /// <summary>Allocates an empty root table.</summary>
    public static Errno TryCreate(IPhysicalMemory memory, IPageAllocator pages, bool isScalable, out ContextTables? tables)
    {
        bool allocated = pages.TryAllocate(PageLog2, IPageAllocator.AnyNode, out PhysicalAddress root);
        tables = allocated ? new(memory, pages, isScalable, root) : null;
        return allocated ? Errno.Success : Errno.OutOfMemory;
    }

    /// <summary>The place of a context, with the table that it is in.</summary>
    /// <param name="sourceId">The device.</param>
    /// <param name="node">Preferred memory node.</param>
    /// <param name="context">Its address.</param>
    /// <param name="isNew">Whether a root entry was made present.</param>
    /// <returns>Success; <see cref="Errno.OutOfMemory"/>; <see cref="Errno.IoError"/> if the memory of a table does not answer.</returns>
    public Errno TryGetContext(ushort sourceId, int node, out PhysicalAddress context, out bool isNew)
    {
        context = default;
        isNew = false;

        // A scalable root entry has two doublewords, for functions 0 to 127 and 128 to 255 of a bus.
        int upper = _isScalable ? (sourceId >> 7) & 1 : 0;
        PhysicalAddress entry = Root + (((ulong)(sourceId >> 8) * RootEntry.Size) + ((ulong)upper * 8));
        int index = _isScalable ? sourceId & 0x7f : sourceId & 0xff;
        using (_lock.Acquire())
        {
            if (_memory.Read64(entry, out ulong value) != MemoryStatus.Success)
            {
                return Errno.IoError;
            }

            if ((value & RootEntry.PresentBit) == 0)
            {
                if (!_pages.TryAllocate(PageLog2, node, out PhysicalAddress table))
                {
                    return Errno.OutOfMemory;
                }

                value = table.Value | RootEntry.PresentBit;
                if (_memory.Write64(entry, value) != MemoryStatus.Success)
                {
                    _pages.Free(table, PageLog2);
                    return Errno.IoError;
                }

                _tables.Add(table);
                isNew = true;
            }

            context = new((value & ~0xffful) + ((ulong)index * (_isScalable ? ScalableContextEntry.Size : (ulong)ContextEntry.Size)));
            return Errno.Success;
        }
    }

    /// <summary>Frees every table; the hardware no longer uses them.</summary>
    public void Free()
    {
        using (_lock.Acquire())
        {
            foreach (PhysicalAddress table in _tables)
            {
                _pages.Free(table, PageLog2);
            }

            _tables.Clear();
        }
    }
}
