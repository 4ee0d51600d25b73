namespace Ioasis.Devices;

/// <summary>
/// How a device misbehaves, for those who test drivers: what all kinds have. What is left to chance follows from <see cref="Seed"/> and
/// the requests alone: the same requests meet the same. Percentages are 0 to 100. What a request is, each kind says.
/// </summary>
public abstract record DeviceMisbehaviour
{
    /// <summary>What chance follows from.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>How many interrupt messages are lost, in percent.</summary>
    public int LostInterrupts { get; init; }

    /// <summary>How late every interrupt message is.</summary>
    public TimeSpan LateInterrupts { get; init; }

    /// <summary>Whether requests that are there together complete in an order of chance.</summary>
    public bool Reorders { get; init; }

    /// <summary>How many requests complete twice, in percent.</summary>
    public int Twice { get; init; }

    /// <summary>How many requests that write memory also write where an earlier one wrote, in percent.</summary>
    public int StaleDma { get; init; }

    /// <summary>How many requests that write memory also write to an address of chance, in percent.</summary>
    public int WildDma { get; init; }

    /// <summary>Whether it writes to the memory of the last such request once more after a reset.</summary>
    public bool DmaAfterReset { get; init; }

    /// <summary>With which request it is gone from the bus, counted from 1; 0 for never.</summary>
    public long GoneAt { get; init; }

    /// <summary>With which request it hangs, counted from 1: it does nothing more until the function is reset; 0 for never.</summary>
    public long HungAt { get; init; }

    /// <summary>Sums up what a text says of it by the keys that all kinds have.</summary>
    internal static TOptions Read<TOptions>(DeviceSettings settings, TOptions options)
        where TOptions : DeviceMisbehaviour => (TOptions)(options with
        {
            Seed = (ulong)settings.Number("seed", 1),
            LostInterrupts = (int)settings.Number("lose-interrupts", 0, 0, 100),
            LateInterrupts = settings.Text("late-interrupts") is { } late ? DeviceSettings.ParseTime("late-interrupts", late, late) : TimeSpan.Zero,
            Reorders = settings.Switch("reorder", false),
            Twice = (int)settings.Number("twice", 0, 0, 100),
            StaleDma = (int)settings.Number("stale-dma", 0, 0, 100),
            WildDma = (int)settings.Number("wild-dma", 0, 0, 100),
            DmaAfterReset = settings.Switch("dma-after-reset", false),
            GoneAt = settings.Number("gone", 0),
            HungAt = settings.Number("hung", 0),
        });

    /// <summary>The keys that all kinds have.</summary>
    /// <param name="request">What a request is called.</param>
    /// <param name="writer">What one that writes memory is called.</param>
    internal static IReadOnlyList<DeviceKey> KeysFor(string request, string writer) =>
    [
        new("lose-interrupts", "percent of the interrupt messages that are lost"),
        new("late-interrupts", "TIME by which interrupt messages are late"),
        new("reorder", $"on or off: {request}s that are there together complete in an order of chance; off as is"),
        new("twice", $"percent of the {request}s that complete twice"),
        new("stale-dma", $"percent of the {writer}s that also write where an earlier one wrote"),
        new("wild-dma", $"percent of the {writer}s that also write to an address of chance"),
        new("dma-after-reset", $"on or off: the data of the last {writer} is written once more after a reset; off as is"),
        new("gone", $"number of the {request} with which it is gone from the bus, from 1"),
        new("hung", $"number of the {request} with which it hangs until the function is reset, from 1"),
        new("seed", "what chance follows from; 1 as is"),
    ];
}
