using Ioasis.Hardware;
using Ioasis.Testing;

namespace Ioasis.RiscV.Hardware.Tests.Schedules;

/// <summary>
/// Caches that hold what they may for as long as they may find software that invalidates too little, in the undisturbed
/// order already: no luck with evictions or timing is needed.
/// </summary>
[Collection(ScheduleCollection.Name)]
public sealed class HostileCacheTests
{
    private static ExplorerOptions Options { get; } = new() { MaxSchedules = 20_000 };

    [Theory]
    [InlineData(Path.FirstStage, Change.LeafToNewPage, Mistake.NoInvalidation)]
    [InlineData(Path.FirstStage, Change.LeafCleared, Mistake.NoInvalidation)]
    [InlineData(Path.FirstStage, Change.TableFreed, Mistake.NoInvalidation)]
    [InlineData(Path.FirstStage, Change.ContextCleared, Mistake.NoInvalidation)]
    [InlineData(Path.FirstStage, Change.ContextToOtherTables, Mistake.NoInvalidation)]
    [InlineData(Path.SecondStage, Change.LeafToNewPage, Mistake.NoInvalidation)]
    [InlineData(Path.SecondStage, Change.TableFreed, Mistake.NoInvalidation)]
    [InlineData(Path.BothStages, Change.LeafToNewPage, Mistake.NoInvalidation)]
    [InlineData(Path.Process, Change.ContextToOtherTables, Mistake.NoInvalidation)]
    [InlineData(Path.Process, Change.LeafCleared, Mistake.NoInvalidation)]
    [InlineData(Path.FirstStage, Change.LeafToNewPage, Mistake.WrongAddressSpace)]
    [InlineData(Path.SecondStage, Change.LeafToNewPage, Mistake.WrongAddressSpace)]
    [InlineData(Path.FirstStage, Change.ContextCleared, Mistake.WrongAddressSpace)]
    [InlineData(Path.Process, Change.ContextCleared, Mistake.WrongAddressSpace)]
    public void Hostile_caches_find_a_missing_or_wrong_invalidation_without_any_preemption(Path path, Change change, Mistake mistake) =>
        ScheduleExplorer.Explore(() => new Revocation(path, change, CachingMode.Hostile, mistake), Options).ShouldFail()
            .Preemptions.ShouldBe(0);

    [Fact]
    public void An_invalidation_before_the_change_is_found() =>
        ScheduleExplorer.Explore(static () => new Revocation(Path.FirstStage, Change.LeafToNewPage, CachingMode.Hostile, Mistake.InvalidatedBeforeChange), Options)
            .ShouldFail().Kind.ShouldBeOneOf(FailureKind.Invariant, FailureKind.Exception);

    [Fact]
    public void A_dirty_bit_that_is_taken_without_invalidation_is_found() =>
        _ = ScheduleExplorer.Explore(static () => new DirtyTracking(CachingMode.Hostile, Harvest.NoInvalidation), Options).ShouldFail();
}
