using System.Globalization;
using Ioasis.Devices.Network;

namespace Ioasis.Devices.Virtio;

/// <summary>virtio-net by a line of text: <c>virtio-net,name=a,peer=b</c>.</summary>
internal static class VirtioNetKind
{
    /// <summary>The kind.</summary>
    public static DeviceKind Kind { get; } = new(
        "virtio-net",
        "a virtio 1.3 network device",
        [
            new("peer", "name or address of another virtio-net of the machine, to which it is joined"),
            new("dgram", "path of a UNIX socket to receive frames as datagrams, as QEMU's -netdev dgram; with remote"),
            new("remote", "path of the other's socket, to which datagrams go"),
            new("stream", "path of a UNIX socket to connect to, as QEMU's -netdev stream"),
            new("stream-server", "path of a UNIX socket to listen on, as QEMU's -netdev stream,server=on"),
            new("tap", "name of a TAP interface of this machine"),
            new("packet", "name of an interface of this machine, for a packet socket"),
            new("mac", "its address, six pairs of hexadecimal digits with : between them; 52:54:00 and chance as is"),
            new("mtu", "most bytes of a packet that the driver is told, 68 to 65535; not told as is"),
            new("queues", "pairs of queues, 1 to 1024; 1 as is"),
            new("checksums", "on or off: it computes checksums for the driver; on as is"),
            new("mergeable", "on or off: a frame may be spread over receive buffers; on as is"),
            new("control", "on or off: it has a control queue; on as is"),
            .. VirtioOptions.Keys,
            .. VirtioMisbehaviourText.NetworkKeys,
        ],
        Create);

    private static readonly string[] s_cables = ["peer", "dgram", "stream", "stream-server", "tap", "packet"];

    private static VirtioNet Create(DeviceSettings settings)
    {
        VirtioNetOptions options = VirtioOptions.Read(settings, new VirtioNetOptions
        {
            PeerName = settings.Text("peer"),
            MacAddress = settings.Text("mac") is { } text ? ParseAddress(text) : null,
            Mtu = (int)settings.Number("mtu", 0, 68, 65535),
            QueuePairs = (int)settings.Number("queues", 1, 1, 1024),
            Checksums = settings.Switch("checksums", true),
            MergeableBuffers = settings.Switch("mergeable", true),
            ControlQueue = settings.Switch("control", true),
            Misbehaviour = VirtioMisbehaviourText.ReadNetwork(settings),
        });
        string[] cables = [.. s_cables.Where(settings.Has)];
        if (cables.Length > 1)
        {
            throw DeviceSettings.Bad(cables[1], settings.Text(cables[1])!, $"a device has one cable, and {cables[0]} is said");
        }

        NetworkLink? link = OpenLink(settings);
        try
        {
            return new(options with { Link = link });
        }
        catch
        {
            link?.Dispose();
            throw;
        }
    }

    private static NetworkLink? OpenLink(DeviceSettings settings) =>
        settings.Text("dgram") is { } local
            ? SocketLink.OpenDatagram(local, settings.Text("remote") ?? throw DeviceSettings.Bad("dgram", local, "remote=PATH says where frames go"))
        : settings.Text("remote") is { } remote ? throw DeviceSettings.Bad("remote", remote, "dgram=PATH says where frames come from")
        : settings.Text("stream") is { } path ? SocketLink.Connect(path)
        : settings.Text("stream-server") is { } own ? SocketLink.Listen(own)
        : settings.Text("tap") is { } tap ? InterfaceLink.OpenTap(tap)
        : settings.Text("packet") is { } name ? InterfaceLink.OpenPacket(name)
        : null;

    private static ulong ParseAddress(string text)
    {
        string[] parts = text.Split(':');
        ulong address = 0;
        foreach (string part in parts)
        {
            if (parts.Length != 6 || part.Length != 2 || !byte.TryParse(part, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out byte value))
            {
                throw DeviceSettings.Bad("mac", text, "six pairs of hexadecimal digits are expected, as 52:54:00:12:34:56");
            }

            address = (address << 8) | value;
        }

        return address;
    }
}
