using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.RiscV.Driver;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests.Schedules;

/// <summary>The explorer finds each mistake that the driver makes on purpose, within the budget that the real driver gets.</summary>
[Collection(ScheduleCollection.Name)]
public sealed class MutantTests
{
    private static ExplorerOptions Options { get; } = new()
    {
        MaxSchedules = 20_000,
        TimeBudget = TimeSpan.FromSeconds(30),
    };

    [Fact]
    public void A_bond_linked_after_the_context_is_loaded() =>
        Found(static () => new AttachAgainstUnmap(DriverMutation.BondAfterContext), atMostPreemptions: 1);

    [Fact]
    public void A_detach_that_does_not_invalidate_the_context() =>
        Found(static () => new DetachAgainstMap(DriverMutation.SkipDirectoryInvalidation), atMostPreemptions: 0);

    [Fact]
    public void A_replace_that_does_not_invalidate_the_context() =>
        Found(static () => new ReplaceAgainstInvalidate(DriverMutation.SkipDirectoryInvalidation), atMostPreemptions: 1);

    [Fact]
    public void A_PSCID_freed_before_its_flush() =>
        Found(static () => new PscidReuse(DriverMutation.PscidFreedBeforeFlush), atMostPreemptions: 1);

    [Fact]
    public void An_unmap_without_invalidation() =>
        Found(static () => new Neighbours(DriverMutation.SkipInvalidationAfterUnmap), atMostPreemptions: 1);

    [Fact]
    public void A_drivers_unmap_without_invalidation() =>
        Found(static () => new DmaNeighbours(DriverMutation.SkipInvalidationAfterUnmap), atMostPreemptions: 1);

    [Fact]
    public void A_flush_that_is_under_way_taken_for_one_that_covers() =>
        Found(static () => new DmaFlushAgainstReuse(trustsFlushUnderWay: true), atMostPreemptions: 2);

    [Fact]
    public void A_table_page_freed_before_the_fence() =>
        Found(static () => new TablesAgainstMap(DriverMutation.TablesFreedBeforeFence), atMostPreemptions: 1);

    [Theory]
    [InlineData(QueueTrouble.Unreadable)]
    [InlineData(QueueTrouble.Illegal)]
    public void A_queue_error_taken_for_completion(QueueTrouble trouble) =>
        Found(() => new QueueFailure(trouble, DriverMutation.ErrorIsCompletion), atMostPreemptions: 1);

    [Fact]
    [Trait("Requirement", "S4.15")]
    public void Others_told_that_they_are_done_before_the_fence_that_covers_them() =>
        Found(static () => new UnmapsTogether(detaches: false, DriverMutation.AnsweredBeforeFence), atMostPreemptions: 2);

    [Fact]
    [Trait("Requirement", "S4.15")]
    public void The_fence_before_the_commands_of_others_taken_for_theirs() =>
        Found(static () => new QueueFailure(QueueTrouble.Unreadable, DriverMutation.EarlierFenceTakenForOthers), atMostPreemptions: 2);

    [Fact]
    [Trait("Requirement", "S4.4")]
    public void An_invalidation_for_each_device_instead_of_each_bond() =>
        (Invalidations(DriverMutation.None), Invalidations(DriverMutation.InvalidatePerDevice)).ShouldBe((1, 2));

    [Fact]
    [Trait("Requirement", "S4.6")]
    public void No_invalidation_when_the_old_context_was_invalid() =>
        Found(static () => new AttachAgainstUnmap(DriverMutation.SkipInvalidationOfNewContext, keepsInvalidContexts: true), atMostPreemptions: 0);

    [Fact]
    [Trait("Requirement", "S4.3")]
    public void A_device_followed_after_it_was_unplugged() =>
        Found(static () => new UnplugAgainstInvalidate(DriverMutation.DeviceFollowedAfterUnplug), atMostPreemptions: 1);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [Trait("Requirement", "S4.10")]
    public void A_root_table_made_under_two_attaches(int iommus) =>
        Found(() => new TwoAttaches(iommus, DriverMutation.RootMadeByAttach), atMostPreemptions: 1);

    [Fact]
    public void A_device_that_answers_before_its_accesses_have_ended() =>
        Found(static () => new RevokeFromCachingDevice(Revocation.Unmap, Answer.TooEarly), atMostPreemptions: 1);

