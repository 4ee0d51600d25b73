using Ioasis.Core;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests.Schedules;

/// <summary>What <see cref="DriverScheduleTests"/> holds the RISC-V driver to, for VT-d: the same scenarios.</summary>
[Collection(ScheduleCollection.Name)]
public sealed class VtdScheduleTests
{
    private static ExplorerOptions Options { get; } = new()
    {
        // Beyond the floor: one preemption alone.
        MaxSchedules = ExplorerOptions.All ? 1_000_000 : 300,
        RandomSchedules = ExplorerOptions.All ? 20_000 : 100,
    };

    [Theory]
    [InlineData(IommuKind.Vtd)]
    [InlineData(IommuKind.VtdFirstStage)]
    [InlineData(IommuKind.VtdLegacy)]
    [InlineData(IommuKind.VtdCachingMode)]
    [Trait("Requirement", "S4.6")]
    [Trait("Requirement", "S4.7")]
    internal void Attach_against_unmap(IommuKind kind) =>
        Holds(() => new AttachAgainstUnmap(keepsInvalidContexts: kind == IommuKind.VtdCachingMode, kind: kind));

    [Theory]
    [InlineData(IommuKind.Vtd)]
    [InlineData(IommuKind.VtdLegacy)]
    internal void Detach_against_map(IommuKind kind) => Holds(() => new DetachAgainstMap(kind: kind));

    [Theory]
    [InlineData(IommuKind.Vtd)]
    [InlineData(IommuKind.VtdFirstStage)]
    [InlineData(IommuKind.VtdLegacy)]
    internal void Replace_against_invalidate(IommuKind kind) => Holds(() => new ReplaceAgainstInvalidate(kind));

    [Theory]
    [InlineData(IommuKind.Vtd)]
    [InlineData(IommuKind.VtdFirstStage)]
    [InlineData(IommuKind.VtdLegacy)]
    [Trait("Requirement", "S4.8")]
    internal void A_domain_ID_given_back_against_one_taken(IommuKind kind) => Holds(() => new PscidReuse(kind: kind));

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [Trait("Requirement", "S4.10")]
    public void Two_attaches_of_one_domain(int iommus) => Holds(() => new TwoAttaches(iommus, IommuKind.Vtd));

    [Theory]
    [InlineData(IommuKind.Vtd)]
    [InlineData(IommuKind.VtdFirstStage)]
    [Trait("Requirement", "S4.17")]
    internal void A_PASID_freed_against_DMA_in_flight(IommuKind kind) => Holds(() => new PasidFree(kind));

    [Theory]
    [InlineData(IommuKind.Vtd)]
    [InlineData(IommuKind.VtdLegacy)]
    [Trait("Requirement", "S4.3")]
    internal void Unplug_against_invalidate(IommuKind kind) => Holds(() => new UnplugAgainstInvalidate(kind: kind));

    [Theory]
    [InlineData(RemovalVariant.DevicesFirst)]
    [InlineData(RemovalVariant.DriverOnly)]
    [InlineData(RemovalVariant.Unplug)]
    [InlineData(RemovalVariant.Interrupt)]
    [Trait("Requirement", "S4.3")]
    internal void Removal_of_the_IOMMU_against_everything(RemovalVariant variant) => Holds(() => new IommuRemoval(variant, IommuKind.Vtd));

    [Theory]
    [InlineData(QueueTrouble.Unreadable)]
    [InlineData(QueueTrouble.UnreadableForLong)]
    [InlineData(QueueTrouble.GivenUp)]
    [InlineData(QueueTrouble.Illegal)]
    [Trait("Requirement", "S4.15")]
    internal void Failure_of_the_queue_in_the_middle_of_invalidations(QueueTrouble trouble) =>
        Holds(() => new QueueFailure(trouble, IommuKind.Vtd), floor: ExplorerOptions.All ? 1 : 0);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S4.8")]
    [Trait("Requirement", "S4.15")]
    public void Invalidations_that_meet_at_the_queue(bool detaches) => Holds(() => new UnmapsTogether(detaches, IommuKind.VtdFirstStage));

    [Theory]
    [InlineData(IommuKind.Vtd)]
    [InlineData(IommuKind.VtdFirstStage)]
    [Trait("Requirement", "S4.14")]
    internal void Table_pages_given_back_against_a_map(IommuKind kind) => Holds(() => new TablesAgainstMap(kind));

    [Fact]
    public void Maps_and_unmaps_of_neighbours() => Holds(static () => new Neighbours(IommuKind.VtdFirstStage));

