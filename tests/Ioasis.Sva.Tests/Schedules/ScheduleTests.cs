using Ioasis.Core;
using Ioasis.Testing;

namespace Ioasis.Sva.Tests.Schedules;

/// <summary>Runs explored schedules one after the other: each has threads enough.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class ScheduleCollection
{
    public const string Name = "schedules";
}

/// <summary>
/// Every order, as far as the budget goes, of what meets when processes share their addresses with devices; and the mistakes
/// that such code is likely to have, which must be found.
/// </summary>
[Collection(ScheduleCollection.Name)]
public sealed class ScheduleTests
{
    private static ExplorerOptions Options { get; } = new()
    {
        MaxSchedules = ExplorerOptions.All ? 200_000 : 800,
        RandomSchedules = ExplorerOptions.All ? 10_000 : 60,
    };

    [Fact]
    [Trait("Requirement", "S2.1")]
    public void Exit_against_DMA_in_flight() => Holds(static () => new ExitAgainstDma(), floor: 2);

    [Fact]
    [Trait("Requirement", "S2.1")]
    [Trait("Requirement", "S2.11")]
    public void Exit_and_detach_of_a_domain_attached_by_hand_against_DMA_in_flight() => Holds(static () => new ExitUnderDomain());

    [Fact]
    [Trait("Requirement", "S2.1")]
    public void Exit_against_ENQCMD() => Holds(static () => new ExitAgainstEnqcmd());

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S2.8")]
    public void Bind_against_exit(bool isPrivate) => Holds(() => new BindAgainstExit(isPrivate), floor: 2);

    [Fact]
    [Trait("Requirement", "S2.2")]
    [Trait("Requirement", "S2.8")]
    public void Two_first_binds_against_exit() => Holds(static () => new TwoBindsAgainstExit());

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S2.1")]
    [Trait("Requirement", "S2.9")]
    public void Unbind_against_exit(bool isPrivate) => Holds(() => new UnbindAgainstExit(isPrivate));

    [Fact]
    [Trait("Requirement", "S2.1")]
    public void Unbind_against_page_response() => Holds(static () => new UnbindAgainstPageResponse());

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S2.2")]
    public void Two_first_binds_of_a_process(bool sameDevice) => Holds(() => new TwoFirstBinds(sameDevice), floor: 2);

    [Theory]
    [InlineData(MemoryChange.Unmap)]
    [InlineData(MemoryChange.SwapOut)]
    [InlineData(MemoryChange.Fork)]
    [Trait("Requirement", "S2.11")]
    public void Change_of_memory_against_device_access(MemoryChange change) => Holds(() => new ChangeAgainstDevice(change), floor: 2);

    private static void Holds(Func<Scenario> create, int floor = 1)
    {
        ExplorationResult result = ScheduleExplorer.Explore(create, Options with { RequiredPreemptions = floor }).ShouldHold();
        TestContext.Current.TestOutputHelper?.WriteLine(result.ToString());
    }
}
