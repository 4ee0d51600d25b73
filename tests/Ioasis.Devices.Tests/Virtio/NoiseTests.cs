using System.Buffers.Binary;
using Ioasis.Devices.Virtio;
using Ioasis.Primitives;
using Ioasis.Testing;
using Ioasis.Uapi;

namespace Ioasis.Devices.Tests.Virtio;

/// <summary>Nothing that a driver writes into registers, rings or requests makes the device throw or hang, and a reset always leads on.</summary>
public sealed class NoiseTests
{
    private const int MemorySize = 1 << 20;
    private const ulong Rings = 0x1_0000;

    public static TheoryData<int> Seeds { get; } = new(Enumerable.Range(1, 8));

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Random_registers_rings_and_requests_never_throw_or_hang(int seed)
    {
        int steps = ExplorerOptions.All ? 1_250_000 : 12_500;
        Random random = new(seed);
        using VirtioHost host = new(new VirtioBlock(new() { Size = 1 << 16, Queues = 3, QueueSize = 16 }), MemorySize);
        host.Connect(seed % 2 == 0 ? VfioPciInterrupt.MsiX : VfioPciInterrupt.Intx, seed % 2 == 0 ? 4 : 1);
        int reached = 0;
        for (int step = 0; step < steps; step++)
        {
            Step(host, random);
            reached += host.TakeSignals() + host.TakeSignals(1);
        }

        // The noise reaches beyond the first check.
        reached.ShouldBeGreaterThan(0);
        host.Memory.SetMapped(Rings, MemorySize - (int)Rings, true);
        host.Backend.Reset().ShouldBe(Errno.Success);
        host.SetCommand(6);
        BlockDriver driver = new(host, host.Bring());
        driver.Execute(0, 0, new Piece(Rings, 512, true)).ShouldBe(BlockDriver.Ok);
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Two_network_devices_whose_drivers_write_anything_never_throw_or_hang(int seed)
    {
        int steps = ExplorerOptions.All ? 600_000 : 6_000;
        Random random = new(seed);
        (VirtioNet one, VirtioNet two) = NetDriver.MakePair(new() { QueueSize = 16 });
        using VirtioHost first = new(one, MemorySize);
        using VirtioHost second = new(two, MemorySize);
        first.Connect(VfioPciInterrupt.MsiX, 4);
        second.Connect(VfioPciInterrupt.MsiX, 4);
        for (int step = 0; step < steps; step++)
        {
            // Frames pass only while both drivers are ready.
            if (random.Next(50) == 0)
            {
                Bring(first, random);
                Bring(second, random);
            }

            Step(random.Next(2) == 0 ? first : second, random);
        }

        TestContext.Current.TestOutputHelper?.WriteLine($"{one.Counts} {two.Counts}");

        // The noise reaches beyond the first check.
        (one.Counts.Sent + two.Counts.Sent).ShouldBeGreaterThan(0);
        (one.Counts.Received + two.Counts.Received).ShouldBeGreaterThan(0);
        foreach (VirtioHost host in (VirtioHost[])[first, second])
        {
            host.Backend.Reset().ShouldBe(Errno.Success);
        }

        using NetDriver sender = new(one);
        using NetDriver receiver = new(two);
        receiver.Post(1);
        sender.Send(NetDriver.Frame(NetDriver.Broadcast));
        _ = receiver.Take().ShouldHaveSingleItem();
    }

    private static void Step(VirtioHost host, Random random)
    {
        switch (random.Next(100))
        {
            case < 8:
                int size = 1 << random.Next(4);
                host.Write((uint)(random.Next(64) & ~(size - 1)), Value(random), size);
                break;
            case < 12:
                Bring(host, random);
                break;
            case < 75:
                PutRequest(host, random);
                break;
            case < 85:
                random.NextBytes(host.Memory[(ulong)random.Next((int)Rings, MemorySize - 64), random.Next(1, 16)]);
                host.Notify(random.Next(3));
                break;
            case < 88:
                host.Memory.SetMapped((ulong)random.Next((int)Rings, MemorySize - 4096), 4096, random.Next(2) == 0);
                break;
            case < 92:
                host.Memory.SetMapped(Rings, MemorySize - (int)Rings, true);
                break;
            case < 94:
                host.SetCommand((ushort)(random.Next(4) == 0 ? 2 : 6));
                break;
            case < 97:
                _ = host.Read((uint)random.Next(0x3100) & ~7u, 8);
                break;
            case 97:
                host.WriteConfig(random.Next(0x40, 0x100) & ~3, (uint)Value(random) & 0x7fff_7fff, 4);
                _ = host.ReadConfig(random.Next(0x40, 0x100) & ~3, 4);
                host.SetCommand(6);
                break;
            case 98:
                host.Write(VirtioRegisters.QueueReset, 1, 2);
                break;
            default:
                host.Backend.Reset().ShouldBe(Errno.Success);
                host.SetCommand(6);
                break;
        }
    }

    // Where the parts of a queue are: pages that noise does not spare.
    private static ulong PlaceOf(int queue, int part) => Rings + ((ulong)((queue * 3) + part) * 0x1000);

    private static void Bring(VirtioHost host, Random random)
    {
        host.SetCommand(6);
        ulong kind = host.Device is VirtioBlock
            ? (1 << 13) | (1 << 14)
            : NetDriver.Checksum | NetDriver.GuestChecksum | NetDriver.Control | (random.Next(2) == 0 ? NetDriver.Merge : 0)
                | (random.Next(2) == 0 ? NetDriver.ControlReceive | NetDriver.ControlVlan : 0);
        ulong features = VirtioHost.Wanted | kind
            | (random.Next(host.Device is VirtioBlock ? 2 : 4) == 0 ? (ulong)VirtioFeatures.PackedRing : 0)
            | (random.Next(2) == 0 ? (ulong)VirtioFeatures.EventIndex : 0)
            | (random.Next(4) != 0 ? (ulong)VirtioFeatures.IndirectDescriptors : 0)
            | (ulong)VirtioFeatures.RingReset;
        host.Negotiate(features).ShouldBeTrue();
        host.Memory[Rings, 9 * 0x1000].Clear();
        for (int queue = 0; queue < 3; queue++)
        {
            host.Write(VirtioRegisters.QueueSelect, (ulong)queue, 2);
            host.Write(VirtioRegisters.QueueVector, (ulong)random.Next(4), 2);
            host.Write(VirtioRegisters.QueueDescriptors, PlaceOf(queue, 0), 8);
            host.Write(VirtioRegisters.QueueDriver, PlaceOf(queue, 1), 8);
            host.Write(VirtioRegisters.QueueDevice, PlaceOf(queue, 2), 8);
            host.Write(VirtioRegisters.QueueEnable, 1, 2);
        }

        host.Write(VirtioRegisters.Status, 15, 1);
    }

    private static void PutRequest(VirtioHost host, Random random)
    {
        int queue = random.Next(3);
        ulong header = 0x8_0000 + (ulong)(random.Next(256) * 16);
        Span<byte> bytes = host.Memory[header, 16];
        bytes.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, (uint)random.Next(random.Next(8) == 0 ? int.MaxValue : host.Device is VirtioBlock ? 15 : 3));
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[8..], random.Next(4) == 0 ? Value(random) : (ulong)random.Next(128));
        int first = random.Next(16);

