using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using Ioasis.Client;
using Ioasis.Core;
using Ioasis.Hardware;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Embedded;

/// <summary>
/// A place for an IOMMU in a machine: which kind stands there, and how it is made. Each kind is a type derived from this one, and
/// a line in <see cref="Kinds"/>.
/// </summary>
public abstract partial record IommuSlot
{
    // An IOMMU with its driver is one file, and this is where it becomes known.
    private static readonly Dictionary<string, Func<IommuSlot>> s_kinds = new(StringComparer.Ordinal)
    {
        [RiscVIommuSlot.KindName] = static () => new RiscVIommuSlot(),
        [VtdIommuSlot.KindName] = static () => new VtdIommuSlot(),
    };

    private protected IommuSlot()
    {
    }

    /// <summary>The kinds that there are, the usual one first.</summary>
    public static IReadOnlyCollection<string> Kinds => s_kinds.Keys;

    /// <summary>Which kind of IOMMU it is.</summary>
    public abstract string Kind { get; }

    /// <summary>Bits of a physical address that it can reach.</summary>
    public abstract int PhysicalBits { get; }

    /// <summary>Its name for people; null for one made of the kind and the place.</summary>
    public string? Name { get; init; }

    /// <summary>The format of new page tables, if the IOMMU walks it; null for the kind's usual one.</summary>
    public PageTableFormat? Format { get; init; }

    /// <summary>
    /// IOVAs at which devices expect the platform's interrupt doorbells, to be reserved; null for what is usual for the kind.
    /// </summary>
    public AddressRange? MsiWindow { get; init; }

    /// <summary>What it caches; null for what the platform's options say.</summary>
    public CachingMode? Caching { get; init; }

    /// <summary>The formats that <see cref="Format"/> can name.</summary>
    public abstract IReadOnlyList<PageTableFormat> Formats { get; }

    /// <summary>The format with the most IOVAs, the first one of several.</summary>
    public PageTableFormat WidestFormat => Formats.MaxBy(static format => format.ApertureBits)!;

    /// <summary>Makes a slot of a kind with its defaults.</summary>
    public static bool TryCreate(string kind, [NotNullWhen(true)] out IommuSlot? slot)
    {
        slot = s_kinds.TryGetValue(kind, out Func<IommuSlot>? create) ? create() : null;
        return slot is not null;
    }

    /// <summary>Makes the IOMMU, and has its driver take it.</summary>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    /// <exception cref="IommuException">The driver does not take it; the log says why.</exception>
    internal abstract EmbeddedIommu Build(in IommuSite site);

    /// <summary>The name of the IOMMU that is made: the slot's own, or the driver's, with the place behind it from the second on.</summary>
    internal string NameAt(in IommuSite site, string driverName) =>
        Name ?? (site.Index == 0 ? driverName : string.Create(CultureInfo.InvariantCulture, $"{driverName}{site.Index}"));

    internal static IommuException Refused(string name, Errno error) => new(error, "probe", name);
}

/// <summary>What a platform has for an IOMMU that is made in it.</summary>
/// <param name="Index">Which of the platform's IOMMUs it is, from 0.</param>
/// <param name="Options">The platform's options.</param>
/// <param name="Memory">Physical memory.</param>
/// <param name="DriverMemory">Physical memory as the driver sees it.</param>
/// <param name="Pages">Where tables and queues come from.</param>
/// <param name="Faults">Where the driver reports faults.</param>
internal readonly record struct IommuSite(
    int Index,
    EmbeddedPlatformOptions Options,
    IPhysicalMemory Memory,
    IPhysicalMemory DriverMemory,
    IPageAllocator Pages,
    IIommuFaultSink Faults);
