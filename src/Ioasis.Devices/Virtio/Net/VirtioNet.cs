using System.Buffers.Binary;
using System.Security.Cryptography;
using Ioasis.Devices.Network;

namespace Ioasis.Devices.Virtio;

/// <summary>What a network device did since it was made.</summary>
/// <param name="Sent">Frames that went out.</param>
/// <param name="Received">Frames that its driver was given.</param>
/// <param name="NotSent">Frames of its driver that were lost: no one at the other end, no room there, data that could not be read, a form that cannot be.</param>
/// <param name="NotReceived">Frames for its driver that were lost: no driver, no room, too long for its buffers, buffers that could not be written.</param>
/// <param name="Filtered">Frames that its driver's filters did not want.</param>
internal readonly record struct NetworkCounts(long Sent, long Received, long NotSent, long NotReceived, long Filtered);

/// <summary>
/// A virtio network device (virtio 1.3, section 5.1). Frames are sent in the thread that notifies, and received in that in which they come;
/// those for which the driver has no buffer wait, up to a limit.
/// </summary>
public sealed partial class VirtioNet : VirtioDevice, IPeeredDevice, INetworkPort
{
    private const int ConfigurationSize = 12;
    private const int StatusAt = 6;
    private const byte LinkUp = 1;

    private readonly VirtioNetOptions _options;
    private readonly ulong _ownAddress;
    private NetworkLink? _link;
    private PciDevice? _peer;

    /// <summary>Makes a device that is in no machine yet.</summary>
    /// <param name="options">How it is built.</param>
    /// <exception cref="DeviceSettingException">An option is not possible.</exception>
    public VirtioNet(VirtioNetOptions? options = null)
        : this(options ??= new(), AddressOf(options))
    {
    }

    private VirtioNet(VirtioNetOptions options, ulong address)
        : base(options, 1, 0x020000, CountQueues(options), (ulong)OfferedBy(options), Describe(options, address))
    {
        _options = options;
        _ownAddress = address;
        _filterAddress = address;
        _waiting = [.. Enumerable.Range(0, options.QueuePairs).Select(static _ => new Queue<Frame>())];
        _dueAt = [.. Enumerable.Repeat(long.MaxValue, options.QueuePairs)];
        _chain = new(this);
        if (options.Link is { } link)
        {
            Plug(link);
        }
    }

    [Flags]
    private enum Feature : ulong
    {
        Checksum = 1 << 0,
        GuestChecksum = 1 << 1,
        Mtu = 1 << 3,
        Mac = 1 << 5,
        MergeableBuffers = 1 << 15,
        Status = 1 << 16,
        ControlQueue = 1 << 17,
        ControlReceive = 1 << 18,
        ControlVlan = 1 << 19,
        ControlReceiveExtra = 1 << 20,
        MultiQueue = 1 << 22,
        ControlMacAddress = 1 << 23,
    }

    /// <summary>How it is built.</summary>
    public VirtioNetOptions Options => _options;

    /// <summary>The address that it had when it was made.</summary>
    public ulong MacAddress => _ownAddress;

    /// <inheritdoc/>
    public string? PeerName => _options.PeerName;

    /// <summary>Whether somebody is at the other end of its cable.</summary>
    public bool IsLinkUp => Volatile.Read(ref _link) is { IsUp: true };

    /// <summary>What it did so far.</summary>
    internal NetworkCounts Counts => new(
        Volatile.Read(ref _sent), Volatile.Read(ref _received), Volatile.Read(ref _notSent), Volatile.Read(ref _notReceived), Volatile.Read(ref _filtered));

    /// <summary>Plugs a cable in, which it ends with itself.</summary>
    /// <exception cref="InvalidOperationException">It has one, or the cable is in another device.</exception>
    public void Plug(NetworkLink link)
    {
        ArgumentNullException.ThrowIfNull(link);
        if (Interlocked.CompareExchange(ref _link, link, null) is not null)
        {
            throw new InvalidOperationException("The device has a cable already.");
        }

        link.PlugInto(this);
        ((INetworkPort)this).OnLinkChanged();
    }

    /// <inheritdoc/>
    public string? Join(PciDevice other)
    {
        if (other is not VirtioNet peer)
        {
            return "that device has no network";
        }

        if (ReferenceEquals(peer, this))
        {
            return "that is the device itself";
        }

        if (IsLinkUp && ReferenceEquals(_peer, other))
        {
            return null;
        }

        if (!IsFree || !peer.IsFree)
        {
            return $"{(IsFree ? "that" : "this")} device has a cable already";
        }

        // A cable whose other end is gone gives way.
        (_link, peer._link) = (null, null);
        (PeerLink first, PeerLink second) = PeerLink.Connect(this, peer);
        (_peer, peer._peer) = (peer, this);
        Plug(first);
        peer.Plug(second);
        return null;
    }

