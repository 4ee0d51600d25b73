using Ioasis.Embedded;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Client.Tests;

/// <summary>Devices that are opened by their PCI address.</summary>
public sealed class OpenByAddressTests
{
    private const string Transport = "embedded-for-addresses";

    [Fact]
    public void A_device_opened_by_its_address_reaches_what_its_own_address_space_maps_and_leaves_nothing()
    {
        using EmbeddedPlatform platform = new(new());
        EmbeddedEndpoint disk = platform.AddEndpoint(DeviceId.FromPci(0, 0, 3, 0));
        _ = platform.AddEndpoint(DeviceId.FromPci(0, 0, 4, 0));
        Client.Iommu.Register(Transport, () => platform.Kernel);
        for (int i = 0; i < 3; i++)
        {
            using VfioDevice device = VfioDevice.Open("0000:00:03.0", Transport);
            device.Path.ShouldBe(disk.DevicePath);
            using (DmaBuffer buffer = device.Space.ShouldNotBeNull().AllocateBuffer(4096))
            {
                disk.Write(buffer.Iova + 8, "hello"u8).ShouldBe(DmaStatus.Success);
                buffer.Span.Slice(8, 5).ToArray().ShouldBe("hello"u8.ToArray());
            }

            device.Dispose();
            device.Space.Handle.IsClosed.ShouldBeTrue();
            disk.Write(new(0x1000), "again"u8).ShouldNotBe(DmaStatus.Success);
        }

        platform.Audit.ShouldBe(default);
    }

    [Fact]
    public void Several_devices_share_an_address_space_that_outlives_them()
    {
        using EmbeddedPlatform platform = new(new());
        EmbeddedEndpoint[] endpoints = [platform.AddEndpoint(DeviceId.FromPci(0, 0, 3, 0)), platform.AddEndpoint(DeviceId.FromPci(0x12, 1, 0, 0))];
        using IommuFd iommu = Client.Iommu.Open(platform.Kernel);
        using IoAddressSpace space = iommu.AllocateAddressSpace();
        using DmaBuffer buffer = space.AllocateBuffer(4096);
        using (VfioDevice first = VfioDevice.Open(space, "0000:00:03.0"))
        using (VfioDevice second = VfioDevice.Open(space, "0012:01:00.0"))
        {
            second.Space.ShouldBeSameAs(space);
            endpoints[0].Write(buffer.Iova, "one"u8).ShouldBe(DmaStatus.Success);
            endpoints[1].Write(buffer.Iova + 3, "two"u8).ShouldBe(DmaStatus.Success);
        }

        buffer.Span[..6].ToArray().ShouldBe("onetwo"u8.ToArray());
        space.UnmapErrno(buffer.Iova, 4096, out _).ShouldBe(Errno.Success);
    }

    [Theory]
    [InlineData("0000:00:05.0", Errno.NoEntry)]
    [InlineData("nonsense", Errno.NoEntry)]
    [InlineData("0000:00:03.0", Errno.InvalidArgument)]
    public void An_address_that_cannot_be_opened_leaves_nothing_open(string address, Errno error)
    {
        using EmbeddedPlatform platform = new(new());
        EmbeddedEndpoint endpoint = platform.AddEndpoint(DeviceId.FromPci(0, 0, 3, 0));
        using IommuFd other = Client.Iommu.Open(platform.Kernel);
        using VfioDevice taken = VfioDevice.Open(platform.Kernel, endpoint.DevicePath);
        _ = taken.Bind(other);
        Client.Iommu.Register(Transport + "-" + error + address, () => platform.Kernel);
        int free = NextNumber(platform.Kernel);
        IommuException refusal = Should.Throw<IommuException>(() => VfioDevice.Open(address, Transport + "-" + error + address));
        refusal.Error.ShouldBe(error);
        refusal.Values.ShouldContain(address);
        NextNumber(platform.Kernel).ShouldBe(free);
    }

    [Fact]
    public void Without_a_name_there_has_to_be_one_transport()
    {
        Client.Iommu.Register("one-of-several", static () => throw new InvalidOperationException());
        Client.Iommu.Register("another-of-several", static () => throw new InvalidOperationException());
        InvalidOperationException refusal = Should.Throw<InvalidOperationException>(static () => VfioDevice.Open("0000:00:03.0"));
        refusal.Message.ShouldContain("one-of-several");
        Should.Throw<ArgumentException>(static () => VfioDevice.Open("0000:00:03.0", "no such transport"));
    }

    // The lowest number that is free.
    private static int NextNumber(IKernelAbi kernel)
    {
        int made = kernel.CreateEvent(0, EventFlags.None);
        kernel.Close(made).ShouldBe(0);
        return made;
    }
}
