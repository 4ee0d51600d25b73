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

    // Half of the calls are of these, for the others build on them.
    private static readonly uint[] s_common =
    [
        IommufdRequests.IoasAlloc, IommufdRequests.IoasMap, IommufdRequests.IoasUnmap, IommufdRequests.Destroy,
        IommufdRequests.Option, VfioRequests.DeviceBindIommufd, VfioRequests.DeviceAttachIommufdPt,
    ];

    internal sealed class Alarm : ILogger
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
    public void Random_calls_neither_throw_nor_hang_nor_leave_anything(int seed)
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

        Random random = new(seed);
        Dictionary<uint, int> successes = [];
        for (int i = 0; i < 400_000; i++)
        {
            if (OneCall(rig, random, paths) is { } request)
            {
                successes[request] = successes.GetValueOrDefault(request) + 1;
            }
        }

        // It is no test unless calls of most kinds get through.
        foreach (uint request in s_common.Except([VfioRequests.DeviceAttachIommufdPt]))
        {
            successes.ShouldContainKey(request);
        }

        alarm.Lines.ShouldBeEmpty();
        rig.Memory.Violations.ShouldBeEmpty();
        rig.Kernel.CloseAll();
        rig.ShouldBeClean();
    }

    // The number of an ioctl that succeeded.
    private static uint? OneCall(Rig rig, Random random, List<string> paths)
    {
        int fd = random.Next(2, 30);
        uint[] requests = random.Next(2) == 0 ? s_common : s_requests;
        uint request = requests[random.Next(requests.Length)];
        int result = -1;
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
                result = rig.Kernel.Ioctl(fd, request, random.Next(-1, 12));
                break;
            case 4:
                byte[] noise = new byte[random.Next(0, 80)];
                random.NextBytes(noise);
                result = rig.Kernel.Ioctl(fd, request, noise);
                break;
            default:
                result = rig.Kernel.Ioctl(fd, request, Plausible(random, request));
                break;
        }

        return result >= 0 ? request : null;
    }

    // Words that mean something in some structure: small numbers, page-aligned IOVAs and memory, the largest values.
    private static byte[] Plausible(Random random, uint request)
    {
        byte[] bytes = new byte[64];
        Span<uint> words = MemoryMarshal.Cast<byte, uint>(bytes.AsSpan());
        for (int i = 1; i < words.Length; i++)
        {
            words[i] = random.Next(2) == 0 ? 0 : (uint)random.Next(0, 9);
        }

        for (int i = request == IommufdRequests.IoasUnmap ? 8 : 16; i < 48; i += 8)
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

        if (request == IommufdRequests.IoasUnmap && random.Next(4) == 0)
        {
            // Everything.
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(8), 0);
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(16), ulong.MaxValue);
        }

        words[0] = request switch
        {
            _ when random.Next(8) == 0 => (uint)random.Next(0, 80),
            IommufdRequests.Destroy => 8,
            IommufdRequests.IoasAlloc => 12,
            VfioRequests.DeviceAttachIommufdPt => 16,
            IommufdRequests.IoasUnmap or IommufdRequests.Option or VfioRequests.DeviceBindIommufd => 24,
            _ => 40,
        };
        if (words[0] <= 64 && random.Next(10) > 0)
        {
            bytes.AsSpan((int)words[0]).Clear();
        }

        return bytes;
    }
}
