using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Embedded;
using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>What holds of hardware, down to the model, on RISC-V; and virtual IOMMUs, which only RISC-V has here.</summary>
public sealed class HardwareEndToEndOnRiscVTests : HardwareEndToEndTests
{
    private protected override IommuSlot Slot => new RiscVIommuSlot();

    [Fact]
    public void A_guest_has_its_own_names_for_devices_its_own_invalidations_and_its_own_faults()
    {
        using Machine machine = NewMachine(CachingMode.Hostile);
        using SharedMemory memory = SharedMemory.Create(machine.Platform.Kernel, "guest", 16 * 4096);
        const ulong GuestBase = 1ul << 20;
        memory.MapErrno(machine.Space, 0, memory.Length, new(GuestBase), Access.ReadWrite).ShouldBe(Errno.Success);
        using HardwarePageTable parent = machine.Iommu.AllocatePageTable(machine.Device, machine.Space, HwptAllocFlags.NestParent);
        using VirtualIommu part = machine.Iommu.AllocateVirtualIommu(machine.Device, parent, RiscVUapi.ViommuType);
        using VirtualDevice known = part.AddDevice(machine.Device, 0x0008);
        part.AddDeviceErrno(machine.Device, 0x0010, out _).ShouldBe(Errno.Exists);
        using VirtualEventQueue events = part.AllocateEventQueue(RiscVUapi.VeventqType, 4);
        IommuHwptRiscV guest = new() { TranslationAttributes = 7ul << 12, FirstStageContext = (8ul << 60) | (GuestBase >> 12) };
        using HardwarePageTable nested = part.AllocateNestedPageTable(machine.Device, RiscVUapi.HwptDataType, guest);
        _ = machine.Device.Attach(nested);

        // The guest's table is empty: a page fault, the guest's own, with the guest's name of the device.
        machine.Endpoint.Read(new(0x5000), new byte[8]).ShouldNotBe(DmaStatus.Success);
        _ = machine.Platform.FaultCount;
        events.Wait(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken).ShouldBeTrue();
        events.TryRead(out VirtualEvent<IommuVeventRiscV> next).ShouldBeTrue();
        (next.Sequence, next.IsLoss).ShouldBe((0u, false));
        (next.Data.Word0 & 0xfff).ShouldBe(13ul);
        (next.Data.Word0 >> 40).ShouldBe(0x0008ul);
        next.Data.Iotval.ShouldBe(0x5000ul);
        events.TryRead(out next).ShouldBeFalse();

        // IODIR.INVAL_DDT for a device that the guest knows, and for one that it does not.
        IommuInvalidateRiscV Forget(ulong device) => new() { Word0 = 3 | (1ul << 33) | (device << 40) };
        part.InvalidateErrno(RiscVUapi.InvalidateDataType, (ReadOnlySpan<IommuInvalidateRiscV>)[Forget(0x0008)], out int done)
            .ShouldBe(Errno.Success);
        done.ShouldBe(1);
        machine.Device.Detach();
    }

    private protected override bool DescribesTheHardware(ReadOnlySpan<byte> data) =>
        (MemoryMarshal.Read<IommuHwInfoRiscV>(data).Capabilities & 0xff) == 0x10;
}
