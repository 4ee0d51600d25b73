using Ioasis.Devices.Network;

namespace Ioasis.Devices.Virtio;

/// <summary>How a virtio-net device is built.</summary>
public sealed record VirtioNetOptions : VirtioOptions
{
    /// <summary>Its address, 48 bits with the first byte on the wire uppermost; null for one made of <c>52:54:00</c> and chance.</summary>
    public ulong? MacAddress { get; init; }

    /// <summary>Most bytes of a packet that the driver is told, 68 to 65535; 0 for not told, and any that fits into a frame.</summary>
    public int Mtu { get; init; }

    /// <summary>Pairs of a receive and a transmit queue, 1 to 1024.</summary>
    public int QueuePairs { get; init; } = 1;

    /// <summary>Whether it computes checksums for the driver, and says of which it knows that they are right.</summary>
    public bool Checksums { get; init; } = true;

    /// <summary>Whether a frame may be spread over several receive buffers.</summary>
    public bool MergeableBuffers { get; init; } = true;

    /// <summary>Whether it has a control queue: filters, address, VLANs, queue pairs.</summary>
    public bool ControlQueue { get; init; } = true;

    /// <summary>The name or the address of the device of its machine to which it is joined; null for none.</summary>
    public string? PeerName { get; init; }

    /// <summary>Its cable, which it ends; null for one that is plugged in later, or none.</summary>
    public NetworkLink? Link { get; init; }
}
