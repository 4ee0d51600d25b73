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

/// <summary>How a controller misbehaves. A request is an I/O command; one that writes memory is a read of the NVM command set.</summary>
public sealed record NvmeMisbehaviour : DeviceMisbehaviour
{
    /// <summary>Commands that fail.</summary>
    public IReadOnlyList<NvmeFailure> Failures { get; init; } = [];

    /// <summary>Commands that are done late.</summary>
    public IReadOnlyList<NvmeDelay> Delays { get; init; } = [];
}
