using Ioasis.Testing;

namespace Ioasis.Driver.Tests.Schedules;

/// <summary>
/// The explorer finds mistakes of those who use the driver, and of devices, within the budget that right ones get. The driver's own
/// mistakes are in tests/Ioasis.Mistakes.
/// </summary>
[Collection(ScheduleCollection.Name)]
public sealed class WrongUseTests
{
    private static ExplorerOptions Options { get; } = new()
    {
        MaxSchedules = 20_000,
    };

    [Fact]
    public void A_device_that_answers_before_its_accesses_have_ended() =>
        Found(static () => new RevokeFromCachingDevice(Revocation.Unmap, Answer.TooEarly), atMostPreemptions: 1);

    [Fact]
    public void A_map_over_what_waits_for_its_lazy_flush() =>
        Found(static () => new LazyFlushAgainstReuse(asksBeforeMap: false), atMostPreemptions: 1);

    private static void Found(Func<Scenario> create, int atMostPreemptions)
    {
        ScheduleFailure failure = ScheduleExplorer.Explore(create, Options).ShouldFail();
        failure.Preemptions.ShouldBeLessThanOrEqualTo(atMostPreemptions, failure.ToString());
        ScheduleExplorer.Replay(create, failure.Schedule.ToString(), Options).ShouldNotBeNull();
    }
}
