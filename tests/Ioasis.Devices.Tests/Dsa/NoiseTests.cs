using Ioasis.Devices.Dsa;
using Ioasis.Primitives;
using Ioasis.Testing;
using Ioasis.Uapi;
using static Ioasis.Devices.Tests.Dsa.DsaHost;

namespace Ioasis.Devices.Tests.Dsa;

/// <summary>Nothing that a driver writes into registers, descriptors or portals makes the accelerator throw or hang, and a reset always leads on.</summary>
public sealed class NoiseTests
{
    public static TheoryData<int> Seeds { get; } = new(Enumerable.Range(1, 4));

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Random_registers_and_descriptors_never_throw_or_hang(int seed)
    {
        int steps = ExplorerOptions.All ? 2_500_000 : 15_000;
        Random random = new(seed);
        using DsaHost host = new(new() { HasAts = false, HasPageRequests = false, NeedsHandles = seed == 4 });
        host.Connect(VfioPciInterrupt.MsiX, 9);
        ulong data = host.Memory.Allocate(0x1_0000);
        int ended = 0;
        for (int i = 0; i < steps; i++)
        {
            switch (random.Next(100))
            {
                case < 3:
                    host.SetCommand(6);
                    host.Bring(new() { Queue = 0 }, new() { Queue = 1, Pasid = new(5) });
                    break;
                case < 10:
                    int size = 1 << random.Next(4);
                    uint place = random.Next(3) switch { 0 => (uint)random.Next(0x100), 1 => WqCfg + (uint)random.Next(0x200), _ => GrpCfg + (uint)random.Next(0x900) };
                    host.Write(place & ~(uint)(size - 1), (ulong)random.NextInt64(), size);
                    _ = host.Read(place & ~(uint)(size - 1), size);
                    break;
                case < 12:
                    _ = host.Command((uint)random.Next(32), (uint)random.Next(4));
                    break;
                case 12:
                    host.SetCommand((ushort)random.Next(8));
                    host.SetCommand(6);
                    break;
                case 13:
                    host.Memory.SetMapped(data + (ulong)random.Next(0x1_0000), 4096, random.Next(2) == 0);
                    break;
                case 14:
                    host.Backend.Reset().ShouldBe(Errno.Success);
                    host.SetCommand(6);
                    break;
                case < 40:
                    random.NextBytes(host.Memory[data + (ulong)random.Next(0xffc0), 64]);
                    break;
                default:
                    Submit(host, random, data);
                    break;
            }

            ended += host.Memory[host.Record, 1][0] != 0 ? 1 : 0;
            host.Memory[host.Record, 1][0] = 0;
        }

        // The noise reaches beyond the first check.
        ended.ShouldBeGreaterThan(steps / 100);
        host.Backend.Reset().ShouldBe(Errno.Success);
        host.Memory.SetMapped(data, 0x1_0000, true);
        host.Bring();
        host.Execute(new(DsaOperation.Move, Source: data, Destination: data + 4096, Length: 4096)).Status.ShouldBe(DsaStatus.Success);
    }

    private static void Submit(DsaHost host, Random random, ulong data)
    {
        Span<byte> bytes = stackalloc byte[64];
        ulong Any() => random.Next(10) == 0 ? (ulong)random.NextInt64() : data + (ulong)(random.Next(0x400) * 64);
        DsaOperation[] all = Enum.GetValues<DsaOperation>();
        DsaDescriptor descriptor = new(
            all[random.Next(all.Length)],
            random.Next(6) == 0 ? (DsaFlags)random.Next(1 << 24) : Told,
            host.Record + (random.Next(20) == 0 ? (ulong)random.Next(64) : 0),
            Any(),
            Any(),
            (uint)(random.Next(3) == 0 ? random.Next(70_000) : 8 * random.Next(1, 64)),
            (ushort)random.Next(random.Next(2) == 0 ? 1 : 12),
            random.Next(2) == 0 ? 0 : Any(),
            random.Next(2) == 0 ? 0 : (ulong)(random.Next(30) * 10),
            0);
        descriptor.WriteTo(bytes);
        if (random.Next(10) == 0)
        {
            random.NextBytes(bytes[random.Next(64)..]);
        }

        // Lists of batches are of this kind too.
        bytes.CopyTo(host.Memory[data + (ulong)(random.Next(0x400) * 64), 64]);
        host.Store(bytes, random.Next(3));
    }
}
