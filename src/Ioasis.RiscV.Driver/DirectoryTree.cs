using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <summary>
/// A directory of contexts: one to three levels of 4 KiB tables (sections 2.1 and 2.2). Tables come into being with the first
/// context below them and go all together. A non-leaf entry goes from invalid to valid once and never changes again, which
/// needs no invalidation, because the specification forbids caching of invalid entries (section 6.3.8, S4.6).
/// </summary>
internal abstract class DirectoryTree
{
    private const int PageLog2 = 12;

    private readonly IPageAllocator _pages;
    private readonly IoLock _lock = new();
    private readonly List<PhysicalAddress> _tables = [];

    protected DirectoryTree(IPhysicalMemory memory, IPageAllocator pages, PhysicalAddress root)
    {
        Memory = memory;
        _pages = pages;
        Root = root;
        _tables.Add(root);
    }

    /// <summary>The root table.</summary>
    public PhysicalAddress Root { get; }

    /// <summary>Levels, 1 to 3; fixed before the first look-up.</summary>
    public int Levels { get; protected set; }

    /// <summary>Bits of identifier that the levels cover.</summary>
    public abstract int IdentifierBits { get; }

    /// <summary>Bytes of a context.</summary>
    public abstract int ContextSize { get; }

    protected IPhysicalMemory Memory { get; }

