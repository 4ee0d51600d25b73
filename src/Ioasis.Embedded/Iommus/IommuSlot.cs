using System.Diagnostics.CodeAnalysis;
using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Embedded;

/// <summary>
/// A place for an IOMMU in a machine: which kind stands there, and how it is made. Each kind is a type derived from this one, and
/// a line in <see cref="Kinds"/>.
/// </summary>
public abstract record IommuSlot
{
    // An IOMMU with its driver is one file, and this is where it becomes known.
    private static readonly Dictionary<string, Func<IommuSlot>> s_kinds = new(StringComparer.Ordinal)
    {
        [RiscVIommuSlot.KindName] = static () => new RiscVIommuSlot(),
    };

    private protected IommuSlot()
    {
    }

    /// <summary>The kinds that there are, the usual one first.</summary>
    public static IReadOnlyCollection<string> Kinds => s_kinds.Keys;

    /// <summary>Which kind of IOMMU it is.</summary>
    public abstract string Kind { get; }

    /// <summary>Its name for people; null for one made of the kind and the place.</summary>
    public string? Name { get; init; }

    /// <summary>The format of new page tables, if the IOMMU walks it; null for the kind's usual one.</summary>
    public PageTableFormat? Format { get; init; }

    /// <summary>
    /// IOVAs at which devices expect the platform's interrupt doorbells, to be reserved; null for what is usual for the kind.
    /// </summary>
    public AddressRange? MsiWindow { get; init; }

    /// <summary>The formats that <see cref="Format"/> can name.</summary>
    public abstract IReadOnlyList<PageTableFormat> Formats { get; }

    /// <summary>Makes a slot of a kind with its defaults.</summary>
    public static bool TryCreate(string kind, [NotNullWhen(true)] out IommuSlot? slot)
    {
        slot = s_kinds.TryGetValue(kind, out Func<IommuSlot>? create) ? create() : null;
        return slot is not null;
    }

    /// <summary>Makes the IOMMU, and has its driver take it.</summary>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    /// <exception cref="InvalidOperationException">The driver does not take it; the log says why.</exception>
    internal abstract EmbeddedIommu Build(in IommuSite site);

    internal static InvalidOperationException Refused(string name, Errno error) =>
        new($"The driver does not take the IOMMU {name}: {error}.");
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
