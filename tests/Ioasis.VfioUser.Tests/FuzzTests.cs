using System.Net.Sockets;
using System.Runtime.InteropServices;
using Ioasis.Devices;
using Ioasis.Primitives;
using Ioasis.RiscV.Hardware;
using Ioasis.Uapi;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser.Tests;

/// <summary>
/// Messages that are almost right, to functions of all kinds: whatever comes, the next client is served, and what came with messages is closed. Ten million of
/// them with IOASIS_TEST_ALL=1.
/// </summary>
public sealed class FuzzTests
{
    private const int Burst = 32;

    private static int Messages =>
        string.Equals(Environment.GetEnvironmentVariable("IOASIS_TEST_ALL"), "1", StringComparison.Ordinal) ? 2_500_000 : 3_000;

    [Theory]
    [InlineData("probe", 1)]
    [InlineData("nvme,size=1M", 2)]
    [InlineData("virtio-blk,size=1M", 3)]
    [InlineData("riscv-iommu,caching=hostile", 4)]
    [InlineData("virtio-net", 5)]
    public void Whatever_a_client_sends_the_next_one_is_served(string kind, int seed)
    {
        using Served served = new(Create(kind));
        string name = $"fuzz-{Guid.NewGuid():N}";
        using (SharedMemory memory = new(1 << 20, name))
        using (SafeFileHandle counter = SocketCalls.CreateEvent())
        {
            MutatingClient client = new(served.PathOf(0), seed, [memory.File, counter]);
            for (int sent = 0; sent < Messages; sent += Burst)
            {
                client.SendBurst(Burst);
            }

            client.Close();
        }

        using (TestClient next = served.Connect())
        {
            next.Read(TestClient.Config, 0, 2).ShouldNotBe(0xfffful);
        }

        served.Log.Lines.ShouldNotContain(static line => line.Contains("the model failed", StringComparison.Ordinal));
        Served.Await(() => !served.Machine.Functions[0].IsConnected);
        File.ReadLines("/proc/self/maps").ShouldNotContain(line => line.Contains(name, StringComparison.Ordinal));
        Directory.GetFiles("/proc/self/fd").Select(static path => new FileInfo(path).LinkTarget)
            .ShouldNotContain(target => target != null && target.Contains(name, StringComparison.Ordinal));
    }

    private static PciDevice Create(string text)
    {
        if (string.Equals(text, "probe", StringComparison.Ordinal))
        {
            ProbeDevice probe = new();
            byte[] data = new byte[5000];
            probe.OnWrite = (offset, value) =>
            {
                // Wherever the client says; a part of it is memory by message.
                _ = probe.DmaRead(value & 0x1f_ffff, data.AsSpan(0, (int)((value + offset) % 5000)));
                _ = probe.DmaWrite(value & 0x1f_ffff, data.AsSpan(0, (int)(value % 700)));
                _ = probe.Interrupt((int)(value % 8));
            };
            return probe;
        }

        DeviceKinds kinds = DeviceKinds.CreateDefault();
        kinds.Add(RiscVIommuFunction.Kind);
        kinds.TryCreate(text, out PciDevice? device, out _).ShouldBeNull();
        return device!;
    }

    /// <summary>Sends mutations of what a client says, and reads what comes back.</summary>
    private sealed class MutatingClient(string path, int seed, SafeHandle[] descriptors)
    {
        private const ushort MarkerId = 0xfffe;

        private readonly Random _random = new(seed);
        private readonly byte[] _buffer = new byte[1 << 21];
        private Socket? _socket;

        public void SendBurst(int count)
        {
            if (_socket is null)
            {
                _socket = UnixSockets.Connect(path);
                if (_random.Next(8) != 0)
                {
                    Send(VfioUserCommand.Version, [0, 0, 1, 0, .. "{}\0"u8], false);
                }
            }

            for (int i = 0; i < count && _socket is not null; i++)
            {
                (VfioUserCommand command, byte[] payload) = Seed();
                Send(command, payload, _random.Next(4) != 0);
            }

            if (_socket is not null && SendAll(Frame(MarkerId, VfioUserCommand.DeviceGetInfo, MessageFlags.None, new byte[16]), []))
            {
                AwaitMarker();
            }
        }

