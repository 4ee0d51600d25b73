using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Text;
using Ioasis.Embedded;
using Ioasis.Primitives;
using Ioasis.Testing;
using Ioasis.Uapi;
using Microsoft.Extensions.Logging;

namespace Ioasis.Vfio.Tests;

/// <summary>
/// Random calls from several threads on containers, groups, devices and counters of a whole platform: no crash, no hang, and
/// nothing is left when all descriptors are closed (invariant 7).
/// </summary>
public sealed class FuzzTests
{
    private const int Threads = 4;

    // Nothing here is an address of this process: what the kernel writes through a pointer goes to nowhere.
    private static readonly ulong[] s_values =
    [
        0, 1, 7, 8, 0xfff, 0x1000, 0x2000, 0x1_0000, 0x10_0000, 0xfee0_0000, 0x1_0000_0000, 0xff_ffff_f000,
        1ul << 63, ulong.MaxValue - 0xfff, ulong.MaxValue,
    ];

    private static readonly uint[] s_requests = [.. Enumerable.Range(0x3b64, 22).Select(static number => (uint)number), 0, 0x3b80];

    private sealed class Errors : ILoggerFactory, ILogger
    {
        public ConcurrentQueue<string> Messages { get; } = [];

        public void AddProvider(ILoggerProvider provider)
        {
        }

        public ILogger CreateLogger(string categoryName) => this;

        public void Dispose()
        {
        }

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Error;

