using Ioasis.Embedded;
using Ioasis.PageTables;
using Ioasis.Replay.Input;

namespace Ioasis.Replay.Engine;

/// <summary>What a recording is replayed on.</summary>
/// <param name="Iommu">The IOMMU, with the format of its tables.</param>
/// <param name="Tables">The format of the page tables.</param>
internal sealed record ReplayTarget(IommuSlot Iommu, PageTableFormat Tables)
{
    /// <summary>The last IOVA that is translated.</summary>
    public ulong LastIova => (1ul << Tables.ApertureBits) - 1;

    /// <summary>Chooses what the options leave open.</summary>
    /// <param name="options">The options.</param>
    /// <param name="architecture">The architecture of the recorded machine, empty if not known.</param>
    /// <exception cref="ArgumentException">No IOMMU has the format of tables that is asked for.</exception>
    public static ReplayTarget Of(ReplayOptions options, string architecture)
    {
        IommuSlot usual = RecordedArchitecture.IsX86(architecture) ? new VtdIommuSlot() : new RiscVIommuSlot();
        IommuSlot slot = options.Iommu ?? (options.Tables is { } wanted ? FirstWith(wanted, usual) : usual);
        PageTableFormat tables = options.Tables ?? slot.Format ?? slot.WidestFormat;
        return new(slot with { Format = tables }, tables);
    }

    private static IommuSlot FirstWith(PageTableFormat tables, IommuSlot usual)
    {
        if (usual.Formats.Contains(tables))
        {
            return usual;
        }

        foreach (string kind in IommuSlot.Kinds)
        {
            if (IommuSlot.TryCreate(kind, out IommuSlot? slot) && slot.Formats.Contains(tables))
            {
                return slot;
            }
        }

        throw new ArgumentException($"No IOMMU has page tables of the format {tables.Name}.", nameof(tables));
    }
}
