using Ioasis.Hardware;
using Ioasis.Testing;

namespace Ioasis.RiscV.Hardware.Tests.Schedules;

/// <summary>What the model itself writes to memory (A and D bits, fault records), under explored schedules.</summary>
[Collection(ScheduleCollection.Name)]
public sealed class UpdateTests
{
    private static readonly ExplorerOptions s_options = new()
    {
        MaxSchedules = ExplorerOptions.All ? 1_000_000 : 400,
        RandomSchedules = ExplorerOptions.All ? 5000 : 60,
    };

    [Theory]
    [InlineData(CachingMode.None)]
    [InlineData(CachingMode.Realistic)]
    [InlineData(CachingMode.Hostile)]
    public void No_write_escapes_the_dirty_tracking(CachingMode caching) =>
        ScheduleExplorer.Explore(() => new DirtyTracking(caching, Harvest.Proper), s_options).ShouldHold()
            .CompletedBound.ShouldBeGreaterThanOrEqualTo(1);

    [Theory]
    [InlineData(CachingMode.None, Harvest.NoFence)]
    [InlineData(CachingMode.Hostile, Harvest.NoFence)]
    [InlineData(CachingMode.None, Harvest.NotAtomic)]
    public void A_write_that_escapes_is_found(CachingMode caching, Harvest harvest) =>
        _ = ScheduleExplorer.Explore(
            () => new DirtyTracking(caching, harvest), s_options with { MaxSchedules = 20_000 }).ShouldFail();

    [Theory]
    [InlineData(CachingMode.None)]
    [InlineData(CachingMode.Realistic)]
    [InlineData(CachingMode.Hostile)]
    public void An_update_of_A_and_D_undoes_no_change_by_software(CachingMode caching) =>
        ScheduleExplorer.Explore(() => new UpdateAgainstRemap(caching), s_options).ShouldHold()
            .CompletedBound.ShouldBeGreaterThanOrEqualTo(1);

    [Fact]
    public void Every_fault_of_two_devices_is_recorded_once_and_whole() =>
        ScheduleExplorer.Explore(static () => new FaultsAgainstReader(), s_options with { MaxSchedules = 3000 }).ShouldHold()
            .CompletedBound.ShouldBeGreaterThanOrEqualTo(1);
}
