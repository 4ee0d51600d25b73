using System.Buffers.Binary;
using Ioasis.Devices.Virtio;
using Ioasis.Platform;

namespace Ioasis.Devices.Tests.Virtio;

/// <summary>A driver of a virtio-net device with one pair of queues, or several, and the host that it is in.</summary>
internal sealed class NetDriver : IDisposable
{
    public const ulong Checksum = 1;
    public const ulong GuestChecksum = 1 << 1;
    public const ulong Mtu = 1 << 3;
    public const ulong Merge = 1 << 15;
    public const ulong Status = 1 << 16;
    public const ulong Control = 1 << 17;
    public const ulong ControlReceive = 1 << 18;
    public const ulong ControlVlan = 1 << 19;
    public const ulong ControlExtra = 1 << 20;
    public const ulong MultiQueue = 1 << 22;
    public const ulong ControlMac = 1 << 23;
    public const int HeaderSize = 12;
    public const ulong Broadcast = 0xffff_ffff_ffff;

    private readonly Dictionary<(int Queue, uint Id), ulong> _posted = [];
    private readonly List<DriverRing> _receive = [];
    private readonly List<DriverRing> _transmit = [];
    private readonly DriverRing? _control;
    private readonly ulong _sendAt;

    public NetDriver(VirtioNet device, ulong features = 0, bool packed = false, int pairs = 1, int size = 16, IDmaPort? port = null)
    {
        Device = device;
        Host = new(device, port: port);
        Host.Negotiate(VirtioHost.Wanted | features | (packed ? (ulong)VirtioFeatures.PackedRing : 0)).ShouldBeTrue();
        for (int i = 0; i < pairs; i++)
        {
            _receive.Add(Host.EnableQueue(2 * i, size, packed));
            _transmit.Add(Host.EnableQueue((2 * i) + 1, size, packed));
        }

        if ((features & Control) != 0)
        {
            _control = Host.EnableQueue((features & MultiQueue) != 0 ? 2 * device.Options.QueuePairs : 2, size, packed);
        }

        _sendAt = Host.Memory.Allocate(0x1_1000);
        Host.Start();
    }

    public VirtioNet Device { get; }

    public VirtioHost Host { get; }

    public DriverRing Receiver => _receive[0];

    public DriverRing Transmitter => _transmit[0];

    public DriverRing Controller => _control!;

    public ulong SendAt => _sendAt;

    /// <summary>Two devices with a cable between them.</summary>
    public static (VirtioNet First, VirtioNet Second) MakePair(VirtioNetOptions? options = null, VirtioNetOptions? ofSecond = null)
    {
        VirtioNet first = new((options ?? new()) with { MacAddress = 0x5254_0000_0001 });
        VirtioNet second = new((ofSecond ?? options ?? new()) with { MacAddress = 0x5254_0000_0002 });
        first.Join(second).ShouldBeNull();
        return (first, second);
    }

