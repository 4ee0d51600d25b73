using Ioasis.Devices.Virtio;
using Ioasis.Embedded;
using Ioasis.Examples;
using Ioasis.Hardware;
using Ioasis.Primitives;

namespace Ioasis.Vfio.Tests;

/// <summary>virtio-blk and virtio-net on the embedded platform, behind each IOMMU, driven by a driver that knows VFIO only.</summary>
public sealed class VirtioTests
{
    private const long DiskBytes = (1 << 20) + 512;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public static TheoryData<string> Iommus { get; } = new(IommuSlot.Kinds);

    private static EmbeddedPlatform MakePlatform(string iommu)
    {
        IommuSlot.TryCreate(iommu, out IommuSlot? slot).ShouldBeTrue();
        return new(new() { Iommus = [slot!], Caching = CachingMode.Hostile });
    }

    private static void ShouldBeClean(EmbeddedPlatform platform)
    {
        platform.FaultCount.ShouldBe(0);
        platform.Audit.IsEmpty.ShouldBeTrue();
    }

    [Theory]
    [MemberData(nameof(Iommus))]
    public async Task The_driver_writes_a_disk_and_reads_it_again(string iommu)
    {
        using EmbeddedPlatform platform = MakePlatform(iommu);
        using VirtioBlock disk = new(new() { Size = DiskBytes });
        EmbeddedEndpoint endpoint = platform.AddDevice(disk, DeviceId.FromPci(0, 0, 3, 0));
        (await VirtioProgram.CheckDiskAsync(platform.Kernel, endpoint.DevicePath, Token)).ShouldBe(DiskBytes);
        disk.DriverMistake.ShouldBeNull();
        ShouldBeClean(platform);
    }

    [Theory]
    [MemberData(nameof(Iommus))]
    public async Task The_driver_sends_frames_there_and_back(string iommu)
    {
        using EmbeddedPlatform platform = MakePlatform(iommu);
        using VirtioNet first = new();
        using VirtioNet second = new();
        first.Join(second).ShouldBeNull();
        EmbeddedEndpoint one = platform.AddDevice(first, DeviceId.FromPci(0, 0, 3, 0));
        EmbeddedEndpoint two = platform.AddDevice(second, DeviceId.FromPci(0, 0, 4, 0));
        (await VirtioProgram.CheckNetworkAsync(platform.Kernel, one.DevicePath, two.DevicePath, 200, Token)).ShouldBe(200);
        first.Counts.ShouldBe(new(200, 200, 0, 0, 0));
        second.Counts.ShouldBe(new(200, 200, 0, 0, 0));
        ShouldBeClean(platform);
    }
}
