using System.Globalization;

namespace Ioasis.Recorder;

/// <summary>What the probe on a group's <c>type</c> noted: the group's words, and the type of the domain to which each would point.</summary>
/// <param name="Group">The group's number, which is its kobject's name.</param>
/// <param name="Words">The words of the kernel's structure, from its begin.</param>
/// <param name="Types">The number behind each word as a pointer; null where it is none.</param>
internal sealed record GroupSnapshot(int Group, IReadOnlyList<ulong> Words, IReadOnlyList<uint?> Types)
{
    /// <summary>Reads a line of the trace.</summary>
    public static bool TryParse(string line, out GroupSnapshot? snapshot)
    {
        snapshot = null;
        int start = line.IndexOf($": {ProbeCatalogue.GroupEvent}: ", StringComparison.Ordinal);
        int words = start < 0 ? -1 : line.IndexOf("words={", start, StringComparison.Ordinal);
        int end = words < 0 ? -1 : line.IndexOf('}', words);
        if (end < 0 || !int.TryParse(Field(line.AsSpan(start), "name=").Trim('"'), NumberStyles.None, CultureInfo.InvariantCulture, out int group))
        {
            return false;
        }

        List<ulong> values = [];
        foreach (string word in line[(words + 7)..end].Split(','))
        {
            if (!ulong.TryParse(word.AsSpan(Math.Min(2, word.Length)), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong value))
            {
                return false;
            }

            values.Add(value);
        }

        uint?[] types = new uint?[values.Count];
        for (int i = 0; i < types.Length; i++)
        {
            types[i] = uint.TryParse(
                Field(line.AsSpan(end), string.Create(CultureInfo.InvariantCulture, $" t{i}=")), NumberStyles.None, CultureInfo.InvariantCulture, out uint type)
                ? type
                : null;
        }

        snapshot = new(group, values, types);
        return true;
    }

    private static ReadOnlySpan<char> Field(ReadOnlySpan<char> line, string key)
    {
        int start = line.IndexOf(key, StringComparison.Ordinal);
        if (start < 0)
        {
            return default;
        }

        line = line[(start + key.Length)..];
        int end = line.IndexOf(' ');
        return end < 0 ? line : line[..end];
    }
}

/// <summary>The domain that a group is attached to.</summary>
/// <param name="Address">The kernel's pointer to it.</param>
/// <param name="Group">The group.</param>
/// <param name="Type">Its type in sysfs's words.</param>
/// <param name="IsDefault">Whether it is the group's default domain.</param>
internal sealed record GroupDomain(ulong Address, int Group, string Type, bool IsDefault);

/// <summary>
/// Finds where in the kernel's structure of a group its domain stands, which differs between kernels and their settings. No
/// description of types is needed: the group's number is known, and directly behind it are its default domain, on newer kernels
/// its blocking domain, and the domain that it is attached to; sysfs says of which type the default domain is.
/// </summary>
internal static class GroupState
{
    // enum of domain types (include/linux/iommu.h): paging 1, DMA API 2, identity 4, flush queue 8.
    private static readonly (uint Number, string Word)[] Types =
    [
        (0, "blocked"), (1, "unmanaged"), (3, "DMA"), (4, "identity"), (11, "DMA-FQ"),
    ];

    /// <summary>The domain of each group that has one; empty if they were not found.</summary>
    /// <param name="snapshots">What the probe noted, of each group at least once.</param>
    /// <param name="types">What sysfs says of the type of each group's default domain.</param>
    /// <param name="hasBlockingDomain">Whether the kernel is from 5.19 or newer: used only where no group is attached to its default domain.</param>
    public static IReadOnlyList<GroupDomain> Domains(
        IReadOnlyList<GroupSnapshot> snapshots, IReadOnlyDictionary<int, string> types, bool hasBlockingDomain)
    {
        if (snapshots.Count == 0)
        {
            return [];
        }

        int words = snapshots.Min(static snapshot => snapshot.Words.Count);
        for (int number = ProbeCatalogue.FirstGroupWord; number + 2 < words; number++)
        {
            if (snapshots.All(snapshot => IsNumber(snapshot, number, types)) && snapshots.Any(snapshot => snapshot.Words[number + 1] != 0)
                && TryCurrent(snapshots, number + 1, words, hasBlockingDomain, out int current))
            {
                return
                [
                    .. snapshots.DistinctBy(static snapshot => snapshot.Group)
                        .Where(snapshot => snapshot.Words[current] != 0)
                        .Select(snapshot => new GroupDomain(
                            snapshot.Words[current], snapshot.Group, Word(snapshot.Types[current]), snapshot.Words[current] == snapshot.Words[number + 1])),
                ];
            }
        }

        return [];
    }

    // The word holds the group's number, and the next one its default domain, of the type that sysfs tells.
    private static bool IsNumber(GroupSnapshot snapshot, int at, IReadOnlyDictionary<int, string> types)
    {
        ulong domain = snapshot.Words[at + 1];
        return (uint)snapshot.Words[at] == (uint)snapshot.Group
            && (domain == 0 || (IsPointer(domain) && IsType(snapshot.Types[at + 1], types.GetValueOrDefault(snapshot.Group))));
    }

    // Behind the default domain: the one that is attached. Most groups are attached to their default.
    private static bool TryCurrent(IReadOnlyList<GroupSnapshot> snapshots, int defaultAt, int words, bool hasBlockingDomain, out int current)
    {
        current = -1;
        int best = 0;
        for (int at = defaultAt + 1; at <= defaultAt + 3 && at < words; at++)
        {
            int place = at;
            if (!snapshots.All(snapshot => snapshot.Words[place] == 0 || (IsPointer(snapshot.Words[place]) && IsType(snapshot.Types[place], null))))
            {
                // What is not a domain in each group ends the domains.
                break;
            }

            int same = snapshots.Count(snapshot => snapshot.Words[place] != 0 && snapshot.Words[place] == snapshot.Words[defaultAt]);
            if (same > best)
            {
                (best, current) = (same, at);
            }
        }

        if (current < 0)
        {
            current = defaultAt + (hasBlockingDomain ? 2 : 1);
            int place = current;
            return place < words
                && snapshots.All(snapshot => snapshot.Words[place] == 0 || (IsPointer(snapshot.Words[place]) && IsType(snapshot.Types[place], null)));
        }

        return true;
    }

    // The kernel's half of the address space on x86-64, arm64 and RISC-V.
    private static bool IsPointer(ulong word) => (long)word < 0;

    private static bool IsType(uint? number, string? word) =>
        number is { } type && (Array.Exists(Types, known => known.Number == type && string.Equals(known.Word, word, StringComparison.Ordinal))
            || (type <= 0x7f && !Array.Exists(Types, known => string.Equals(known.Word, word, StringComparison.Ordinal))));

    private static string Word(uint? number) =>
        Array.Find(Types, known => known.Number == number).Word ?? string.Create(CultureInfo.InvariantCulture, $"type-{number}");
}
