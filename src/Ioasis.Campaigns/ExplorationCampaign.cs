using System.Globalization;
using System.IO.Enumeration;
using System.Text;
using Ioasis.Platform;
using Ioasis.Scenarios;
using Ioasis.Testing;

namespace Ioasis.Campaigns;

/// <summary>How far an exploration goes.</summary>
internal sealed record ExplorationLimits
{
    /// <summary>Only scenarios whose name matches, with <c>*</c> and <c>?</c>.</summary>
    public string Pattern { get; init; } = "*";

    /// <summary>Every order with up to so many preemptions, fewest first; 0 or more.</summary>
    public int Preemptions { get; init; } = 2;

    /// <summary>All orders with so many preemptions are tried whatever the budget says, or the result does not hold.</summary>
    public int RequiredPreemptions { get; init; } = 1;

    /// <summary>The budget of each part of a scenario, in orders.</summary>
    public int Schedules { get; init; } = 2_000;

    /// <summary>Random orders of each scenario, over all its parts.</summary>
    public int RandomSchedules { get; init; } = 200;

    /// <summary>Into how many parts each scenario is cut, 1 or more.</summary>
    public int Parts { get; init; } = 4;

    /// <summary>Decides the random orders and those that are tried of what does not fit the budget.</summary>
    public int Seed { get; init; } = 1;
}

/// <summary>The scenarios of the drivers, each cut into parts by the first place at which an order departs from the undisturbed run.</summary>
internal static class ExplorationCampaign
{
    /// <summary>Makes the campaign.</summary>
    /// <param name="limits">How far to go.</param>
    /// <exception cref="CampaignException">No scenario matches, or the injection seam is compiled away.</exception>
    public static Campaign Create(ExplorationLimits limits)
    {
        ArgumentNullException.ThrowIfNull(limits);
        ArgumentOutOfRangeException.ThrowIfLessThan(limits.Parts, 1, nameof(limits));
        if (!Injection.IsSupported)
        {
            throw new CampaignException("this build has no points at which threads can be switched (the runtime switch Ioasis.Injection is off): the tool Ioasis.Tool has them, and so has ./ioasis campaign explore");
        }

        NamedScenario[] scenarios =
            [.. ScenarioCatalog.All.Where(scenario => FileSystemName.MatchesSimpleExpression(limits.Pattern, scenario.Name))];
        if (scenarios.Length == 0)
        {
            throw new CampaignException($"no scenario matches '{limits.Pattern}'; there are {string.Join(", ", ScenarioCatalog.All.Select(static scenario => scenario.Name))}");
        }

        return new(
            "explore",
            [
                new("scenarios", limits.Pattern),
                new("preemptions", Text(limits.Preemptions)),
                new("required", Text(limits.RequiredPreemptions)),
                new("schedules", Text(limits.Schedules)),
                new("random", Text(limits.RandomSchedules)),
                new("parts", Text(limits.Parts)),
                new("seed", Text(limits.Seed)),
            ],
            from scenario in scenarios
            from part in Enumerable.Range(0, limits.Parts)
            select new CampaignUnit(
                string.Create(CultureInfo.InvariantCulture, $"{scenario.Name} {part + 1}/{limits.Parts}"), _ => Run(scenario, part, limits)));
    }

    private static UnitOutcome Run(NamedScenario scenario, int part, ExplorationLimits limits)
    {
        ExplorationResult result = ScheduleExplorer.Explore(scenario.Create, new()
        {
            MaxPreemptions = limits.Preemptions,
            RequiredPreemptions = limits.RequiredPreemptions,
            MaxSchedules = limits.Schedules,
            RandomSchedules = limits.RandomSchedules,
            Parts = limits.Parts,
            Part = part,
            Seed = limits.Seed,

            // No outcome may depend on how fast the machine is.
            TimeLimit = TimeSpan.FromDays(7),
            HangTimeout = TimeSpan.FromMinutes(10),
        });
        SortedDictionary<string, long> figures = new(StringComparer.Ordinal)
        {
            ["schedules"] = result.Schedules,
            ["random schedules"] = result.RandomSchedules,
        };
        List<string> coverage = [];
        foreach (LevelCoverage level in result.Coverage)
        {
            figures[string.Create(CultureInfo.InvariantCulture, $"of {level.Preemptions} preemptions")] = level.Tried;
            coverage.Add($"\"{level}\"");
        }

        List<string> findings = [];
        if (result.Failure is { } failure)
        {
            findings.Add(failure.ToString());
        }
        else if (result.CompletedBound < Math.Min(limits.RequiredPreemptions, limits.Preemptions))
        {
            findings.Add($"fewer orders were tried than required: {result}");
        }

        return new() { Figures = figures, Findings = findings, Document = Encoding.UTF8.GetBytes($"[{string.Join(',', coverage)}]") };
    }

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);
}
