namespace Ioasis.Devices.Virtio;

/// <summary>What a driver asks of a virtio device.</summary>
public enum VirtioOperation
{
    /// <summary>Anything.</summary>
    Any,

    /// <summary>A disk: read.</summary>
    Read,

    /// <summary>A disk: write.</summary>
    Write,

    /// <summary>A disk: flush.</summary>
    Flush,

    /// <summary>A disk: get ID.</summary>
    GetId,

    /// <summary>A disk: discard.</summary>
    Discard,

    /// <summary>A disk: write zeroes.</summary>
    WriteZeroes,

    /// <summary>A network: send a frame.</summary>
    Send,

    /// <summary>A network: receive a frame.</summary>
    Receive,
}

/// <summary>Requests that fail on request.</summary>
/// <param name="Operation">Which ones.</param>
/// <param name="Sector">Of a disk, those that touch this sector; null for all.</param>
/// <param name="Value">A disk's requests end with this status, without being done. Of a network's frames so many percent are lost.</param>
public sealed record VirtioFailure(VirtioOperation Operation, ulong? Sector, byte Value);

/// <summary>Requests that are done late on request.</summary>
/// <param name="Operation">Which ones.</param>
/// <param name="Time">So long after they were there.</param>
public sealed record VirtioDelay(VirtioOperation Operation, TimeSpan Time);

/// <summary>
/// How a virtio device misbehaves. A request is a request of a disk, or a frame of a network, sent or received; one that writes memory is a
/// read of a disk or a received frame. Received frames keep their order.
/// </summary>
public sealed record VirtioMisbehaviour : DeviceMisbehaviour
{
    /// <summary>Requests that fail.</summary>
    public IReadOnlyList<VirtioFailure> Failures { get; init; } = [];

    /// <summary>Requests that are done late.</summary>
    public IReadOnlyList<VirtioDelay> Delays { get; init; } = [];

    /// <summary>How late an operation is; zero if it is not.</summary>
    internal TimeSpan DelayOf(VirtioOperation operation) =>
        Delays.FirstOrDefault(delay => delay.Operation == VirtioOperation.Any || delay.Operation == operation)?.Time ?? TimeSpan.Zero;
}
