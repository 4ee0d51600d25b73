using System.Diagnostics.CodeAnalysis;
using Ioasis.PageTables.Formats;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.PageTables;

/// <summary>A format of radix tables, as a value: to choose, to compare and to make tables of. One object for each format.</summary>
public abstract class PageTableFormat
{
    private protected PageTableFormat()
    {
    }

    /// <summary>The formats that there are.</summary>
    public static IReadOnlyList<PageTableFormat> All => KnownFormats.All;

    /// <summary>A name for people, which no other format has.</summary>
    public abstract string Name { get; }

    /// <summary>Which stage of a translation it is made for.</summary>
    public abstract TranslationStage Stage { get; }

    /// <summary>How many levels a walk takes.</summary>
    public abstract int Levels { get; }

    /// <summary>The largest aperture is [0, 2^n - 1].</summary>
    public abstract int ApertureBits { get; }

    /// <summary>Physical addresses have at most so many bits.</summary>
    public abstract int OutputBits { get; }

    /// <summary>log2 of the bytes of an entry: 2 or 3.</summary>
    public abstract int EntrySizeLog2 { get; }

    /// <summary>log2 of the bytes of the root, to which it is aligned.</summary>
    public abstract int RootSizeLog2 { get; }

    /// <summary>Bit n is set if the format has leaves of 2^n bytes.</summary>
    public abstract ulong LeafSizes { get; }

    /// <summary>The format of a structure.</summary>
    internal static PageTableFormat Of<TFormat>()
        where TFormat : struct, IPageTableFormat => PageTableFormatOf<TFormat>.Instance;

    /// <summary>Finds a format among <see cref="All"/> by its name, in whatever case.</summary>
    public static bool TryFind(string name, [NotNullWhen(true)] out PageTableFormat? format)
    {
        format = All.FirstOrDefault(one => string.Equals(one.Name, name, StringComparison.OrdinalIgnoreCase));
        return format is not null;
    }

    /// <inheritdoc/>
    public sealed override string ToString() => Name;

    internal abstract Errno TryCreateTable(
        PageTableOptions options, IPhysicalMemory memory, IPageAllocator pages, out IoPageTable? table);
}

/// <summary>Which stage of a translation a table is for.</summary>
public enum TranslationStage
{
    /// <summary>The only one, or that of a guest or a process: from IOVAs.</summary>
    First,

    /// <summary>From the physical addresses of a guest, or from IOVAs where there is no first stage.</summary>
    Second,
}

/// <summary>The memory type of a mapping.</summary>
internal enum MemoryType
{
    /// <summary>As the memory behind it is.</summary>
    Default = 0,

    /// <summary>Main memory, non-cacheable, idempotent, weakly ordered.</summary>
    NonCacheable = 1,

    /// <summary>I/O: non-cacheable, non-idempotent, strongly ordered.</summary>
    Io = 2,
}

/// <summary>A leaf as the table holds it.</summary>
/// <param name="Range">The IOVAs that it translates, both ends inclusive.</param>
/// <param name="Address">Where the first of them leads.</param>
/// <param name="Access">What the device may do.</param>
/// <param name="Type">The memory type.</param>
internal readonly record struct PageMapping(AddressRange Range, PhysicalAddress Address, Access Access, MemoryType Type);

internal sealed class PageTableFormatOf<TFormat> : PageTableFormat
    where TFormat : struct, IPageTableFormat
{
    private PageTableFormatOf()
    {
    }

    public static PageTableFormatOf<TFormat> Instance { get; } = new();

    public override string Name => TFormat.Name;

    public override TranslationStage Stage => TFormat.Stage;

    public override int Levels => TFormat.Levels;

    public override int ApertureBits => TFormat.ApertureBits;

    public override int OutputBits => TFormat.OutputBits;

    public override int EntrySizeLog2 => TFormat.EntrySizeLog2;

    public override int RootSizeLog2 => TFormat.RootIndexBits + TFormat.EntrySizeLog2;

    public override ulong LeafSizes
    {
        get
        {
            ulong sizes = TFormat.ContiguousLog2 == 0 ? 0 : 1ul << TFormat.ContiguousLog2;
            for (int level = 0; level < TFormat.Levels; level++)
            {
                sizes |= TFormat.CanBeLeaf(level) ? 1ul << (12 + (level * TFormat.IndexBits)) : 0;
            }

            return sizes;
        }
    }

    internal override Errno TryCreateTable(
        PageTableOptions options, IPhysicalMemory memory, IPageAllocator pages, out IoPageTable? table)
    {
        table = null;
        Errno error = TFormat.TryConfigure(options, out FormatSettings settings);
        if (error != Errno.Success || options.PhysicalAddressBits is < 13 or > 64 || options.ApertureBits < 13)
        {
            return Errno.InvalidArgument;
        }

        if (!pages.TryAllocate(RootSizeLog2, options.Node, out PhysicalAddress root))
        {
            return Errno.OutOfMemory;
        }

        if (memory is SparsePhysicalMemory sparse)
        {
            table = new PageTable<TFormat, SparseTableMemory>(options, settings, new(sparse), pages, root);
        }
        else if (memory.TryGetHostPointer(root, 1ul << RootSizeLog2) != 0)
        {
            table = new PageTable<TFormat, HostTableMemory>(options, settings, new(memory), pages, root);
        }
        else
        {
            table = new PageTable<TFormat, IndirectTableMemory>(options, settings, new(memory), pages, root);
        }

        return Errno.Success;
    }
}
