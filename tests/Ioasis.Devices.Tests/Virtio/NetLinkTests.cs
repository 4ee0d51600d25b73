using System.Net.Sockets;
using Ioasis.Devices.Network;
using Ioasis.Devices.Virtio;

namespace Ioasis.Devices.Tests.Virtio;

/// <summary>Cables of a network device that lead out of the process: UNIX sockets with QEMU's framing, and interfaces of the machine.</summary>
public sealed class NetLinkTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("ioasis-net-").FullName;

    private readonly List<int> _lengths = [];

    private string PathOf(string name) => Path.Combine(_folder, name);

    public void Dispose() => Directory.Delete(_folder, true);

    private static VirtioNet Make(string text)
    {
        DeviceKinds.CreateDefault().TryCreate(text, out PciDevice? device, out _).ShouldBeNull();
        return device.ShouldBeOfType<VirtioNet>();
    }

    private static void Exchange(NetDriver first, NetDriver second)
    {
        for (int round = 0; round < 50; round++)
        {
            foreach ((NetDriver from, NetDriver to) in new[] { (first, second), (second, first) })
            {
                to.Post(1);
                byte[] frame = NetDriver.Frame(NetDriver.Broadcast, 60 + (29 * round), (byte)round);
                from.Send(frame);
                List<(byte[] Header, byte[] Frame)> came = [];
                DeviceHost.WaitFor(() =>
                {
                    came.AddRange(to.Take());
                    return came.Count > 0;
                });
                came.ShouldHaveSingleItem().Frame.ShouldBe(frame);
            }
        }
    }

    [Fact]
    public void Two_devices_with_datagrams_between_them()
    {
        using NetDriver first = new(Make($"virtio-net,dgram={PathOf("a")},remote={PathOf("b")}"));
        first.Send(NetDriver.Frame(NetDriver.Broadcast));
        first.Device.Counts.NotSent.ShouldBe(1, "nobody is there yet");
        using (NetDriver second = new(Make($"virtio-net,dgram={PathOf("b")},remote={PathOf("a")}")))
        {
            Exchange(first, second);
        }

        File.Exists(PathOf("b")).ShouldBeFalse();
    }

    [Fact]
    public void Two_devices_with_a_connection_between_them_which_comes_back()
    {
        using NetDriver first = new(Make($"virtio-net,stream={PathOf("s")}"), NetDriver.Status);
        first.Device.IsLinkUp.ShouldBeFalse();
        for (int round = 0; round < 2; round++)
        {
            using (NetDriver second = new(Make($"virtio-net,stream-server={PathOf("s")}")))
            {
                DeviceHost.WaitFor(() => first.Device.IsLinkUp && second.Device.IsLinkUp);
                first.Host.Read(VirtioRegisters.DeviceConfiguration + 6, 2).ShouldBe(1u);
                Exchange(first, second);
            }

            DeviceHost.WaitFor(() => !first.Device.IsLinkUp);
        }
    }

    [Fact]
    public void Frames_of_a_stream_are_behind_their_length_and_a_length_that_cannot_be_ends_it()
    {
        using NetDriver driver = new(Make($"virtio-net,stream-server={PathOf("s")}"));
        driver.Post(2);
        using (Socket socket = Connect())
        {
            DeviceHost.WaitFor(() => driver.Device.IsLinkUp);
            byte[] frame = NetDriver.Frame(NetDriver.Broadcast, 300);
            driver.Send(frame);
            byte[] bytes = new byte[304];
            for (int at = 0; at < bytes.Length;)
            {
                at += socket.Receive(bytes.AsSpan(at));
            }

            bytes[..4].ShouldBe([0, 0, 1, 44]);
            bytes[4..].ShouldBe(frame);

            // In pieces that do not end where frames end.
            byte[] both = [.. bytes, 0, 0, 0, 64, .. NetDriver.Frame(NetDriver.Broadcast)];
            foreach (byte[] part in both.Chunk(7))
            {
                socket.Send(part).ShouldBe(part.Length);
            }

            List<(byte[] Header, byte[] Frame)> came = [];
            DeviceHost.WaitFor(() =>
            {
                came.AddRange(driver.Take());
                return came.Count == 2;
            });
            came.Select(static item => item.Frame.Length).ShouldBe([300, 64]);
            socket.Send([0xff, 0, 0, 0]).ShouldBe(4);
            socket.Receive(bytes).ShouldBe(0, "the device hangs up");
        }

        // Another may come.
        DeviceHost.WaitFor(() => !driver.Device.IsLinkUp);
        using Socket again = Connect();
        DeviceHost.WaitFor(() => driver.Device.IsLinkUp);

        Socket Connect()
        {
            Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            socket.Connect(new UnixDomainSocketEndPoint(PathOf("s")));
            return socket;
        }
    }

    [Fact]
    public void What_comes_faster_than_the_driver_takes_it_waits_in_the_socket()
    {
        using NetDriver first = new(Make($"virtio-net,stream={PathOf("s")}"));
        using NetDriver second = new(Make($"virtio-net,stream-server={PathOf("s")}"));
        DeviceHost.WaitFor(() => first.Device.IsLinkUp && second.Device.IsLinkUp);
        const int Frames = 1500;
        second.Post(16, 512);
        for (int i = 0; i < Frames; i++)
        {
            long sent = first.Device.Counts.Sent;
            DeviceHost.WaitFor(() =>
            {
                first.Send(NetDriver.Frame(NetDriver.Broadcast, 60 + (i % 200)));
                return first.Device.Counts.Sent > sent || Drain();
            });
        }

        DeviceHost.WaitFor(() =>
        {
            _ = Drain();
            return _lengths.Count >= Frames;
        });
        _lengths.ShouldBe(Enumerable.Range(0, Frames).Select(static i => 60 + (i % 200)));

        bool Drain()
        {
            _lengths.AddRange(second.TakeAndPost(512).Select(static frame => frame.Length));
            return false;
        }
    }

    [Theory]
    [InlineData("virtio-net,dgram=/does/not/exist/a,remote=b", "/does/not/exist/a")]
    [InlineData("virtio-net,dgram=a", "remote=PATH")]
    [InlineData("virtio-net,remote=a", "dgram=PATH")]
    [InlineData("virtio-net,stream=", "no path")]
    [InlineData("virtio-net,stream=a,peer=b", "one cable")]
    [InlineData("virtio-net,packet=there-is-none", "no interface there-is-none|packet socket cannot be had|Linux only")]
    [InlineData("virtio-net,tap=a-name-that-is-too-long", "1 to 15 characters|Linux only")]
    public void A_cable_that_cannot_be_had_is_refused_with_its_reason(string text, string words)
    {
        string error = DeviceKinds.CreateDefault().TryCreate(text, out PciDevice? device, out _).ShouldNotBeNull();
        device.ShouldBeNull();
        words.Split('|').Any(error.Contains).ShouldBeTrue(error);
    }

    [Fact]
    public void A_TAP_interface_is_had_or_refused_in_words()
    {
        // What the kernel allows differs; frames need an interface that is up, which is its owner's to say.
        string name = $"ioasis{Environment.ProcessId % 100000}";
        if (DeviceKinds.CreateDefault().TryCreate($"virtio-net,tap={name}", out PciDevice? device, out _) is { } refused)
        {
            refused.ShouldContain("cannot be");
            return;
        }

        using NetDriver driver = new(device.ShouldBeOfType<VirtioNet>());
        driver.Device.IsLinkUp.ShouldBeTrue();
        driver.Send(NetDriver.Frame(NetDriver.Broadcast));
        (driver.Device.Counts.Sent + driver.Device.Counts.NotSent).ShouldBe(1);
    }
}
