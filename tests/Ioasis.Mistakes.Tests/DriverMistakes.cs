using Ioasis.Core;
using Ioasis.Driver.Tests;
using Ioasis.Driver.Tests.Shared;
using Ioasis.Primitives;
using Ioasis.RiscV.Driver;
using Ioasis.Scenarios.Drivers;
using Ioasis.Testing;

namespace Ioasis.Mistakes.Tests;

/// <summary>The explorer finds each mistake of the driver, within the budget that the right driver gets.</summary>
public sealed class DriverMistakes
{
    [Fact]
    public void A_bond_linked_after_the_context_is_loaded() =>
        Explorer.Finds("BondAfterContext", static () => new AttachAgainstUnmap(), atMostPreemptions: 1);

    [Fact]
    public void A_detach_that_does_not_invalidate_the_context() =>
        Explorer.Finds("SkipDirectoryInvalidation", static () => new DetachAgainstMap(), atMostPreemptions: 0);

    [Fact]
    public void A_replace_that_does_not_invalidate_the_context() =>
        Explorer.Finds("SkipDirectoryInvalidation", static () => new ReplaceAgainstInvalidate(), atMostPreemptions: 1);

    [Fact]
    public void A_PSCID_freed_before_its_flush() =>
        Explorer.Finds("PscidFreedBeforeFlush", static () => new PscidReuse(), atMostPreemptions: 1);

    [Fact]
    public void An_unmap_without_invalidation() =>
        Explorer.Finds("SkipInvalidationAfterUnmap", static () => new Neighbours(), atMostPreemptions: 1);

    [Fact]
    public void A_drivers_unmap_without_invalidation() =>
        Explorer.Finds("SkipInvalidationAfterUnmap", static () => new DmaNeighbours(), atMostPreemptions: 1);

    [Fact]
    public void A_flush_that_is_under_way_taken_for_one_that_covers() =>
        Explorer.Finds("FlushUnderWayTrusted", static () => new DmaFlushAgainstReuse(), atMostPreemptions: 2);

    [Fact]
    public void A_table_page_freed_before_the_fence() =>
        Explorer.Finds("TablesFreedBeforeFence", static () => new TablesAgainstMap(), atMostPreemptions: 1);

    [Theory]
    [InlineData(QueueTrouble.Unreadable)]
    [InlineData(QueueTrouble.Illegal)]
    internal void A_queue_error_taken_for_completion(QueueTrouble trouble) =>
        Explorer.Finds("ErrorIsCompletion", () => new QueueFailure(trouble), atMostPreemptions: 1);

    [Fact]
    [Trait("Requirement", "S4.15")]
    public void Others_told_that_they_are_done_before_the_fence_that_covers_them() =>
        Explorer.Finds("AnsweredBeforeFence", static () => new UnmapsTogether(detaches: false), atMostPreemptions: 2);

    [Fact]
    [Trait("Requirement", "S4.15")]
    public void The_fence_before_the_commands_of_others_taken_for_theirs() =>
        Explorer.Finds("EarlierFenceTakenForOthers", static () => new QueueFailure(QueueTrouble.Unreadable), atMostPreemptions: 2);

    [Fact]
    [Trait("Requirement", "S4.4")]
    public void An_invalidation_for_each_device_instead_of_each_bond() =>
        (Invalidations(string.Empty), Invalidations("InvalidatePerDevice")).ShouldBe((1, 2));

    [Fact]
    [Trait("Requirement", "S4.6")]
    public void No_invalidation_when_the_old_context_was_invalid() =>
        Explorer.Finds("SkipInvalidationOfNewContext", static () => new AttachAgainstUnmap(keepsInvalidContexts: true), atMostPreemptions: 0);

    [Fact]
    [Trait("Requirement", "S4.3")]
    public void A_device_followed_after_it_was_unplugged() =>
        Explorer.Finds("DeviceFollowedAfterUnplug", static () => new UnplugAgainstInvalidate(), atMostPreemptions: 1);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [Trait("Requirement", "S4.10")]
    public void A_root_table_made_under_two_attaches(int iommus) =>
        Explorer.Finds("RootMadeByAttach", () => new TwoAttaches(iommus), atMostPreemptions: 1);

    [Fact]
    public void A_device_that_is_told_while_the_IOMMU_still_knows() =>
        Explorer.Finds("SkipInvalidationAfterUnmap", static () => new RevokeFromCachingDevice(Revocation.Unmap, Answer.Proper), atMostPreemptions: 1);

    [Fact]
    [Trait("Requirement", "S4.8")]
    public void A_GSCID_freed_before_its_flush() =>
        Explorer.Finds("PscidFreedBeforeFlush", static () => new PscidReuse(isSecondStage: true), atMostPreemptions: 1);

    [Fact]
    [Trait("Requirement", "S4.17")]
    public void A_second_stage_unmapped_with_an_invalidation_of_the_first() =>
        Explorer.Finds("SecondStageForgotten", static () => new GuestInvalidateAgainstParentUnmap(), atMostPreemptions: 1);

    [Fact]
    [Trait("Requirement", "S4.17")]
    public void A_guests_invalidation_without_its_GSCID() =>
        Explorer.Finds("GuestInvalidatedAsHost", static () => new GuestInvalidateAgainstParentUnmap(), atMostPreemptions: 1);

    [Fact]
    [Trait("Requirement", "S4.7")]
    public void A_second_stage_bonded_after_the_context_of_a_nested_device_is_loaded() =>
        Explorer.Finds("BondAfterContext", static () => new NestedAttachAgainstParentUnmap(), atMostPreemptions: 1);

    [Fact]
    [Trait("Requirement", "S4.8")]
    public void A_root_that_changes_without_an_invalidation_of_the_context() =>
        Explorer.Finds("SkipDirectoryInvalidation", static () => new GuestChangesRoot(), atMostPreemptions: 1);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S4.17")]
    public void Pages_made_clean_without_an_invalidation(bool isSecondStage) =>
        Explorer.Finds("DirtyClearedWithoutInvalidation", () => new DirtyReadAgainstWrite(isSecondStage), atMostPreemptions: 1);

    [Fact]
    [Trait("Requirement", "S4.14")]
    public void Tables_freed_under_a_walk_of_the_drivers_own() =>
        Explorer.Finds("TablesFreedUnderWalker", static () => new DirtyStartAgainstUnmap(), atMostPreemptions: 1);

    [Fact]
    [Trait("Requirement", "S4.5")]
    public void A_context_that_changes_while_its_device_is_asked_to_forget() => Explorer.Finds("ContextChangedUnderInvalidation", static () => new RevokeFromCachingDevice(
            Revocation.Replace, Answer.Proper, isSecondStage: true),
        atMostPreemptions: 2);

    [Fact]
    [Trait("Requirement", "S4.3")]
    public void An_IOMMU_removed_under_the_handler_of_its_interrupt() =>
        Explorer.Finds("InterruptNotAwaited", static () => new IommuRemoval(RemovalVariant.Interrupt), atMostPreemptions: 2);

    [Fact]
    [Trait("Requirement", "S4.16")]
    public void A_name_taken_under_the_report_of_a_fault() =>
        Explorer.Finds("ReporterNotAwaited", static () => new NameTakenAgainstEvent(), atMostPreemptions: 1);

    // Two devices share a bond: one unmap is one command. Commands are counted, because caches forgive too many.
    private static long Invalidations(string mistake)
    {
        using MadeMistake made = new(mistake);
        using Rig rig = new();
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
}
