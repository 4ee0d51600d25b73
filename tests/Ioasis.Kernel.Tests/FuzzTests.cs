using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Microsoft.Extensions.Logging;

namespace Ioasis.Kernel.Tests;

/// <summary>Whatever comes through the ABI: no exception inside, no hang, and nothing is left after the close (invariant 7).</summary>
public sealed class FuzzTests
{
    private static readonly uint[] s_requests =
    [
        .. Enumerable.Range(0x3b80, 0x15).Select(static number => (uint)number),
        .. Enumerable.Range(0x3b64, 21).Select(static number => (uint)number),
        0, 0x3b00, uint.MaxValue,
    ];

    private sealed class Alarm : ILogger
    {
        public List<string> Lines { get; } = [];

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            lock (Lines)
            {
                Lines.Add(formatter(state, exception) + exception);
            }
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task Random_calls_of_several_threads_neither_throw_nor_hang_nor_leave_anything(int seed)
    {
        Alarm alarm = new();
        FakeIommu hardware = new() { FormatOf = static device => (int)device.Id.Value & 1 };
        Rig rig = new(new() { RunPages = 5, Size = 1 << 24 }, hardware, pinnedLimit: 4 << 20, descriptorLimit: 40, logger: alarm);
        List<string> paths = ["/dev/iommu", "/dev/vfio/vfio", "/dev/null"];
        for (int i = 0; i < 6; i++)
        {
            (Core.IommuDevice device, string path) = rig.AddDevice(
                i / 2,
                new Core.ReservedRegion(new((ulong)i << 16, ((ulong)i << 16) + 0xfff), (Core.ReservedRegionKind)(i % 5)));
            paths.Add(path);
            paths.Add($"/dev/vfio/{device.Group.Id}");
        }

        // The fake is a dictionary and not safe for threads: one thread calls at a time for it, many for the kernel's own.
        int threads = seed == 3 ? 1 : 2;
        using SemaphoreSlim turn = new(1);
        await Task.WhenAll(Enumerable.Range(0, threads).Select(worker => Task.Run(
            () =>
            {
                Random random = new((seed * 100) + worker);
                for (int i = 0; i < 60_000; i++)
                {
                    turn.Wait(TestContext.Current.CancellationToken);
                    try
                    {
                        OneCall(rig, random, paths);
                    }
                    finally
                    {
                        _ = turn.Release();
                    }
                }
            },
            TestContext.Current.CancellationToken)));
        alarm.Lines.ShouldBeEmpty();
        rig.Memory.Violations.ShouldBeEmpty();
        rig.Kernel.CloseAll();
        rig.ShouldBeClean();
    }

    private static void OneCall(Rig rig, Random random, List<string> paths)
    {
        int fd = random.Next(2, 30);
        switch (random.Next(20))
        {
            case 0:
                _ = rig.Kernel.Open(paths[random.Next(paths.Count)], OpenFlags.ReadWrite);
                break;
            case 1 when random.Next(4) == 0:
                _ = rig.Kernel.Close(fd);
                break;
            case 2 when random.Next(4) == 0:
                _ = rig.Kernel.Dup(fd);
                break;
            case 3:
                _ = rig.Kernel.Ioctl(fd, s_requests[random.Next(s_requests.Length)], random.Next(-1, 12));
                break;
            case 4:
                byte[] noise = new byte[random.Next(0, 80)];
                random.NextBytes(noise);
                _ = rig.Kernel.Ioctl(fd, s_requests[random.Next(s_requests.Length)], noise);
                break;
            default:
                _ = rig.Kernel.Ioctl(fd, s_requests[random.Next(s_requests.Length)], Plausible(random));
                break;
        }
    }

    // Words that mean something in some structure: small numbers, page-aligned IOVAs and memory, the largest values.
    private static byte[] Plausible(Random random)
    {
        byte[] bytes = new byte[64];
        Span<uint> words = MemoryMarshal.Cast<byte, uint>(bytes.AsSpan());
        for (int i = 1; i < words.Length; i++)
        {
            words[i] = random.Next(5) == 0 ? 0 : (uint)random.Next(0, 9);
        }

        for (int i = 8; i < 48; i += 8)
        {
            ulong value = random.Next(9) switch
            {
                0 => ulong.MaxValue,
                1 or 2 => FakeUserMemory.Start + ((ulong)random.Next(0, 5000) << 12),
                3 or 4 => (ulong)random.Next(0, 64) << 12,
                5 => (ulong)random.Next(1, 8) << 12,
                6 => FakeUserMemory.ArgumentStart,
                _ => BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(i)),
            };
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(i), value);
        }

        words[0] = random.Next(8) switch { 0 => (uint)random.Next(0, 80), 1 => 48, 2 => 12, 3 => 24, _ => 40 };
        if (words[0] <= 64 && random.Next(10) > 0)
        {
            bytes.AsSpan((int)words[0]).Clear();
        }

        return bytes;
    }
}
