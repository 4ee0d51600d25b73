using System.Buffers;
using System.Globalization;
using System.Text.Json;

namespace Ioasis.Campaigns;

/// <summary>How far a shard is.</summary>
/// <param name="Unit">The unit that is done now.</param>
/// <param name="Done">Units of the shard that are done.</param>
/// <param name="Of">Units of the shard.</param>
/// <param name="WasDone">Whether an earlier life of the shard had done it.</param>
internal readonly record struct ShardProgress(string Unit, int Done, int Of, bool WasDone);

/// <summary>What came out of a whole campaign.</summary>
/// <param name="Kind">What it did.</param>
/// <param name="Units">Units.</param>
/// <param name="Figures">Sums over all units, sorted by name.</param>
/// <param name="Findings">What is wrong, with the name of the unit.</param>
/// <param name="Path">Where the whole is written.</param>
internal sealed record CampaignResult(
    string Kind, int Units, IReadOnlyDictionary<string, long> Figures, IReadOnlyList<(string Unit, string Finding)> Findings, string Path);

/// <summary>Runs shards of campaigns, and merges what they did (docs/campaigns.md).</summary>
internal static class CampaignRunner
{
    /// <summary>The file of the merged result, in the campaign's folder.</summary>
    public const string ResultName = "merged.json";

    /// <summary>Runs a shard, as far as it is not done.</summary>
    /// <param name="campaign">The campaign: the same for each shard.</param>
    /// <param name="folder">Where the shards meet; made if it is not there.</param>
    /// <param name="shard">Which one, from 0.</param>
    /// <param name="shards">How many there are, 1 or more.</param>
    /// <param name="onProgress">Called after each unit; null for nobody.</param>
    /// <param name="cancellationToken">Stops between two units or inside of one; what is done stays done.</param>
    /// <returns>How many of the shard's units have findings.</returns>
    /// <exception cref="CampaignException">The folder is another campaign's, or a unit came out otherwise than before.</exception>
    public static int Run(
        Campaign campaign, string folder, int shard, int shards, Action<ShardProgress>? onProgress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(campaign);
        ArgumentOutOfRangeException.ThrowIfLessThan(shards, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(shard);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(shard, shards);
        CampaignPlan plan = CampaignPlan.Of(campaign, shards);
        CampaignFolder files = CampaignFolder.Create(folder, plan);
        int[] units = [.. plan.UnitsOf(shard)];
        int failed = 0;
        for (int i = 0; i < units.Length; i++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            CampaignUnit unit = campaign.Units[units[i]];
            bool wasDone = files.Has(units[i]);
            if (!wasDone)
            {
                files.Write(units[i], CampaignJson.ToBytes(unit.Name, unit.Run(cancellationToken)));
            }

            failed += files.Read(units[i]).GetProperty("holds").GetBoolean() ? 0 : 1;
            onProgress?.Invoke(new(unit.Name, i + 1, units.Length, wasDone));
        }

        return failed;
    }

    /// <summary>Merges what the shards of a folder did into one result, which does not depend on how many they were or on their order.</summary>
    /// <param name="folder">Where the shards met.</param>
    /// <exception cref="CampaignException">Shards are missing (each is named), a file is damaged, or there is no campaign.</exception>
    public static CampaignResult Merge(string folder)
    {
        CampaignFolder files = CampaignFolder.Open(folder);
        CampaignPlan plan = files.Plan;
        ThrowIfMissing(files);
        SortedDictionary<string, long> sums = new(StringComparer.Ordinal);
        List<(string, string)> findings = [];
        ArrayBufferWriter<byte> buffer = new();
        using (Utf8JsonWriter writer = new(buffer, CampaignJson.Writing))
        {
            writer.WriteStartObject();
            plan.WriteHead(writer);
            writer.WriteStartArray("units");
            for (int unit = 0; unit < plan.Units.Count; unit++)
            {
                JsonElement outcome = files.Read(unit);
                outcome.WriteTo(writer);
                foreach (JsonProperty figure in outcome.GetProperty("figures").EnumerateObject())
                {
                    sums[figure.Name] = sums.GetValueOrDefault(figure.Name) + figure.Value.GetInt64();
                }

                findings.AddRange(outcome.GetProperty("findings").EnumerateArray().Select(finding => (plan.Units[unit], finding.GetString()!)));
            }

            writer.WriteEndArray();
            CampaignJson.WriteFigures(writer, sums);
            writer.WriteBoolean("holds", findings.Count == 0);
            writer.WriteEndObject();
        }

        buffer.Write("\n"u8);
        files.WriteResult(ResultName, buffer.WrittenSpan);
        return new(plan.Kind, plan.Units.Count, sums, findings, Path.Combine(folder, ResultName));
    }

    private static void ThrowIfMissing(CampaignFolder files)
    {
        CampaignPlan plan = files.Plan;
        List<string> missing = [];
        for (int shard = 0; shard < plan.Shards; shard++)
        {
            int all = plan.UnitsOf(shard).Count();
            int left = plan.UnitsOf(shard).Count(unit => !files.Has(unit));
            if (left > 0)
            {
                missing.Add(left == all
                    ? shard.ToString(CultureInfo.InvariantCulture)
                    : string.Create(CultureInfo.InvariantCulture, $"{shard} ({left} of its {all} units)"));
            }
        }

        if (missing.Count > 0)
        {
            throw new CampaignException(string.Create(
                CultureInfo.InvariantCulture,
                $"{missing.Count} of {plan.Shards} shards are missing: {string.Join(", ", missing)}. Run each again with --shard; what is done is not done again."));
        }
    }
}
