using System.Net.Sockets;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser.Tests;

/// <summary>Clients come and go, and some end badly: it costs their connection and nothing else.</summary>
public sealed class ConnectionTests : IDisposable
{
    private readonly ProbeDevice _device = new();
    private readonly Served _served;

    public ConnectionTests() => _served = new(_device);

    public void Dispose() => _served.Dispose();

    [Fact]
    public void The_next_client_finds_the_device_as_new()
    {
        using SharedMemory memory = new(4096);
        using (TestClient first = _served.Connect())
        {
            first.Enable();
            first.Write(0, 0x10, 4, 7);
            first.Map(0, 4096, memory).ShouldBe(Errno.Success);
            _device.DmaWrite(0, new byte[4]).ShouldBe(DmaStatus.Success);
        }

        using TestClient second = _served.Connect();
        _device.DmaWrite(0, new byte[4]).ShouldBe(DmaStatus.UnsupportedRequest);
        second.Enable();
        second.Read(0, 0x10, 4).ShouldBe(0ul);
        _device.DmaWrite(0, new byte[4]).ShouldBe(DmaStatus.UnsupportedRequest);
    }

    [Fact]
    public void A_second_client_waits_for_the_first_to_go()
    {
        TestClient first = _served.Connect();
        using Socket second = UnixSockets.Connect(_served.PathOf(0));
        first.Read(TestClient.Config, 0, 2).ShouldBe(0x1234ul);
        first.Dispose();
        using MessagePeer peer = new(new(second));
        peer.Call(VfioUserCommand.Version, [0, 0, 0, 0], [], out Message? reply).ShouldBe(Errno.Success);
        reply!.Dispose();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(16)]
    [InlineData(30)]
    public void A_client_that_dies_in_the_middle_of_a_message_is_forgotten(int bytes)
    {
        byte[] message = new byte[48];
        new MessageHeader(1, VfioUserCommand.RegionRead, 48, MessageFlags.None, 0).CopyTo(message);
        using (Socket socket = UnixSockets.Connect(_served.PathOf(0)))
        {
            socket.Send(message.AsSpan(0, bytes)).ShouldBe(bytes);
        }

        using TestClient next = _served.Connect();
        next.Read(TestClient.Config, 0, 2).ShouldBe(0x1234ul);
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(15u)]
    [InlineData(uint.MaxValue)]
    public void A_length_that_cannot_be_is_answered_and_ends_the_connection(uint size)
    {
        using (TestClient agreed = _served.Connect())
        {
            agreed.Read(TestClient.Config, 0, 2).ShouldBe(0x1234ul);
        }

        using (Socket socket = UnixSockets.Connect(_served.PathOf(0)))
        {
            byte[] bytes = new byte[MessageHeader.Bytes];
            new MessageHeader(9, VfioUserCommand.Version, size, MessageFlags.None, 0).CopyTo(bytes);
            socket.Send(bytes).ShouldBe(bytes.Length);
            socket.Receive(bytes).ShouldBe(bytes.Length);
            MessageHeader.From(bytes).ShouldBe(new(9, VfioUserCommand.Version, 16, MessageFlags.Reply | MessageFlags.Error, (uint)Errno.InvalidArgument));
            socket.Receive(bytes).ShouldBe(0);
        }

        Served.Await(() => _served.Log.Lines.Any(static line => line.Contains("cut off", StringComparison.Ordinal)));
        using TestClient next = _served.Connect();
        next.Read(TestClient.Config, 0, 2).ShouldBe(0x1234ul);
    }

    [Fact]
    public void A_client_that_answers_nonsense_to_the_device_is_cut_off()
    {
        using Socket socket = UnixSockets.Connect(_served.PathOf(0));
        using MessagePeer peer = new(new(socket));
        ShowMemory(peer);

        DmaStatus status = DmaStatus.Success;
        Thread device = new(() => status = _device.DmaRead(0x10, new byte[8]));
        device.Start();
        using (Message request = peer.TakeRequest().ShouldNotBeNull())
        {
            request.Header.Command.ShouldBe(VfioUserCommand.DmaRead);
            peer.Send(new(request.Header.Id, request.Header.Command, 0, MessageFlags.Reply, 0), request.Payload, [1, 2, 3]);
        }

        device.Join();
        status.ShouldBe(DmaStatus.UnsupportedRequest);
        Served.Await(() => _served.Log.Lines.Any(static line => line.Contains("with another access", StringComparison.Ordinal)));
        using TestClient next = _served.Connect();
        next.Read(TestClient.Config, 0, 2).ShouldBe(0x1234ul);
    }

