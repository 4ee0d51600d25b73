namespace Ioasis.Driver.Tests.Schedules;

/// <summary>
/// Explored schedules run alone: a fence of the model waits for the accesses of every thread of the process, also for those
/// of a thread that another exploration has put to sleep.
/// </summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class ScheduleCollection
{
    public const string Name = "schedules";
}
