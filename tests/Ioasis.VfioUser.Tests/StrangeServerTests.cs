using System.Diagnostics;
using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Embedded;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.VfioUser.Tests;

/// <summary>
/// Servers behind our IOMMU: with IOASIS_TEST_ALL=1 those that come with libvfio-user, the protocol's own library, of which lab/fetch has the sources; else one of ours
/// that does the same.
/// </summary>
public sealed unsafe class StrangeServerTests : IDisposable
{
    private const int Page = 4096;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("ioasis");
    private readonly byte* _memory = (byte*)NativeMemory.AlignedAlloc(2 * Page, Page);
    private long _readBytes;
    private Process? _process;
    private Served? _served;

    /// <summary>Whose server.</summary>
    public static TheoryData<string> Servers { get; } =
        string.Equals(Environment.GetEnvironmentVariable("IOASIS_TEST_ALL"), "1", StringComparison.Ordinal) ? ["ours", "libvfio-user"] : ["ours"];

    public void Dispose()
    {
        _served?.Dispose();
        if (_process is { } process)
        {
            process.Kill();
            process.WaitForExit();
            process.Dispose();
        }

        NativeMemory.AlignedFree(_memory);
        _folder.Delete(recursive: true);
    }

    /// <summary>The sample sets a timer by its only register; when it is over it interrupts, writes a page of "A" at address 0 by a message, and reads it by another.</summary>
    [Theory]
    [MemberData(nameof(Servers))]
    public void A_servers_interrupt_and_its_messages_reach_what_is_mapped(string server)
    {
        using RemoteDevice remote = Start(server, "server");
        using EmbeddedPlatform platform = new(new());
        using IommuFd iommu = IommuFd.Open(platform.Kernel);
        using VfioDevice client = Open(platform, iommu, remote, out TestCounter counter);
        using IoAddressSpace space = iommu.AllocateAddressSpace();
        client.Attach(space);
        new Span<byte>(_memory, 2 * Page).Fill(7);
        space.Map((ulong)_memory, Page, default, Access.ReadWrite);
        SetTimer(client);
        Served.Await(() => counter.Take() > 0);
        Served.Await(() => Volatile.Read(ref _memory[Page - 1]) == 'A');
        new Span<byte>(_memory, Page).IndexOfAnyExcept((byte)'A').ShouldBe(-1);
        new Span<byte>(_memory + Page, Page).IndexOfAnyExcept((byte)7).ShouldBe(-1);
        platform.FaultCount.ShouldBe(0);

        // It reads the page back. Nothing can be asked of it meanwhile: the library takes a request for a wrong answer while it waits for one.
        Served.Await(() => Volatile.Read(ref _readBytes) == Page);
    }

    [Theory]
    [MemberData(nameof(Servers))]
    public void What_is_not_mapped_is_refused_to_a_server(string server)
    {
        using RemoteDevice remote = Start(server, "server");
        using EmbeddedPlatform platform = new(new());
        using IommuFd iommu = IommuFd.Open(platform.Kernel);
        using VfioDevice client = Open(platform, iommu, remote, out TestCounter counter);
        using IoAddressSpace space = iommu.AllocateAddressSpace();
        client.Attach(space);
        new Span<byte>(_memory, 2 * Page).Fill(7);
        space.Map((ulong)_memory, Page, new Iova(Page), Access.ReadWrite);
        SetTimer(client);
        Served.Await(() => platform.FaultCount > 0);
        Served.Await(() => counter.Take() > 0);
        new Span<byte>(_memory, 2 * Page).IndexOfAnyExcept((byte)7).ShouldBe(-1);
        if (_process is { } process)
        {
            // The sample ends when it is refused. Accesses fail from then on.
            process.WaitForExit();
            process.StandardError.ReadToEnd().ShouldContain("vfu_sgl_write failed");
            client.GetRegion(VfioPciRegion.Bar0).TryRead(0, out ulong _).ShouldBe(Errno.IoError);
        }
    }

