using Ioasis.Hardware;
using Ioasis.Scenarios;
using Ioasis.Testing;

namespace Ioasis.Campaigns.Tests;

/// <summary>The campaigns that there are: the same outcome however they are cut.</summary>
public sealed class EngineTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("ioasis-campaign").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public void Noise_harms_neither_models_nor_the_ABI_and_is_the_same_each_time()
    {
        CampaignResult result = Same(static () => FuzzCampaign.Create(FuzzCampaign.Targets, first: 100, count: 40), shards: 4);
        result.Findings.ShouldBeEmpty();
        result.Figures["seeds"].ShouldBe(3 * 40);
        result.Figures["requests"].ShouldBe(2 * 40 * 2_000);
        result.Figures["calls"].ShouldBe(40 * 2_000);

        // It is no test unless both ways are gone.
        result.Figures["translated"].ShouldBeGreaterThan(100);
        result.Figures["refused"].ShouldBeGreaterThan(100);
        result.Figures["succeeded"].ShouldBeGreaterThan(1_000);
        result.Figures["failed"].ShouldBeGreaterThan(1_000);
    }

    [Fact]
    public void Conformance_in_shards_is_conformance()
    {
        string[] files = [.. new[] { "commands", "registers", "pri" }.Select(static name =>
            Path.Combine(ExternalProgram.RepositoryRoot, "tests", "Ioasis.RiscV.Hardware.Tests", "vectors", $"{name}.jsonl.gz"))];
        CampaignResult result = Same(() => ConformanceCampaign.Create(files, Enum.GetValues<CachingMode>()), shards: 2);
        result.Findings.ShouldBeEmpty();
        result.Units.ShouldBe(9);
        result.Figures["failed"].ShouldBe(0);
        result.Figures["passed"].ShouldBeGreaterThan(100);
    }

    [Fact]
    public void Explored_schedules_in_shards_are_those_of_one()
    {
        CampaignResult result = Same(
            static () => ExplorationCampaign.Create(new() { Pattern = "name-taken*", Preemptions = 2, RequiredPreemptions = 2, RandomSchedules = 10, Parts = 3 }), shards: 5);
        result.Findings.ShouldBeEmpty();
        result.Figures["random schedules"].ShouldBe(10);
        result.Figures["of 2 preemptions"].ShouldBeGreaterThan(result.Figures["of 1 preemptions"]);
    }

    [Theory]
    [InlineData("name-taken-against-event.riscv", 2)]
    [InlineData("attach-against-unmap.riscv", 1)]
    public void The_parts_of_a_scenario_are_the_whole_each_order_once(string name, int preemptions)
    {
        NamedScenario scenario = ScenarioCatalog.All.Single(scenario => scenario.Name == name);
        ExplorerOptions options = new() { MaxPreemptions = preemptions, RequiredPreemptions = preemptions, RandomSchedules = 7 };
        ExplorationResult whole = ScheduleExplorer.Explore(scenario.Create, options).ShouldHold();
        foreach (int parts in (int[])[2, 5])
        {
            ExplorationResult[] results =
                [.. Enumerable.Range(0, parts).Select(part => ScheduleExplorer.Explore(scenario.Create, options with { Parts = parts, Part = part }).ShouldHold())];
            results.Sum(static result => result.Schedules).ShouldBe(whole.Schedules);
            results.Sum(static result => result.RandomSchedules).ShouldBe(7);
            for (int level = 0; level <= preemptions; level++)
            {
                results.Sum(result => result.Coverage[level].Tried).ShouldBe(whole.Coverage[level].Tried);
            }
        }
    }

    [Fact]
    public void A_mistake_is_found_in_some_part()
    {
        // An order of two threads that no schedule without a preemption shows.
        Enumerable.Range(0, 4).ShouldContain(static part => ScheduleExplorer.Explore(
            static () => new LostUpdate(), new() { RandomSchedules = 0, Parts = 4, Part = part }).Failure != null);
        ScheduleExplorer.Explore(static () => new LostUpdate(), new() { MaxPreemptions = 0, RandomSchedules = 0 }).Failure.ShouldBeNull();
    }

    [Fact]
    public void Every_scenario_of_the_catalog_holds_undisturbed()
    {
        ScenarioCatalog.All.Select(static scenario => scenario.Name).ShouldBeUnique();
        foreach (NamedScenario scenario in ScenarioCatalog.All)
        {
            _ = ScheduleExplorer.Explore(scenario.Create, new() { MaxPreemptions = 0, RandomSchedules = 0 }).ShouldHold();
        }
    }

    [Fact]
    public void A_pattern_that_matches_nothing_says_what_there_is() =>
        Should.Throw<CampaignException>(static () => ExplorationCampaign.Create(new() { Pattern = "zebra" })).Message.ShouldContain("two-attaches.vtd");

    private CampaignResult Same(Func<Campaign> create, int shards)
    {
        string whole = Path.Combine(_root, "whole"), cut = Path.Combine(_root, "cut");
        _ = CampaignRunner.Run(create(), whole, 0, 1);
        for (int shard = shards - 1; shard >= 0; shard--)
        {
            _ = CampaignRunner.Run(create(), cut, shard, shards);
        }

        CampaignResult result = CampaignRunner.Merge(cut);
        File.ReadAllBytes(result.Path).ShouldBe(File.ReadAllBytes(CampaignRunner.Merge(whole).Path));
        return result;
    }

    private sealed class LostUpdate : Scenario
    {
        private int _counter;

        public LostUpdate()
        {
            AddThread("one", Add);
            AddThread("two", Add);
        }

        public override void CheckAtEnd() => _counter.ShouldBe(2);

        private void Add()
        {
            for (int i = 0; i < 3; i++)
            {
                _ = Platform.Injection.Hit(Platform.InjectionKind.Allocate);
            }

            int seen = _counter;
            _ = Platform.Injection.Hit(Platform.InjectionKind.MemoryRead);
            _counter = seen + 1;
            _ = Platform.Injection.Hit(Platform.InjectionKind.MemoryWrite);
        }
    }
}