    /// <inheritdoc/>
    void INetworkPort.OnLinkChanged()
    {
        using (Registers.Acquire())
        {
            byte status = IsLinkUp ? LinkUp : (byte)0;
            if (Configuration[StatusAt] == status)
            {
                return;
            }

            Configuration[StatusAt] = status;
            if (Has(Feature.Status))
            {
                ChangeConfiguration();
            }
        }

        Run();
    }

    /// <inheritdoc/>
    private protected override bool AreConsistent(ulong features)
    {
        // Section 5.1.3.1: what is told by the control queue needs it.
        const Feature ByQueue = Feature.ControlReceive | Feature.ControlVlan | Feature.ControlReceiveExtra | Feature.MultiQueue | Feature.ControlMacAddress;
        return ((Feature)features & ByQueue) == 0 || ((Feature)features).HasFlag(Feature.ControlQueue);
    }

    /// <inheritdoc/>
    private protected override void ResetKind()
    {
        WriteAddress(Configuration, _ownAddress);
        ResetFilters();
        Forget();
    }

    /// <inheritdoc/>
    private protected override void End()
    {
        _link?.Dispose();
        Forget();
    }

    /// <inheritdoc/>
    private protected override bool Serve(VirtioQueue queue) =>
        Has(Feature.ControlQueue) && queue.Index == (Has(Feature.MultiQueue) ? 2 * _options.QueuePairs : 2) ? ServeControl(queue)
        : queue.Index >= 2 * _options.QueuePairs ? false
        : queue.Index % 2 == 0 ? ServeReceive(queue)
        : ServeTransmit(queue);

    private bool IsFree => _link is null or PeerLink { IsUp: false };

    private bool Has(Feature feature) => (Features & (ulong)feature) != 0;

    private static int CountQueues(VirtioNetOptions options)
    {
        if (options.QueuePairs is < 1 or > 1024)
        {
            throw DeviceSettings.Bad("queues", $"{options.QueuePairs}", "1 to 1024 pairs are possible");
        }

        if (options.QueuePairs > 1 && !options.ControlQueue)
        {
            throw DeviceSettings.Bad("queues", $"{options.QueuePairs}", "several pairs need the control queue");
        }

        if (options.Mtu != 0 && options.Mtu is < 68 or > 65535)
        {
            throw DeviceSettings.Bad("mtu", $"{options.Mtu}", "68 to 65535 are possible");
        }

        if (options.Link is not null && options.PeerName is not null)
        {
            throw DeviceSettings.Bad("peer", options.PeerName, "a device has one cable");
        }

        options.Check();
        return (2 * options.QueuePairs) + (options.ControlQueue ? 1 : 0);
    }

    private static ulong AddressOf(VirtioNetOptions options)
    {
        // Locally administered addresses as QEMU gives them.
        ulong address = options.MacAddress ?? (0x5254_00ul << 24) | (uint)RandomNumberGenerator.GetInt32(1 << 24);
        return address < 1ul << 48 && (address >> 40 & 1) == 0
            ? address
            : throw DeviceSettings.Bad("mac", $"0x{address:x}", "an address of 48 bits that is no multicast is expected");
    }

    private static Feature OfferedBy(VirtioNetOptions options) =>
        Feature.Mac
        | Feature.Status
        | (options.Mtu > 0 ? Feature.Mtu : 0)
        | (options.Checksums ? Feature.Checksum | Feature.GuestChecksum : 0)
        | (options.MergeableBuffers ? Feature.MergeableBuffers : 0)
        | (options.ControlQueue
            ? Feature.ControlQueue | Feature.ControlReceive | Feature.ControlReceiveExtra | Feature.ControlVlan | Feature.ControlMacAddress
            : 0)
        | (options.QueuePairs > 1 ? Feature.MultiQueue : 0);

    // Section 5.1.4.
    private static byte[] Describe(VirtioNetOptions options, ulong address)
    {
        byte[] all = new byte[ConfigurationSize];
        WriteAddress(all, address);
        BinaryPrimitives.WriteUInt16LittleEndian(all.AsSpan(8), (ushort)options.QueuePairs);
        BinaryPrimitives.WriteUInt16LittleEndian(all.AsSpan(10), (ushort)options.Mtu);
        return all;
    }

    private static void WriteAddress(Span<byte> destination, ulong address)
    {
        BinaryPrimitives.WriteUInt16BigEndian(destination, (ushort)(address >> 32));
        BinaryPrimitives.WriteUInt32BigEndian(destination[2..], (uint)address);
    }

    private static ulong ReadAddress(ReadOnlySpan<byte> source) =>
        ((ulong)BinaryPrimitives.ReadUInt16BigEndian(source) << 32) | BinaryPrimitives.ReadUInt32BigEndian(source[2..]);
}
