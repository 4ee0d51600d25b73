using Ioasis.Core;
using Ioasis.RiscV.Driver;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests.Schedules;

/// <summary>
/// Every order of the calls that meet in the driver, as far as the budget goes: no device reaches memory that was taken from
/// it, nothing is reused too early, nobody waits for ever.
/// </summary>
[Collection(ScheduleCollection.Name)]
public sealed class DriverScheduleTests
{
    private static ExplorerOptions Options { get; } = new()
    {
        // What is tried beyond the floor. One preemption alone is 35 orders in the shortest scenario and 33,979 in the longest.
        MaxSchedules = ExplorerOptions.All ? 2_000_000 : 2000,
        RandomSchedules = ExplorerOptions.All ? 20_000 : 150,
    };

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S4.6")]
    [Trait("Requirement", "S4.7")]
    public void Attach_against_unmap(bool keepsInvalidContexts) =>
        Holds(() => new AttachAgainstUnmap(keepsInvalidContexts: keepsInvalidContexts), floor: 2);

    [Fact]
    public void Detach_against_map() => Holds(static () => new DetachAgainstMap());

    [Fact]
    public void Replace_against_invalidate() => Holds(static () => new ReplaceAgainstInvalidate());

    [Fact]
    [Trait("Requirement", "S4.8")]
    public void A_PSCID_given_back_against_one_taken() => Holds(static () => new PscidReuse());

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [Trait("Requirement", "S4.10")]
    public void Two_attaches_of_one_domain(int iommus) => Holds(() => new TwoAttaches(iommus));

    [Fact]
    [Trait("Requirement", "S4.17")]
    public void A_PASID_freed_against_DMA_in_flight() => Holds(static () => new PasidFree());

    [Theory]
    [InlineData(0)]
    [InlineData(8)]
    [Trait("Requirement", "S4.3")]
    public void Unplug_against_invalidate(int pasidBits) => Holds(() => new UnplugAgainstInvalidate(pasidBits: pasidBits));

    [Theory]
    [InlineData(RemovalVariant.DevicesFirst)]
    [InlineData(RemovalVariant.DriverOnly)]
    [InlineData(RemovalVariant.Unplug)]
    [InlineData(RemovalVariant.Interrupt)]
    [Trait("Requirement", "S4.3")]
    internal void Removal_of_the_IOMMU_against_everything(RemovalVariant variant) => Holds(() => new IommuRemoval(variant));

    [Theory]
    [InlineData(QueueTrouble.Unreadable)]
    [InlineData(QueueTrouble.UnreadableForLong)]
    [InlineData(QueueTrouble.GivenUp)]
    [InlineData(QueueTrouble.Illegal)]
    [Trait("Requirement", "S4.15")]
    internal void Failure_of_the_queue_in_the_middle_of_invalidations(QueueTrouble trouble) => Holds(() => new QueueFailure(trouble));

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S4.8")]
    [Trait("Requirement", "S4.15")]
    public void Invalidations_that_others_carry_out(bool detaches) => Holds(() => new UnmapsTogether(detaches));

    [Fact]
    [Trait("Requirement", "S4.14")]
    public void Table_pages_given_back_against_a_map() => Holds(static () => new TablesAgainstMap());

    [Fact]
    public void Maps_and_unmaps_of_neighbours() => Holds(static () => new Neighbours());

    [Fact]
    [Trait("Requirement", "S4.14")]
    public void Lazy_flush_against_reuse_of_the_IOVA_by_drivers() => Holds(static () => new DmaFlushAgainstReuse());

    [Fact]
    public void Maps_and_unmaps_of_neighbours_by_drivers() => Holds(static () => new DmaNeighbours());

    [Theory]
    [InlineData(DmaMode.Strict)]
    [InlineData(DmaMode.Lazy)]
    public void Maps_of_drivers_in_a_space_that_is_nearly_full(DmaMode mode) => Holds(() => new DmaNearlyFull(mode), floor: 2);

    [Fact]
    public void Lazy_flush_against_reuse_of_the_IOVA() => Holds(static () => new LazyFlushAgainstReuse());

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_switch_that_fails_at_any_step_against_unmap(bool fromBlocked)
    {
        int failed = 0;
        for (int step = 1, reached = 1; reached > 0; step++)
        {
            reached = 0;
            int current = step;
            ScheduleExplorer.Explore(
                () => new FailingReplace(current, fromBlocked, () => reached++),
                Options with { MaxSchedules = ExplorerOptions.All ? 100_000 : 400, RandomSchedules = 50 }).ShouldHold();
            failed += reached > 0 ? 1 : 0;
        }

        failed.ShouldBe(fromBlocked ? 2 : 3);
    }

