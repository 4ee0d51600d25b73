using System.Globalization;
using System.Runtime.InteropServices;
using Ioasis.Embedded;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Microsoft.Extensions.Logging;

namespace Ioasis.Campaigns.Noise;

/// <summary>
/// Calls that mean almost something, to a kernel side with three devices: nothing is thrown inside, and after the last close nothing is
/// left: no descriptor, object, mapping, pin or table.
/// </summary>
internal sealed class AbiNoise : INoise
{
    private const int Calls = 2_000;
    private const int Descriptors = 40;
    private const int MostDescriptors = 4096;

    private static readonly uint[] s_requests =
    [
        .. Enumerable.Range(0x3b80, 0x15).Select(static number => (uint)number),
        .. Enumerable.Range(0x3b64, 21).Select(static number => (uint)number),
        0, 0x3b00, uint.MaxValue,
    ];

    // The others build on these.
    private static readonly uint[] s_common =
    [
        IommufdRequests.IoasAlloc, IommufdRequests.IoasMap, IommufdRequests.IoasUnmap, IommufdRequests.Destroy, IommufdRequests.HwptAlloc,
        VfioRequests.DeviceBindIommufd, VfioRequests.DeviceAttachIommufdPt, IommufdRequests.Option,
    ];

    public string Name => "abi";

    public void Run(int seed, NoiseReport report)
    {
        Random random = new(seed);
        ClientWindow memory = new();
        using Alarm alarm = new();
        EmbeddedPlatform platform = new(new()
        {
            Iommus = [seed % 2 == 0 ? new RiscVIommuSlot() : new VtdIommuSlot()],
            UserMemory = memory,
            PinnedMemoryLimit = 4 << 20,
            LoggerFactory = alarm,
        });
        using (platform)
        {
            List<string> paths = ["/dev/iommu", "/dev/iommu", "/dev/vfio/vfio", "/dev/null"];
            for (int i = 0; i < 3; i++)
            {
                EmbeddedEndpoint device = platform.AddEndpoint(DeviceId.FromPci(0, 0, (byte)(i + 1), 0));
                paths.Add(device.DevicePath);
                paths.Add(string.Create(CultureInfo.InvariantCulture, $"/dev/vfio/{device.Device.Group.Id}"));
            }

            IKernelAbi kernel = platform.Kernel;
            long tables = platform.TableBytes;
            Known known = default;
            List<int> open = [];
            for (int i = 0; i < Calls; i++)
            {
                if (i % 250 == 0)
                {
                    known = Prepare(kernel, paths[4], open);
                }

                report.Count("calls");
                report.See(unchecked((ulong)Call(kernel, random, paths, open, known, report)));
            }

            // Not those that were opened only: some calls give descriptors too.
            for (int fd = 0; fd < MostDescriptors; fd++)
            {
                _ = kernel.Close(fd);
            }

            platform.Poll();
            Check(platform, memory, tables, alarm, report);
        }
    }

    private static void Check(EmbeddedPlatform platform, ClientWindow memory, long tables, Alarm alarm, NoiseReport report)
    {
        if (!platform.Audit.IsEmpty)
        {
            report.Find($"after the last close there is left: {platform.Audit}");
        }

        if (memory.PinnedPages != 0 || memory.TooOftenUnpinned != 0)
        {
            report.Find(string.Create(CultureInfo.InvariantCulture, $"{memory.PinnedPages} pages stay pinned, {memory.TooOftenUnpinned} were unpinned too often"));
        }

        if (platform.TableBytes != tables)
        {
            report.Find(string.Create(CultureInfo.InvariantCulture, $"{platform.TableBytes - tables} bytes of tables are left"));
        }

        foreach (string line in alarm.Lines)
        {
            report.Find(line);
        }
    }

    private static Known Prepare(IKernelAbi kernel, string path, List<int> open)
    {
        Known known = new(Keep(kernel.Open("/dev/iommu", OpenFlags.ReadWrite), open), 0, 0);
        int device = Keep(kernel.Open(path, OpenFlags.ReadWrite), open);
        uint[] bind = new uint[6];
        (bind[0], bind[2]) = (24, (uint)known.Fd);
        _ = kernel.Ioctl(device, VfioRequests.DeviceBindIommufd, MemoryMarshal.AsBytes(bind.AsSpan()));
        uint[] space = [12, 0, 0];
        _ = kernel.Ioctl(known.Fd, IommufdRequests.IoasAlloc, MemoryMarshal.AsBytes(space.AsSpan()));
        return known with { Device = bind[3], Space = space[2] };
    }