        public void Close()
        {
            _socket?.Dispose();
            _socket = null;
        }

        private static byte[] Frame(ushort id, VfioUserCommand command, MessageFlags flags, byte[] payload)
        {
            byte[] bytes = new byte[MessageHeader.Bytes + payload.Length];
            new MessageHeader(id, command, (uint)bytes.Length, flags, 0).CopyTo(bytes);
            payload.CopyTo(bytes, MessageHeader.Bytes);
            return bytes;
        }

        private static byte[] Words(params ReadOnlySpan<uint> words) => MemoryMarshal.AsBytes(words).ToArray();

        // One of the things that clients say.
        private (VfioUserCommand Command, byte[] Payload) Seed()
        {
            uint page = (uint)_random.Next(512) * 4096;
            uint region = (uint)_random.Next(8);
            return _random.Next(12) switch
            {
                0 => (VfioUserCommand.DmaMap, Words(32, 3, page, 0, page, 0, (uint)_random.Next(1, 8) * 4096, 0)),
                1 => (VfioUserCommand.DmaUnmap, Words(1024, (uint)_random.Next(3), page, 0, 4096, 0, 4096, 0, 8, 0)),
                2 => (VfioUserCommand.DeviceGetRegionInfo, Words(4096, 0, region, 0, 0, 0, 0, 0)),
                3 => (VfioUserCommand.DeviceGetIrqInfo, Words(16, 0, region, 0)),
                4 => (VfioUserCommand.DeviceSetIrqs, Words(24, _random.Next(2) == 0 ? 0x24u : 0x21u, (uint)_random.Next(5), 0, (uint)_random.Next(3), 1)),
                5 => (VfioUserCommand.RegionRead, Words((uint)_random.Next(0x2000), 0, region, 4)),
                6 or 7 => (VfioUserCommand.RegionWrite, Words((uint)_random.Next(0x500) * 4, 0, region, 4, (uint)_random.Next())),
                8 => (VfioUserCommand.RegionWrite, Words(4, 0, 7, 4, 0x506)),
                9 => (VfioUserCommand.RegionWriteMulti, Words(2, 0, 0x10, 0, region, 4, 7, 0, 0x14, 0, region, 2, 9, 0)),
                10 => (VfioUserCommand.DeviceFeature, Words(4096, (uint)_random.Next(10) | (uint)(1 << _random.Next(16, 19)), 0, 0, 4096, 0, 4096, 0)),
                _ => ((VfioUserCommand)_random.Next(1, 20), Words(4096, (uint)_random.Next(8), 4096, 0, 4096, 0, 4096, 0, 4096, 0)),
            };
        }

        private void Send(VfioUserCommand command, byte[] payload, bool mutate)
        {
            MessageFlags flags = _random.Next(3) == 0 ? MessageFlags.NoReply : MessageFlags.None;
            byte[] bytes = Frame((ushort)_random.Next(1, 0x8000), command, flags, payload);
            if (mutate)
            {
                switch (_random.Next(12))
                {
                    case 0:
                        // Shorter or longer than it should be, and says so.
                        int length = _random.Next(MessageHeader.Bytes, bytes.Length + 64);
                        Array.Resize(ref bytes, length);
                        BitConverter.TryWriteBytes(bytes.AsSpan(4), (uint)length);
                        break;
                    case 1 when _random.Next(200) == 0:
                        // A lie: what follows is no header.
                        BitConverter.TryWriteBytes(bytes.AsSpan(4), (uint)_random.Next());
                        break;
                    case 2 when _random.Next(10) == 0:
                        bytes[8] = (byte)_random.Next(256);
                        break;
                    default:
                        for (int i = _random.Next(1, 5); i > 0 && bytes.Length > MessageHeader.Bytes; i--)
                        {
                            int at = _random.Next(MessageHeader.Bytes, bytes.Length);
                            bytes[at] = (byte)(_random.Next(3) == 0 ? _random.Next(256) : bytes[at] ^ (1 << _random.Next(8)));
                        }

                        break;
                }
            }

            SafeHandle[] beside = [.. Enumerable.Range(0, _random.Next(4)).Select(_ => descriptors[_random.Next(descriptors.Length)])];
            _ = SendAll(bytes, beside);
        }

