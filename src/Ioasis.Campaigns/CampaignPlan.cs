using System.Buffers;
using System.Globalization;
using System.Text.Json;

namespace Ioasis.Campaigns;

/// <summary>What all shards of a campaign agree on.</summary>
internal sealed record CampaignPlan(string Kind, SortedDictionary<string, string> Options, IReadOnlyList<string> Units, int Shards)
{
    public static CampaignPlan Of(Campaign campaign, int shards) =>
        new(campaign.Kind, campaign.Options, [.. campaign.Units.Select(static unit => unit.Name)], shards);

    public static CampaignPlan Parse(ReadOnlyMemory<byte> bytes)
    {
        using JsonDocument document = JsonDocument.Parse(bytes);
        JsonElement root = document.RootElement;
        SortedDictionary<string, string> options = new(StringComparer.Ordinal);
        foreach (JsonProperty option in root.GetProperty("options").EnumerateObject())
        {
            options.Add(option.Name, option.Value.GetString()!);
        }

        CampaignPlan plan = new(
            root.GetProperty("campaign").GetString()!, options,
            [.. root.GetProperty("units").EnumerateArray().Select(static unit => unit.GetString()!)], root.GetProperty("shards").GetInt32());
        return plan.Shards >= 1 ? plan : throw new FormatException(string.Create(CultureInfo.InvariantCulture, $"{plan.Shards} shards"));
    }

    public byte[] ToBytes()
    {
        ArrayBufferWriter<byte> buffer = new();
        using (Utf8JsonWriter writer = new(buffer, CampaignJson.Writing))
        {
            writer.WriteStartObject();
            WriteHead(writer);
            writer.WriteNumber("shards", Shards);
            writer.WriteStartArray("units");
            foreach (string unit in Units)
            {
                writer.WriteStringValue(unit);
            }

            writer.WriteEndArray();
            writer.WriteEndObject();
        }

        buffer.Write("\n"u8);
        return buffer.WrittenSpan.ToArray();
    }

    /// <summary>Writes what the merged result has too.</summary>
    public void WriteHead(Utf8JsonWriter writer)
    {
        writer.WriteString("campaign", Kind);
        writer.WriteStartObject("options");
        foreach ((string name, string value) in Options)
        {
            writer.WriteString(name, value);
        }

        writer.WriteEndObject();
    }

    /// <summary>Which of the units are a shard's: dealt one by one, so that neighbours, which cost alike, go to different shards.</summary>
    public IEnumerable<int> UnitsOf(int shard)
    {
        for (int unit = shard; unit < Units.Count; unit += Shards)
        {
            yield return unit;
        }
    }

    /// <summary>In what the plan that was found is not the one that was expected; null if it is.</summary>
    public string? DifferenceFrom(CampaignPlan expected)
    {
        if (!string.Equals(Kind, expected.Kind, StringComparison.Ordinal))
        {
            return $"it is '{Kind}', not '{expected.Kind}'";
        }

        if (Shards != expected.Shards)
        {
            return string.Create(CultureInfo.InvariantCulture, $"it has {Shards} shards, not {expected.Shards}");
        }

        foreach (string name in Options.Keys.Union(expected.Options.Keys, StringComparer.Ordinal).Order(StringComparer.Ordinal))
        {
            string? found = Options.GetValueOrDefault(name), wanted = expected.Options.GetValueOrDefault(name);
            if (!string.Equals(found, wanted, StringComparison.Ordinal))
            {
                return $"its {name} is '{found ?? "nothing"}', not '{wanted ?? "nothing"}'";
            }
        }

        return Units.SequenceEqual(expected.Units, StringComparer.Ordinal) ? null : "its units are others";
    }
}
