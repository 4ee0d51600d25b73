using Ioasis.Core;
using Ioasis.Embedded;
using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Hardware;

namespace Ioasis.Kernel.Tests;

/// <summary>Drivers in this process, and machines that are described by their topology.</summary>
public class EmbeddedDmaTests
{
    /// <summary>The IOMMU of the machines.</summary>
    private protected virtual IommuSlot Slot => new RiscVIommuSlot();

    [Theory]
    [InlineData(DmaMode.Strict)]
    [InlineData(DmaMode.Lazy)]
    public void A_driver_and_its_device_talk_through_a_ring_and_a_buffer(DmaMode mode)
    {
        using EmbeddedPlatform platform = new(new() { Iommus = [Slot], Caching = CachingMode.Hostile, Dma = new() { Mode = mode } });
        EmbeddedEndpoint disk = platform.AddEndpoint(DeviceId.FromPci(0, 0, 3, 0));
        using DmaDevice dma = disk.OpenDma(new() { AddressMask = uint.MaxValue });
        dma.AllocateCoherent(4096, out DmaCoherentBuffer? ring).ShouldBe(Errno.Success);
        platform.DmaPages.TryAllocate(12, IPageAllocator.AnyNode, out PhysicalAddress buffer).ShouldBeTrue();
        dma.Map(buffer + 0x100, 5, DmaDirection.FromDevice, out Iova address).ShouldBe(Errno.Success);

        // The driver tells the device where; the device reads that, and writes there.
        ring!.Write(8, BitConverter.GetBytes(address.Value)).ShouldBe(Errno.Success);
        byte[] word = new byte[8];
        disk.Read(ring.Address + 8, word).ShouldBe(DmaStatus.Success);
        disk.Write(new(BitConverter.ToUInt64(word)), "hello"u8).ShouldBe(DmaStatus.Success);
        dma.Unmap(address, 5, DmaAttributes.Strict).ShouldBe(Errno.Success);
        byte[] text = new byte[5];
        platform.PhysicalMemory.Read(buffer + 0x100, text).ShouldBe(MemoryStatus.Success);
        text.ShouldBe("hello"u8.ToArray());
        disk.Write(address, "late!"u8).ShouldNotBe(DmaStatus.Success);
        ring.Free().ShouldBe(Errno.Success);
        disk.Read(ring.Address, word).ShouldNotBe(DmaStatus.Success);
    }

    [Fact]
    public void Each_function_of_a_machine_gets_its_group_its_name_and_its_domain()
    {
        PcieTopology.TryCreate(
            [
                Function(0, 1, PcieFunctionKind.RootPort, 1) with { AcsSupported = AcsControls.Isolation, AcsEnabled = AcsControls.Isolation },
                Function(1, 0, PcieFunctionKind.Endpoint),
                Function(0, 2, PcieFunctionKind.RootPort, 2) with
                {
                    AcsSupported = AcsControls.Isolation, AcsEnabled = AcsControls.Isolation, IsExternalFacing = true,
                },
                Function(2, 0, PcieFunctionKind.PciePciBridge, 3),
                Function(3, 1, PcieFunctionKind.ConventionalDevice),
                Function(3, 2, PcieFunctionKind.ConventionalDevice),
            ],
            out PcieTopology? topology, out string? problem).ShouldBeTrue(problem);
        using EmbeddedPlatform platform = new(new() { Iommus = [Slot], Caching = CachingMode.Hostile });
        IReadOnlyDictionary<DeviceId, EmbeddedEndpoint> machine =
            platform.AddTopology(topology!, new() { Default = DefaultDomainKind.Lazy });
        EmbeddedEndpoint trusted = machine[DeviceId.FromPci(0, 1, 0, 0)];
        EmbeddedEndpoint outside = machine[DeviceId.FromPci(0, 3, 1, 0)];
        EmbeddedEndpoint beside = machine[DeviceId.FromPci(0, 3, 2, 0)];
        trusted.Device.Group.Devices.Count.ShouldBe(1);
        trusted.Device.Group.DmaDomain!.Mode.ShouldBe(DmaMode.Lazy);
        outside.Device.Group.ShouldBeSameAs(beside.Device.Group);
        outside.Device.Group.DmaDomain!.Mode.ShouldBe(DmaMode.Strict);
        outside.RequesterId.ShouldBe(DeviceId.FromPci(0, 3, 0, 0));

        // What the bridge sends in the name of both is translated, in their common domain.
        using DmaDevice dma = outside.OpenDma();
        platform.DmaPages.TryAllocate(12, IPageAllocator.AnyNode, out PhysicalAddress buffer).ShouldBeTrue();
        dma.Map(buffer, 4096, DmaDirection.Bidirectional, out Iova address).ShouldBe(Errno.Success);
        outside.Write(address, [1, 2, 3]).ShouldBe(DmaStatus.Success);
        beside.Write(address, [1, 2, 3]).ShouldBe(DmaStatus.Success);
        trusted.Write(address, [1, 2, 3]).ShouldNotBe(DmaStatus.Success);
        dma.Unmap(address, 4096).ShouldBe(Errno.Success);
        outside.Write(address, [1, 2, 3]).ShouldNotBe(DmaStatus.Success);
    }

    private static PcieFunction Function(int bus, int device, PcieFunctionKind kind, int? secondary = null) =>
        new() { Id = DeviceId.FromPci(0, bus, device, 0), Kind = kind, SecondaryBus = secondary };
}
