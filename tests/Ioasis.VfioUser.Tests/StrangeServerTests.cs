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
    private Process? _process;
    private Served? _served;

    /// <summary>Whose server.</summary>
    public static TheoryData<string> Servers { get; } =
        string.Equals(Environment.GetEnvironmentVariable("IOASIS_TEST_ALL"), "1", StringComparison.Ordinal) ? ["ours", "libvfio-user"] : ["ours"];

    /// <summary>Each, with and without a mapping that there was before.</summary>
    public static TheoryData<string, bool> ServersTwice { get; } = new(Servers.SelectMany(static row => (ValueTuple<string, bool>[])[(row.Data, false), (row.Data, true)]));

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
        using Machine machine = new(Start(server, "server"), _memory);
        machine.Space.Map(new((ulong)_memory, Page), default, Access.ReadWrite);
        SetTimer(machine);
        Served.Await(() => machine.Counter.Take() > 0);
        Served.Await(() => Volatile.Read(ref _memory[Page - 1]) == 'A');
        new Span<byte>(_memory, Page).IndexOfAnyExcept((byte)'A').ShouldBe(-1);
        new Span<byte>(_memory + Page, Page).IndexOfAnyExcept((byte)7).ShouldBe(-1);
        machine.Platform.FaultCount.ShouldBe(0);

        // It reads the page back. Nothing can be asked of it meanwhile: the library takes a request for a wrong answer while it waits for one.
        Served.Await(() => machine.Port.ReadBytes == Page);
    }

    /// <summary>What it writes to was never mapped, or has been unmapped since.</summary>
    [Theory]
    [MemberData(nameof(ServersTwice))]
    public void A_servers_write_to_what_is_not_mapped_is_refused(string server, bool wasMapped)
    {
        using Machine machine = new(Start(server, "server"), _memory);
        machine.Space.Map(new((ulong)_memory, Page), new Iova(wasMapped ? 0u : Page), Access.ReadWrite);
        if (wasMapped)
        {
            machine.Space.Unmap(default, Page).ShouldBe((ulong)Page);
        }

        SetTimer(machine);
        Served.Await(() => machine.Platform.FaultCount > 0);
        Served.Await(() => machine.Counter.Take() > 0);
        new Span<byte>(_memory, 2 * Page).IndexOfAnyExcept((byte)7).ShouldBe(-1);
        ExpectRefusal(machine, "vfu_sgl_write failed");
    }

    /// <summary>The page is unmapped as soon as it has been written, so that the server finds nothing to read.</summary>
    [Theory]
    [MemberData(nameof(Servers))]
    public void A_servers_read_of_what_is_unmapped_is_refused(string server)
    {
        using Machine machine = new(Start(server, "server"), _memory);
        machine.Space.Map(new((ulong)_memory, Page), default, Access.ReadWrite);
        machine.Port.OnWrittenTo = Page;
        machine.Port.OnWritten = () => machine.Space.Unmap(default, Page);
        SetTimer(machine);
        Served.Await(() => machine.Platform.FaultCount > 0);
        new Span<byte>(_memory, Page).IndexOfAnyExcept((byte)'A').ShouldBe(-1);
        machine.Port.ReadBytes.ShouldBe(0);
        ExpectRefusal(machine, "vfu_sgl_read failed");
    }

    /// <summary>The sample's first register counts: each value is read three times.</summary>
    [Theory]
    [MemberData(nameof(Servers))]
    public void A_servers_registers_are_read_one_message_each(string server)
    {
        using Machine machine = new(Start(server, "gpio-pci-idio-16"), _memory);
        VfioRegion region = machine.Client.GetRegion(_served is null ? VfioPciRegion.Bar2 : VfioPciRegion.Bar0);
        for (int i = 0; i < 30; i++)
        {
            region.Read<byte>(0).ShouldBe((byte)(i / 3));
        }
    }

    // The sample ends when it is refused. Accesses fail from then on.
    private void ExpectRefusal(Machine machine, string line)
    {
        if (_process is { } process)
        {
            process.WaitForExit();
            process.StandardError.ReadToEnd().ShouldContain(line);
            machine.Client.GetRegion(VfioPciRegion.Bar0).ReadErrno(0, out ulong _).ShouldBe(Errno.IoError);
        }
    }

    // Seconds since 1970, at least one from now.
    private static void SetTimer(Machine machine) =>
        machine.Client.GetRegion(VfioPciRegion.Bar0).Write(0, DateTimeOffset.UtcNow.ToUnixTimeSeconds() + 3);

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

    /// <summary>A machine in which a server's device stands behind our IOMMU, and a client has it attached, with an interrupt.</summary>
    private sealed class Machine : IDisposable
    {
        private readonly RemoteDevice _remote;
        private readonly IommuFd _iommu;

        public Machine(RemoteDevice remote, byte* memory)
        {
            new Span<byte>(memory, 2 * Page).Fill(7);
            _remote = remote;
            Platform = new(new());
            _iommu = IommuFd.Open(Platform.Kernel);
            EmbeddedEndpoint endpoint = Platform.AddDevice(remote, DeviceId.FromPci(0, 0, 3, 0));
            Port = new(endpoint.Port);
            remote.Connect(endpoint.Connection with { Port = Port });
            Client = VfioDevice.Open(Platform.Kernel, endpoint.DevicePath);
            Client.Bind(_iommu);
            Client.GetRegion(VfioPciRegion.Config).Write(4, (ushort)7);
            Space = _iommu.AllocateAddressSpace();
            Client.Attach(Space);
            VfioIrqSet set = new() { Argsz = VfioIrqSet.MinimumSize, Count = 1, Flags = VfioIrqSetFlags.DataEventFd | VfioIrqSetFlags.ActionTrigger };
            remote.Backend.SetInterrupts(set, MemoryMarshal.AsBytes<int>([1]), Counter).ShouldBe(Errno.Success);
        }

        public EmbeddedPlatform Platform { get; }

        public VfioDevice Client { get; }

        public IoAddressSpace Space { get; }

        public WatchedPort Port { get; }

        public TestCounter Counter { get; } = new();

        public void Dispose()
        {
            Client.Dispose();
            Space.Dispose();
            _iommu.Dispose();
            Platform.Dispose();
            _remote.Dispose();
        }
    }

    /// <summary>A way to memory that says how many bytes were read, and when so many have been written.</summary>
    private sealed class WatchedPort(IDmaPort port) : IDmaPort
    {
        private long _readBytes;
        private long _writtenBytes;

        public long ReadBytes => Volatile.Read(ref _readBytes);

        public long OnWrittenTo { get; set; }

        public Action? OnWritten { get; set; }

        public void Translate(in DmaRequest request, out DmaTranslation translation) => port.Translate(request, out translation);

        public DmaStatus Read(in DmaRequest request, Span<byte> destination)
        {
            DmaStatus status = port.Read(request, destination);
            _ = Interlocked.Add(ref _readBytes, status == DmaStatus.Success ? destination.Length : 0);
            return status;
        }

        public DmaStatus Write(in DmaRequest request, ReadOnlySpan<byte> source)
        {
            DmaStatus status = port.Write(request, source);
            if (status == DmaStatus.Success && Interlocked.Add(ref _writtenBytes, source.Length) == OnWrittenTo)
            {
                OnWritten?.Invoke();
            }

            return status;
        }
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
                _ = ReadMemory(default, page);
            }
        }

        protected override void OnReset() => _reads = 0;
    }
}