    /// <summary>The sample's first register counts: each value is read three times.</summary>
    [Theory]
    [MemberData(nameof(Servers))]
    public void A_servers_registers_are_read_one_message_each(string server)
    {
        using RemoteDevice remote = Start(server, "gpio-pci-idio-16");
        using EmbeddedPlatform platform = new(new());
        using IommuFd iommu = IommuFd.Open(platform.Kernel);
        using VfioDevice client = Open(platform, iommu, remote, out _);
        VfioRegion region = client.GetRegion(_served is null ? VfioPciRegion.Bar2 : VfioPciRegion.Bar0);
        for (int i = 0; i < 30; i++)
        {
            region.Read<byte>(0).ShouldBe((byte)(i / 3));
        }
    }

    private VfioDevice Open(EmbeddedPlatform platform, IommuFd iommu, RemoteDevice remote, out TestCounter counter)
    {
        EmbeddedEndpoint endpoint = platform.AddDevice(remote, DeviceId.FromPci(0, 0, 3, 0));
        remote.Connect(endpoint.Connection with { Port = new CountingPort(endpoint.Port, count => Interlocked.Add(ref _readBytes, count)) });
        VfioDevice client = VfioDevice.Open(platform.Kernel, endpoint.DevicePath);
        client.Bind(iommu);
        client.GetRegion(VfioPciRegion.Config).Write(4, (ushort)7);
        counter = new();
        VfioIrqSet set = new() { Argsz = VfioIrqSet.MinimumSize, Count = 1, Flags = VfioIrqSetFlags.DataEventFd | VfioIrqSetFlags.ActionTrigger };
        remote.Backend.SetInterrupts(set, MemoryMarshal.AsBytes<int>([1]), counter).ShouldBe(Errno.Success);
        return client;
    }

    // Seconds since 1970, at least one from now.
    private static void SetTimer(VfioDevice client) =>
        client.GetRegion(VfioPciRegion.Bar0).Write(0, DateTimeOffset.UtcNow.ToUnixTimeSeconds() + 3);

    private RemoteDevice Start(string server, string sample)
    {
        if (string.Equals(server, "ours", StringComparison.Ordinal))
        {
            _served = new(new TimerDevice());
            return RemoteDevice.Connect(_served.PathOf(0));
        }

        string path = Path.Combine(_folder.FullName, "socket");
        _process = Process.Start(new ProcessStartInfo(Path.Combine(Lab.Fetch("libvfio-user"), sample), [path]) { RedirectStandardError = true, UseShellExecute = false })!;
        RemoteDevice? remote = null;
        Served.Await(() =>
        {
            try
            {
                return File.Exists(path) && (remote = RemoteDevice.Connect(path)) is not null;
            }
            catch (IOException e) when (e.Message.Contains("nobody can be reached", StringComparison.Ordinal) && !_process.HasExited)
            {
                return false;
            }
        });
        return remote!;
    }

    /// <summary>A way to memory that says how many bytes were read.</summary>
    private sealed class CountingPort(IDmaPort port, Action<int> onRead) : IDmaPort
    {
        public void Translate(in DmaRequest request, out DmaTranslation translation) => port.Translate(request, out translation);

        public DmaStatus Read(in DmaRequest request, Span<byte> destination)
        {
            DmaStatus status = port.Read(request, destination);
            onRead(status == DmaStatus.Success ? destination.Length : 0);
            return status;
        }

        public DmaStatus Write(in DmaRequest request, ReadOnlySpan<byte> source) => port.Write(request, source);
    }

    /// <summary>What the samples do, in one device.</summary>
    private sealed class TimerDevice() : Devices.PciDevice(new()
    {
        VendorId = 0xdead,
        DeviceId = 0xbeef,
        HasInterruptPin = true,
        Bars = [new(0, 16)],
    })
    {
        private int _reads;

        protected override ulong ReadRegister(int bar, ulong offset, int size) => (ulong)(_reads++ / 3);

        protected override void WriteRegister(int bar, ulong offset, int size, ulong value)
        {
            SetInterruptLine(true);
            byte[] page = new byte[Page];
            page.AsSpan().Fill((byte)'A');
            if (WriteMemory(default, page) == DmaStatus.Success)
            {
                ReadMemory(default, page).ShouldBe(DmaStatus.Success);
            }
        }

        protected override void OnReset() => _reads = 0;
    }
}