    [Fact]
    public void A_device_that_is_told_while_the_IOMMU_still_knows() =>
        Found(static () => new RevokeFromCachingDevice(Revocation.Unmap, Answer.Proper, DriverMutation.SkipInvalidationAfterUnmap), atMostPreemptions: 1);

    [Fact]
    public void A_map_over_what_waits_for_its_lazy_flush() =>
        Found(static () => new LazyFlushAgainstReuse(asksBeforeMap: false), atMostPreemptions: 1);

    [Fact]
    [Trait("Requirement", "S4.8")]
    public void A_GSCID_freed_before_its_flush() =>
        Found(static () => new PscidReuse(DriverMutation.PscidFreedBeforeFlush, isSecondStage: true), atMostPreemptions: 1);

    [Fact]
    [Trait("Requirement", "S4.17")]
    public void A_second_stage_unmapped_with_an_invalidation_of_the_first() =>
        Found(static () => new GuestInvalidateAgainstParentUnmap(DriverMutation.SecondStageForgotten), atMostPreemptions: 1);

    [Fact]
    [Trait("Requirement", "S4.17")]
    public void A_guests_invalidation_without_its_GSCID() =>
        Found(static () => new GuestInvalidateAgainstParentUnmap(DriverMutation.GuestInvalidatedAsHost), atMostPreemptions: 1);

    [Fact]
    [Trait("Requirement", "S4.7")]
    public void A_second_stage_bonded_after_the_context_of_a_nested_device_is_loaded() =>
        Found(static () => new NestedAttachAgainstParentUnmap(DriverMutation.BondAfterContext), atMostPreemptions: 1);

    [Fact]
    [Trait("Requirement", "S4.8")]
    public void A_root_that_changes_without_an_invalidation_of_the_context() =>
        Found(static () => new GuestChangesRoot(DriverMutation.SkipDirectoryInvalidation), atMostPreemptions: 1);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S4.17")]
    public void Pages_made_clean_without_an_invalidation(bool isSecondStage) =>
        Found(() => new DirtyReadAgainstWrite(isSecondStage, DriverMutation.DirtyClearedWithoutInvalidation), atMostPreemptions: 1);

    [Fact]
    [Trait("Requirement", "S4.14")]
    public void Tables_freed_under_a_walk_of_the_drivers_own() =>
        Found(static () => new DirtyStartAgainstUnmap(DriverMutation.TablesFreedUnderWalker), atMostPreemptions: 1);

    [Fact]
    [Trait("Requirement", "S4.5")]
    public void A_context_that_changes_while_its_device_is_asked_to_forget() => Found(
        static () => new RevokeFromCachingDevice(
            Revocation.Replace, Answer.Proper, DriverMutation.ContextChangedUnderInvalidation, isSecondStage: true),
        atMostPreemptions: 2);

    [Fact]
    [Trait("Requirement", "S4.3")]
    public void An_IOMMU_removed_under_the_handler_of_its_interrupt() =>
        Found(static () => new IommuRemoval(RemovalVariant.Interrupt, DriverMutation.InterruptNotAwaited), atMostPreemptions: 2);

    [Fact]
    [Trait("Requirement", "S4.16")]
    public void A_name_taken_under_the_report_of_a_fault() =>
        Found(static () => new NameTakenAgainstEvent(DriverMutation.ReporterNotAwaited), atMostPreemptions: 1);

    // Two devices share a bond: one unmap is one command. Commands are counted, because caches forgive too many.
    private static long Invalidations(DriverMutation mutations)
    {
        using Rig rig = new(new() { Driver = new() { Mutations = mutations } });
        IommuDevice[] devices = [rig.AddDevice(1), rig.AddDevice(2)];
        RiscVPagingDomain domain = rig.NewDomain(devices[0]);
        foreach (IommuDevice device in devices)
        {
            device.Group.Attach(domain).ShouldBe(Errno.Success);
        }

        domain.ShouldMap(0x1000, 0x8000_0000);
        long before = rig.Driver.Statistics.FirstStageInvalidations;
        domain.ShouldUnmap(0x1000);
        return rig.Driver.Statistics.FirstStageInvalidations - before;
    }

    private static void Found(Func<Scenario> create, int atMostPreemptions)
    {
        ScheduleFailure failure = ScheduleExplorer.Explore(create, Options).ShouldFail();
        failure.Preemptions.ShouldBeLessThanOrEqualTo(atMostPreemptions, failure.ToString());
        ScheduleExplorer.Replay(create, failure.Schedule.ToString(), Options).ShouldNotBeNull();
    }
}
