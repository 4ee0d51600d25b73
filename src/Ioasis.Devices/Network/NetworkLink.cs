namespace Ioasis.Devices.Network;

/// <summary>
/// A cable of a network device, as the device sees it: frames of Ethernet, without preamble and checksum, go out and come in. What is at the
/// other end a derived class says.
/// </summary>
public abstract class NetworkLink : IDisposable
{
    /// <summary>Most bytes of a frame: 64 KiB of payload, addresses, type and a VLAN tag.</summary>
    public const int FrameLimit = 65_535 + 18;

    /// <summary>Least bytes of a frame: addresses and type.</summary>
    public const int FrameLeast = 14;

    private INetworkPort? _port;

    /// <summary>Whether there is somebody at the other end.</summary>
    public abstract bool IsUp { get; }

    /// <summary>Sends a frame. Never waits: what cannot go is lost, as on a wire.</summary>
    /// <param name="frame">The frame.</param>
    /// <param name="isVerified">Whether the checksum of its payload's protocol was computed just now.</param>
    /// <returns>Whether it went.</returns>
    public abstract bool Send(ReadOnlySpan<byte> frame, bool isVerified);

    /// <summary>Ends it: nothing comes in any more.</summary>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>The device plugs it in; what comes from then on goes to it.</summary>
    /// <exception cref="InvalidOperationException">It is in another device.</exception>
    internal void PlugInto(INetworkPort port)
    {
        if (Interlocked.CompareExchange(ref _port, port, null) is not null)
        {
            throw new InvalidOperationException("A cable has one device at this end.");
        }

        OnPlugged();
    }

    /// <summary>The device is there: frames may come in.</summary>
    protected virtual void OnPlugged()
    {
    }

    /// <summary>Gives the device a frame that has come in.</summary>
    /// <returns>False if it has no room for it now: then it is lost, unless it is given again.</returns>
    protected bool Deliver(ReadOnlySpan<byte> frame, bool isVerified = false) => _port?.TryReceive(frame, isVerified) ?? true;

    /// <summary>Tells the device that <see cref="IsUp"/> has changed.</summary>
    protected void TellOfChange() => _port?.OnLinkChanged();

    /// <summary>Ends what a derived class holds.</summary>
    protected abstract void Dispose(bool disposing);
}

/// <summary>A device at the end of a <see cref="NetworkLink"/>.</summary>
internal interface INetworkPort
{
    /// <summary>A frame has come in. What the device's driver does not want is lost here.</summary>
    /// <returns>False if there is no room for it now.</returns>
    bool TryReceive(ReadOnlySpan<byte> frame, bool isVerified);

    /// <summary>The cable has got, or lost, its other end.</summary>
    void OnLinkChanged();
}
