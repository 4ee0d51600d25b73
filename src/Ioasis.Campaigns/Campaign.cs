namespace Ioasis.Campaigns;

/// <summary>
/// A piece of work that is done whole or not at all, and comes out the same wherever and whenever it is done: no clock, no random
/// number without a seed, nothing of the machine in its outcome.
/// </summary>
/// <param name="Name">Unlike any other of the campaign; no line end.</param>
/// <param name="Run">Does the work.</param>
internal sealed record CampaignUnit(string Name, Func<CancellationToken, UnitOutcome> Run);

/// <summary>What came out of a unit.</summary>
internal sealed record UnitOutcome
{
    /// <summary>Numbers that can be added up over units, by name.</summary>
    public IReadOnlyDictionary<string, long> Figures { get; init; } = new Dictionary<string, long>(StringComparer.Ordinal);

    /// <summary>What is wrong, each a text for people that has all that is needed to see it again; empty if all held.</summary>
    public IReadOnlyList<string> Findings { get; init; } = [];

    /// <summary>One JSON value in UTF-8 that goes into the result as it is; null for none.</summary>
    public ReadOnlyMemory<byte>? Document { get; init; }
}

/// <summary>Work cut into units that does not depend on into how many shards they are dealt.</summary>
internal sealed class Campaign
{
    /// <summary>Makes a campaign.</summary>
    /// <param name="kind">What it does, in a word.</param>
    /// <param name="options">All that its outcome depends on, as text.</param>
    /// <param name="units">The units, in the order of the result.</param>
    /// <exception cref="ArgumentException">There is no unit, or two have one name.</exception>
    public Campaign(string kind, IEnumerable<KeyValuePair<string, string>> options, IEnumerable<CampaignUnit> units)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(units);
        Kind = kind;
        Options = new(options.ToDictionary(StringComparer.Ordinal), StringComparer.Ordinal);
        Units = [.. units];
        if (Units.Count == 0)
        {
            throw new ArgumentException("a campaign without units has nothing to do", nameof(units));
        }

        HashSet<string> names = new(StringComparer.Ordinal);
        foreach (CampaignUnit unit in Units)
        {
            if (!names.Add(unit.Name))
            {
                throw new ArgumentException($"two units of the campaign are named '{unit.Name}'", nameof(units));
            }
        }
    }

    /// <summary>What it does: <c>conform</c>, <c>explore</c>, <c>fuzz</c>, <c>study</c>.</summary>
    public string Kind { get; }

    /// <summary>What its outcome depends on, sorted by name.</summary>
    public SortedDictionary<string, string> Options { get; }

    /// <summary>The units, in the order of the result.</summary>
    public IReadOnlyList<CampaignUnit> Units { get; }
}

/// <summary>A campaign cannot be run or merged: the message says why, for people.</summary>
internal sealed class CampaignException : Exception
{
    /// <summary>Makes one without a message.</summary>
    public CampaignException()
    {
    }

    /// <summary>Makes one.</summary>
    public CampaignException(string message)
        : base(message)
    {
    }

    /// <summary>Makes one with its cause.</summary>
    public CampaignException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