    [Theory]
    [InlineData(Revocation.Unmap, Answer.Proper)]
    [InlineData(Revocation.Replace, Answer.Proper)]
    [InlineData(Revocation.Detach, Answer.Proper)]
    [InlineData(Revocation.Unplug, Answer.Proper)]
    [InlineData(Revocation.Unmap, Answer.Never)]
    [InlineData(Revocation.Detach, Answer.Never)]
    [InlineData(Revocation.Unplug, Answer.Never)]
    [InlineData(Revocation.Unmap, Answer.Silence)]
    [Trait("Requirement", "S4.5")]
    internal void What_is_taken_from_a_device_that_caches_translations(Revocation revocation, Answer answer) =>
        Holds(() => new RevokeFromCachingDevice(revocation, answer));

    [Theory]
    [InlineData(Revocation.Unmap, Answer.Proper)]
    [InlineData(Revocation.Replace, Answer.Proper)]
    [InlineData(Revocation.Detach, Answer.Proper)]
    [InlineData(Revocation.Unplug, Answer.Proper)]
    [InlineData(Revocation.Replace, Answer.Never)]
    [Trait("Requirement", "S4.5")]
    [Trait("Requirement", "S4.17")]
    internal void What_is_taken_from_a_device_that_caches_a_second_stage(Revocation revocation, Answer answer) =>
        Holds(() => new RevokeFromCachingDevice(revocation, answer, isSecondStage: true));

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S4.17")]
    public void A_guests_invalidation_against_the_hosts_unmap(bool twoIommus) =>
        Holds(() => new GuestInvalidateAgainstParentUnmap(iommus: twoIommus ? 2 : 1));

    [Fact]
    [Trait("Requirement", "S4.7")]
    [Trait("Requirement", "S4.17")]
    public void A_nested_attach_against_the_hosts_unmap() => Holds(static () => new NestedAttachAgainstParentUnmap());

    [Fact]
    [Trait("Requirement", "S4.8")]
    [Trait("Requirement", "S4.17")]
    public void A_guest_that_changes_its_root_against_its_own_unmap() => Holds(static () => new GuestChangesRoot());

    [Fact]
    [Trait("Requirement", "S4.3")]
    [Trait("Requirement", "S4.17")]
    public void A_guests_device_unplugged_against_its_invalidations() => Holds(static () => new NestedUnplug());

    [Fact]
    [Trait("Requirement", "S4.16")]
    [Trait("Requirement", "S4.17")]
    public void A_name_taken_from_a_device_against_a_fault_on_its_way_to_the_guest() =>
        Holds(static () => new NameTakenAgainstEvent(), floor: 2);

    [Fact]
    [Trait("Requirement", "S4.8")]
    [Trait("Requirement", "S4.17")]
    public void A_second_stage_detached_against_a_map() => Holds(static () => new DetachAgainstMap(isSecondStage: true));

    [Fact]
    [Trait("Requirement", "S4.8")]
    [Trait("Requirement", "S4.17")]
    public void A_GSCID_given_back_against_one_taken() => Holds(static () => new PscidReuse(isSecondStage: true));

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S4.17")]
    public void Dirty_pages_read_against_DMA_that_writes(bool isSecondStage) => Holds(() => new DirtyReadAgainstWrite(isSecondStage), floor: 2);

    [Fact]
    [Trait("Requirement", "S4.14")]
    [Trait("Requirement", "S4.17")]
    public void The_start_of_dirty_tracking_against_an_unmap_of_tables() => Holds(static () => new DirtyStartAgainstUnmap());

    [Fact]
    [Trait("Requirement", "S4.16")]
    public void Faults_against_unplug() => Holds(static () => new FaultsAgainstUnplug(), floor: 2);

    private static void Holds(Func<Scenario> create, int floor = 1)
    {
        ExplorationResult result = ScheduleExplorer.Explore(create, Options with { RequiredPreemptions = floor }).ShouldHold();
        TestContext.Current.TestOutputHelper?.WriteLine(result.ToString());
    }
}