        // Frames pass only while both drivers are right for a while.
        bool isRight = host.Device is VirtioNet && random.Next(4) != 0;
        bool wrap = random.Next(2) == 0;
        for (int i = 0; i < 3; i++)
        {
            ulong place = PlaceOf(queue, 0) + (ulong)((first + i) % 16 * 16);
            Span<byte> entry = host.Memory[place, 16];
            ushort own = (ushort)((i < 2 ? 1 : 0) | (i == 2 || random.Next(2) == 0 ? 2 : 0));
            own = i == 0 ? (ushort)(own & ~2) : own;
            if (isRight && queue < 2)
            {
                // What a driver of a network posts: all to write, or all to read.
                own = (ushort)((own & ~2) | (queue == 0 ? 2 : 0));
            }
            else if (random.Next(12) == 0)
            {
                own ^= (ushort)(1 << random.Next(3));
            }

            BinaryPrimitives.WriteUInt64LittleEndian(entry, i == 0 ? header : isRight ? (ulong)random.Next(0x10, MemorySize / 4096) * 4096 : Address(random));
            BinaryPrimitives.WriteUInt32LittleEndian(entry[8..], i == 0 ? (host.Device is VirtioBlock ? 16u : 12u) : i == 2 ? 1u : (uint)random.Next(9) * 512);
            bool isPacked = !isRight && random.Next(2) == 0;
            BinaryPrimitives.WriteUInt16LittleEndian(entry[12..], isPacked ? (ushort)first : own);
            BinaryPrimitives.WriteUInt16LittleEndian(entry[14..], isPacked ? (ushort)(own | (wrap ? 0x80 : 0x8000)) : (ushort)((first + i + 1) % 16));
        }

        Span<byte> available = host.Memory[PlaceOf(queue, 1), 64];
        ushort index = BinaryPrimitives.ReadUInt16LittleEndian(available[2..]);
        BinaryPrimitives.WriteUInt16LittleEndian(available[(4 + (2 * (index % 16)))..], (ushort)(random.Next(20) == 0 ? random.Next(65536) : first));
        BinaryPrimitives.WriteUInt16LittleEndian(available[2..], (ushort)(index + (random.Next(30) == 0 ? random.Next(40) : 1)));
        host.Notify(queue);
    }

    private static ulong Value(Random random) => random.Next(4) switch
    {
        0 => (ulong)random.Next(16),
        1 => 1ul << random.Next(64),
        2 => (ulong)random.NextInt64(),
        _ => (ulong)random.Next(MemorySize),
    };

    // A read of the disk may land in the rings themselves.
    private static ulong Address(Random random) => random.Next(8) switch
    {
        0 => (ulong)random.NextInt64(),
        1 => (ulong)random.Next(MemorySize),
        2 => ulong.MaxValue - (ulong)random.Next(1024),
        _ => (ulong)random.Next(0x10, MemorySize / 4096) * 4096,
    };
}