    [Fact]
    public void Lazy_flush_against_reuse_of_the_IOVA() => Holds(static () => new LazyFlushAgainstReuse(kind: IommuKind.Vtd));

    [Theory]
    [InlineData(Revocation.Unmap, Answer.Proper)]
    [InlineData(Revocation.Replace, Answer.Proper)]
    [InlineData(Revocation.Detach, Answer.Proper)]
    [InlineData(Revocation.Unplug, Answer.Proper)]
    [InlineData(Revocation.Unmap, Answer.Never)]
    [InlineData(Revocation.Unmap, Answer.Silence)]
    [Trait("Requirement", "S4.5")]
    internal void What_is_taken_from_a_device_that_caches_translations(Revocation revocation, Answer answer) =>
        Holds(
            () => new RevokeFromCachingDevice(revocation, answer, kind: IommuKind.Vtd),
            floor: answer == Answer.Proper || ExplorerOptions.All ? 1 : 0);

    [Fact]
    [Trait("Requirement", "S4.17")]
    public void Dirty_pages_read_against_DMA_that_writes() => Holds(static () => new DirtyReadAgainstWrite(false, IommuKind.Vtd));

    [Fact]
    [Trait("Requirement", "S4.14")]
    [Trait("Requirement", "S4.17")]
    public void The_start_of_dirty_tracking_against_an_unmap_of_tables() => Holds(static () => new DirtyStartAgainstUnmap(IommuKind.Vtd));

    [Theory]
    [InlineData(IommuKind.Vtd)]
    [InlineData(IommuKind.VtdFirstStage)]
    [InlineData(IommuKind.VtdLegacy)]
    internal void Lazy_flush_against_reuse_of_the_IOVA_by_drivers(IommuKind kind) => Holds(() => new DmaFlushAgainstReuse(kind));

    [Theory]
    [InlineData(IommuKind.Vtd)]
    [InlineData(IommuKind.VtdCachingMode)]
    internal void Maps_and_unmaps_of_neighbours_by_drivers(IommuKind kind) => Holds(() => new DmaNeighbours(kind));

    [Theory]
    [InlineData(DmaMode.Strict)]
    [InlineData(DmaMode.Lazy)]
    public void Maps_of_drivers_in_a_space_that_is_nearly_full(DmaMode mode) => Holds(() => new DmaNearlyFull(mode, IommuKind.Vtd));

    [Theory]
    [InlineData(1, 0u)]
    [InlineData(2, 0u)]
    [InlineData(1, 5u)]
    [Trait("Requirement", "S4.17")]
    public void A_guests_invalidation_against_the_hosts_unmap(int iommus, uint pasid) =>
        Holds(() => new GuestInvalidateAgainstParentUnmap(iommus, IommuKind.Vtd, pasid));

    [Theory]
    [InlineData(IommuKind.Vtd, 0u)]
    [InlineData(IommuKind.VtdCachingMode, 0u)]
    [InlineData(IommuKind.Vtd, 5u)]
    [Trait("Requirement", "S4.7")]
    [Trait("Requirement", "S4.17")]
    internal void A_nested_attach_against_the_hosts_unmap(IommuKind kind, uint pasid) =>
        Holds(() => new NestedAttachAgainstParentUnmap(kind, pasid));

    [Theory]
    [InlineData(0u)]
    [InlineData(5u)]
    [Trait("Requirement", "S4.17")]
    public void A_guest_that_changes_its_root_against_its_own_unmap(uint pasid) => Holds(() => new GuestChangesRoot(IommuKind.Vtd, pasid));

    [Fact]
    [Trait("Requirement", "S4.3")]
    [Trait("Requirement", "S4.17")]
    public void A_guests_device_unplugged_against_its_invalidations() => Holds(static () => new NestedUnplug(IommuKind.Vtd));

    [Fact]
    [Trait("Requirement", "S4.16")]
    public void Faults_against_unplug() => Holds(static () => new FaultsAgainstUnplug(IommuKind.Vtd));

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
            Holds(() => new FailingReplace(current, fromBlocked, () => reached++, IommuKind.Vtd));
            failed += reached > 0 ? 1 : 0;
        }

        failed.ShouldBeGreaterThanOrEqualTo(1);
    }

    private static void Holds(Func<Scenario> create, int floor = 1)
    {
        ExplorationResult result = ScheduleExplorer.Explore(create, Options with { RequiredPreemptions = floor }).ShouldHold();
        TestContext.Current.TestOutputHelper?.WriteLine(result.ToString());
    }
}
