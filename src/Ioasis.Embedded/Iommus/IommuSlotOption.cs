using Ioasis.Hardware;
using Ioasis.PageTables;

namespace Ioasis.Embedded;

/// <summary>An option of an IOMMU in text: <c>name=value</c> after the kind, or a key of a machine file.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Values">The values that it takes, with <c>|</c> between them.</param>
/// <param name="Apply">Sets it; null for a value that it does not take.</param>
internal sealed record IommuSlotOption(string Name, string Values, Func<IommuSlot, string, IommuSlot?> Apply)
{
    /// <summary>Whether it is on or off: then the name alone is on.</summary>
    public bool IsSwitch { get; private init; }

    /// <summary>An option that is on or off.</summary>
    internal static IommuSlotOption Switch<TSlot>(string name, Func<TSlot, bool, TSlot> apply)
        where TSlot : IommuSlot => new(
        name,
        "on|off",
        (slot, value) => value switch
        {
            "on" or "true" or "yes" => apply((TSlot)slot, true),
            "off" or "false" or "no" => apply((TSlot)slot, false),
            _ => null,
        })
    {
        IsSwitch = true,
    };

    /// <summary>The options of every kind.</summary>
    /// <param name="formats">The formats of page tables of the kind.</param>
    internal static IEnumerable<IommuSlotOption> Common(IReadOnlyList<PageTableFormat> formats) =>
    [
        new(
            "caching",
            "none|realistic|hostile",
            static (slot, value) => value switch
            {
                "none" => slot with { Caching = CachingMode.None },
                "realistic" => slot with { Caching = CachingMode.Realistic },
                "hostile" => slot with { Caching = CachingMode.Hostile },
                _ => null,
            }),
        new(
            "levels",
            string.Join('|', formats.Select(static format => format.Levels).Distinct().Order()),
            (slot, value) => formats.FirstOrDefault(format => value is [var digit] && format.Levels == digit - '0') is { } format
                ? slot with { Levels = format.Levels, Format = slot.Format ?? format }
                : null),
        new(
            "mode",
            string.Join('|', formats.OrderBy(static format => format.ApertureBits).Select(static format => format.Name.ToLowerInvariant())),
            (slot, value) => formats.FirstOrDefault(format => string.Equals(format.Name.ToLowerInvariant(), value, StringComparison.Ordinal)) is { } format
                ? slot with { Format = format }
                : null),
    ];
}
