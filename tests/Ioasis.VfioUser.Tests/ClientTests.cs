using System.Diagnostics;
using System.Net.Sockets;
using Ioasis.Client;
using Ioasis.Embedded;
using Ioasis.Examples;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.VfioUser.Tests;

/// <summary>A function of another process in a machine of this one: our IOMMU is before it.</summary>
public sealed class ClientTests
{
    private static readonly DeviceId s_id = DeviceId.FromPci(0, 0, 3, 0);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_driver_that_knows_nothing_of_it_runs_on_a_device_of_another_process(bool wired)
    {
        string path = Path.Combine(Directory.CreateTempSubdirectory("ioasis").FullName, "edu");
        using Process server = ServeTests.Start("--device", $"edu,socket={path}");
        ServeTests.AwaitServing(server);
        try
        {
            using RemoteDevice remote = RemoteDevice.Connect(path);
            using EmbeddedPlatform platform = new(new());
            EmbeddedEndpoint endpoint = platform.AddDevice(remote, s_id);
            EduReport report = await EduProgram.RunByIommuAsync(platform.Kernel, endpoint.DevicePath, wired, Token);
            report.ShouldBe(new(0x0100_00ed, 3628800, 4096));
            platform.FaultCount.ShouldBe(0);
            platform.Audit.IsEmpty.ShouldBeTrue();
        }
        finally
        {
            server.Kill();
            server.WaitForExit();
            Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
        }
    }

    [Fact]
    public unsafe void What_nobody_mapped_is_refused_and_recorded_as_a_fault()
    {
        ProbeDevice device = new();
        using Served served = new(device);
        using RemoteDevice remote = RemoteDevice.Connect(served.PathOf(0));
        remote.Description.VendorId.ShouldBe((ushort)0x1234);
        remote.Description.Bars.Select(static bar => (bar.Register, bar.Size)).ShouldBe([(0, 16384ul), (2, 65536ul), (4, 4096ul), (5, 256ul)]);
        using EmbeddedPlatform platform = new(new());
        EmbeddedEndpoint endpoint = platform.AddDevice(remote, s_id);
        using IommuFd iommu = IommuFd.Open(platform.Kernel);
        using VfioDevice client = VfioDevice.Open(platform.Kernel, endpoint.DevicePath);
        client.Bind(iommu);
        using IoAddressSpace space = iommu.AllocateAddressSpace();
        client.Attach(space);
        byte[] seen = new byte[8];

        // No bus master: its requests do not get as far as the IOMMU.
        device.DmaRead(0x10000, seen).ShouldBe(DmaStatus.UnsupportedRequest);
        client.GetRegion(VfioPciRegion.Config).Write(4, (ushort)6);
        platform.FaultCount.ShouldBe(0);
        device.DmaRead(0x10000, seen).ShouldBe(DmaStatus.UnsupportedRequest);
        platform.FaultCount.ShouldBe(1);

        byte* page = (byte*)System.Runtime.InteropServices.NativeMemory.AlignedAlloc(8192, 4096);
        try
        {
            new Span<byte>(page, 8192).Fill(7);
            space.Map(new((ulong)page, 4096), new Iova(0x10000), Access.ReadWrite);
            device.DmaRead(0x10000, seen).ShouldBe(DmaStatus.Success);
            seen.ShouldAllBe(static b => b == 7);
            device.DmaWrite(0x10ff8, [1, 2, 3, 4, 5, 6, 7, 8]).ShouldBe(DmaStatus.Success);
            new Span<byte>(page + 0xff8, 9).ToArray().ShouldBe([1, 2, 3, 4, 5, 6, 7, 8, 7]);
            device.DmaWrite(0x10ffc, [9, 9, 9, 9, 9, 9, 9, 9]).ShouldBe(DmaStatus.UnsupportedRequest);
            page[4096].ShouldBe((byte)7);
            space.Unmap(new Iova(0x10000), 4096);
            device.DmaRead(0x10000, seen).ShouldBe(DmaStatus.UnsupportedRequest);
        }
        finally
        {
            System.Runtime.InteropServices.NativeMemory.AlignedFree(page);
        }
    }

    [Fact]
    public void A_server_that_dies_fails_accesses_and_nothing_else()
    {
        Served served = new(new ProbeDevice());
        using RemoteDevice remote = RemoteDevice.Connect(served.PathOf(0));
        using EmbeddedPlatform platform = new(new());
        EmbeddedEndpoint endpoint = platform.AddDevice(remote, s_id);
        using IommuFd iommu = IommuFd.Open(platform.Kernel);
        using VfioDevice client = VfioDevice.Open(platform.Kernel, endpoint.DevicePath);
        client.Bind(iommu);
        VfioRegion registers = client.GetRegion(VfioPciRegion.Bar0);
        registers.Write(0x10, 5u);
        registers.Read<uint>(0x10).ShouldBe(5u);
        served.Dispose();
        Should.Throw<IommuException>(() => registers.Read<uint>(0x10)).Error.ShouldBe(Errno.IoError);
        Should.Throw<IommuException>(() => registers.Write(0x10, 5u)).Error.ShouldBe(Errno.IoError);
        client.ResetErrno().ShouldBe(Errno.IoError);
    }

    [Fact]
    public void Where_there_is_no_server_of_a_function_there_is_no_device()
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory("ioasis");
        try
        {
            string path = Path.Combine(folder.FullName, "socket");
            Should.Throw<IOException>(() => RemoteDevice.Connect(path)).Message.ShouldContain("nobody can be reached there");
            using Socket listener = UnixSockets.Listen(path);
            Thread server = new(() =>
            {
                using MessagePeer peer = new(new(listener.Accept()));
                using Message? request = peer.TakeRequest();
                peer.Send(new(request!.Header.Id, request.Header.Command, 0, MessageFlags.Reply, 0), [1, 0, 0, 0], []);
                peer.TakeRequest()?.Dispose();
            });
            server.Start();
            Should.Throw<IOException>(() => RemoteDevice.Connect(path)).Message.ShouldContain("version 1.0");
            server.Join();
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }
}