        private bool SendAll(ReadOnlySpan<byte> bytes, SafeHandle[] beside)
        {
            int[] numbers = [.. beside.Select(static handle => (int)handle.DangerousGetHandle())];
            while (!bytes.IsEmpty)
            {
                Drain(false);
                int sent = _socket is null ? -1 : SocketCalls.Send(_socket.SafeHandle, bytes, [], numbers);
                if (sent <= 0)
                {
                    Close();
                    return false;
                }

                bytes = bytes[sent..];
                numbers = [];
            }

            return true;
        }

        // Until the marker's answer: the server has seen everything before it. Or the end of the connection.
        private void AwaitMarker()
        {
            while (_socket is not null && !Drain(true))
            {
            }
        }

        // Reads a message if there is one, or waits for it. Whether it answers the marker.
        private bool Drain(bool wait)
        {
            if (_socket is not { } socket || (!wait && !SocketCalls.WaitToRead(socket.SafeHandle, 0)))
            {
                return false;
            }

            // A lie about lengths leaves the server waiting for the rest: that is this client's to end.
            if (wait && !SocketCalls.WaitToRead(socket.SafeHandle, 200))
            {
                Close();
                return true;
            }

            if (!Fill(socket, 0, MessageHeader.Bytes))
            {
                return true;
            }

            MessageHeader header = MessageHeader.From(_buffer);
            int rest = (int)header.Size - MessageHeader.Bytes;
            rest.ShouldBeInRange(0, _buffer.Length - MessageHeader.Bytes);
            if (!Fill(socket, MessageHeader.Bytes, rest))
            {
                return true;
            }

            if (!header.IsReply)
            {
                Answer(header);
            }

            return header.IsReply && header.Id == MarkerId;
        }

        // The device wants memory: what it asks, an error, or nonsense.
        private void Answer(in MessageHeader header)
        {
            header.Command.ShouldBeOneOf(VfioUserCommand.DmaRead, VfioUserCommand.DmaWrite);
            DmaAccessStructure access = MemoryMarshal.Read<DmaAccessStructure>(_buffer.AsSpan(MessageHeader.Bytes));
            byte[] data = header.Command == VfioUserCommand.DmaRead ? new byte[access.Count] : [];
            int kind = _random.Next(200);
            byte[] payload = [.. _buffer.AsSpan(MessageHeader.Bytes, DmaAccessStructure.Bytes), .. data];
            _ = SendAll(
                kind == 0 ? Frame(header.Id, header.Command, MessageFlags.Reply, payload[..^1])
                : kind < 20 ? Frame(header.Id, header.Command, MessageFlags.Reply | MessageFlags.Error, [])
                : Frame(header.Id, header.Command, MessageFlags.Reply, payload),
                []);
        }

        private bool Fill(Socket socket, int at, int count)
        {
            List<SafeFileHandle> beside = [];
            while (count > 0)
            {
                int read = SocketCalls.Receive(socket.SafeHandle, _buffer.AsSpan(at, count), beside, out _);
                beside.ForEach(static handle => handle.Dispose());
                beside.Clear();
                if (read <= 0)
                {
                    Close();
                    return false;
                }

                at += read;
                count -= read;
            }

            return true;
        }
    }
}
