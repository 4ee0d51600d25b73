using System.Diagnostics.CodeAnalysis;

namespace Ioasis.Embedded;

// Slots as text: a kind and its options, as vtd,legacy,levels=3.
public abstract partial record IommuSlot
{
    /// <summary>The options that the kind has in text.</summary>
    internal abstract IReadOnlyList<IommuSlotOption> Options { get; }

    // What the option "levels" asked for, to be compared with the format.
    internal int? Levels { get; init; }

    /// <summary>Makes a slot of a text: a kind, and options after commas.</summary>
    /// <param name="text">The text, as <c>vtd,legacy,pasid=off</c>.</param>
    /// <param name="slot">The slot; null if there is an error.</param>
    /// <param name="error">What is wrong: the value and the rule, without a full stop; null if nothing is.</param>
    public static bool TryParse(string text, [NotNullWhen(true)] out IommuSlot? slot, [NotNullWhen(false)] out string? error)
    {
        ArgumentNullException.ThrowIfNull(text);
        string[] parts = text.Split(',');
        if (!TryCreate(parts[0], out slot))
        {
            error = $"there is no IOMMU of kind '{parts[0]}', but {string.Join(", ", Kinds)}";
            return false;
        }

        HashSet<string> names = new(StringComparer.Ordinal);
        error = null;
        foreach (string part in parts.AsSpan(1))
        {
            int equals = part.IndexOf('=', StringComparison.Ordinal);
            string name = equals < 0 ? part : part[..equals];
            error = names.Add(name) ? slot.Set(name, equals < 0 ? null : part[(equals + 1)..], out slot) : $"'{name}' is there twice";
            if (error is not null)
            {
                break;
            }
        }

        error ??= slot.FindConflict();
        if (error is not null)
        {
            error = $"{parts[0]}: {error}";
            slot = null;
        }

        return error is null;
    }

    /// <summary>Sets an option. Whether it goes with the others, <see cref="FindConflict"/> says when all are set.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="value">Its value; null for a name alone, which switches it on.</param>
    /// <param name="changed">The slot with the option; this one if there is an error.</param>
    /// <returns>What is wrong: the value and the rule; null if nothing is.</returns>
    public string? Set(string name, string? value, out IommuSlot changed)
    {
        changed = this;
        if (Options.FirstOrDefault(option => string.Equals(option.Name, name, StringComparison.Ordinal)) is not { } option)
        {
            return $"there is no option '{name}', but {string.Join(", ", Options.Select(static one => $"{one.Name}={one.Values}"))}";
        }

        if (value is null && !option.IsSwitch)
        {
            return $"'{name}' needs a value: {name}={option.Values}";
        }

        if (option.Apply(this, value ?? "on") is not { } set)
        {
            return $"'{name}' must be one of {option.Values.Replace("|", ", ", StringComparison.Ordinal)}, not '{value}'";
        }

        changed = set;
        return null;
    }

    /// <summary>What does not go together in it: the value and the rule; null if everything does.</summary>
    public virtual string? FindConflict() =>
        Format is null || (Formats.Contains(Format) && (Levels ?? Format.Levels) == Format.Levels) ? null
        : Formats.Contains(Format) ? $"levels={Levels} and mode={Format.Name.ToLowerInvariant()} exclude each other"
        : $"there are no tables of mode {Format.Name.ToLowerInvariant()} here, but {string.Join(", ", Formats.Select(static format => format.Name.ToLowerInvariant()))}";
}