    /// <summary>The place of a context, with the tables above it. All or nothing.</summary>
    /// <param name="identifier">The device ID or the PASID.</param>
    /// <param name="node">Preferred memory node.</param>
    /// <param name="context">Its address.</param>
    /// <returns>
    /// Success; <see cref="Errno.NoDeviceOrAddress"/> if the directory does not cover the identifier;
    /// <see cref="Errno.OutOfMemory"/>; <see cref="Errno.IoError"/> if the memory of a table does not answer.
    /// </returns>
    public Errno TryGetContext(uint identifier, int node, out PhysicalAddress context)
    {
        context = default;
        if (identifier >> IdentifierBits != 0)
        {
            return Errno.NoDeviceOrAddress;
        }

        using (_lock.Acquire())
        {
            PhysicalAddress table = Root;
            for (int level = Levels - 1; level > 0; level--)
            {
                PhysicalAddress entry = table + ((ulong)IndexOf(identifier, level) * DirectoryEntry.Size);
                if (Memory.Read64(entry, out ulong value) != MemoryStatus.Success)
                {
                    return Errno.IoError;
                }

                if ((value & DirectoryEntry.ValidBit) == 0)
                {
                    Errno error = AddTables(identifier, node, entry, level, out value);
                    if (error != Errno.Success)
                    {
                        return error;
                    }
                }

                table = new(PpnField.ToAddress(value));
            }

            context = table + ((ulong)IndexOf(identifier, 0) * (ulong)ContextSize);
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

    /// <summary>The index of an identifier in a table of a level.</summary>
    protected abstract int IndexOf(uint identifier, int level);

    protected static bool TryAllocateRoot(IPageAllocator pages, int node, out PhysicalAddress root) =>
        pages.TryAllocate(PageLog2, node, out root);

    // Builds the missing tables and hangs them in last, so that a failure leaves nothing.
    private Errno AddTables(uint identifier, int node, PhysicalAddress entry, int level, out ulong value)
    {
        Span<PhysicalAddress> fresh = stackalloc PhysicalAddress[2];
        int count = 0;
        value = 0;
        while (count < level && _pages.TryAllocate(PageLog2, node, out fresh[count]))
        {
            count++;
        }

        Errno error = count < level ? Errno.OutOfMemory : Errno.Success;
        if (error == Errno.Success && count == 2)
        {
            error = Link(fresh[0] + ((ulong)IndexOf(identifier, 1) * DirectoryEntry.Size), fresh[1], out _);
        }

        if (error == Errno.Success)
        {
            error = Link(entry, fresh[0], out value);
        }

        foreach (PhysicalAddress table in fresh[..count])
        {
            if (error == Errno.Success)
            {
                _tables.Add(table);
            }
            else
            {
                _pages.Free(table, PageLog2);
            }
        }

        return error;
    }

    private Errno Link(PhysicalAddress entry, PhysicalAddress table, out ulong value)
    {
        value = PpnField.FromAddress(table.Value) | DirectoryEntry.ValidBit;
        return Memory.Write64(entry, value) == MemoryStatus.Success ? Errno.Success : Errno.IoError;
    }
}

/// <summary>The directory of devices of one IOMMU (section 2.1).</summary>
internal sealed class DeviceDirectory : DirectoryTree
{
    /// <summary>Bits of device ID that the most levels cover.</summary>
    public const int MaxIdentifierBits = 24;

    private readonly bool _extended;

    private DeviceDirectory(IPhysicalMemory memory, IPageAllocator pages, PhysicalAddress root, bool extended)
        : base(memory, pages, root) => _extended = extended;

    /// <inheritdoc/>
    public override int IdentifierBits => BitsOf(Levels, _extended);

    /// <inheritdoc/>
    public override int ContextSize => _extended ? 64 : 32;

    /// <summary>Bits of device ID that a number of levels covers.</summary>
    public static int BitsOf(int levels, bool extended) => levels switch
    {
        1 => extended ? 6 : 7,
        2 => extended ? 15 : 16,
        _ => MaxIdentifierBits,
    };

    /// <summary>Allocates the root.</summary>
    public static Errno TryCreate(
        IPhysicalMemory memory, IPageAllocator pages, bool extended, out DeviceDirectory? directory)
    {
        bool allocated = TryAllocateRoot(pages, IPageAllocator.AnyNode, out PhysicalAddress root);
        directory = allocated ? new(memory, pages, root, extended) : null;
        return allocated ? Errno.Success : Errno.OutOfMemory;
    }

    /// <summary>Takes note of the levels that the hardware accepted.</summary>
    public void SetLevels(int levels) => Levels = levels;

    /// <inheritdoc/>
    protected override int IndexOf(uint identifier, int level) => DeviceDirectoryIndex.At(identifier, level, _extended);
}

/// <summary>The directory of processes of one device (section 2.2).</summary>
internal sealed class ProcessDirectory : DirectoryTree
{
    private ProcessDirectory(IPhysicalMemory memory, IPageAllocator pages, PhysicalAddress root, int levels)
        : base(memory, pages, root) => Levels = levels;

    /// <inheritdoc/>
    public override int IdentifierBits => BitsOf(Levels);

    /// <inheritdoc/>
    public override int ContextSize => ProcessContextOffset.Size;

    /// <summary>The pointer to the directory for a device context.</summary>
    public ulong Pointer => ((ulong)Levels << TablePointer.ModeShift) | (Root.Value >> 12);

    /// <summary>The smallest directory that the IOMMU has for a number of PASID bits, else its largest; 0 levels if none.</summary>
    public static int LevelsFor(Capabilities capabilities, int pasidBits) =>
        capabilities.Pd8 && pasidBits <= BitsOf(1) ? 1
        : capabilities.Pd17 && pasidBits <= BitsOf(2) ? 2
        : capabilities.Pd20 ? 3
        : capabilities.Pd17 ? 2
        : capabilities.Pd8 ? 1
        : 0;

    /// <summary>Bits of PASID that a number of levels covers; 0 for none.</summary>
    public static int BitsOf(int levels) => levels switch
    {
        0 => 0,
        1 => 8,
        2 => 17,
        _ => 20,
    };

    /// <summary>Allocates the root.</summary>
    public static Errno TryCreate(
        IPhysicalMemory memory, IPageAllocator pages, int node, int levels, out ProcessDirectory? directory)
    {
        bool allocated = TryAllocateRoot(pages, node, out PhysicalAddress root);
        directory = allocated ? new(memory, pages, root, levels) : null;
        return allocated ? Errno.Success : Errno.OutOfMemory;
    }

    /// <inheritdoc/>
    protected override int IndexOf(uint identifier, int level) => ProcessDirectoryIndex.At(identifier, level);
}