    [Fact]
    public void A_client_that_dies_while_the_device_waits_for_it_fails_the_access()
    {
        DmaStatus status = DmaStatus.Success;
        Thread device = new(() => status = _device.DmaRead(0x10, new byte[8]));
        using (Socket socket = UnixSockets.Connect(_served.PathOf(0)))
        using (MessagePeer peer = new(new(socket)))
        {
            ShowMemory(peer);
            device.Start();
            peer.TakeRequest().ShouldNotBeNull().Dispose();
        }

        device.Join();
        status.ShouldBe(DmaStatus.UnsupportedRequest);
    }

    [Fact]
    public void Descriptors_and_mappings_of_clients_that_have_gone_are_gone()
    {
        string name = $"vfu-{Guid.NewGuid():N}";
        for (int i = 0; i < 20; i++)
        {
            using SharedMemory memory = new(1 << 16, name);
            using TestClient client = _served.Connect();
            client.Map(0, 1 << 16, memory).ShouldBe(Errno.Success);
            client.Map(1 << 16, 1 << 16, memory).ShouldBe(Errno.Success);
            client.Map(1 << 16, 1 << 16, memory).ShouldBe(Errno.Exists);
        }

        Served.Await(() => !_served.Machine.Functions[0].IsConnected);
        File.ReadLines("/proc/self/maps").ShouldNotContain(line => line.Contains(name, StringComparison.Ordinal));
        Directory.GetFiles("/proc/self/fd").Select(static path => new FileInfo(path).LinkTarget)
            .ShouldNotContain(target => target != null && target.Contains(name, StringComparison.Ordinal));
    }

    [Fact]
    public void A_machine_that_ends_cuts_its_clients_off_and_takes_its_sockets_away()
    {
        Served served = new(new ProbeDevice());
        string path = served.PathOf(0);
        using TestClient client = served.Connect();
        served.Dispose();
        client.TryRead(TestClient.Config, 0, 2, out _).ShouldBe(Errno.BrokenPipe);
        File.Exists(path).ShouldBeFalse();
    }

    [Fact]
    public void A_socket_that_a_dead_server_left_is_replaced_and_nothing_else_is()
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory("ioasis");
        try
        {
            string stale = Path.Combine(folder.FullName, "stale.sock");
            using (Socket dead = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
            {
                dead.Bind(new UnixDomainSocketEndPoint(stale));
            }

            if (!File.Exists(stale))
            {
                // The runtime takes its own sockets away: one that stays is made by listening in another process; here an empty file must stay.
                File.WriteAllText(stale, string.Empty);
                Should.Throw<IOException>(() => UnixSockets.Listen(stale));
                File.Exists(stale).ShouldBeTrue();
                File.Delete(stale);
            }

            using Socket listener = UnixSockets.Listen(stale);
            Should.Throw<IOException>(() => UnixSockets.Listen(stale)).Message.ShouldContain("somebody listens");
            Should.Throw<IOException>(() => UnixSockets.Listen(Path.Combine(folder.FullName, new string('x', 200)))).Message.ShouldContain("107");
            Should.Throw<IOException>(() => UnixSockets.Listen(Path.Combine(folder.FullName, "no", "where")));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public void A_model_that_fails_costs_its_client_only()
    {
        using (TestClient client = _served.Connect())
        {
            client.Enable();
            _device.OnWrite = static (_, _) => throw new InvalidOperationException("a mistake of the model");
            client.TryWrite(0, 0, new byte[4]).ShouldBe(Errno.BrokenPipe);
        }

        Served.Await(() => _served.Log.Lines.Any(static line => line.Contains("a mistake of the model", StringComparison.Ordinal)));
        _device.OnWrite = null;
        using TestClient next = _served.Connect();
        next.Read(TestClient.Config, 0, 2).ShouldBe(0x1234ul);
    }

    // What a client says before its device can do DMA to a page that is reached by messages.
    private static void ShowMemory(MessagePeer peer)
    {
        DmaMapStructure map = new(32, DmaMapFlags.All, 0, 0, 4096);
        Say(peer, VfioUserCommand.Version, [0, 0, 0, 0], []);
        Say(peer, VfioUserCommand.RegionWrite, [4, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 0], [6, 0]);
        Say(peer, VfioUserCommand.DmaMap, System.Runtime.InteropServices.MemoryMarshal.AsBytes(new ReadOnlySpan<DmaMapStructure>(in map)), []);
    }

    private static void Say(MessagePeer peer, VfioUserCommand command, ReadOnlySpan<byte> head, ReadOnlySpan<byte> data)
    {
        peer.Call(command, head, data, out Message? reply).ShouldBe(Errno.Success);
        reply!.Dispose();
    }
}