    private static long Call(IKernelAbi kernel, Random random, List<string> paths, List<int> open, Known known, NoiseReport report)
    {
        int fd = open.Count > 0 && random.Next(8) > 0 ? open[random.Next(open.Count)] : random.Next(-1, 50);
        uint request = random.Next(3) > 0 ? s_common[random.Next(s_common.Length)] : s_requests[random.Next(s_requests.Length)];
        switch (random.Next(16))
        {
            case 0 when open.Count < Descriptors:
                return Keep(kernel.Open(paths[random.Next(paths.Count)], OpenFlags.ReadWrite), open);
            case 1 when random.Next(3) == 0 && fd != known.Fd:
                _ = open.Remove(fd);
                return kernel.Close(fd);
            case 2:
                return kernel.Read(fd, new byte[random.Next(200)]);
            case 3:
                byte[] written = new byte[random.Next(5) * 8];
                random.NextBytes(written);
                return kernel.Write(fd, written);
            case 4:
                byte[] noise = new byte[random.Next(80)];
                random.NextBytes(noise);
                return kernel.Ioctl(fd, request, noise);
            default:
                uint[] words = Plausible(random, request, known);
                if (random.Next(2) == 0)
                {
                    fd = known.Fd;
                }

                int result = kernel.Ioctl(fd, request, MemoryMarshal.AsBytes(words.AsSpan()));
                report.Count(result >= 0 ? "succeeded" : "failed");
                return result;
        }
    }

    // Small numbers, pages of the memory that can be pinned, IOVAs that meet, the largest values; the objects that there are.
    private static uint[] Plausible(Random random, uint request, Known known)
    {
        uint[] words = new uint[16];
        for (int i = 1; i < words.Length; i++)
        {
            words[i] = random.Next(2) == 0 ? 0 : (uint)random.Next(9);
        }

        Span<ulong> longs = MemoryMarshal.Cast<uint, ulong>(words.AsSpan());
        for (int i = request == IommufdRequests.IoasUnmap ? 1 : 2; i < 6; i++)
        {
            longs[i] = random.Next(8) switch
            {
                0 => ulong.MaxValue,
                1 or 2 => ClientWindow.Start + ((ulong)random.Next(5000) << 12),
                3 or 4 => (ulong)random.Next(64) << 12,
                5 => (ulong)random.Next(1, 8) << 12,
                6 => ClientWindow.ArgumentStart,
                _ => longs[i],
            };
        }

        if (random.Next(2) == 0)
        {
            switch (request)
            {
                case IommufdRequests.IoasMap:
                    words[2] = known.Space;
                    (words[1], words[3]) = (7, 0);
                    longs[2] = ClientWindow.Start + ((ulong)random.Next(4000) << 12);
                    longs[3] = (ulong)random.Next(1, 8) << 12;
                    longs[4] = (ulong)random.Next(64) << 12;
                    break;
                case IommufdRequests.IoasUnmap:
                    words[1] = known.Space;
                    (longs[1], longs[2]) = random.Next(4) == 0 ? (0, ulong.MaxValue) : ((ulong)random.Next(64) << 12, (ulong)random.Next(1, 8) << 12);
                    break;
                case IommufdRequests.HwptAlloc:
                    words.AsSpan(1).Clear();
                    (words[2], words[3]) = (known.Device, known.Space);
                    break;
            }
        }

        words[0] = random.Next(8) == 0 ? (uint)random.Next(80) : request switch
        {
            IommufdRequests.Destroy => 8,
            IommufdRequests.IoasAlloc => 12,
            VfioRequests.DeviceAttachIommufdPt => 16,
            IommufdRequests.IoasUnmap or IommufdRequests.Option or VfioRequests.DeviceBindIommufd => 24,
            IommufdRequests.HwptAlloc => 48,
            _ => 40,
        };
        if (words[0] <= 64 && random.Next(10) > 0)
        {
            MemoryMarshal.AsBytes(words.AsSpan())[(int)words[0]..].Clear();
        }

        return words;
    }

    private static int Keep(int fd, List<int> open)
    {
        if (fd >= 0)
        {
            open.Add(fd);
        }

        return fd;
    }

    private readonly record struct Known(int Fd, uint Device, uint Space);

    // What is logged as an error of the kernel's own: an exception inside of a call.
    private sealed class Alarm : ILoggerFactory, ILogger
    {
        public List<string> Lines { get; } = [];

        public void AddProvider(ILoggerProvider provider)
        {
        }

        public ILogger CreateLogger(string categoryName) => this;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Error;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (exception is not null)
            {
                Lines.Add($"{formatter(state, exception)}: {exception.GetType().Name}: {exception.Message}");
            }
        }

        public void Dispose()
        {
        }
    }
}
