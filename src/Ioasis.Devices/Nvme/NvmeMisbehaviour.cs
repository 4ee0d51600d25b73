namespace Ioasis.Devices.Nvme;

/// <summary>A command that fails on request.</summary>
/// <param name="Opcode">Which commands of the NVM command set; null for all.</param>
/// <param name="Block">Those that touch this block; null for all.</param>
/// <param name="Status">How they end, without being done.</param>
public sealed record NvmeFailure(NvmeIoOpcode? Opcode, ulong? Block, NvmeStatus Status);

/// <summary>A command that is done late on request.</summary>
/// <param name="Opcode">Which commands of the NVM command set; null for all.</param>
/// <param name="Time">So long after it was fetched.</param>
public sealed record NvmeDelay(NvmeIoOpcode? Opcode, TimeSpan Time);

/// <summary>
/// How a controller misbehaves, for those who test drivers. What is left to chance follows from <see cref="Seed"/> and the commands
/// alone: the same commands meet the same. Percentages are 0 to 100.
/// </summary>
public sealed record NvmeMisbehaviour
{
    /// <summary>What chance follows from.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>Commands that fail.</summary>
    public IReadOnlyList<NvmeFailure> Failures { get; init; } = [];

    /// <summary>Commands that are done late.</summary>
    public IReadOnlyList<NvmeDelay> Delays { get; init; } = [];

    /// <summary>How many interrupt messages are lost, in percent.</summary>
    public int LostInterrupts { get; init; }

    /// <summary>How late every interrupt message is.</summary>
    public TimeSpan LateInterrupts { get; init; }

    /// <summary>Whether commands that are there together complete in an order of chance.</summary>
    public bool Reorders { get; init; }

    /// <summary>How many commands complete twice, in percent.</summary>
    public int Twice { get; init; }

    /// <summary>How many read commands also write where an earlier one wrote, in percent.</summary>
    public int StaleDma { get; init; }

    /// <summary>How many read commands also write to an address of chance, in percent.</summary>
    public int WildDma { get; init; }

    /// <summary>Whether it writes to the data of the last read command once more after a reset.</summary>
    public bool DmaAfterReset { get; init; }

    /// <summary>With which I/O command it is gone from the bus, counted from 1; 0 for never.</summary>
    public long GoneAt { get; init; }

    /// <summary>With which I/O command it hangs, counted from 1: it does nothing more until the function is reset; 0 for never.</summary>
    public long HungAt { get; init; }
}
