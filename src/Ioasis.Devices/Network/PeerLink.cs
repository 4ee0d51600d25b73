namespace Ioasis.Devices.Network;

/// <summary>One of the two ends of a cable between devices of this process. When one of them ends, the other's link is down.</summary>
internal sealed class PeerLink : NetworkLink
{
    private INetworkPort? _other;
    private PeerLink? _far;

    private PeerLink(INetworkPort other) => _other = other;

    /// <inheritdoc/>
    public override bool IsUp => Volatile.Read(ref _other) is not null;

    /// <summary>Makes a cable between two devices.</summary>
    /// <returns>The first one's end, and the second one's.</returns>
    public static (PeerLink First, PeerLink Second) Connect(INetworkPort first, INetworkPort second)
    {
        PeerLink own = new(second);
        PeerLink far = new(first) { _far = own };
        own._far = far;
        return (own, far);
    }

    /// <inheritdoc/>
    public override bool Send(ReadOnlySpan<byte> frame, bool isVerified) => Volatile.Read(ref _other)?.TryReceive(frame, isVerified) ?? false;

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        Volatile.Write(ref _other, null);
        if (Interlocked.Exchange(ref _far, null) is { } far && Interlocked.Exchange(ref far._other, null) is not null)
        {
            far.TellOfChange();
        }
    }
}
