using System.CommandLine;
using Ioasis.Embedded;

namespace Ioasis.Cli.Commands;

/// <summary><c>--iommu</c>, of every command that builds a machine.</summary>
internal static class IommuOption
{
    /// <summary>The kind of a machine of which nothing else is said.</summary>
    public static string Default => IommuSlot.Kinds.First();

    /// <summary>Makes the option.</summary>
    public static Option<string> Create(string description)
    {
        string[] kinds = [.. IommuSlot.Kinds];
        Option<string> option = new("--iommu")
        {
            HelpName = "KIND",
            Description = $"{description} One of {string.Join(", ", kinds)}.",
            DefaultValueFactory = static _ => Default,
        };
        option.AcceptOnlyFromAmong(kinds);
        return option;
    }

    /// <summary>The slot of a kind that the option took.</summary>
    public static IommuSlot SlotOf(string kind) => IommuSlot.TryCreate(kind, out IommuSlot? slot)
        ? slot
        : throw new ArgumentException($"There is no IOMMU of kind {kind}.", nameof(kind));
}