    public static byte[] Frame(ulong destination, int length = 64, byte fill = 0x5a, ushort type = 0x88b5)
    {
        byte[] frame = new byte[length];
        frame.AsSpan().Fill(fill);
        BinaryPrimitives.WriteUInt16BigEndian(frame, (ushort)(destination >> 32));
        BinaryPrimitives.WriteUInt32BigEndian(frame.AsSpan(2), (uint)destination);
        frame.AsSpan(6, 6).Fill(2);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), type);
        return frame;
    }

    /// <summary>Makes buffers to receive available.</summary>
    public void Post(int count, int bytes = 2048, int queue = 0, bool indirect = false)
    {
        for (int i = 0; i < count; i++)
        {
            ulong address = Host.Memory.Allocate(bytes);
            Post(address, bytes, queue, indirect);
        }

        _receive[queue].Kick();
    }

    public void Post(ulong address, int bytes, int queue = 0, bool indirect = false)
    {
        Piece[] pieces = indirect && bytes > 40
            ? [new(address, 5, true), new(address + 5, 20, true), new(address + 25, (uint)bytes - 25, true)]
            : [new(address, (uint)bytes, true)];
        _posted[(queue, _receive[queue].Put(indirect, pieces))] = address;
    }

    /// <summary>Sends a frame; the device is done with it. Where its link has just come up, another thread may be at work on the queue.</summary>
    public void Send(ReadOnlySpan<byte> frame, int queue = 0, bool indirect = false, ReadOnlySpan<byte> header = default)
    {
        Put(frame, queue, indirect, header);
        _transmit[queue].Kick();
        List<UsedBuffer> used = [];
        DeviceHost.WaitFor(() =>
        {
            used.AddRange(_transmit[queue].Take());
            return used.Count > 0 || Device.DriverMistake is not null;
        });
        used.ShouldHaveSingleItem(Device.DriverMistake).Length.ShouldBe(0u);
    }

    public void Put(ReadOnlySpan<byte> frame, int queue = 0, bool indirect = false, ReadOnlySpan<byte> header = default)
    {
        Host.Memory[_sendAt, HeaderSize].Clear();
        header.CopyTo(Host.Memory[_sendAt, HeaderSize]);
        frame.CopyTo(Host.Memory[_sendAt + 4096, frame.Length]);
        Piece[] pieces = indirect
            ? [new(_sendAt, 3), new(_sendAt + 3, 9), new(_sendAt + 4096, 10), new(_sendAt + 4106, (uint)frame.Length - 10)]
            : [new(_sendAt, HeaderSize), new(_sendAt + 4096, (uint)frame.Length)];
        _ = _transmit[queue].Put(indirect, pieces);
    }

    /// <summary>The frames that have come, each with the header that the device wrote.</summary>
    public List<(byte[] Header, byte[] Frame)> Take(int queue = 0)
    {
        List<(byte[] Header, byte[] Frame)> all = [];
        Queue<UsedBuffer> used = new(_receive[queue].Take());
        while (used.TryDequeue(out UsedBuffer first))
        {
            Span<byte> bytes = Host.Memory[_posted[(queue, first.Id)], (int)first.Length];
            byte[] header = bytes[..HeaderSize].ToArray();
            List<byte> frame = [.. bytes[HeaderSize..]];
            for (int i = 1; i < BinaryPrimitives.ReadUInt16LittleEndian(header.AsSpan(10)); i++)
            {
                used.TryDequeue(out UsedBuffer next).ShouldBeTrue("a buffer of a merged frame is missing");
                frame.AddRange(Host.Memory[_posted[(queue, next.Id)], (int)next.Length]);
            }

            all.Add((header, [.. frame]));
        }

        return all;
    }

    /// <summary>The frames that have come, each in one buffer, which is posted again.</summary>
    public List<byte[]> TakeAndPost(int bytes)
    {
        List<byte[]> all = [];
        foreach (UsedBuffer used in Receiver.Take())
        {
            ulong address = _posted[(0, used.Id)];
            all.Add(Host.Memory[address, (int)used.Length][HeaderSize..].ToArray());
            Post(address, bytes);
        }

        Receiver.Kick();
        return all;
    }

    /// <summary>A command of the control queue.</summary>
    /// <returns>The answer: 0 for done, 1 for an error.</returns>
    public byte Command(byte kind, byte command, params ReadOnlySpan<byte> data)
    {
        Span<byte> bytes = Host.Memory[_sendAt, 2 + data.Length];
        (bytes[0], bytes[1]) = (kind, command);
        data.CopyTo(bytes[2..]);
        Host.Memory[_sendAt + 0x1_0000, 1][0] = 0xff;
        _ = Controller.Submit(new Piece(_sendAt, 1), new Piece(_sendAt + 1, 1 + (uint)data.Length), new Piece(_sendAt + 0x1_0000, 1, true));
        Controller.Take().ShouldHaveSingleItem(Device.DriverMistake).Length.ShouldBe(1u);
        return Host.Memory[_sendAt + 0x1_0000, 1][0];
    }

    public void Dispose() => Host.Dispose();
}
