using Ioasis.Hardware;
using Ioasis.Testing;

namespace Ioasis.RiscV.Hardware.Tests.Schedules;

/// <summary>
/// IOFENCE.C under explored schedules: after it, what was invalidated is not used any more, by no access that began before
/// and by none that begins after; and the same schedules find each mistake that software or the model could make here.
/// </summary>
[Collection(ScheduleCollection.Name)]
public sealed class RevocationTests
{
    public static TheoryData<Path, Change, CachingMode> Cases { get; } = MakeCases();

    [Theory]
    [MemberData(nameof(Cases))]
    public void After_the_fence_no_access_touches_the_old_page(Path path, Change change, CachingMode caching)
    {
        ExplorationResult warm = ScheduleExplorer.Explore(() => new Revocation(path, change, caching), Options()).ShouldHold();
        warm.CompletedBound.ShouldBeGreaterThanOrEqualTo(1);
        _ = ScheduleExplorer.Explore(() => new Revocation(path, change, caching, warm: false), Options()).ShouldHold();
    }

    [Theory]
    [InlineData(CachingMode.None)]
    [InlineData(CachingMode.Realistic)]
    [InlineData(CachingMode.Hostile)]
    public void After_the_fence_neither_of_two_devices_touches_the_old_page(CachingMode caching) =>
        _ = ScheduleExplorer.Explore(() => new Revocation(Path.FirstStage, Change.LeafToNewPage, caching, devices: 2, warm: false), Options()).ShouldHold();

    [Theory]
    [InlineData(CachingMode.None)]
    [InlineData(CachingMode.Realistic)]
    [InlineData(CachingMode.Hostile)]
    public void A_missing_fence_is_found_and_takes_a_preemption_between_translation_and_access(CachingMode caching)
    {
        foreach (Path path in (ReadOnlySpan<Path>)[Path.FirstStage, Path.SecondStage, Path.Process, Path.Interrupt])
        {
            ScheduleFailure failure = ScheduleExplorer.Explore(
                () => new Revocation(path, Change.LeafToNewPage, caching, Mistake.NoFence), Options()).ShouldFail();
            failure.Preemptions.ShouldBe(1);
            failure.Trace.ShouldContain("preempts device");
        }
    }

    [Theory]
    [InlineData(CachingMode.None)]
    [InlineData(CachingMode.Hostile)]
    public void A_translation_that_outlives_a_fence_is_found(CachingMode caching) =>
        ScheduleExplorer.Explore(() => new Revocation(Path.FirstStage, Change.LeafCleared, caching, Mistake.TranslationOutlivesFence), Options())
            .ShouldFail().Preemptions.ShouldBe(1);

    private static ExplorerOptions Options() => new()
    {
        MaxSchedules = ExplorerOptions.All ? 1_000_000 : 150,
        RandomSchedules = ExplorerOptions.All ? 1000 : 25,
    };

    private static TheoryData<Path, Change, CachingMode> MakeCases()
    {
        TheoryData<Path, Change, CachingMode> cases = [];
        foreach (Path path in Enum.GetValues<Path>())
        {
            foreach (Change change in Enum.GetValues<Change>())
            {
                bool otherTables = change == Change.ContextToOtherTables && path is Path.SecondStage or Path.Interrupt;
                bool noTable = change == Change.TableFreed && path == Path.Interrupt;
                if (otherTables || noTable || (path == Path.Interrupt && change == Change.ContextToOtherTables))
                {
                    continue;
                }

                foreach (CachingMode caching in Enum.GetValues<CachingMode>())
                {
                    cases.Add(path, change, caching);
                }
            }
        }

        return cases;
    }
}
