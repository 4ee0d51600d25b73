using System.CommandLine;
using System.CommandLine.Parsing;
using Ioasis.Embedded;

namespace Ioasis.Cli.Commands;

/// <summary><c>--iommu</c>, of every command that builds a machine.</summary>
internal static class IommuOption
{
    /// <summary>The kind of a machine of which nothing else is said.</summary>
    public static string Default => IommuSlot.Kinds.First();

    /// <summary>Makes the option.</summary>
    /// <param name="description">What it says.</param>
    /// <param name="default">What holds without it, in words; null for <see cref="Default"/>.</param>
    public static Option<string> Create(string description, string? @default = null)
    {
        Option<string> option = new("--iommu")
        {
            HelpName = "KIND[,OPTION]...",
            Description = $"{description} One of {string.Join(", ", IommuSlot.Kinds)}, with options, as vtd,legacy,levels=3 (docs/how-to.md). [default: {@default ?? Default}]",
        };
        option.CompletionSources.Add([.. IommuSlot.Kinds]);
        option.Validators.Add(static result =>
        {
            foreach (Token token in result.Tokens)
            {
                if (!IommuSlot.TryParse(token.Value, out _, out string? error))
                {
                    result.AddError($"--iommu {token.Value}: {error}.");
                }
            }
        });
        if (@default is null)
        {
            option.DefaultValueFactory = static _ => Default;
        }

        return option;
    }

    /// <summary>The slot of a text that the option took.</summary>
    public static IommuSlot SlotOf(string text) => IommuSlot.TryParse(text, out IommuSlot? slot, out string? error)
        ? slot
        : throw new ArgumentException(error, nameof(text));
}