        public void Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (logLevel >= LogLevel.Error)
            {
                Messages.Enqueue($"{formatter(state, exception)} {exception}");
            }
        }
    }

    private sealed class Client(EmbeddedPlatform platform, TestPciDevice[] devices, string[] paths, string[] names, int seed)
    {
        private readonly Random _random = new(seed);
        private readonly IKernelAbi _kernel = platform.Kernel;
        private readonly byte[] _bytes = new byte[256];

        public void Run(int calls)
        {
            for (int i = 0; i < calls; i++)
            {
                Call();
            }
        }

        private int AnyDescriptor() => _random.Next(40) == 0 ? _random.Next() : _random.Next(3, 28);

        private ulong Value() => _random.Next(5) == 0 ? s_values[_random.Next(s_values.Length)] : (ulong)_random.Next(64) << 12;

        private void Call()
        {
            switch (_random.Next(24))
            {
                case 0:
                    _ = _kernel.Open(_random.Next(3) == 0 ? "/dev/vfio/vfio" : paths[_random.Next(paths.Length)], OpenFlags.ReadWrite);
                    break;
                case 1:
                    _ = _kernel.Close(AnyDescriptor());
                    break;
                case 2:
                    _ = _random.Next(4) == 0
                        ? _kernel.Dup(AnyDescriptor())
                        : _kernel.CreateEvent((uint)_random.Next(3), EventFlags.NonBlocking | (EventFlags)_random.Next(2));
                    break;
                case 3:
                    _ = _kernel.Read(AnyDescriptor(), _bytes.AsSpan(0, _random.Next(32)), ((ulong)_random.Next(10) << 40) + (ulong)_random.Next(8192));
                    break;
                case 4:
                    _ = _kernel.Write(AnyDescriptor(), _bytes.AsSpan(0, _random.Next(32)), ((ulong)_random.Next(10) << 40) + (ulong)_random.Next(8192));
                    break;
                case 5:
                    _ = _kernel.Read(AnyDescriptor(), _bytes.AsSpan(0, _random.Next(16)));
                    break;
                case 6:
                    // Small counts only: a full counter is tested elsewhere.
                    MemoryMarshal.Write(_bytes, (ulong)_random.Next(4));
                    _ = _kernel.Write(AnyDescriptor(), _bytes.AsSpan(0, 8));
                    break;
                case 7:
                    PollDescriptor[] poll = [new() { Descriptor = AnyDescriptor(), Events = PollEvents.In }, new() { Descriptor = AnyDescriptor() }];
                    _ = _kernel.Poll(poll, 0);
                    break;
                case 8:
                    if (_kernel.Map(AnyDescriptor(), ((ulong)_random.Next(9) << 40) + Value(), 4096, MemoryProtection.Read, out nint address) == 0
                        && _random.Next(8) > 0)
                    {
                        _ = _kernel.Unmap(address, 4096);
                    }

                    break;
                case 9:
                    TestPciDevice device = devices[_random.Next(devices.Length)];
                    device.Line(_random.Next(2) == 0);
                    _ = device.Message(_random.Next(9));
                    _ = device.DoWrite(new(Value()), _bytes.AsSpan(0, 8));
                    break;
                case 10:
                    _ = _kernel.Ioctl(AnyDescriptor(), s_requests[_random.Next(s_requests.Length)], (nint)_random.Next(12));
                    break;
                case 11:
                    Encoding.UTF8.GetBytes(names[_random.Next(names.Length)] + "\0", _bytes);
                    _ = _kernel.Ioctl(AnyDescriptor(), VfioRequests.GroupGetDeviceFd, _bytes);
                    break;
                case 12 or 13:
                    MemoryMarshal.Write(_bytes, AnyDescriptor());
                    _ = _kernel.Ioctl(AnyDescriptor(), VfioRequests.GroupSetContainer, _bytes.AsSpan(0, 4));
                    _ = _kernel.Ioctl(AnyDescriptor(), VfioRequests.SetIommu, _random.Next(4));
                    break;
                default:
                    Structure();
                    break;
            }
        }

        // A structure whose fields are plausible, or not.
        private void Structure()
        {
            uint request = s_requests[_random.Next(s_requests.Length)];
            int length = _random.Next(10) == 0 ? _random.Next(64) : 56;
            if (_random.Next(8) == 0)
            {
                _random.NextBytes(_bytes.AsSpan(0, length));

                // The pointers of this mess must not hit this process.
                for (int i = 8; i + 8 <= length; i += 8)
                {
                    MemoryMarshal.Write(_bytes.AsSpan(i), Value());
                }
            }
            else
            {
                _bytes.AsSpan(0, 64).Clear();
                for (int i = 8; i < 56; i += 8)
                {
                    MemoryMarshal.Write(_bytes.AsSpan(i), Value());
                }

                MemoryMarshal.Write(_bytes, _random.Next(12) == 0 ? _random.Next(64) : 56);
                MemoryMarshal.Write(_bytes.AsSpan(4), _random.Next(6) == 0 ? _random.Next() : _random.Next(64));
                if (request == VfioRequests.DeviceSetIrqs)
                {
                    MemoryMarshal.Write(_bytes.AsSpan(4), (1 << _random.Next(3)) | (8 << _random.Next(3)));
                    MemoryMarshal.Write(_bytes.AsSpan(8), _random.Next(6));
                    MemoryMarshal.Write(_bytes.AsSpan(12), _random.Next(3));
                    MemoryMarshal.Write(_bytes.AsSpan(16), _random.Next(4));
                    MemoryMarshal.Write(_bytes.AsSpan(20), AnyDescriptor());
                    MemoryMarshal.Write(_bytes.AsSpan(24), AnyDescriptor());
                }
                else if (request == VfioRequests.DeviceIoEventFd)
                {
                    MemoryMarshal.Write(_bytes.AsSpan(4), 1 << _random.Next(4));
                    MemoryMarshal.Write(_bytes.AsSpan(8), ((ulong)_random.Next(7) << 40) + ((ulong)_random.Next(64) * 2));
                    MemoryMarshal.Write(_bytes.AsSpan(16), (ulong)_random.Next(3));
                    MemoryMarshal.Write(_bytes.AsSpan(24), _random.Next(3) == 0 ? -1 : AnyDescriptor());
                }
                else if (request is VfioRequests.DeviceBindIommufd or VfioRequests.DeviceAttachIommufdPt)
                {
                    MemoryMarshal.Write(_bytes.AsSpan(4), _random.Next(2));
                    MemoryMarshal.Write(_bytes.AsSpan(8), AnyDescriptor());
                }
            }

            _ = _kernel.Ioctl(AnyDescriptor(), request, _bytes.AsSpan(0, length));
        }
    }

    [Theory]
    [InlineData(RiscVIommuSlot.KindName)]
    [InlineData(VtdIommuSlot.KindName)]
    [Trait("Requirement", "S1.15")]
    public async Task Random_calls_from_several_threads_neither_crash_nor_leak(string iommu)
    {
        IommuSlot.TryCreate(iommu, out IommuSlot? slot).ShouldBeTrue();
        int calls = ExplorerOptions.All ? 10_000_000 : 100_000;
        const int Rounds = 2;
        using Errors errors = new();
        for (int round = 0; round < Rounds; round++)
        {
            using EmbeddedPlatform platform = new(new()
            {
                Iommus = [slot!],
                UserMemory = new IdentityUserMemory(),
                LoggerFactory = errors,
                PinnedMemoryLimit = 1 << 24,
            });
            TestPciDevice[] devices = [new(), new(canReset: false), new()];
            EmbeddedEndpoint[] endpoints =
                [.. devices.Select((device, i) => platform.AddDevice(device, DeviceId.FromPci(0, 0, 1 + i, 0), new() { GroupId = i / 2 }))];
            string[] paths =
            [
                "/dev/iommu", "/dev/vfio/0", "/dev/vfio/1", .. endpoints.Select(static endpoint => endpoint.DevicePath),
            ];
            string[] names = [.. endpoints.Select(static endpoint => endpoint.Device.Name), "nobody"];
            int own = round;
            await Task.WhenAll(Enumerable.Range(0, Threads).Select(thread => Task.Run(
                () => new Client(platform, devices, paths, names, (own * 100) + thread).Run(calls / Rounds / Threads),
                TestContext.Current.CancellationToken)));
            ((Kernel.KernelProcess)platform.Kernel).CloseAll();
            platform.Audit.IsEmpty.ShouldBeTrue(platform.Audit.ToString());
            foreach (TestPciDevice device in devices)
            {
                device.IsBusMaster.ShouldBeFalse();
                device.Interrupts.Kind.ShouldBeNull();
            }

            foreach (EmbeddedEndpoint endpoint in endpoints)
            {
                platform.RemoveEndpointErrno(endpoint).ShouldBe(Errno.Success);
            }
        }

        errors.Messages.ShouldBeEmpty();
    }
}
