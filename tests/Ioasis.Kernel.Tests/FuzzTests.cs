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
        IommufdRequests.HwptAlloc, IommufdRequests.FaultQueueAlloc, IommufdRequests.ViommuAlloc, IommufdRequests.VdeviceAlloc,
        IommufdRequests.VeventqAlloc, IommufdRequests.IoasMapFile,
    ];

    // In all, over all seeds and threads: so many calls by default, and with IOASIS_TEST_ALL=1.
    private const int Calls = 200_000;
    private const int AllCalls = 10_000_000;

    private static bool All { get; } =
        string.Equals(Environment.GetEnvironmentVariable("IOASIS_TEST_ALL"), "1", StringComparison.Ordinal);

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
    [InlineData(1, 1)]
    [InlineData(2, 1)]
    [InlineData(3, 4)]
    [InlineData(4, 4)]
    [Trait("Requirement", "S1.15")]
    public void Random_calls_neither_throw_nor_hang_nor_leave_anything(int seed, int threads)
    {
        Alarm alarm = new();
        FakeIommu hardware = new() { FormatOf = static device => (int)device.Id.Value & 1, Description = new byte[16] };
        Rig rig = new(new() { RunPages = 5, Size = 1 << 24 }, hardware, pinnedLimit: 4 << 20, descriptorLimit: 40, logger: alarm);
        rig.Files.AreAlone = false;
        List<string> paths = ["/dev/iommu", "/dev/vfio/vfio", "/dev/null"];
        for (int i = 0; i < 6; i++)
        {
            (Core.IommuDevice device, string path) = i == 5
                ? rig.AddCapableDevice()
                : rig.AddDevice(
                    i / 2,
                    new Core.ReservedRegion(new((ulong)i << 16, ((ulong)i << 16) + 0xfff), (Core.ReservedRegionKind)(i % 5)));
            paths.Add(path);
            paths.Add($"/dev/vfio/{device.Group.Id}");
        }

        // The devices that can do most are worth more tries.
        paths.Add(paths[^2]);
        paths.Add(paths[^3]);
        int calls = (All ? AllCalls : Calls) / 4 / threads;
        Dictionary<uint, int> successes = [];
        Thread[] running = [.. Enumerable.Range(0, threads).Select(thread => new Thread(() =>
        {
            Random random = new((seed * 100) + thread);
            Known known = new(3, 1, 1, 1);
            for (int i = 0; i < calls; i++)
            {
                if (i % 500 == 0)
                {
                    known = Prepare(rig, "/dev/vfio/devices/vfio5");
                }

                if (OneCall(rig, random, paths, known) is { } request)
                {
                    lock (successes)
                    {
                        successes[request] = successes.GetValueOrDefault(request) + 1;
                    }
                }
            }
        }))];
        foreach (Thread thread in running)
        {
            thread.Start();
        }

        foreach (Thread thread in running)
        {
            thread.Join(TimeSpan.FromMinutes(All ? 60 : 5)).ShouldBeTrue("a call hangs");
        }

        // It is no test unless calls of most kinds get through. Threads take each other's descriptors, so that among several it
        // is chance which kinds do.
        uint[] needed =
            [
                IommufdRequests.IoasAlloc, IommufdRequests.IoasMap, IommufdRequests.IoasUnmap, IommufdRequests.Destroy,
                IommufdRequests.Option, IommufdRequests.HwptAlloc, IommufdRequests.FaultQueueAlloc, IommufdRequests.ViommuAlloc,
            ];
        needed.Count(successes.ContainsKey).ShouldBeGreaterThanOrEqualTo(threads == 1 ? needed.Length : needed.Length / 2);

        alarm.Lines.ShouldBeEmpty();
        rig.Memory.Violations.ShouldBeEmpty();
        rig.Kernel.CloseAll();
        rig.ShouldBeClean();
    }

    // Something to build on, where random calls rarely get by themselves, as far as it can be had now.
    private static Known Prepare(Rig rig, string path)
    {
        int fd = rig.OpenIommu();
        int device = rig.Kernel.Open(path, OpenFlags.ReadWrite);
        uint number = VfioTests.Bind(rig, device, fd).Id;
        IommuIoasAlloc space = default;
        _ = rig.Call(fd, ref space);
        IommuHwptAlloc parent = new() { Flags = HwptAllocFlags.NestParent, DeviceId = number, PageTableId = space.OutIoasId };
        _ = rig.Call(fd, ref parent);
        return new(fd, space.OutIoasId, number, parent.OutHwptId);
    }

    // What the last preparation gave: half-random calls take their objects from here.
    private sealed record Known(int Fd, uint Space, uint Device, uint Parent)
    {
        public void Put(Span<uint> words, uint request)
        {
            switch (request)
            {
                case IommufdRequests.IoasMap or IommufdRequests.IoasMapFile:
                    words[2] = Space;
                    break;
                case IommufdRequests.IoasUnmap:
                    words[1] = Space;
                    break;
                case IommufdRequests.Option:
                    words[1] = (uint)IommuOptionId.HugePages;
                    words[2] = (uint)IommuOptionOperation.Get;
                    words[3] = Space;
                    break;
                case IommufdRequests.HwptAlloc:
                    words[2] = Device;
                    words[3] = words[6] == 0 ? Space : Parent;
                    break;
                case IommufdRequests.ViommuAlloc:
                    words[3] = Device;
                    words[4] = Parent;
                    break;
                case IommufdRequests.VdeviceAlloc:
                    words[2] = Device;
                    break;
            }
        }
    }

    // The number of an ioctl that succeeded.
    private static uint? OneCall(Rig rig, Random random, List<string> paths, Known known)
    {
        int fd = random.Next(3) == 0 ? random.Next(3, 6) : random.Next(2, 30);
        uint[] requests = random.Next(2) == 0 ? s_common : s_requests;
        uint request = requests[random.Next(requests.Length)];
        int result = -1;
        switch (random.Next(20))
        {
            case 0:
                _ = rig.Kernel.Open(paths[random.Next(paths.Count)], OpenFlags.ReadWrite);
                break;
            case 1 when random.Next(fd < 6 ? 100 : 4) == 0:
                _ = rig.Kernel.Close(fd);
                break;
            case 2 when random.Next(4) == 0:
                _ = rig.Kernel.Dup(fd);
                break;
            case 5 when random.Next(4) == 0:
                _ = rig.Kernel.CreateMemory("fuzz", (ulong)random.Next(0, 40_000));
                break;
            case 6:
                _ = rig.Kernel.Read(fd, new byte[random.Next(0, 200)]);
                break;
            case 7:
                byte[] written = new byte[random.Next(0, 5) * 8];
                random.NextBytes(written);
                _ = rig.Kernel.Write(fd, written);
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
                byte[] plausible = Plausible(random, request);
                if (random.Next(4) == 0)
                {
                    known.Put(MemoryMarshal.Cast<byte, uint>(plausible.AsSpan()), request);
                    fd = known.Fd;
                }

                result = rig.Kernel.Ioctl(fd, request, plausible);
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

        if (request == IommufdRequests.HwptAlloc && random.Next(4) > 0)
        {
            // Flags, device, parent; mostly without data, sometimes of the kind that there is.
            words[1] = random.Next(2) == 0 ? 0 : (uint)random.Next(0, 16);
            words[2] = (uint)random.Next(1, 6);
            words[3] = (uint)random.Next(1, 8);
            bool nested = random.Next(2) == 0;
            words[1] &= nested ? 12u : 15;
            bytes.AsSpan(20, 20).Clear();
            words[6] = nested ? RiscVUapi.HwptDataType : 0;
            words[7] = nested ? 32u : 0;
            words[8] = nested ? (uint)FakeUserMemory.ArgumentStart : 0;
            words[11] = 0;
        }
        else if (request is IommufdRequests.ViommuAlloc && random.Next(4) > 0)
        {
            bytes.AsSpan(4, 4).Clear();
            words[2] = RiscVUapi.ViommuType;
            words[3] = (uint)random.Next(1, 6);
            words[4] = (uint)random.Next(1, 8);
            bytes.AsSpan(24, 16).Clear();
        }
        else if (request == IommufdRequests.VeventqAlloc && random.Next(4) > 0)
        {
            words[1] = 0;
            words[3] = random.Next(2) == 0 ? 7 : RiscVUapi.VeventqType;
            words[7] = 0;
        }

        words[0] = request switch
        {
            _ when random.Next(8) == 0 => (uint)random.Next(0, 80),
            IommufdRequests.Destroy => 8,
            IommufdRequests.IoasAlloc => 12,
            IommufdRequests.FaultQueueAlloc => 16,
            IommufdRequests.VdeviceAlloc => 24,
            IommufdRequests.VeventqAlloc => 32,
            IommufdRequests.HwptAlloc => 48,
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
