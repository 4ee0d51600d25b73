namespace Ioasis.Devices;

/// <summary>A model that can do things wrong on request, for those who test drivers, and tells what it did.</summary>
internal interface IMisbehavingDevice
{
    /// <summary>What it did wrong so far, in order; the first some thousands of it.</summary>
    IReadOnlyList<DeviceMisdeed> Misdeeds { get; }
}

/// <summary>Something wrong that a device did on request.</summary>
/// <param name="Number">It happened at this command, counted from 1 as the model says.</param>
/// <param name="What">What, for people.</param>
public sealed record DeviceMisdeed(long Number, string What);
