using System.Globalization;
using System.Text.Json;

namespace Ioasis.Campaigns;

/// <summary>
/// The folder in which shards meet: <c>plan.json</c> says what the campaign is, <c>units/</c> has a file for each unit that is done.
/// A file comes into being whole (written under another name, forced to the disk, renamed), and has the same bytes whoever writes it: so
/// a shard can be stopped at any moment and started again, even while its former life still runs on a node that was given up, and
/// nothing is lost, half there or counted twice. The folder may be shared by a network file system whose renames are atomic.
/// </summary>
internal sealed class CampaignFolder
{
    private const string PlanName = "plan.json";
    private const string UnitsName = "units";

    private readonly string _path;

    private CampaignFolder(string path, CampaignPlan plan) => (_path, Plan) = (path, plan);

    public CampaignPlan Plan { get; }

    /// <summary>Opens the folder for shards of a campaign; the first one that comes writes the plan.</summary>
    /// <exception cref="CampaignException">The folder is another campaign's, or has another number of shards.</exception>
    public static CampaignFolder Create(string path, CampaignPlan plan)
    {
        Directory.CreateDirectory(Path.Combine(path, UnitsName));
        string file = Path.Combine(path, PlanName);
        if (!File.Exists(file))
        {
            try
            {
                WriteWhole(file, plan.ToBytes(), overwrite: false);
            }
            catch (IOException) when (File.Exists(file))
            {
                // Another shard was faster. What it wrote is held against ours like any plan that is there.
            }
        }

        CampaignPlan found = ReadPlan(file);
        return found.DifferenceFrom(plan) is { } difference
            ? throw new CampaignException($"{path} holds another campaign: {difference}")
            : new(path, plan);
    }

    /// <summary>Opens the folder of a campaign to merge it.</summary>
    /// <exception cref="CampaignException">There is no campaign.</exception>
    public static CampaignFolder Open(string path)
    {
        string file = Path.Combine(path, PlanName);
        return File.Exists(file) ? new(path, ReadPlan(file)) : throw new CampaignException($"{path}: no campaign is here ({PlanName} is missing)");
    }

    /// <summary>Whether a unit is done.</summary>
    public bool Has(int unit) => File.Exists(PathOf(unit));

    /// <summary>The outcome of a unit that is done.</summary>
    /// <exception cref="CampaignException">The file is not what the plan says.</exception>
    public JsonElement Read(int unit)
    {
        string file = PathOf(unit);
        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(file));
            JsonElement root = document.RootElement;
            return root.GetProperty("name").GetString() is { } name && string.Equals(name, Plan.Units[unit], StringComparison.Ordinal)
                ? root.Clone()
                : throw new CampaignException(string.Create(CultureInfo.InvariantCulture, $"{file}: not the outcome of unit {unit} ('{Plan.Units[unit]}')"));
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            throw new CampaignException($"{file}: damaged ({e.Message})", e);
        }
    }

    /// <summary>Keeps the outcome of a unit.</summary>
    /// <exception cref="CampaignException">It is done already, and came out otherwise.</exception>
    public void Write(int unit, ReadOnlySpan<byte> outcome)
    {
        string file = PathOf(unit);
        if (!File.Exists(file))
        {
            WriteWhole(file, outcome, overwrite: true);
        }
        else if (!outcome.SequenceEqual(File.ReadAllBytes(file)))
        {
            throw new CampaignException(string.Create(
                CultureInfo.InvariantCulture,
                $"unit {unit} ('{Plan.Units[unit]}') came out otherwise than before ({file}): it depends on something but the campaign's options"));
        }
    }

    /// <summary>Writes a file of the folder itself.</summary>
    public void WriteResult(string name, ReadOnlySpan<byte> content) => WriteWhole(Path.Combine(_path, name), content, overwrite: true);

    private string PathOf(int unit) => Path.Combine(_path, UnitsName, string.Create(CultureInfo.InvariantCulture, $"{unit:d6}.json"));

    private static CampaignPlan ReadPlan(string file)
    {
        try
        {
            return CampaignPlan.Parse(File.ReadAllBytes(file));
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new CampaignException($"{file}: damaged ({e.Message})", e);
        }
    }

    private static void WriteWhole(string file, ReadOnlySpan<byte> content, bool overwrite)
    {
        // The name of its own: two lives of one shard never write to one file.
        string temporary = string.Create(CultureInfo.InvariantCulture, $"{file}.{Environment.MachineName}.{Environment.ProcessId}.{Guid.NewGuid():N}.tmp");
        try
        {
            using (FileStream stream = new(temporary, FileMode.CreateNew, FileAccess.Write))
            {
                stream.Write(content);
                stream.Flush(flushToDisk: true);
            }

            File.Move(temporary, file, overwrite);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }
}
