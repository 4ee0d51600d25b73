using Ioasis.Devices.Nvme;
using Ioasis.Primitives;
using Ioasis.Testing;
using Ioasis.Uapi;

namespace Ioasis.Devices.Tests.Nvme;

/// <summary>Nothing that a driver writes makes the controller throw or hang, and a reset always leads on.</summary>
public sealed class NoiseTests
{
    private const int MemorySize = 2 << 20;

    private static readonly uint[] s_registers = [0, 4, 8, 0x0c, 0x10, 0x14, 0x1c, 0x20, 0x24, 0x28, 0x2c, 0x30, 0x34, 0x38, 0x68, 0x100, 0xffc];

    private static readonly byte[] s_admin = [0, 1, 2, 4, 5, 6, 8, 9, 0x0a, 0x0c, 0x7c, 0x80];

    private static readonly byte[] s_io = [0, 1, 2, 4, 5, 8, 9, 0x0c];

    public static TheoryData<int> Seeds { get; } = new(Enumerable.Range(1, 8));

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Random_register_writes_and_commands_never_throw_or_hang(int seed)
    {
        int steps = ExplorerOptions.All ? 1_250_000 : 12_500;
        Random random = new(seed);
        HandTime time = new();
        using NvmeHost host = new(
            new NvmeOptions
            {
                Namespaces = [new() { Size = 1 << 20 }, new() { Size = 1 << 20, BlockSize = 4096, MetadataSize = 8 }, new() { Size = 1 << 16, MetadataSize = 8, ExtendedBlocks = true }],
                Queues = 6,
                TimeProvider = time,
                MaxTransferLog2 = 5,
                Misbehaviour = seed % 2 == 0 ? null : new()
                {
                    Seed = (ulong)seed,
                    Failures = [new(NvmeIoOpcode.Verify, 3, NvmeStatus.InternalError)],
                    Delays = [new(NvmeIoOpcode.Compare, TimeSpan.FromMilliseconds(1))],
                    LostInterrupts = 10,
                    LateInterrupts = TimeSpan.FromMilliseconds(1),
                    Reorders = true,
                    Twice = 10,
                    StaleDma = 10,
                    WildDma = 10,
                    DmaAfterReset = true,
                },
            },
            memory: MemorySize);
        host.Connect(VfioPciInterrupt.MsiX, 4);
        host.Memory[0x1_0000, MemorySize - 0x1_0000].Clear();
        for (int step = 0; step < steps; step++)
        {
            Step(host, random, time);
        }

        // Whatever it is in, a reset of the function leads out.
        host.Backend.Reset().ShouldBe(Errno.Success);
        host.Open();
        host.Enable();
        _ = host.Admin.Succeed(Command.Identify(1, 0, host.Memory.Allocate(4096)));
        host.TakeSignals();
    }

    // Where the queues of a number are: the first pages, which noise does not spare.
    private static ulong SubmissionOf(int id) => 0x1_0000 + ((ulong)id * 0x2000);

    private static ulong CompletionOf(int id) => SubmissionOf(id) + 0x1000;

    private static void Step(NvmeHost host, Random random, HandTime time)
    {
        switch (random.Next(100))
        {
            case < 10:
                host.Write32(s_registers[random.Next(s_registers.Length)], Value(random));
                break;
            case < 12:
                host.Write64(s_registers[random.Next(s_registers.Length)] & ~7u, ((ulong)Value(random) << 32) | Value(random));
                break;
            case < 16:
                Enable(host);
                break;
            case < 60:
                PutCommand(host, random);
                break;
            case < 80:
                host.Write32(NvmeRegisters.Doorbells + (4 * (uint)random.Next(16)), (uint)random.Next(random.Next(8) == 0 ? 100_000 : 64));
                break;
            case < 90:
                random.NextBytes(host.Memory[(ulong)random.Next(0x1_0000, MemorySize - 64), random.Next(64)]);
                break;
            case < 94:
                time.Advance(TimeSpan.FromMilliseconds(random.Next(3)));
                break;
            case < 96:
                host.Memory.SetMapped((ulong)random.Next(0x1_0000, MemorySize - 4096), 4096, random.Next(2) == 0);
                break;
            case 96:
                host.Memory.SetMapped(0, MemorySize, true);
                host.Memory.SetMapped(0, 4096, false);
                break;
            case 97:
                host.SetCommand((ushort)(random.Next(4) == 0 ? 2 : 6));
                break;
            case 98:
                _ = host.Read64((uint)random.Next(0x800) & ~7u);
                break;
            default:
                host.Backend.Reset().ShouldBe(Errno.Success);
                host.SetCommand(6);
                break;
        }
    }

    private static uint Value(Random random) => random.Next(4) switch
    {
        0 => (uint)random.Next(16),
        1 => 1u << random.Next(32),
        2 => 0x46_0001u | (uint)(random.Next(4) << 14),
        _ => (uint)random.NextInt64(1L << 32),
    };

    private static void Enable(NvmeHost host)
    {
        host.Write32(NvmeRegisters.Configuration, 0);
        host.Write32(NvmeRegisters.AdminQueueAttributes, 0x3f_003f);
        host.Write64(NvmeRegisters.AdminSubmissionQueue, SubmissionOf(0));
        host.Write64(NvmeRegisters.AdminCompletionQueue, CompletionOf(0));
        host.Write32(NvmeRegisters.Configuration, 0x46_0001);
    }

    private static void PutCommand(NvmeHost host, Random random)
    {
        int queue = random.Next(3) == 0 ? 0 : random.Next(1, 5);
        bool isAdmin = queue == 0;
        byte[] known = isAdmin ? s_admin : s_io;
        int create = random.Next(1, 5);
        Command command = isAdmin && random.Next(3) == 0
            ? random.Next(2) == 0
                ? NvmeHost.CreateCompletion(create, 64, CompletionOf(create), create)
                : NvmeHost.CreateSubmission(create, 64, SubmissionOf(create), create)
            : new(random.Next(20) == 0 ? (byte)random.Next(256) : known[random.Next(known.Length)])
            {
                Namespace = random.Next(10) == 0 ? Value(random) : (uint)random.Next(1, 4),
                Flags = (byte)(random.Next(3) == 0 ? random.Next(256) : 0),
                Metadata = Address(random),
                Data1 = Address(random),
                Data2 = random.Next(4) == 0 ? (uint)random.Next(65536) | ((ulong)random.Next(5) << 60) : Address(random),
                Word10 = random.Next(3) == 0 ? Value(random) : (uint)random.Next(64),
                Word11 = random.Next(6) == 0 ? Value(random) : (uint)random.Next(2) * 4,
                Word12 = random.Next(6) == 0 ? Value(random) : (uint)random.Next(16),
                Word13 = random.Next(6) == 0 ? Value(random) : 0,
                Word14 = random.Next(6) == 0 ? Value(random) : 0,
            };
        uint slot = (uint)random.Next(64);
        command.WriteTo(host.Memory[SubmissionOf(queue) + (slot * 64), 64], (ushort)random.Next(100));
        host.Write32(NvmeRegisters.Doorbells + (8 * (uint)queue), (slot + 1) % 64);
        if (random.Next(2) == 0)
        {
            host.Write32(NvmeRegisters.Doorbells + (8 * (uint)queue) + 4, (uint)random.Next(64));
        }
    }

    private static ulong Address(Random random) => random.Next(8) switch
    {
        0 => (ulong)random.NextInt64(),
        1 => (ulong)random.Next(MemorySize),
        2 => 0,
        _ => (ulong)random.Next(0x10, MemorySize / 4096) * 4096,
    };
}
